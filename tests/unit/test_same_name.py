"""Two local files with one name at the destination: the later one is held, and says why."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
from msgspec.structs import replace

from pysubtask.core.flow import Window
from pysubtask.core.model import Delivered, Entry
from pysubtask.errors import LinkLost, RemoteDenied, RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.engine import Send, Wait
from pysubtask.subtask.delivery.names import NameTaken, follow_watches
from pysubtask.transports.contract import Read, RemoteStat, Request, Stat
from pysubtask.watch import Watch
from tests.unit.core_fakes import HookedDisk, ManualClock, nothing, on_nth
from tests.unit.core_local import Local
from tests.unit.core_remote import SERVERS, Remote, WatchedServer

NFC, NFD = "\u00e9.csv", "e\u0301.csv"


class Bench:
    """Several files, each with the remote name that a test gives it."""

    def __init__(self, folder: Path, kind: str = "sequential", *, folds_names: bool = False):
        self.clock = ManualClock()
        self.local = Local(folder, self.clock, HookedDisk())
        self.folder = folder
        self.server = WatchedServer(SERVERS[kind], folds_names=folds_names)
        self.remote = Remote(self.local, self.server, dead_time_secs=5.0)
        self.names: dict[str, str] = {}

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def write(self, name: str, data: bytes, remote: str | None = None) -> None:
        """Write a file, take its snapshot, offer it."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(data)
        self.names[name] = remote or self.names.get(name) or os.path.basename(name)
        self.clock.advance(10)
        self.local.snapshots.take(path, self.names[name], "auto", None)
        self.remote.delivery.offer(path)

    def run(self, secs: float = 100.0) -> None:
        """What a child does in that time."""
        until = self.clock.now + secs
        while self.clock.now < until:
            due = self.remote.delivery.step()
            self.clock.now = min(until, max(due, self.clock.now + 0.01))

    def error_of(self, name: str) -> str:
        return self.remote.delivery.error_of(self.path(name)) or ""

    def shown(self) -> dict[str, bytes | None]:
        return {name: self.server.read_file(name) for name in self.server.names()}

    def kept(self, name: str) -> list[bytes | None]:
        """What was set aside of a name."""
        return [self.server.read_file(n) for n in self.server.names() if n.startswith(f"{name}~")]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("kind", list(SERVERS))
def test_the_later_file_is_held_until_the_earlier_one_is_gone(tmp_path: Path, kind: str) -> None:
    bench = Bench(tmp_path, kind)
    bench.write("a/x.csv", b"first")
    bench.write("b/x.csv", b"second")
    bench.run()
    assert bench.shown() == {"x.csv": b"first"}
    assert "x.csv has that name at the destination" in bench.error_of("b/x.csv")
    assert "by 'as', or another 'remote_dir'" in bench.error_of("b/x.csv")
    assert not bench.error_of("a/x.csv")
    bench.write("b/x.csv", b"second, and more")
    bench.write("a/x.csv", b"first, and more")
    bench.run()
    assert bench.shown() == {"x.csv": b"first, and more"}
    os.remove(bench.path("a/x.csv"))
    bench.run(4.0)
    assert bench.shown() == {"x.csv": b"first, and more"}, "it may be rotated, and soon be back"
    bench.run()
    assert bench.server.read_file("x.csv") == b"second, and more"
    assert bench.kept("x.csv") == [b"first, and more"], "and nothing of the first is lost"
    assert not bench.error_of("b/x.csv")
    bench.write("a/x.csv", b"back")
    bench.run()
    assert bench.server.read_file("x.csv") == b"second, and more", "now the other one is later"
    assert "x.csv has that name" in bench.error_of("a/x.csv")


@pytest.mark.parametrize("kind", list(SERVERS))
def test_a_name_that_comes_back_is_looked_at_again(tmp_path: Path, kind: str) -> None:
    """What a connection that never rests has seen there says nothing of what the other file sent
    under it since."""
    bench = Bench(tmp_path, kind)
    bench.remote.dead_time_secs = 1e9
    bench.remote.open()
    bench.write("a/x.csv", b"head\n")
    bench.run()
    os.remove(bench.path("a/x.csv"))
    bench.write("b/x.csv", b"head\nsecond\n")
    bench.run()
    os.remove(bench.path("b/x.csv"))
    bench.write("a/x.csv", b"head\nfirst, and much more than that\n")
    bench.run()
    assert bench.remote.connections == 1
    assert bench.server.read_file("x.csv") == b"head\nfirst, and much more than that\n"
    assert b"head\nsecond\n" in bench.kept("x.csv")


