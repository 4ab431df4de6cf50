"""Waiting for a socket of FTP's: any number will do, which a monitor with many readers needs."""

from __future__ import annotations

import os
import resource
import socket
import sys

import pytest

from pysubtask.transports.ftp.ready import is_ready


def test_there_is_something_to_read_or_not() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not is_ready(near, 0.01)
        assert is_ready(near, 0.01, to_write=True)
        far.send(b"x")
        assert is_ready(near, 10.0)
    with pytest.raises((OSError, ValueError)):
        is_ready(near, 0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="numbers are handles there")
def test_a_number_that_select_does_not_take() -> None:
    """With a thousand pages open in browsers, the monitor could not look at an FTP server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this system gives no more than 1,200 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    near, far = socket.socketpair()
    try:
        os.dup2(near.fileno(), 1100)
        high = socket.socket(fileno=1100)
        with near, far, high:
            far.send(b"x")
            assert is_ready(high, 10.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
