"""Answers that are not Dropbox's: a proxy, a portal, or somebody who means harm. Each request or
the connection ends with an error of ours, in bounded memory and time."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from pysubtask.errors import AskedToWait, LinkError, LinkLost, RemoteError
from pysubtask.secret import Secret
from pysubtask.transports.contract import (
    Begin,
    Finish,
    List,
    MakeDir,
    Put,
    Read,
    Remove,
    Rename,
    Request,
    Stat,
    Write,
)
from pysubtask.transports.dropbox import bounded, client
from pysubtask.transports.dropbox.account import Account
from pysubtask.transports.dropbox.client import DropboxTransport

FILE = {
    ".tag": "file",
    "name": "a",
    "id": "id:aaaaaaaaaaaaaaaaaaaaaa",
    "client_modified": "2024-01-01T00:00:00Z",
    "server_modified": "2024-01-01T00:00:00Z",
    "rev": "0123456789",
    "size": 3,
    "path_lower": "/a",
    "path_display": "/a",
    "content_hash": "0" * 64,
}


class Answers(BaseAdapter):
    """Stands where the network would be.

    Args:
        answer: gives status, headers and body of the next answer.
    """

    def __init__(self, answer: Callable[[], tuple[int, dict[str, str], Any]]) -> None:
        super().__init__()
        self._answer = answer
        self.asked: list[str] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        assert options["stream"], "an answer that is read before it is counted"
        self.asked.append(str(request.url))
        status, headers, body = self._answer()
        raw = body if hasattr(body, "read") else io.BytesIO(body)
        made = requests.Response()
        made.status_code = status
        made.headers.update(headers)
        made.raw = HTTPResponse(raw, headers=headers, status=status, preload_content=False)
        made.url = str(request.url)
        made.request = request
        return made

    def close(self) -> None:
        pass


def transport(
    answer: Callable[[], tuple[int, dict[str, str], Any]], timeout_secs: float = 5.0
) -> tuple[DropboxTransport, Answers]:
    account = Account(access_token=Secret("sl.x"), timeout_secs=timeout_secs)
    there = Answers(answer)
    session: Any = account.client()._session
    adapter: Any = session.get_adapter("https://x")
    adapter._inner = there
    return DropboxTransport(account, "/"), there


def answers_to(made: DropboxTransport, *asked: Request) -> list[object]:
    made._client = made._account.client()
    for ticket, request in enumerate(asked):
        made.submit(ticket, request)
    return [result for _, result in made.collect()]


def as_json(value: object, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


names = st.sampled_from(["/a", "/b/c"])
asked_of = st.one_of(
    st.builds(Stat, names),
    st.builds(List, names),
    st.builds(Read, names, st.sampled_from([0, 5]), st.integers(1, 50)),
    st.builds(Put, names, st.binary(min_size=1, max_size=20), st.sampled_from([None, 1e9, 1e300])),
    st.builds(Begin, names, st.sampled_from(["", "token"]), st.integers(0, 9)),
    st.builds(Write, names, st.just(0), st.binary(max_size=9), st.booleans()),
    st.builds(Finish, names),
    st.builds(Rename, names, names),
    st.builds(Remove, names),
    st.builds(MakeDir, names),
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
values = st.recursive(
    plain
    | st.sampled_from(
        [
            FILE,
            {**FILE, "size": -1},
            {**FILE, "size": 2**70},
            {**FILE, "server_modified": "9999-99-99"},
            {**FILE, "server_modified": "0001-01-01T00:00:00Z"},
            {".tag": "folder", "name": "../x"},
            {".tag": "nobody knows"},
            {"entries": [FILE], "cursor": "c", "has_more": False},
            {"entries": None, "cursor": None, "has_more": True},
            {"session_id": "s"},
            {"session_ids": ["a"]},
            {"error": {".tag": "path", "path": {".tag": "not_found"}}, "error_summary": "x"},
            {"error": {".tag": "incorrect_offset", "correct_offset": 2**63}, "error_summary": "x"},
            {"error": {"reason": {".tag": "too_many_requests"}, "retry_after": 10**9}},
            {"error": "invalid_grant"},
        ]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def http_answers(draw: st.DrawFn) -> tuple[int, dict[str, str], bytes]:
    status = draw(st.sampled_from([200, 200, 200, 206, 301, 307, 400, 401, 403, 404, 409, 409, 416,
                                   429, 500, 503]))  # fmt: skip
    kind = draw(st.sampled_from(["application/json", "application/json", "text/html", ""]))
    deep = b"[" * 50_000
    text = st.builds(lambda value: json.dumps(value).encode(), values)
    body = draw(text | st.binary(max_size=40) | st.just(deep) | st.just(b"null"))
    headers = {"content-type": kind} if kind else {}
    if draw(st.booleans()):
        headers["dropbox-api-result"] = json.dumps(draw(values))
    if status == 429:
        headers["retry-after"] = draw(st.sampled_from(["1", "-5", "nan", "1e99", "soon", ""]))
    if 300 < status < 400:
        headers["location"] = draw(st.sampled_from(["http://127.0.0.1:1/", "file:///etc", "//x"]))
    return status, headers, body


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(asked_of, min_size=1, max_size=5), st.data())
def test_any_answers(asked: list[Request], data: st.DataObject) -> None:
    left = [40]

    def answer() -> tuple[int, dict[str, str], bytes]:
        left[0] -= 1
        assert left[0] > -20, "it asks on and on"
        return as_json({}) if left[0] < 0 else data.draw(http_answers())

    made, there = transport(answer)
    waits: list[float] = []
    try:
        for result in answers_to(made, *asked):
            assert not isinstance(result, Exception) or isinstance(result, RemoteError)
    except LinkError as error:
        waits.append(error.wait_secs if isinstance(error, AskedToWait) else 0.0)
    assert all(0 <= wait <= 3600 for wait in waits)
    assert all(url.startswith("https://") for url in there.asked)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_answer_to_a_login(data: st.DataObject) -> None:
    made, _ = transport(lambda: data.draw(http_answers()))
    try:
        made.connect()
    except LinkError:
        pass


class Endless:
    """A body that never ends."""

    closed = False

    def __init__(self, piece: bytes, wait_secs: float = 0.0) -> None:
        self._piece, self._wait_secs = piece, wait_secs
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        time.sleep(self._wait_secs)
        data = (self._piece * (size // len(self._piece) + 1))[:size] if size > 0 else self._piece
        data = data[:1] if self._wait_secs else data
        self.given += len(data)
        return data

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)

    def close(self) -> None:
        pass


def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_ANSWER_BYTES", 1_000_000)
    body = Endless(b" ")
    made, _ = transport(lambda: (200, {"content-type": "application/json"}, body))
    with pytest.raises(LinkLost, match="the connection broke"):
        answers_to(made, Stat("/a"))
    assert 1_000_000 < body.given < 3_000_000


def test_an_answer_that_drips() -> None:
    body = Endless(b" ", 0.01)
    made, _ = transport(lambda: (200, {"content-type": "application/json"}, body), 0.2)
    began = time.monotonic()
    with pytest.raises(LinkLost, match="no answer in time"):
        answers_to(made, Stat("/a"))
    assert time.monotonic() - began < 10


def test_an_answer_that_would_grow_is_not_unpacked() -> None:
    bomb = gzip.compress(json.dumps(FILE).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    made, _ = transport(lambda: (200, headers, bomb))
    with pytest.raises(LinkLost, match="not Dropbox's"):
        answers_to(made, Stat("/a"))


@pytest.mark.parametrize(("status", "offset"), [(206, 0), (206, 7), (200, 0), (200, 100_000)])
def test_a_download_without_end_is_read_as_far_as_it_was_asked_for(
    status: int, offset: int
) -> None:
    body = Endless(b"x")
    headers = {"dropbox-api-result": json.dumps(FILE)}
    made, _ = transport(lambda: (status, headers, body))
    assert answers_to(made, Read("/a", offset, 10)) == [b"x" * 10]
    assert body.given < 1_000_000


def test_a_part_begins_where_it_was_asked_for() -> None:
    headers = {"dropbox-api-result": json.dumps(FILE)}
    whole = bytes(range(256)) * 600
    made, _ = transport(lambda: (200, headers, whole))
    assert answers_to(made, Read("/a", 70_001, 9)) == [whole[70_001:70_010]]
    assert answers_to(made, Read("/a", len(whole) - 2, 9)) == [whole[-2:]]


def test_a_redirect_is_not_followed() -> None:
    made, there = transport(lambda: (307, {"location": "http://127.0.0.1:1/steal"}, b""))
    with pytest.raises(LinkLost):
        answers_to(made, Stat("/a"))
    assert len(there.asked) == 1


def test_a_listing_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MAX_PAGES", 50)
    page = {"entries": [], "cursor": "c", "has_more": True}
    made, there = transport(lambda: as_json(page))
    (result,) = answers_to(made, List("/a"))
    assert isinstance(result, RemoteError)
    assert len(there.asked) <= 51
    monkeypatch.setattr(client, "_MAX_NAMES", 100)
    made, there = transport(lambda: as_json({**page, "entries": [FILE] * 20}))
    (result,) = answers_to(made, List("/a"))
    assert isinstance(result, RemoteError)
    assert len(there.asked) <= 6


def test_a_listing_of_names_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 16 MiB, each within its own bound: together they would fill the memory."""
    monkeypatch.setattr(client, "_MAX_NAME_BYTES", 100_000)
    page = {"entries": [{**FILE, "name": "x" * 30_000}], "cursor": "c", "has_more": True}
    made, there = transport(lambda: as_json(page))
    (result,) = answers_to(made, List("/a"))
    assert isinstance(result, RemoteError)
    assert len(there.asked) == 4