@pytest.mark.parametrize("restarts", [False, True])
def test_a_version_after_a_name_was_given_up_has_a_number_of_its_own(
    bench: Bench, restarts: bool
) -> None:
    """Files that are held open are known by path and number: the one that was deleted is not the
    one that came back, and is rotated before it was delivered."""
    bench.write("a/x.csv", b"1\n")
    bench.run()
    bench.write("a/x.csv", b"1\n2\n")
    bench.run()
    before = bench.local.ledger.get(bench.path("a/x.csv"))
    assert before is not None
    os.remove(bench.path("a/x.csv"))
    bench.write("b/x.csv", b"second\n")
    bench.run()
    if restarts:
        bench.local.open()
        bench.remote.open()
    bench.write("a/x.csv", b"new\n")
    after = bench.local.ledger.get(bench.path("a/x.csv"))
    assert after is not None
    assert after.next_number == before.next_number + 1
    with open(bench.path("a/x.csv"), "ab") as file:
        file.write(b"tail\n")
    os.rename(bench.path("a/x.csv"), bench.path("a/x.csv.1"))
    bench.write("a/x.csv", b"other\n")
    after = bench.local.ledger.get(bench.path("a/x.csv"))
    assert after is not None
    assert restarts or [v.size for v in after.versions] == [9, 6]


def test_a_name_is_asked_for_again_after_a_comparison_that_told_nothing(bench: Bench) -> None:
    """The file that had it may be back, and have begun, while that took its time."""
    bench.write("a/x.csv", b"first\n")
    bench.run()
    bench.write("b/x.csv", b"first\nsecond\n")
    os.remove(bench.path("a/x.csv"))
    assert bench.remote.names.taken(bench.path("b/x.csv")), "gone, but not for long"
    bench.clock.advance(10)
    job = bench.remote._courier(SERVERS["sequential"], Window()).deliver(bench.path("b/x.csv"))
    results: list[RemoteStat | RemoteError] = []

    def answer(request: Request) -> RemoteStat | RemoteError:
        if isinstance(request, Stat):
            return RemoteStat(6, 1.0)
        assert isinstance(request, Read), request
        bench.write("a/x.csv", b"first, and it is back\n")
        return RemoteDenied("a drop box", operation="read", path=request.path)

    def run() -> None:
        step = next(job)
        while True:
            if isinstance(step, Send):
                results.append(answer(step.request))
                step = job.send(len(results) - 1)
                continue
            assert isinstance(step, Wait)
            result = results[step.ticket]
            step = job.throw(result) if isinstance(result, RemoteError) else job.send(result)

    with pytest.raises(NameTaken):
        run()


def test_a_name_changes_hands_only_where_that_can_be_written(bench: Bench) -> None:
    """A journal that goes back must not say that two files were sent under one name."""
    bench.write("a/x.csv", b"first")
    bench.write("b/x.csv", b"second")
    bench.run()
    os.remove(bench.path("a/x.csv"))

    bench.run(4.0)
    journal = bench.folder / "state" / "journal"
    noted: list[bytes] = []

    def full(operation: str, path: str) -> None:
        if operation == "append" and path == str(journal):
            bench.local.disk.before = nothing
            raise OSError(errno.ENOSPC, "No space left on device", path)

    def note(operation: str, path: str) -> None:
        if operation == "write" and not noted:
            noted.append(journal.read_bytes())

    bench.local.disk.before = full
    bench.server.fault_before = note
    said = ""
    for _ in range(15):
        bench.run(1.0)
        said += bench.error_of("b/x.csv")
    assert "needs that name no more, but it can't be noted: the local disk is full" in said
    bench.run()
    assert bench.server.read_file("x.csv") == b"second"
    journal.write_bytes(noted[0])  # what was there when the first byte was sent
    bench.local.open()
    first, second = (bench.local.ledger.get(bench.path(f"{f}/x.csv")) for f in "ab")
    assert first is not None
    assert second is not None
    assert (first.delivered, second.upload is None) == (None, False)


def test_a_file_that_was_back_between_two_looks_has_not_been_gone(bench: Bench) -> None:
    bench.write("a/x.csv", b"first")
    bench.write("b/x.csv", b"second")
    bench.run()
    os.remove(bench.path("a/x.csv"))
    assert bench.remote.names.taken(bench.path("b/x.csv")), "gone, but not for long"
    bench.write("a/x.csv", b"first again")  # which takes 10 s
    os.remove(bench.path("a/x.csv"))
    bench.run(1.0)
    assert bench.shown() == {"x.csv": b"first again"}
    assert bench.remote.names.taken(bench.path("b/x.csv")), "gone, but not for long"
    bench.run()
    assert bench.server.read_file("x.csv") == b"second"


