"""The lock: one holder, taken over politely or by force, and nobody else is ever killed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pysubtask.errors import StateError
from pysubtask.seams.clock import RealClock
from pysubtask.seams.disk import RealDisk
from pysubtask.signals import StateLayout, read_json, write_json
from pysubtask.subtask.shell.lock import StateLock
from pysubtask.systems.locks import file_lock
from pysubtask.systems.processes import process_start
from tests.unit.shell_fakes import make_state, quiet_log

HOLDER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def make_lock(layout: StateLayout, token: str = "ours") -> StateLock:
    return StateLock(layout, token=token, disk=RealDisk(), clock=RealClock(), log=quiet_log())


@contextlib.contextmanager
def holder(layout: StateLayout) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, layout.lock], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def test_taken_and_released(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    lock = make_lock(layout)
    assert lock.acquire()
    shown = read_json(layout.holder)
    assert shown is not None
    assert shown["pid"] == os.getpid()
    assert shown["start"] == process_start(os.getpid())
    assert shown["token"] == "ours"
    lock.release()
    assert not os.path.exists(layout.holder)
    assert make_lock(layout).acquire()


def test_process_start_names_a_process() -> None:
    mine = process_start(os.getpid())
    assert mine == process_start(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert process_start(process.pid) not in (None, mine)
    finally:
        process.communicate(b"\n", timeout=10)
    assert process_start(process.pid) is None


@pytest.mark.parametrize(
    ("request_", "stays"),
    [
        ({"by": "master", "pid": 1, "token": "old"}, False),
        ({"by": "takeover", "pid": 1, "token": "other"}, False),
        ({"by": "master", "pid": 1, "token": "ours"}, True),
        (None, False),
    ],
)
def test_a_stop_file_of_the_past_goes(
    tmp_path: Path, request_: dict[str, Any] | None, stays: bool
) -> None:
    layout = make_state(tmp_path)
    if request_ is None:
        Path(layout.stop).write_text("{damaged")
    else:
        write_json(layout.stop, request_)
    assert make_lock(layout).acquire()
    assert os.path.exists(layout.stop) is stays


def test_a_holder_is_asked_and_then_killed(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    with holder(layout) as process:
        start = process_start(process.pid)
        write_json(layout.holder, {"pid": process.pid, "start": start, "token": "old"})
        began = time.monotonic()
        lock = make_lock(layout)
        assert lock.acquire(polite_secs=0.5)
        assert 0.5 <= time.monotonic() - began < 5
        assert process.wait(5) == -signal.SIGKILL
        lock.release()


def test_a_holder_that_came_meanwhile_has_its_own_time(tmp_path: Path) -> None:
    """Else three that want the folder would kill each other for ever."""
    layout = make_state(tmp_path)
    with holder(layout) as process:
        named = {"pid": process.pid, "start": process_start(process.pid), "token": "old"}
        write_json(layout.holder, named)
        began = time.monotonic()
        came: list[float] = []

        def replace_it() -> bool:
            if not came and time.monotonic() - began > 0.5:
                write_json(layout.holder, {**named, "token": "new"})
                came.append(time.monotonic())
            return False

        assert make_lock(layout).acquire(give_up=replace_it, polite_secs=1.0)
        assert process.wait(5) == -signal.SIGKILL
        assert time.monotonic() - came[0] >= 1.0


def test_a_holder_that_leaves_is_not_killed(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    with holder(layout) as process:
        write_json(
            layout.holder,
            {"pid": process.pid, "start": process_start(process.pid), "token": "old"},
        )
        asked: list[Any] = []

        def leave_when_asked() -> bool:
            request = read_json(layout.stop)
            if request is not None and not asked:
                asked.append(request)
                process.terminate()
            return False

        assert make_lock(layout).acquire(give_up=leave_when_asked, polite_secs=10)
        assert process.wait(5) == -signal.SIGTERM
        assert asked[0]["by"] == "takeover"
        assert asked[0]["token"] == "ours"
        assert asked[0]["pid"] == os.getpid()


@pytest.mark.parametrize("wrong", ["start", "missing", "damaged", "init", "other"])
def test_nobody_else_is_killed(tmp_path: Path, wrong: str) -> None:
    layout = make_state(tmp_path)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with holder(layout) as process:
            start = process_start(process.pid)
            described: dict[str, dict[str, Any]] = {
                "start": {"pid": process.pid, "start": f"{start}0"},
                "missing": {"pid": process.pid},
                "damaged": {"pid": str(process.pid), "start": start},
                "init": {"pid": 1, "start": process_start(1) or "?"},
                "other": {"pid": bystander.pid, "start": process_start(bystander.pid)},
            }
            write_json(layout.holder, described[wrong])
            with pytest.raises(StateError, match="does not leave"):
                make_lock(layout).acquire(polite_secs=0.15)
            assert not os.path.exists(layout.stop)
            assert process.poll() is None
            assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n", timeout=10)


def test_never_itself(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    first = make_lock(layout)
    assert first.acquire()
    with pytest.raises(StateError):
        make_lock(layout, "second").acquire(polite_secs=0.15)


def test_give_up(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    with holder(layout):
        assert not make_lock(layout).acquire(give_up=lambda: os.path.exists(layout.stop))
        assert not os.path.exists(layout.stop)


def test_a_vanished_request_is_written_again(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    with holder(layout):
        seen = 0

        def take_down() -> bool:
            nonlocal seen
            if os.path.exists(layout.stop):
                os.unlink(layout.stop)
                seen += 1
            return seen >= 3

        assert not make_lock(layout).acquire(give_up=take_down, polite_secs=10)
        assert seen == 3


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOLCK, "local disk"),
        (errno.ENOSYS, "local disk"),
        (errno.EOPNOTSUPP, "local disk"),
        (errno.EINVAL, "local disk"),
        (errno.EROFS, "bak_to_folder"),
        (errno.EACCES, "bak_to_folder"),
    ],
)
def test_a_folder_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    layout = make_state(tmp_path)
    fail_flock(monkeypatch, [code] * 100)
    if code == errno.EACCES:  # from open(2); flock(2) says so for "held by another"
        fail_open(monkeypatch, layout.lock, code)
    began = time.monotonic()
    with pytest.raises(StateError, match=hint) as caught:
        make_lock(layout).acquire()
    assert time.monotonic() - began < 1
    assert caught.value.path == layout.lock
    assert caught.value.operation == "lock"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EINTR])
def test_a_disk_that_fails_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    layout = make_state(tmp_path)
    fail_flock(monkeypatch, [code] * 3)
    assert make_lock(layout).acquire()
    assert not os.path.exists(layout.stop)  # nobody was asked to leave


def test_a_disk_that_fails_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = make_state(tmp_path)
    fail_flock(monkeypatch, [errno.EIO] * 1000)
    with pytest.raises(StateError) as caught:
        make_lock(layout).acquire(polite_secs=0.15)
    assert caught.value.retryable


def test_a_full_disk_does_not_prevent_the_lock(tmp_path: Path) -> None:
    layout = make_state(tmp_path)

    class Full(RealDisk):
        def write_whole(self, path: str, data: bytes, *, sync: bool = False) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", path)

    lock = StateLock(layout, token="t", disk=Full(), clock=RealClock(), log=quiet_log())
    assert lock.acquire()
    lock.release()


def test_the_holder_file_is_json_without_secrets(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    assert make_lock(layout).acquire()
    assert set(json.loads(Path(layout.holder).read_bytes())) == {"pid", "start", "token", "since"}


def fail_flock(monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> None:
    import fcntl

    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if codes and operation & fcntl.LOCK_EX:
            code = codes.pop(0)
            raise OSError(code, os.strerror(code))
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


def fail_open(monkeypatch: pytest.MonkeyPatch, path: str, code: int) -> None:
    real = os.open

    def refuse(name: Any, *args: Any, **options: Any) -> int:
        if name == path:
            raise OSError(code, os.strerror(code), name)
        return real(name, *args, **options)

    monkeypatch.setattr(os, "open", refuse)


def test_a_lock_file_that_was_deleted_since_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next makes another one, and would hold it at the same time."""
    import fcntl

    layout = make_state(tmp_path)
    lock = file_lock(layout.lock)
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        real(fd, operation)
        os.unlink(layout.lock)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        assert not lock.acquire()
    assert lock.acquire()
    assert not file_lock(layout.lock).acquire()
    lock.release()
    assert file_lock(layout.lock).acquire()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    layout = make_state(tmp_path)
    victim = tmp_path / "victim"
    os.symlink(victim, layout.lock)
    with pytest.raises(OSError, match="symbolic link"):
        file_lock(layout.lock).acquire()
    assert not victim.exists()


def test_the_lock_is_that_of_versions_with_filelock(tmp_path: Path) -> None:
    """Both ways: a subtask of before may still run."""
    filelock = pytest.importorskip("filelock")
    layout = make_state(tmp_path)
    older = filelock.FileLock(layout.lock, blocking=False)
    ours = file_lock(layout.lock)
    with older:
        assert not ours.acquire()
    assert ours.acquire()
    with pytest.raises(filelock.Timeout):
        older.acquire()
    ours.release()
