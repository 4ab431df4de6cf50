"""Bounds for what comes by HTTPS: requests has none for the size of an answer, nor for its time.

Its ``timeout`` counts from byte to byte, so that a server may drip for ever; and a compressed
answer may grow a thousandfold, so that none is asked for, and none is unpacked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter

from pysubtask.transports.sockets import is_too_slow

__all__ = ["MOST_ANSWER_BYTES", "bounded", "take"]

MOST_ANSWER_BYTES = 16 * 1024 * 1024
"""Of an answer that is no file; a page of 2,000 names has some 1 MB."""

_PIECE_BYTES = 65_536


def bounded(session: requests.Session) -> requests.Session:
    """``session`` with limits: HTTPS alone, no redirects, answers of a bounded size and time."""
    inner = session.get_adapter("https://")
    session.adapters.clear()
    session.mount("https://", _Bounded(inner))
    session.max_redirects = 0
    session.headers["Accept-Encoding"] = "identity"
    return session


def take(
    answer: requests.Response, skipped_bytes: int, most_bytes: int, patience_secs: float
) -> bytes:
    """Bytes of an answer's body, without those at its beginning; what follows is not read.

    Raises:
        requests.exceptions.RequestException: the connection broke, or it is far too slow.
    """
    parts: list[bytes] = []
    began, received, end = time.monotonic(), 0, skipped_bytes + most_bytes
    for piece in _pieces(answer):
        parts.append(piece[max(0, skipped_bytes - received) : end - received])
        received += len(piece)
        if received >= end:
            break
        words = is_too_slow(time.monotonic() - began, received, patience_secs, done="came")
        if words:
            raise requests.exceptions.ReadTimeout(words)
    return b"".join(parts)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """As they come: ``iter_content`` would wait until a piece is full."""
    # read1: since urllib3 2.0; before it, read() waits, but for a few bytes only
    read = getattr(answer.raw, "read1", None)
    try:
        while data := read(_PIECE_BYTES, False) if read else answer.raw.read(1024, False):
            yield data
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.exceptions.ReadTimeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(error) from error


class _Bounded(BaseAdapter):
    """Reads an answer that is not to be streamed here, where it can be counted."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        answer: requests.Response = self._inner.send(
            request, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies
        )
        if not stream or answer.status_code >= 400:  # which the SDK reads, whole, for its words
            patience_secs = timeout if isinstance(timeout, int | float) else 30.0
            whole = False
            try:
                content = take(answer, 0, MOST_ANSWER_BYTES + 1, patience_secs)
                whole = len(content) <= MOST_ANSWER_BYTES
            finally:
                if not whole:
                    answer.close()  # the connection is of no use any more
            if not whole:
                raise requests.exceptions.ConnectionError("an answer without end")
            answer._content = content
            answer._content_consumed = True
        return answer

    def close(self) -> None:
        self._inner.close()