def test_who_came_first_is_known_after_a_restart(bench: Bench) -> None:
    bench.server.up = False
    bench.write("b/x.csv", b"first")
    bench.write("a/x.csv", b"second")
    bench.run()
    bench.remote.restart()
    bench.server.up = True
    for name in ("a/x.csv", "b/x.csv"):
        bench.remote.delivery.offer(bench.path(name))
    bench.run()
    assert bench.shown() == {"x.csv": b"first"}
    bench.remote.restart()
    bench.write("a/x.csv", b"second, and more")
    bench.run()
    assert bench.shown() == {"x.csv": b"first"}
    assert "has that name" in bench.error_of("a/x.csv")


def test_a_file_that_owes_something_keeps_its_name_though_it_is_gone(bench: Bench) -> None:
    bench.write("a/x.csv", b"first")
    bench.run()

    def refuse(operation: str, path: str) -> None:
        if operation == "write":
            raise RemoteError("not now", operation=operation, path=path)

    bench.server.fault_before = refuse
    bench.write("a/x.csv", b"first, its end")
    bench.write("b/x.csv", b"second")
    os.remove(bench.path("a/x.csv"))
    bench.run()
    assert bench.shown() == {"x.csv": b"first"}
    bench.server.fault_before = lambda operation, path: None
    bench.run(600.0)
    assert bench.server.read_file("x.csv") == b"second"
    assert bench.kept("x.csv") == [b"first, its end"]


def test_a_file_that_is_not_watched_any_more_has_no_name_to_keep(bench: Bench) -> None:
    bench.write("a/x.csv", b"first")
    bench.run()
    bench.remote.watches = [Watch(path=bench.path("b"), is_dir=True, declared="b")]
    bench.write("b/x.csv", b"second")
    bench.run()
    assert bench.server.read_file("x.csv") == b"second"
    assert bench.kept("x.csv") == [b"first"]


def test_a_held_file_costs_no_connection(bench: Bench) -> None:
    bench.write("a/x.csv", b"first")
    bench.run()
    bench.write("b/x.csv", b"second")
    before = bench.remote.connections
    bench.run(3600.0)
    assert bench.remote.connections == before
    assert "has that name" in bench.error_of("b/x.csv")


@pytest.mark.parametrize("kind", list(SERVERS))
@pytest.mark.parametrize(("one", "other"), [("a.csv", "A.csv"), (NFC, NFD)])
@pytest.mark.parametrize("folds", [True, False])
def test_whether_names_are_one_is_tried(
    tmp_path: Path, kind: str, one: str, other: str, folds: bool
) -> None:
    bench = Bench(tmp_path, kind, folds_names=folds)
    bench.write("1", b"first", f"in/{one}")
    bench.write("2", b"second", f"in/{other}")
    bench.run()
    if folds:
        assert bench.shown() == {f"in/{one}": b"first"}
        assert f"which is one with in/{one} there" in bench.error_of("2")
        os.remove(bench.path("1"))
        bench.run()
        assert bench.server.read_file(f"in/{other}") == b"second"
        assert bench.kept(f"in/{one}") + bench.kept(f"in/{other}") == [b"first"]
    else:
        assert bench.shown() == {f"in/{one}": b"first", f"in/{other}": b"second"}
        tried = len([n for op, n in bench.server.requests if op in ("stat",) and "pysub" in n])
        bench.write("2", b"second again")
        bench.run()
        again = len([n for op, n in bench.server.requests if op in ("stat",) and "pysub" in n])
        assert again == tried, "once is enough"
    assert not bench.server.temps()


@pytest.mark.parametrize("cut_at", range(1, 8))
def test_a_trial_that_breaks_off_leaves_nothing(tmp_path: Path, cut_at: int) -> None:
    bench = Bench(tmp_path, folds_names=True)
    bench.write("1", b"first", "a.csv")
    bench.run()
    count = 0

    def cut(operation: str, path: str) -> None:
        nonlocal count
        count += 1
        if count == cut_at:
            raise LinkLost("cut by the test", operation=operation, path=path)

    bench.server.fault_after = cut
    bench.write("2", b"second", "A.csv")
    bench.run(600.0)
    assert bench.shown() == {"a.csv": b"first"}
    assert "has that name" in bench.error_of("2")


def hide(operation: str, path: str) -> None:
    """A destination that shows no temporary file."""
    if operation == "stat" and ".pysubtask-" in path:
        raise RemoteNotFound("nothing to see", operation=operation, path=path)


def test_where_nothing_is_shown_names_that_may_be_one_are(bench: Bench) -> None:
    bench.write("1", b"first", "a.csv")
    bench.run()

    bench.server.fault_before = hide
    bench.write("2", b"second", "A.csv")
    bench.run()
    assert bench.shown() == {"a.csv": b"first"}
    assert "which may be one with a.csv there" in bench.error_of("2")


