"""What changed between two looks at a status."""

from __future__ import annotations

from pysubtask.events import (
    Delivered,
    Event,
    FileFailed,
    FileRecovered,
    LinkChanged,
    Pending,
    Progress,
    Restarted,
    SourceChanged,
    TakenOver,
    between,
)
from pysubtask.status import FileStatus, PullStatus, Status


def status(link: str = "connected", **given: object) -> Status:
    files = {name: given.pop(name) for name in list(given) if isinstance(given[name], FileStatus)}
    return Status(link=link, files=files, **given)  # type: ignore[arg-type]


def test_the_first_look_tells_how_things_are() -> None:
    assert between(None, status("resting")) == [LinkChanged("resting")]
    assert between(None, status(a=FileStatus(size_bytes=5, delivered_bytes=5))) == [
        LinkChanged("connected"),
        Delivered("a", 5),
    ]


def test_nothing_new_is_no_event() -> None:
    same = status(a=FileStatus(size_bytes=5, delivered_bytes=5, notified_at=1.0))
    assert between(same, same) == []
    assert between(same, status("connected", a=same.files["a"], updated_at=9.0)) == []


def test_the_way_of_a_file() -> None:
    ways: list[tuple[FileStatus, list[Event]]] = [
        (FileStatus(), []),
        (FileStatus(size_bytes=10, pending_bytes=10), [Pending("a", 10)]),
        (FileStatus(size_bytes=10, pending_bytes=10, sent_bytes=4), [Progress("a", 4, 10)]),
        (
            FileStatus(size_bytes=10, pending_bytes=10, sent_bytes=4, last_error="full"),
            [FileFailed("a", "full")],
        ),
        (
            FileStatus(size_bytes=10, delivered_bytes=10, notified_at=1.0),
            [FileRecovered("a"), Delivered("a", 10)],
        ),
        # appended: what is delivered grows in steps
        (
            FileStatus(size_bytes=30, delivered_bytes=10, pending_bytes=20, notified_at=2.0),
            [Pending("a", 20)],
        ),
        (
            FileStatus(size_bytes=30, delivered_bytes=20, pending_bytes=10, notified_at=2.0),
            [Progress("a", 20, 30)],
        ),
        (FileStatus(size_bytes=30, delivered_bytes=30, notified_at=2.0), [Delivered("a", 30)]),
        # rewritten at the same size, and delivered between two looks
        (FileStatus(size_bytes=30, delivered_bytes=30, notified_at=3.0), [Delivered("a", 30)]),
    ]
    before = status(a=ways[0][0])
    for file, events in ways[1:]:
        after = status(a=file)
        assert between(before, after) == events
        before = after


def test_the_link_and_its_errors() -> None:
    up = status("connected")
    down = status("retrying", last_error="cut", last_error_kind="LinkLost", next_try=5.0)
    assert between(up, down) == [LinkChanged("retrying", "cut", "LinkLost", 5.0)]
    later = status("retrying", last_error="cut", last_error_kind="LinkLost", next_try=9.0)
    assert between(down, later) == []
    other = status("retrying", last_error="no route", last_error_kind="LinkLost", next_try=9.0)
    assert between(later, other) == [LinkChanged("retrying", "no route", "LinkLost", 9.0)]
    # a file's trouble is not the link's
    assert between(up, status("connected", last_error="full")) == []
    gone = status("gone", last_error="the subtask ended: it crashed")
    assert between(up, gone) == [LinkChanged("gone", "the subtask ended: it crashed")]


def test_the_subtask() -> None:
    assert Restarted(1) in between(status(), status(restarts=1))
    assert TakenOver() in between(status(), status(taken_over=True))
    assert between(status(taken_over=True), status(taken_over=True)) == []


def test_sources_are_told_apart() -> None:
    one = PullStatus(source="sftp://a/in", to="x", link="connected")
    other = PullStatus(source="sftp://a/in", to="y", link="connected")
    first = status(pulls=(one, other))
    assert between(None, first)[1:] == [
        SourceChanged("sftp://a/in", "connected"),
        SourceChanged("sftp://a/in", "connected"),
    ]
    lost = PullStatus(
        source="sftp://a/in", to="y", link="retrying", last_error="gone", last_error_kind="LinkLost"
    )
    assert between(first, status(pulls=(one, lost))) == [
        SourceChanged("sftp://a/in", "retrying", "gone", "LinkLost")
    ]
    busy = PullStatus(source="sftp://a/in", to="x", link="connected", fetched_bytes=9)
    assert between(first, status(pulls=(busy, other))) == []
