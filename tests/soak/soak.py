"""The soak: three host programs side by side, for as long as one likes.

* ``steady``, to sshd: is never killed, only its sessions at the server and its link. Its own and
  its subtask's descriptors, threads and memory are noted all the time and have to stay flat: from
  the second quarter of the time to the last (in the first everything is made for the first time).
* ``killed``, to sshd, and ``killed by FTP``, to vsftpd where that is installed: what the campaign
  (:mod:`tests.campaign.campaign`) does, at a slower pace, and proper restarts as well, for which
  the program flushes, stops and is started anew.

All write growing, rotated and rewritten files and a watched folder all the time; readers judge the
destinations at each change, and in the end each file has to be there, byte by byte.
"""

from __future__ import annotations

import pathlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.campaign.campaign import SERVERS, Campaign, Report, link_to
from tests.campaign.processes import Host
from tests.endurance.vitals import Track, vitals_of
from tests.servers.processes import ServerMissing

__all__ = ["Summary", "run"]

_FINISH_SECS = 300.0
_NOTES = 400
_SAY_EVERY_SECS = 60.0
_MOST_GROWTH_BYTES = 16 << 20
_TOO_SHORT_SECS = 1200.0
"""The number of files grows for some five minutes, and what is held open for them with it; the
first quarter, which is not judged, has to be longer than that."""


