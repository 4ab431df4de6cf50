"""Windows and macOS, with the system's own modules replaced: what is asked of them, and how."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
import pathlib
import queue
import select
import signal
import subprocess
import sys
import types
from typing import Any, ClassVar

import psutil
import pytest

from pysubtask.errors import RemoteNotFound
from pysubtask.master import _child, _state
from pysubtask.master._waker import Waker
from pysubtask.seams.clock import RealClock
from pysubtask.seams.disk import RealDisk
from pysubtask.signals import StateLayout, read_json, write_json
from pysubtask.subtask import boot
from pysubtask.subtask.shell import events, lifeline, lock
from pysubtask.subtask.store.journal import Journal
from pysubtask.systems import frozen, macos, processes, windows
from pysubtask.transports.folder import FolderTransport
from tests.integration.promises import is_running, wait_until
from tests.unit.shell_fakes import quiet_log

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="plays the other systems on Linux")


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Windows, with real descriptors as handles; how files were opened, with which sharing."""
    opened: list[tuple[Any, ...]] = []

    def create_file(path: str, access: int, share: int, *rest: int) -> int:
        opened.append((path, access, share, *rest))
        create = os.O_CREAT if rest[1] == 4 else 0
        return os.open(path, (os.O_RDWR if access & 0x40000000 else os.O_RDONLY) | create, 0o666)

    winapi = types.SimpleNamespace(
        CreateFile=create_file,
        CloseHandle=os.close,
        GENERIC_READ=0x80000000,
        GENERIC_WRITE=0x40000000,
        OPEN_EXISTING=3,
    )
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "_winapi", winapi)  # type: ignore[arg-type]
    msvcrt = types.SimpleNamespace(open_osfhandle=lambda handle, flags: handle)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)  # type: ignore[arg-type]
    return opened


def test_watched_files_are_opened_with_all_sharing(
    tmp_path: pathlib.Path, on_windows: list[tuple[Any, ...]]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"0123456789")
    handle = RealDisk().open_read(str(path))
    assert on_windows == [(str(path), 0x80000000, 1 | 2 | 4, 0, 3, 0, 0)]
    assert handle.read_at(4, 3) == b"456"
    assert handle.read_at(8, 100) == b"89"
    assert handle.stat().links == 1
    handle.close()
    with pytest.raises(FileNotFoundError):
        RealDisk().open_read(str(tmp_path / "none"))


def test_a_handle_that_becomes_no_descriptor_is_closed(
    tmp_path: pathlib.Path, on_windows: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, flags: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(sys.modules["msvcrt"], "open_osfhandle", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="too many"):
        windows.open_shared(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_small_files_are_read_with_all_sharing(
    tmp_path: pathlib.Path, on_windows: list[tuple[Any, ...]]
) -> None:
    path = str(tmp_path / "status.json")
    write_json(path, {"link": "connected"})
    assert read_json(path) == {"link": "connected"}
    assert read_json(path + ".none") is None
    assert [(name, share) for name, _, share, *_ in on_windows] == [(path, 7), (path + ".none", 7)]


def test_consumers_may_take_delivered_files_away(
    tmp_path: pathlib.Path, on_windows: list[tuple[Any, ...]]
) -> None:
    """In a folder that we deliver to, what is held open for the next append is shared as well."""
    folder = FolderTransport(str(tmp_path))
    folder.connect()
    folder.write("a.csv", 0, b"1\n", create=True)
    folder.write("a.csv", 2, b"2\n", create=False)
    with pytest.raises(RemoteNotFound):
        folder.write("b.csv", 0, b"1\n", create=False)
    assert folder.read("a.csv", 2, 10) == b"2\n"
    folder.close()
    both = 0x80000000 | 0x40000000
    assert [(pathlib.Path(path).name, *how) for path, *how in on_windows] == [
        ("a.csv", both, 7, 0, 4, 0, 0),
        ("b.csv", both, 7, 0, 3, 0, 0),
        ("a.csv", 0x80000000, 7, 0, 3, 0, 0),
    ]


@pytest.mark.parametrize("write", ["write_json", "write_whole", "rename"])
def test_replacing_waits_for_a_virus_scanner(
    write: str,
    tmp_path: pathlib.Path,
    on_windows: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, source = tmp_path / "x", tmp_path / "y"
    target.write_bytes(b"old")
    source.write_bytes(b'{"a": 1}')
    real, refusals = os.replace, [PermissionError(errno.EACCES, "sharing violation")] * 3

    def replace(one: str, other: str) -> None:
        if refusals:
            raise refusals.pop()
        real(one, other)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(windows, "_REPLACE_STEP_SECS", 0.001)
    if write == "write_json":
        write_json(str(target), {"a": 1})
    elif write == "write_whole":
        RealDisk().write_whole(str(target), b'{"a": 1}')
    else:
        RealDisk().rename(str(source), str(target))
    assert target.read_bytes() == b'{"a": 1}'
    assert not refusals
    monkeypatch.setattr(windows, "_REPLACE_SECS", 0.0)
    refusals[:] = [PermissionError(errno.EACCES, "somebody keeps it open")]
    with pytest.raises(PermissionError):
        windows.replace(str(source), str(target))


def test_a_journal_is_closed_before_it_is_replaced(
    tmp_path: pathlib.Path, on_windows: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "journal")

    def is_open() -> bool:
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return any(os.path.realpath(link) == path for link in links)

    journal = Journal(RealDisk(), RealClock(), path, boot_id="b")
    journal.open()
    assert is_open()
    real, seen = os.replace, []

    def replace(one: str, other: str) -> None:
        seen.append(is_open())
        real(one, other)

    monkeypatch.setattr(os, "replace", replace)
    journal.write_anew()
    assert seen == [False]
    assert is_open()
    journal.close()


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("C:\\data", False),
        ("Z:\\data", True),
        ("\\\\server\\share\\data", True),
        ("//server/share/data", True),
        ("\\\\?\\UNC\\server\\share\\data", True),
        ("\\\\?\\C:\\data", False),
        ("\\\\?\\Z:\\data", True),
    ],
)
def test_network_drives(path: str, remote: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"C:\\": 3, "Z:\\": 4}
    kernel32 = types.SimpleNamespace(GetDriveTypeW=lambda root: kinds[root])
    monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel32), raising=False)
    assert windows.is_network_drive(path) is remote


