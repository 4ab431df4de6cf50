"""The trials: many lives of one master, very many notifies of one life, subtasks that hang."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from pysubtask import TaskMaster
from pysubtask.settings import Settings
from tests.endurance.vitals import Track, Vitals, vitals_of
from tests.servers.openssh import OpenSshServer

__all__ = ["Report", "hangs", "lives", "notifies"]

_LOOKS = 200
_FLUSH_SECS = 120.0
_SETTLE_SECS = 2.0
_RESTART_SECS = 5.0
"""Beyond ``watchdog_secs``: the wait before a restart (1 s, 2 s if the last life was short)."""


@dataclass
class Report:
    """What a trial came to; ``faults`` is empty if all is well."""

    what: str
    secs: float
    tracks: list[Track]
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.what} in {self.secs:.0f} s", *(f"  {track}" for track in self.tracks)]
        return "\n".join(lines + [f"  FAULT: {fault}" for fault in self.faults])


def _master(server: OpenSshServer, folder: pathlib.Path) -> tuple[TaskMaster, pathlib.Path]:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    name, remote = server.new_folder()
    master = TaskMaster(
        [{"file": str(folder / "data" / "a.csv"), "growth": "append"}],
        to=f"sftp://{server.user}@{server.host}:{server.port}{name}",
        key_file=server.key_file,
        host_key=server.fingerprint,
        bak_to_folder=str(folder / "state"),
        log_to_folder=str(folder / "logs"),
    )
    return master, remote


def _judge(report: Report, remote: pathlib.Path, data: pathlib.Path) -> Report:
    for track in report.tracks:
        report.faults += track.faults()
    if (remote / "a.csv").read_bytes() != data.read_bytes():
        report.faults.append("the delivered file is not the local one")
    return report


def _settled_vitals() -> Vitals:
    """Ours, after the threads that have been joined have left the system's count, too: ``join()``
    returns a moment earlier."""
    until = time.monotonic() + _SETTLE_SECS
    while (seen := vitals_of(os.getpid())).threads > threading.active_count():
        if time.monotonic() >= until:
            break
        time.sleep(0.001)
    return seen


def lives(
    server: OpenSshServer,
    folder: pathlib.Path,
    count: int,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """So many times: start, append, notify, stop gracefully; each tenth time by force."""
    master, remote = _master(server, folder)
    data = folder / "data" / "a.csv"
    ours = Track("master", 8 << 20)
    began = time.monotonic()
    faults = []
    for number in range(count):
        master.start()
        pid = master.status().pid
        with data.open("ab") as file:
            file.write(b"%d\n" % number)
        assert master.notify(0)
        master.stop(forcekill=number % 10 == 9)
        if pid is None or psutil.pid_exists(pid):
            faults.append(f"the subtask of life {number} is still there")
        ours.note(_settled_vitals())
        if number % 50 == 49:
            say(f"{number + 1} lives in {time.monotonic() - began:.0f} s; {ours}")
    with master:
        if not master.flush(_FLUSH_SECS):
            faults.append(f"not delivered in the end: {master.status()}")
    took = time.monotonic() - began
    report = Report(f"{count:,} starts and stops", took, [ours], faults)
    left = sorted(path.name for path in remote.iterdir() if path.name != "a.csv")
    if left:
        report.faults.append(f"left at the destination: {left[:5]}")
    return _judge(report, remote, data)


def hangs(
    server: OpenSshServer,
    folder: pathlib.Path,
    count: int,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """So many times: stop the subtask as a hang would, at any time; it has to be replaced."""
    master, remote = _master(server, folder)
    data = folder / "data" / "a.csv"
    limit = Settings().watchdog_secs + _RESTART_SECS
    began = time.monotonic()
    took, faults = [], []
    with master:
        for number in range(count):
            master.flush(_FLUSH_SECS)
            time.sleep(random.random() * 20)  # signs of life come every 15 s
            hung = master.status().pid
            assert hung is not None
            os.kill(hung, signal.SIGSTOP)
            since = time.monotonic()
            with data.open("ab") as file:
                file.write(b"%d\n" % number)
            assert master.notify(0)
            while master.status().pid in (hung, None) and time.monotonic() - since < 2 * limit:
                time.sleep(0.02)
            took.append(time.monotonic() - since)
            if not master.flush(_FLUSH_SECS):
                faults.append(f"not delivered: {master.status()}")
            say(
                f"replaced after {took[-1]:.1f} s, delivered after {time.monotonic() - since:.1f} s"
            )
    if max(took) > limit:
        faults.append(f"it took {max(took):.1f} s to replace a subtask that hung")
    what = f"{count} hung subtasks replaced after {min(took):.0f} to {max(took):.0f} s each"
    return _judge(Report(what, time.monotonic() - began, [], faults), remote, data)


def notifies(
    server: OpenSshServer,
    folder: pathlib.Path,
    count: int,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """So many appends with a notify each, as fast as they go, in one life."""
    master, remote = _master(server, folder)
    data = folder / "data" / "a.csv"
    ours, childs = Track("master", 8 << 20), Track("subtask", 16 << 20)
    every = max(1, count // _LOOKS)
    faults = []
    with master, data.open("ab", buffering=0) as file:
        file.write(b"the connection is there before anything is measured\n")
        if not (master.notify(0) and master.flush(_FLUSH_SECS)):
            faults.append(f"it did not begin: {master.status()}")
        pid = master.status().pid
        assert pid is not None
        began = time.monotonic()
        for number in range(count):
            file.write(b"%d,%d\n" % (number, number * number))
            if not master.notify(0):
                faults.append(f"notify {number} failed: {master.status()}")
                break
            if number % every == every - 1:
                ours.note(vitals_of(os.getpid()))
                childs.note(vitals_of(pid))
        spent = time.monotonic() - began
        if not master.flush(_FLUSH_SECS):
            faults.append(f"not delivered: {master.status()}")
        childs.note(vitals_of(pid))
        if master.status().pid != pid:
            faults.append("the subtask is another one")
        say(f"the last is delivered {time.monotonic() - began - spent:.2f} s after its notify")
    report = Report(f"{count:,} notifies", spent, [ours, childs], faults)
    lines = sum(
        len(path.read_text("utf-8", "replace").splitlines())
        for path in (folder / "logs").glob("ftp_subtask*")
    )
    if lines > 200:
        report.faults.append(f"{lines} lines in the subtask's log")
    return _judge(report, remote, data)
