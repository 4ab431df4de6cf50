"""How what is to be sent is cut into SSH packets and pipes."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.transports.sftp import process
from pysubtask.transports.sftp.ssh import _pieces


@given(st.lists(st.binary(max_size=50)), st.integers(1, 40))
def test_pieces_are_full_and_lose_nothing(parts: list[bytes], most: int) -> None:
    pieces = list(_pieces(parts, most))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == most for piece in pieces[:-1])
    assert all(0 < len(piece) <= most for piece in pieces)


@pytest.mark.parametrize("has_writev", [True, False])
def test_a_pipe_that_takes_a_part_gets_the_rest(
    has_writev: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_writev:
        monkeypatch.delattr(os, "writev", raising=False)
    elif not hasattr(os, "writev"):
        pytest.skip("this system has no writev")
    sent = [b"head", os.urandom(300_000), b"", b"h", os.urandom(200_000)]
    source, sink = os.pipe()
    got = bytearray()

    def read() -> None:
        while data := os.read(source, 10_000):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(sink, "wb", buffering=0) as pipe:
        process._widen(pipe)
        parts: list[bytes | memoryview] = list(sent)
        while parts:
            process._write_some(pipe, parts)
    reader.join(10)
    os.close(source)
    assert bytes(got) == b"".join(sent)