class FakePopen:
    """A process that runs until it is told to end."""

    made: ClassVar[list[FakePopen]] = []

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options = command, options
        self.pid = 4711
        self.returncode: int | None = None
        self.calls: list[str] = []
        read, write = os.pipe()
        self.stdin = os.fdopen(write, "wb", 0)
        self.told = os.fdopen(read, "rb", 0)
        self.made.append(self)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.command, timeout or 0)
        return self.returncode

    def kill(self) -> None:
        self.calls.append("kill")
        self.returncode = 1

    def terminate(self) -> None:
        self.calls.append("terminate")


def test_a_child_on_windows(
    tmp_path: pathlib.Path, on_windows: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No window, a group of its own, no signals; killed by handle."""
    monkeypatch.setattr(subprocess, "Popen", FakePopen)
    child = _child.Child(
        ["python.exe"],
        lambda token: b"line for " + token.encode() + b"\n",
        token="t",
        stderr=str(tmp_path / "stderr"),
        cwd=str(tmp_path),
    )
    made = FakePopen.made.pop()
    assert made.options["creationflags"] == 0x08000000 | 0x00000200
    assert "start_new_session" not in made.options
    assert made.options["stdout"] == subprocess.DEVNULL
    assert child.feed()
    assert made.told.read(100) == b"line for t\n"
    assert not child.ended(0.01, Waker())
    child.hurry()
    assert made.calls == []
    child.kill()
    child.kill()  # once is enough
    assert made.calls == ["kill"]
    assert child.ended(0.01, Waker())
    assert child.reap() == 1
    made.told.close()


def test_processes_have_a_group_of_their_own() -> None:
    with subprocess.Popen(
        ["/bin/sh", "-c", "trap : TERM; sh -c 'echo $$; exec sleep 60' & wait; sleep 60"],
        stdout=subprocess.PIPE,
        **processes.own_group(),
    ) as process:
        assert process.stdout is not None
        sleeper = int(process.stdout.readline())
        assert os.getpgid(sleeper) == process.pid != os.getpgid(0)
        processes.end(process, force=False)  # hits all but the one who does not listen
        wait_until(lambda: not is_running(sleeper), 10)
        assert process.poll() is None
        processes.end(process, force=True)
        assert process.wait(10) == -signal.SIGKILL


def test_the_life_line_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the pipe is all that is looked at: no poll, no parent process."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(select, "poll")
    monkeypatch.delattr(os, "getppid")
    read, write = os.pipe()
    gone = queue.SimpleQueue[str]()
    line = lifeline.LifeLine(read)
    os.write(write, b'{"hand": "over"}\n')
    assert line.read_handover() == b'{"hand": "over"}'
    line.watch(1, gone.put)
    with pytest.raises(queue.Empty):
        gone.get(timeout=0.2)
    os.close(write)
    assert gone.get(timeout=10) == "its end of the life line is closed"
    os.close(read)


# --- macOS


def test_syncing_on_macos_reaches_the_disk(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def full(fd: int, what: int) -> int:
        asked.append(("fcntl", what))
        if len(asked) > 1:
            raise OSError(errno.ENOTSUP, "no such thing on this file system")
        return 0

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", lambda fd: asked.append(("fsync",)))
    RealDisk().write_whole(str(tmp_path / "x"), b"1", sync=True)
    assert asked == [("fcntl", 51)]
    RealDisk().write_whole(str(tmp_path / "x"), b"2", sync=True)
    assert asked[1:] == [("fcntl", 51), ("fsync",)]
    monkeypatch.delattr(fcntl, "F_FULLFSYNC")  # older Pythons, other BSDs
    with (tmp_path / "x").open("rb") as file:
        macos.sync(file.fileno())
    assert asked[3:] == [("fsync",)]


def test_network_mounts_on_macos(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "Volumes" / "share"
    share.mkdir(parents=True)
    mounts = [("/", "apfs"), (str(share), "smbfs"), (str(share) + "2", "nfs")]
    monkeypatch.setattr(
        psutil,
        "disk_partitions",
        lambda all: [types.SimpleNamespace(mountpoint=m, fstype=t) for m, t in mounts],  # noqa: A006
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    assert macos.mount_type(str(share / "data")) == "smbfs"
    assert _state.is_network_mount(str(share / "not" / "there" / "yet"))
    assert not _state.is_network_mount(str(tmp_path))

    def refuse(all: bool) -> list[Any]:  # noqa: A002
        raise PermissionError(errno.EPERM, "not in this sandbox")

    monkeypatch.setattr(psutil, "disk_partitions", refuse)
    assert not _state.is_network_mount(str(share))


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_what_other_systems_know_by_other_means(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of a process, the boot, events."""
    linux = lock.process_start(os.getpid())
    monkeypatch.setattr(sys, "platform", system)
    start = lock.process_start(os.getpid())
    assert start is not None
    assert start != linux
    assert float(start) == pytest.approx(psutil.Process().create_time(), abs=0.001)
    assert lock.process_start(2**22 + 1) is None
    assert boot.boot_id().startswith("booted-")
    monkeypatch.setattr(events, "WatchdogEvents", lambda hint, log: "watchdog")
    chosen: Any = events.open_events(lambda path, complete=False: None, quiet_log())
    assert chosen == "watchdog"


# --- frozen programs


def test_other_programs_get_their_own_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"PATH": "/bin", "LD_LIBRARY_PATH": "/tmp/_MEI1", "LD_LIBRARY_PATH_ORIG": "/opt/lib"}
    assert frozen.environment_for_others(own) == own
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert frozen.environment_for_others(own) == {"PATH": "/bin", "LD_LIBRARY_PATH": "/opt/lib"}
    del own["LD_LIBRARY_PATH_ORIG"]
    assert frozen.environment_for_others(own) == own  # who set it is not known
    monkeypatch.setattr(sys, "_MEIPASS", "/tmp/_MEI1", raising=False)
    assert frozen.environment_for_others(own) == {"PATH": "/bin"}


