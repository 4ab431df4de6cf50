"""Fixtures of the tests with real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.proxy import TcpProxy


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    def ours() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name != TcpProxy.THREAD_NAME}

    before = ours()
    yield
    deadline = time.monotonic() + 3
    while ours() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ours() - before == set()
