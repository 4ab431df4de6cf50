"""One large file by SFTP, beside OpenSSH's sftp, rclone, lftp, rsync, paramiko and asyncssh.

    python -m benchmarks --only large

256 MB of random bytes to a real sshd, on loopback and over links with a round trip of 50 and 100 ms
that carry 12.5 MB a second. Everybody's time includes connecting and logging in: the peers' from
the start of their program to its end, ours from notify() to the file under its final name, with
the subtask running and not connected. Over the links it is measured once more with the connection
standing: that is what can be held against what the link carries. Files are compared afterwards.
"""

from __future__ import annotations

import filecmp
import os
import pathlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import _ours
from benchmarks._options import Options
from benchmarks._pairs import Took, by_turns, figures_of
from benchmarks._peers import Peer, find_peers
from benchmarks._place import Place, place, wait_until
from benchmarks._report import Figure, Report

PEERS = ("sftp", "rclone", "rclone (Debian)", "lftp", "rsync", "asyncssh", "paramiko")
LINK_BYTES_PER_SEC = 12_500_000
SIZE_BYTES = 256 * 1024 * 1024
FAR_SIZE_BYTES = 256 * 1024 * 1024
TIMEOUT_SECS = 300.0

_OURS: dict[str, dict[str, Any]] = {
    "pysubtask": {"growth": "append"},
    "pysubtask, growth=auto": {"growth": "auto"},
    "pysubtask, ssh_command": {"growth": "append", "by_ssh": True},
}
_CONNECTED = "pysubtask, connected"
_WANTED = {("pysubtask", "sftp"): 0.80, ("pysubtask, ssh_command", "sftp"): 0.97}


def run(options: Options, report: Report) -> None:
    """Measure and report."""
    peers = [] if options.without_peers else find_peers(report, *PEERS)
    size = 8 << 20 if options.quick else SIZE_BYTES
    with place(folder=options.folder) as here:
        source = _source(here, size)
        case = f"{size >> 20} MiB, loopback"
        runs = _measure(here, source, peers, options.rounds or 7, report)
        report.add(
            figures_of(case, runs, to=["sftp"], per_sec=size / 1e6, unit="MB/s", wanted=_WANTED)
        )
    for milli in (50, 100):
        size = 8 << 20 if options.quick else FAR_SIZE_BYTES
        with place(
            round_trip_secs=milli / 1000, bytes_per_sec=LINK_BYTES_PER_SEC, folder=options.folder
        ) as far:
            source = _source(far, size)
            case = f"{size >> 20} MiB, {milli} ms, {LINK_BYTES_PER_SEC / 1e6:g} MB/s"
            rounds = min(options.rounds or 3, 3)
            runs = _measure(far, source, peers, rounds, report, far=True)
            report.add(_judged(case, runs, size))


def _source(here: Place, size: int) -> pathlib.Path:
    source = here.new_local() / "large.bin"
    with source.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    return source


def _measure(
    here: Place,
    source: pathlib.Path,
    peers: list[Peer],
    rounds: int,
    report: Report,
    *,
    far: bool = False,
) -> dict[str, list[Took]]:
    contenders: dict[str, Callable[[], Took]] = {
        name: partial(_send_ours, here, source, **settings) for name, settings in _OURS.items()
    }
    if far:
        contenders[_CONNECTED] = partial(_send_ours, here, source, growth="append", connected=True)
    for peer in peers:
        contenders[peer.name] = partial(_send_theirs, here, source, peer)
    return by_turns(
        contenders,
        rounds,
        lambda name, error: report.note(f"{name} is left out: {error}"),
        warm_up=not far,
    )


def _send_theirs(here: Place, source: pathlib.Path, peer: Peer) -> Took:
    folder = here.new_remote()
    target = folder / source.name
    took = peer.send_file(here, source, target)
    return _checked(source, target, took)


def _send_ours(
    here: Place,
    source: pathlib.Path,
    *,
    growth: str,
    by_ssh: bool = False,
    connected: bool = False,
) -> Took:
    folder, local = here.new_remote(), here.new_local()
    small, path = local / "small.txt", local / source.name
    target = folder / source.name
    watched = [{"file": str(path), "growth": growth}, str(small)]
    master = _ours.master_for(here, watched, folder.name, by_ssh=by_ssh)
    with _ours.running(master) as pid:
        if connected:
            _ours.wait_connected(master, small)
        os.link(source, path)
        before = _ours.cpu_secs(pid)
        began = time.perf_counter()
        master.notify(0)
        ended = wait_until(target.exists, TIMEOUT_SECS)
        took = Took(ended - began, _ours.cpu_secs(pid) - before)
        _ours.delivered(master)
    return _checked(source, target, took)


def _checked(source: pathlib.Path, target: pathlib.Path, took: Took) -> Took:
    if not filecmp.cmp(source, target, shallow=False):
        raise RuntimeError("what arrived is not what was sent")
    target.unlink()
    return took


def _judged(case: str, runs: dict[str, list[Took]], size: int) -> list[Figure]:
    """Within 3 % of the best that the link can do, and less processor time than any peer."""
    figures = figures_of(case, runs, to=["sftp"], per_sec=size / 1e6, unit="MB/s")
    least = min(
        (min(f.cpu_secs) for f in figures if not f.who.startswith("pysubtask")), default=None
    )
    found = []
    for figure in figures:
        if figure.who == _CONNECTED:
            share = figure.median / (LINK_BYTES_PER_SEC / 1e6)
            less_cpu = least is None or min(figure.cpu_secs) < least
            figure = replace(
                figure,
                target="within 3 % of the link, less CPU than any peer",
                met=share >= 0.97 and less_cpu,
                note=f"{100 * share:.0f} % of what the link carries",
            )
        found.append(figure)
    return found