def test_a_frozen_program_gives_its_libraries_to_nobody(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", FakePopen)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/opt/lib")
    seen = []
    for command in ([sys.executable, "--pysubtask-child", "m"], ["/usr/bin/python3", "-P"]):
        made = _child._spawn(command, None, str(tmp_path))
        assert isinstance(made, FakePopen)
        seen.append(FakePopen.made.pop().options["env"])
        made.stdin.close()
        made.told.close()
    assert [env["LD_LIBRARY_PATH"] for env in seen] == ["/opt/lib", "/opt/lib"]
    # the subtask may outlive the program, whose unpacked libraries go with it
    assert [env.get("PYINSTALLER_RESET_ENVIRONMENT") for env in seen] == ["1", None]


def test_what_starts_a_frozen_program_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "logger.bin"
    program.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["logger.bin", "--verbose"])
    assert frozen.own_program() == os.path.abspath(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # Nuitka: there is none
    assert frozen.own_program() == str(program)
    for nothing in ([], ["logger"]):
        monkeypatch.setattr(sys, "argv", nothing)
        assert frozen.own_program() is None


def test_a_program_without_standard_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pythonw``: sys.stdout and sys.stderr are None."""
    from pysubtask.subtask.shell import main

    for stream in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        main._complain("said")
    assert isinstance(stream, io.StringIO)
    assert "said" in stream.getvalue()
    assert StateLayout(str(tmp_path)).status.endswith("status.json")