def test_a_trial_whose_file_somebody_removes_tells_nothing(tmp_path: Path) -> None:
    """Where both names are one, and the file is gone before it is looked for by the other."""
    bench = Bench(tmp_path, folds_names=True)
    bench.write("1", b"first", "a.csv")
    bench.run()

    def remove() -> None:
        for temp in bench.server.temps():
            bench.server.take_file(temp)

    bench.server.fault_after = on_nth("stat", "", 1, remove)
    bench.write("2", b"second", "A.csv")
    bench.run()
    assert bench.shown() == {"a.csv": b"first"}
    assert "which may be one with a.csv there" in bench.error_of("2")


def test_a_trial_that_was_refused_is_made_again(bench: Bench) -> None:
    """A server that is busy for a moment must not hold the file for good."""
    bench.write("1", b"first", "a.csv")
    bench.run()

    def refuse() -> None:
        raise RemoteError("busy", operation="stat", path="")

    bench.server.fault_before = on_nth("stat", "", 1, refuse)
    bench.write("2", b"second", "A.csv")
    before = bench.remote.connections
    bench.run(500.0)
    assert "which may be one with a.csv there" in bench.error_of("2")
    assert bench.remote.connections <= before + 1, "waiting costs nothing"
    bench.run(200.0)
    assert bench.shown() == {"a.csv": b"first", "A.csv": b"second"}


def test_where_nothing_is_ever_shown_trials_become_rare(bench: Bench) -> None:
    bench.write("1", b"first", "a.csv")
    bench.run()

    bench.server.fault_before = hide
    bench.write("2", b"second", "A.csv")
    before = bench.server.requests.count(("stat", "a.csv"))
    bench.run(3 * 86_400.0)
    assert bench.shown() == {"a.csv": b"first"}
    trials = [p for op, p in bench.server.requests if op == "remove"]
    assert 5 < len(trials) < 12
    assert bench.server.requests.count(("stat", "a.csv")) == before


def test_a_name_that_is_too_long_to_be_tried_is_taken(bench: Bench) -> None:
    bench.write("1", b"first", "a" * 100)
    bench.write("2", b"second", "A" * 100)
    bench.run()
    assert list(bench.shown()) == ["a" * 100]
    assert "has that name" in bench.error_of("2")


def test_files_that_fought_for_a_name_before_make_peace(bench: Bench) -> None:
    """As an earlier version left them: both were delivered, in turn."""
    bench.write("a/x.csv", b"first")
    bench.run()
    entry = bench.local.ledger.get(bench.path("a/x.csv"))
    assert entry is not None
    assert entry.delivered is not None
    bench.write("b/x.csv", b"second")
    done = entry.delivered
    bench.local.ledger.update(bench.path("b/x.csv"), lambda e: _delivered(e, done))
    bench.write("b/x.csv", b"second, again")
    bench.run()
    assert bench.shown() == {"x.csv": b"first"}
    os.remove(bench.path("a/x.csv"))
    bench.run()
    assert bench.server.read_file("x.csv") == b"second, again"
    assert bench.kept("x.csv") == [b"first"]


def _delivered(entry: Entry, done: Delivered) -> Entry:
    assert entry.current is not None
    return replace(entry, delivered=replace(done, size=entry.current.size))


def test_a_watch_that_gives_another_name_is_followed(bench: Bench) -> None:
    bench.write("a/x.csv", b"first")
    bench.write("b/x.csv", b"second")
    bench.write("b/y.csv", b"third")
    bench.write("b/gone.csv", b"fourth")
    bench.run()
    os.remove(bench.path("b/gone.csv"))
    bench.remote.restart()
    bench.remote.watches = [
        Watch(path=bench.path("a"), is_dir=True, declared="a"),
        Watch(path=bench.path("b"), is_dir=True, declared="b", remote_dir="b"),
    ]
    moved = follow_watches(bench.local.disk, bench.local.ledger, bench.remote.watch_of)
    assert sorted(map(os.path.basename, moved)) == ["gone.csv", "x.csv", "y.csv"]
    for name in ("b/x.csv", "b/y.csv", "b/gone.csv"):
        bench.remote.delivery.offer(bench.path(name))
    bench.run()
    assert bench.shown() == {
        "x.csv": b"first",
        "y.csv": b"third",
        "gone.csv": b"fourth",
        "b/x.csv": b"second",
        "b/y.csv": b"third",
    }
    assert not bench.remote.delivery.errors
    assert not follow_watches(bench.local.disk, bench.local.ledger, bench.remote.watch_of)
    bench.write("b/y.csv", b"third, and more")
    bench.run()
    assert bench.server.read_file("b/y.csv") == b"third, and more"


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(NameTaken("m", "x.csv", "h", 5.0)))
    assert str(error) == "name x.csv: m (h)"
    assert error.wait_secs == 5.0
