"""A folder on a server: links that break, answers that never come. No network: a transport that
does what it is told."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from pysubtask.errors import (
    AskedToWait,
    HostKeyRefused,
    LinkLost,
    LoginRefused,
    PysubtaskError,
    RemoteDenied,
    SettingsError,
)
from pysubtask.monitor import remote
from pysubtask.monitor.fleet import Fleet
from pysubtask.monitor.remote import RemoteFolder
from pysubtask.transports.contract import List, Read, RemoteStat, Request, Result
from pysubtask.transports.folder import FolderTransport


class Moody(FolderTransport):
    """A folder that breaks, refuses or falls silent."""

    mood: str = ""
    asked: list[Request]

    def submit(self, ticket: int, request: Request) -> None:
        self.asked.append(request)
        super().submit(ticket, request)

    def collect(self) -> Iterator[tuple[int, Result]]:
        if Moody.mood == "break":
            raise LinkLost("cut")
        if Moody.mood == "break once":
            Moody.mood = ""
            raise LinkLost("cut")
        if Moody.mood == "silent":
            return
        yield from super().collect()

    def read(self, path: str, offset: int, length: int) -> bytes:
        if Moody.mood == "refuse":
            raise RemoteDenied("no", operation="read", path=path)
        return super().read(path, offset, length)

    def list(self, path: str) -> dict[str, RemoteStat]:
        if Moody.mood == "shut" and path.endswith("site"):
            raise RemoteDenied("no", operation="list", path=path)
        return super().list(path)


@pytest.fixture
def drop(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    Moody.mood = ""
    (tmp_path / "site").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("edge", "site/edge", ".pysubtask-0", ".hidden/x"):
        (tmp_path / f"{name}.heartbeat").write_bytes(b"60\n")
    (tmp_path / "data.csv").write_bytes(b"1\n")
    yield tmp_path
    Moody.mood = ""


@pytest.fixture
def source(drop: pathlib.Path) -> Iterator[RemoteFolder]:
    def make(wake: Callable[[], None]) -> Moody:
        made = Moody(str(drop))
        made.asked = asked
        made_transports.append(made)
        return made

    asked: list[Request] = []
    made_transports: list[Moody] = []
    source = RemoteFolder(drop.as_uri(), make_transport=make)
    source.asked = asked  # type: ignore[attr-defined]
    source.made = made_transports  # type: ignore[attr-defined]
    yield source
    source.close()


def test_a_file_is_fetched_again_when_it_differs(drop: pathlib.Path, source: RemoteFolder) -> None:
    asked: list[Request] = source.asked  # type: ignore[attr-defined]
    assert {one.name for one in source.scan().sightings} == {"edge", "site/edge"}
    assert sum(isinstance(request, Read) for request in asked) == 2
    asked.clear()
    assert len(source.scan().sightings) == 2
    assert [type(request) for request in asked] == [List, List]
    (drop / "edge.heartbeat").write_bytes(b"600\n")
    found = {one.name: one.content for one in source.scan().sightings}
    assert found["edge"] == b"600\n"
    assert sum(isinstance(request, Read) for request in asked) == 1
    assert len(source.made) == 1  # type: ignore[attr-defined]


def test_a_link_that_breaks_is_made_anew(source: RemoteFolder) -> None:
    assert source.scan().error is None
    Moody.mood = "break"
    assert source.scan().error == "cut"
    Moody.mood = ""
    scan = source.scan()
    assert (scan.error, len(scan.sightings)) == (None, 2)
    assert len(source.made) == 3  # type: ignore[attr-defined]


def test_a_link_that_was_cut_while_it_was_idle_blinds_nobody(source: RemoteFolder) -> None:
    """Without the second try each such cut makes the whole fleet unknown for a look."""
    assert source.scan().error is None
    Moody.mood = "break once"
    scan = source.scan()
    assert (scan.error, len(scan.sightings)) == (None, 2)
    assert len(source.made) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("refusal", "waits"),
    [
        (LoginRefused("wrong password"), [0, 30, 90, 210]),
        (HostKeyRefused("changed", reason="changed"), [0, 30, 90, 210]),
        (AskedToWait("later", wait_secs=200.0), [0, 200]),
        (LinkLost("no route"), list(range(0, 300, 5))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refused_login_is_repeated_ever_more_slowly(
    refusal: PysubtaskError, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without: a login each five seconds, and fail2ban bans the monitor, and with it the fleet
    behind the same address."""
    now, tries = [1000.0], []

    class Refusing(FolderTransport):
        def connect(self) -> None:
            tries.append(now[0] - 1000.0)
            raise refusal

    monkeypatch.setattr(remote.time, "monotonic", lambda: now[0])
    source = RemoteFolder("sftp://watch@host/drop", make_transport=lambda wake: Refusing("/x"))
    for _ in range(60):
        assert source.scan().error == str(refusal)
        now[0] += 5
    assert tries == waits


def test_a_server_that_falls_silent_is_given_up(
    source: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_STALL_SECS", 0.1)
    Moody.mood = "silent"
    assert "no answer for" in (source.scan().error or "")


def test_what_is_refused(source: RemoteFolder) -> None:
    Moody.mood = "refuse"
    scan = source.scan()
    assert {one.unread for one in scan.sightings} == {"it can't be read: no"}
    Moody.mood = "shut"
    scan = source.scan()
    assert [one.name for one in scan.sightings] == ["edge"]
    assert scan.warnings == ("site/ can't be read: no",)
    assert scan.unread == ("site/",)


def test_what_a_limit_leaves_out_is_unread_and_whom_it_knows_goes_first(
    source: RemoteFolder, drop: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not gone: else whoever may upload many files would have others told as removed."""
    source._limit = 2
    assert {one.name for one in source.scan().sightings} == {"edge", "site/edge"}
    (drop / "a").mkdir()
    for number in range(2):
        (drop / f"a/{number}.heartbeat").write_bytes(b"60\n")
    scan = source.scan()
    assert {one.name for one in scan.sightings} == {"edge", "site/edge"}
    assert (scan.unread, scan.warnings) == (
        ("a/",), ("more than 2 heartbeat files: the rest is left out",)
    )  # fmt: skip
    monkeypatch.setattr(remote, "_MAX_FOLDERS", 1)
    scan = source.scan()
    assert [one.name for one in scan.sightings] == ["edge"]
    assert sorted(scan.unread) == ["a/", "site/"]


def test_what_a_limit_leaves_out_is_not_gone(
    drop: pathlib.Path, source: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may upload may create files and folders. Without: living clients are told as gone."""
    fleet = Fleet()
    fleet.observe(source.scan(), 1000.0, 1.0)
    source._limit = 3
    (drop / "a").mkdir()
    for number in range(5):
        (drop / "a" / f"{number}.heartbeat").write_bytes(b"60\n")
    scan = source.scan()
    assert {"edge", "site/edge"} <= {one.name for one in scan.sightings}
    assert len(scan.sightings) == 3
    assert scan.unread == ("a/",)
    monkeypatch.setattr(remote, "_MAX_FOLDERS", 1)
    scan = source.scan()
    assert set(scan.unread) == {"a/", "site/"}
    fleet.observe(scan, 1005.0, 6.0)
    states = {one.name: one.state.value for one in fleet.clients.values()}
    assert "gone" not in states.values()
    assert any("folders" in words for words in scan.warnings)


def test_schemes_without_a_transport_are_refused() -> None:
    for url in ("gopher://x/y", "sftp://", "nonsense", "ftp://host/drop", "ftps://host/drop"):
        with pytest.raises(SettingsError):
            RemoteFolder(url)