class _Long(io.RawIOBase):
    """A body of 64 MiB."""

    def __init__(self) -> None:
        self.given_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), (64 << 20) - self.given_bytes)
        self.given_bytes += size
        return size


@pytest.mark.parametrize("status", [500, 409, 400, 429])
def test_the_words_of_a_refused_download_have_an_end(status: int) -> None:
    """The SDK asks for a download as a stream, and then reads all that an error says."""
    body = _Long()
    made, _ = transport(lambda: (status, {"content-type": "application/json"}, body))
    with contextlib.suppress(LinkError):
        answers_to(made, Read("/a", 0, 100))
    assert body.given_bytes < 20 << 20


def test_names_that_lead_elsewhere_are_left_out() -> None:
    entries = [{**FILE, "name": name} for name in ("..", ".", "../x", "/etc/x", "ok", "")]
    made, _ = transport(lambda: as_json({"entries": entries, "cursor": "c", "has_more": False}))
    (result,) = answers_to(made, List("/a"))
    assert isinstance(result, dict)
    assert result.keys() == {"ok"}


def test_an_answer_of_the_wrong_shape_is_not_blamed_on_the_file() -> None:
    """A file's own refusal would hold it for long; this is a connection that is not Dropbox's."""
    made, _ = transport(lambda: as_json({**FILE, "size": "large"}))
    with pytest.raises(LinkLost, match="not Dropbox's"):
        answers_to(made, Put("/a", b"x"))


@pytest.mark.parametrize(("asked", "wait_secs"), [("1000000000", 3600.0), ("-5", 0.0)])
def test_a_wait_without_end_is_not_kept(asked: str, wait_secs: float) -> None:
    made, _ = transport(lambda: (429, {"retry-after": asked, "content-type": "text/plain"}, b"x"))
    with pytest.raises(AskedToWait) as caught:
        answers_to(made, Stat("/a"))
    assert caught.value.wait_secs == wait_secs