@dataclass
class Summary:
    """What a soak came to; ``faults`` is empty if all is well."""

    seed: int
    secs: float = 0.0
    reports: dict[str, Report] = field(default_factory=dict)
    tracks: list[Track] = field(default_factory=list)
    restarts: int = 0
    rotations: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def growth(self) -> list[str]:
        """What was not flat; nothing if the time was too short to tell."""
        if self.secs < _TOO_SHORT_SECS:
            return []
        return [fault for track in self.tracks for fault in track.faults()]

    @property
    def kills(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for report in self.reports.values():
            total += report.kills
        return total

    def __str__(self) -> str:
        reports = self.reports.values()
        kills = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        size = sum(report.bytes_delivered for report in reports)
        lost, torn, orphans = (
            sum(len(getattr(report, what)) for report in reports)
            for what in ("lost", "torn", "orphans")
        )
        flat = "NOT flat" if self.growth else "flat"
        if self.secs < _TOO_SHORT_SECS:
            flat = "not judged (too short)"
        line = (
            f"{self.secs / 60:.1f} minutes, {len(self.reports)} programs: "
            f"kills {self.kills.total()} ({kills}), "
            f"cuts {sum(report.cuts for report in reports)}, rotations {self.rotations}, "
            f"restarts {self.restarts}, files {sum(report.files for report in reports)}, "
            f"bytes {size:,}, looks {sum(report.looks for report in reports):,}, "
            f"lost {lost}, torn {torn}, orphans {orphans}, descriptors and memory {flat}, "
            f"seed {self.seed}"
        )
        return "\n".join([line, *(f"  {track}" for track in self.tracks)])


class _Course(Campaign):
    """What both have in common."""

    program = "tests.soak.host"
    restarts = 0
    most_pause_secs = 60.0
    """A short soak has short pauses."""


class _Killed(_Course):
    """Killed now and then, and restarted as programs are."""

    kinds = ("child", "child", "master", "both", "server", "link", "link", "restart")

    def _pause(self, host: Host) -> None:
        pause = self._rng.uniform(0.2, 8.0) if self._rng.random() < 0.9 else 0.05
        time.sleep(min(pause, self.most_pause_secs))

    def _kill(self, kind: str, host: Host) -> Host:
        if kind == "restart":
            words = host.finish(_FINISH_SECS)
            if words != "flushed":
                self._report.lost.append(f"not flushed before a restart: {words}")
            self.restarts += 1
            return self._start_host()
        self.restarts += kind in ("master", "both")
        return super()._kill(kind, host)


class _Steady(_Course):
    """Never killed; its vitals are noted."""

    kinds = ("server", "link", "link")
    note_every_secs = 1.0

    def _pause(self, host: Host) -> None:
        until = time.monotonic() + min(self._rng.uniform(2.0, 15.0), self.most_pause_secs)
        while (left := until - time.monotonic()) > 0 and not host.ended:
            time.sleep(min(left, self.note_every_secs))
            self._note(host)

    def _note(self, host: Host) -> None:
        subtasks = host.subtasks()
        if not subtasks:  # not there yet, or it died unasked: its master restarts it
            return
        pid = subtasks[0].pid
        if self.pids[-1:] != [pid]:
            self.pids.append(pid)
        try:
            self.ours.note(vitals_of(host.pid))
            self.childs.note(vitals_of(pid))
        except psutil.NoSuchProcess:
            pass

    def watch(self, secs: float) -> None:
        """Before :meth:`run`."""
        self.note_every_secs = max(0.1, secs / _NOTES)
        self.pids: list[int] = []
        self.ours = Track("steady program", _MOST_GROWTH_BYTES)
        self.childs = Track("its subtask", _MOST_GROWTH_BYTES)


def run(
    secs: float,
    seed: int,
    folder: pathlib.Path,
    *,
    ftp: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Summary:
    """One soak.

    Args:
        secs: how long programs are killed; the end takes some seconds more.
        seed: fixes the contents.
        folder: for all local files, state and logs.
        ftp: vsftpd takes part, if it is installed.
        say: is told once a minute how far it is.
    """
    summary = Summary(seed)
    began = time.monotonic()
    courses: dict[str, _Course] = {}
    with ExitStack() as stack:
        sshd = stack.enter_context(SERVERS["openssh"]())
        plans: list[tuple[str, type[_Course], Any]] = [
            ("steady", _Steady, sshd),
            ("killed", _Killed, stack.enter_context(SERVERS["openssh"]())),
        ]
        if ftp:
            try:
                plans.append(("killed by FTP", _Killed, stack.enter_context(SERVERS["vsftpd"]())))
            except ServerMissing as missing:
                say(f"without FTP: {missing} is not installed")
        for number, (name, kind, server) in enumerate(plans):
            report = Report(seed + number, name)
            home = folder / name.replace(" ", "-")
            home.mkdir(parents=True)
            link = stack.enter_context(link_to(server))
            courses[name] = kind(report, server, link, home)
            courses[name].most_pause_secs = secs / 4
            summary.reports[name] = report
        steady = courses["steady"]
        assert isinstance(steady, _Steady)
        steady.watch(secs)
        _run_all(courses, secs, summary, say)
    summary.secs = time.monotonic() - began
    _sum_up(summary, steady, courses, folder)
    return summary


def _run_all(
    courses: dict[str, _Course], secs: float, summary: Summary, say: Callable[[str], None]
) -> None:
    began = time.monotonic()

    def turns() -> Iterator[None]:
        while time.monotonic() - began < secs:
            yield

    def work(name: str, course: _Course) -> None:
        try:
            course.run(turns())
        except BaseException as error:
            summary.faults.append(f"{name}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=item, name=item[0]) for item in courses.items()]
    for thread in threads:
        thread.start()
    said = began
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        if time.monotonic() - said > _SAY_EVERY_SECS:
            said = time.monotonic()
            wrong = sum(len(report.lost) for report in summary.reports.values())
            say(f"{(said - began) / 60:.0f} min: {summary.kills.total()} kills, lost {wrong}")


def _sum_up(
    summary: Summary, steady: _Steady, courses: dict[str, _Course], folder: pathlib.Path
) -> None:
    summary.tracks = [steady.ours, steady.childs]
    summary.restarts = sum(course.restarts for course in courses.values())
    for how in ("asked", "casual"):
        summary.rotations += sum(1 for _ in folder.glob(f"*/data/rotated-*.{how}"))
    for name, report in summary.reports.items():
        for what in ("lost", "torn", "orphans"):
            summary.faults += [f"{name}, {what}: {fault}" for fault in getattr(report, what)]
    summary.faults += summary.growth
    if len(steady.pids) > 1:
        summary.faults.append(f"the steady program had {len(steady.pids)} subtasks")
