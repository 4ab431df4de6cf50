"""Many small files dropped into a watched folder, beside rsync, lftp, rclone and sftp.

    python -m benchmarks --only files

2,000 files of 1 KiB on loopback and over a link with a round trip of 50 ms. The peers send a folder
that is full already. Ours is dropped while the subtask watches: the time runs from the first file
that is written to the last one that is visible under its final name, journal and snapshots
included; once with the connection standing (the subtask had something to do within the last
minute), and once with the connecting included, as it is for the peers.
"""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._pairs import Took, by_turns, figures_of
from benchmarks._peers import Peer, find_peers
from benchmarks._place import Place, place, wait_until
from benchmarks._report import Figure, Report

PEERS = ("rsync", "lftp", "rclone", "rclone (Debian)", "sftp", "asyncssh", "paramiko")
NEAR_ONLY_PEERS = ("sftp", "paramiko", "rclone (Debian)")
"""One file after the other, six a second at 50 ms; and one that is the same as another there."""
SLOW_PEERS = ("rclone",)
"""Tens of files a second at 50 ms: they get fewer files, of which connecting is some 3 %."""
FILES = 2000
FAR_FILES_OF_SLOW_PEERS = 400
SIZE_BYTES = 1024
TIMEOUT_SECS = 300.0

_CONNECTED = "pysubtask"
_RESTING = "pysubtask, connecting included"
_BY_SSH = "pysubtask, ssh_command"
_WANTED_FAR = {"rsync": 3.0, "lftp": 30.0, "rclone": 50.0}
_WANTED_PER_SEC = 5000.0


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    peers = [] if options.without_peers else find_peers(report, *PEERS)
    files = 100 if options.quick else FILES
    with place(folder=options.folder) as here:
        runs = _measure(here, peers, files, files, options.rounds or 5, report)
        figures = figures_of(
            f"{files} files of 1 KiB, loopback", runs, to=["rsync"], per_sec=files, unit="files/s"
        )
        report.add([_judged_near(figure) for figure in figures])
    few = 20 if options.quick else FAR_FILES_OF_SLOW_PEERS
    with place(round_trip_secs=0.05, folder=options.folder) as far:
        near = [peer for peer in peers if peer.name not in NEAR_ONLY_PEERS]
        runs = _measure(far, near, files, few, options.rounds or 3, report, warm_up=False)
        report.add(_far(runs, files, few))


def _judged_near(figure: Figure) -> Figure:
    if figure.who != _CONNECTED:
        return figure
    target = f"≥ {_WANTED_PER_SEC:,.0f} files/s"
    return replace(figure, target=target, met=figure.median >= _WANTED_PER_SEC)


def _far(runs: dict[str, list[Took]], files: int, few: int) -> list[Figure]:
    """Files a second, with ratios to each of the peers that a target speaks of."""
    scaled = {
        name: [Took(took.secs * files / few, took.cpu_secs * files / few) for took in all_took]
        if name in SLOW_PEERS
        else all_took
        for name, all_took in runs.items()
    }
    wanted = {
        (who, peer): least
        for peer, least in _WANTED_FAR.items()
        for who in (_CONNECTED, _RESTING)
        if peer in scaled
    }
    figures = figures_of(
        f"{files} files of 1 KiB, 50 ms",
        scaled,
        to=_WANTED_FAR,
        per_sec=files,
        unit="files/s",
        wanted=wanted,
    )
    return [
        replace(f, note=f"of {few} files") if f.who in SLOW_PEERS and few != files else f
        for f in figures
    ]


def _measure(
    here: Place,
    peers: list[Peer],
    files: int,
    few: int,
    rounds: int,
    report: Report,
    *,
    warm_up: bool = True,
) -> dict[str, list[Took]]:
    many_dir, few_dir = _filled(here, files), _filled(here, few)
    contenders: dict[str, Callable[[], Took]] = {
        _CONNECTED: partial(_drop, here, files, connected=True),
        _RESTING: partial(_drop, here, files, connected=False),
        _BY_SSH: partial(_drop, here, files, connected=True, by_ssh=True),
    }
    for peer in peers:
        source = few_dir if peer.name in SLOW_PEERS else many_dir
        contenders[peer.name] = partial(_send_theirs, here, source, peer)
    return by_turns(
        contenders,
        rounds,
        lambda name, error: report.note(f"{name} is left out: {error}"),
        warm_up=warm_up,
    )


def _filled(here: Place, files: int) -> pathlib.Path:
    folder = here.new_local()
    for number in range(files):
        (folder / _name(number)).write_bytes(os.urandom(SIZE_BYTES))
    return folder


def _name(number: int) -> str:
    return f"{number:06}.dat"


def _send_theirs(here: Place, source: pathlib.Path, peer: Peer) -> Took:
    target = here.new_remote()
    took = peer.send_folder(here, source, target)
    there = sum(1 for entry in os.scandir(target) if entry.name.endswith(".dat"))
    if there != sum(1 for _ in source.iterdir()):
        raise RuntimeError(f"only {there} files arrived")
    return took


def _drop(here: Place, files: int, *, connected: bool, by_ssh: bool = False) -> Took:
    local, remote = here.new_local(), here.new_remote()
    contents = [os.urandom(SIZE_BYTES) for _ in range(files)]
    master = _ours.master_for(
        here, [{"dir": str(local)}], remote.name, by_ssh=by_ssh, bak_to_folder=str(here.new_local())
    )
    with _ours.running(master) as pid:
        if connected:
            _ours.wait_connected(master, local / "first.txt")
        before = _ours.cpu_secs(pid)
        began = time.perf_counter()
        for number, content in enumerate(contents):
            (local / _name(number)).write_bytes(content)
        ended = _all_there(remote, files)
        took = Took(ended - began, _ours.cpu_secs(pid) - before)
        _ours.delivered(master)
    for number, content in enumerate(contents):
        if (remote / _name(number)).read_bytes() != content:
            raise RuntimeError("what arrived is not what was sent")
    return took


def _all_there(remote: pathlib.Path, files: int) -> float:
    """Wait for all; each name is looked for until it is there, then the next."""
    at = 0

    def found() -> bool:
        nonlocal at
        while at < files and (remote / _name(at)).exists():
            at += 1
        return at == files

    return wait_until(found, TIMEOUT_SECS, 0.005)
