"""What a frozen program is put through, once as a folder and once as one file.

* Without ``run_child()`` it is refused, and told the remedy; no second program is started.
* With it, it delivers by SFTP to a real sshd, and leaves no process.
* By the system's ``ssh`` as well (``ssh_command``), which must not get the program's libraries.
* Its subtask can be killed, by the program's stop or by anybody; then another one delivers.
* Killed while the link was down, it leaves a subtask that delivers, although the bootloader of a
  one-file program removes the folder with the program's libraries as soon as that has ended.
"""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import psutil

from tests.frozen.app import LINES
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

__all__ = ["Kind", "build", "try_out"]

Kind = Literal["onedir", "onefile"]

_ROOT = pathlib.Path(__file__).parent.parent.parent
_BUILD_SECS = 600
_RUN_SECS = 60
_CONTENT = b"".join(b"%d\n" % number for number in range(LINES))


def build(kind: Kind, work: pathlib.Path) -> pathlib.Path:
    """Freeze :mod:`tests.frozen.app`; the program.

    Raises:
        subprocess.CalledProcessError: PyInstaller failed; its log is in ``work``.
    """
    work.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "PyInstaller", f"--{kind}", "--noconfirm", "--name", kind),
        *("--paths", str(_ROOT), "--distpath", str(work / "dist")),
        *("--workpath", str(work / "build"), "--specpath", str(work)),
        str(_ROOT / "tests" / "frozen" / "app.py"),
    ]
    with (work / f"{kind}.log").open("wb") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, cwd=work, timeout=_BUILD_SECS)
    program = work / "dist" / kind
    return program if kind == "onefile" else program / kind


class _Trial:
    """One run of the program."""

    def __init__(
        self, program: pathlib.Path, server: OpenSshServer, link: TcpProxy, folder: pathlib.Path
    ) -> None:
        folder.mkdir(parents=True)
        self._program = program
        self._link = link
        name, remote = server.new_folder()
        self.arrived = remote / "a.csv"
        self.log = folder / "logs" / "ftp_subtask.log.txt"
        self.given: dict[str, Any] = {
            "file": str(folder / "a.csv"),
            "to": f"sftp://{server.user}@{link.host}:{link.port}{name}",
            "settings": {"key_file": server.key_file, "host_key": server.fingerprint},
            "end": "stop",
        }

    def run(self, *more: str, settings: dict[str, Any] | None = None) -> tuple[int, list[str]]:
        """Exit code and lines of its standard output."""
        if settings is not None:
            self.given["settings"] = settings
        done = subprocess.run(
            [self._program, json.dumps(self.given), *more],
            stdout=subprocess.PIPE,
            text=True,
            timeout=_RUN_SECS,
        )
        return done.returncode, done.stdout.splitlines()

    def delivered(self) -> bool:
        return self.arrived.exists() and self.arrived.read_bytes() == _CONTENT


def try_out(program: pathlib.Path, folder: pathlib.Path, say: Callable[[str], None]) -> list[str]:
    """All trials; what went wrong.

    Raises:
        ServerMissing: there is no sshd.
    """
    faults: list[str] = []

    def expect(what: str, right: bool, *details: object) -> None:
        say(f"  {what}: {'yes' if right else 'NO'}")
        if not right:
            faults.append(f"{program.name}: {what}: {' | '.join(map(str, details))}")

    with OpenSshServer() as server, TcpProxy(server.host, server.port) as link:

        def trial(name: str) -> _Trial:
            return _Trial(program, server, link, folder / name)

        unprepared = trial("unprepared")
        code, lines = unprepared.run("--unprepared")
        told = lines[-1:] != [] and "run_child()" in lines[-1]
        expect("is refused without run_child()", code == 2 and told, code, lines)
        expect("is started once only", lines.count("program") == 1, lines)

        stop = trial("stop")
        code, lines = stop.run()
        expect("delivers and stops", code == 0 and stop.delivered(), code, lines)
        expect("leaves no process", not _left_of(program), _left_of(program))

        by_ssh = trial("ssh")
        settings = {
            "ssh_command": f"ssh -F none -i {server.key_file} -o BatchMode=yes "
            f"-o UserKnownHostsFile={_known_hosts(server, link, folder)}"
        }
        code, lines = by_ssh.run(settings=settings)
        expect("delivers by the system's ssh", code == 0 and by_ssh.delivered(), code, lines)

        for end in ("forcekill", "restart"):
            one = trial(end)
            one.given["end"] = end
            code, lines = one.run()
            expect(f"{end}: delivers", code == 0 and one.delivered(), code, lines)
            _wait_until(lambda: not _left_of(program), 15)
            expect(f"{end}: leaves no process", not _left_of(program), _left_of(program))

        killed = trial("killed")
        killed.given["end"] = "kill"
        link.freeze()
        code, lines = killed.run()
        time.sleep(1.0)  # for the bootloader, which removes its folder
        link.thaw()
        _wait_until(killed.delivered, 15)
        expect("is killed in the middle", -code in (signal.SIGKILL, 0) or code > 128, code)
        log = killed.log.read_text() if killed.log.exists() else "no log"
        expect("its orphan delivers", killed.delivered(), log)
        _wait_until(lambda: not _left_of(program), 15)
        expect("its orphan leaves", not _left_of(program), _left_of(program))
    return faults


def _wait_until(look: Callable[[], bool], secs: float) -> None:
    until = time.monotonic() + secs
    while not look() and time.monotonic() < until:
        time.sleep(0.05)


def _known_hosts(server: OpenSshServer, link: TcpProxy, folder: pathlib.Path) -> pathlib.Path:
    path = folder / "known_hosts"
    text = pathlib.Path(server.known_hosts).read_text()
    path.write_text(text.replace(f"]:{server.port} ", f"]:{link.port} "))
    return path


def _left_of(program: pathlib.Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["exe", "cmdline", "status"]):
        if process.info["exe"] == str(program) and process.info["status"] != "zombie":
            found.append(f"{process.pid}: {' '.join(process.info['cmdline'] or [])}")
    return found
