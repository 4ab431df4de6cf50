"""The campaign: a host program under load, random kills, a reader, and the sum at the end.

Each kill comes at a random moment after the one before it, from milliseconds (while things start)
to seconds (while they work), and is one of

* ``child``: the subtask, SIGKILL; the host program starts it again with a plain ``start()``;
* ``master``: the host program, SIGKILL; a new one begins with a plain ``start()``, mostly at once
  (and takes over from the orphan), sometimes after the orphan had to leave by itself;
* ``both`` at once;
* ``server``: the processes of all sessions at the server (OpenSSH, vsftpd; the others have none);
* ``link``: all connections, reset on the way.

The link changes as well, from fast to slow and long, so that kills hit uploads in all their stages.
Beside kills there are *faults* of the link (:mod:`tests.campaign.weather`), each of which lasts
until the next kill or fault.

The reader judges each file at each change. In the end the host program flushes and stops, and every
file at the destination must be the local one.

What is *lost*: a file that is not exact in the end; a rotated file that was replaced at the
destination before all of it had been there, though its snapshot was taken; a file that pysubtask
put aside as foreign. *Torn*: a look that saw neither a prefix nor a whole version, or an older one
than before. *Orphans*: subtasks alive 15 s after their master's death.
"""

from __future__ import annotations

import pathlib
import random
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import paramiko

from tests.campaign.content import Contents
from tests.campaign.host import ROTATED
from tests.campaign.processes import Host, Orphans
from tests.campaign.reader import DiskReader, Reader, SftpReader
from tests.campaign.weather import FAULTS, Weather
from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer, Proftpd, Vsftpd
from tests.servers.ftplink import FtpLink
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer

__all__ = ["SERVERS", "Campaign", "Report", "link_to", "run"]

KINDS = ("child", "child", "master", "both", "server", "link")
LINKS = ((None, 0.0), (None, 0.0), (None, 0.02), (300_000.0, 0.005), (60_000.0, 0.05))
"""Bytes a second in either direction, and half a round trip in seconds."""
_STARTING_SECS = 0.02, 1.0
_WORKING_SECS = 0.5, 3.0
_WAIT_FOR_TARGET_SECS = 5.0
_WAIT_FOR_ORPHAN = 0.08
_FINISH_SECS = 180.0
_MOST_LATE_TEMPS = 3
_TEMP_NAME = re.compile(r"(^|/)\.pysubtask-[0-9a-f]{16}$")
_HALF_A_NAME = re.compile(r"(^|/)\.pysubtask-[0-9a-f]{0,15}$")


_Found = TypeVar("_Found")
_Server: TypeAlias = OpenSshServer | RcloneServer | FtpServer | DropboxServer


def _until_true(look: Callable[[], _Found], secs: float = _WAIT_FOR_TARGET_SECS) -> _Found | None:
    """What is to be hit may be on its way: a kill that hits nothing would be none."""
    until = time.monotonic() + secs
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.005)
    return None


@dataclass
class Report:
    """What a campaign found."""

    seed: int
    server: str
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    bytes_delivered: int = 0
    files: int = 0
    looks: int = 0
    unseen: int = 0
    """Rotated files that came and went between two looks: nothing can be said of them."""
    half_commands: int = 0
    """Files at ProFTPD whose names are the beginning of a temporary one: at the end of a connection
    it carries out a command whose line has not ended. Under TLS a command comes whole or not."""
    late_temps: list[str] = field(default_factory=list)
    """Temporary files that nobody removed. A request of a killed subtask that was still under way
    may make one after its successor has removed it (docs/simulation.md); more than a few would be
    another reason, and count as lost."""
    longest_orphan_secs: float = 0.0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    took_secs: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.torn or self.orphans)

    def __str__(self) -> str:
        kills = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.server}: {self.kills.total()} kills ({kills}), "
            f"{self.faults.total()} faults ({faults}), {self.cuts} cuts, "
            f"{self.files} files, {self.bytes_delivered:,} bytes, {self.looks:,} looks, "
            + (f"half commands {self.half_commands}, " if self.half_commands else "")
            + (f"late temporary files {len(self.late_temps)}, " if self.late_temps else "")
            + f"lost {len(self.lost)}, torn {len(self.torn)}, orphans {len(self.orphans)} "
            f"(the longest stayed {self.longest_orphan_secs:.1f} s), {self.unseen} unseen, "
            f"{self.took_secs:.0f} s, seed {self.seed}"
        )


def run(
    kills: int,
    server_name: str = "openssh",
    seed: int | None = None,
    *,
    faults: int = 0,
    keep: pathlib.Path | None = None,
) -> Report:
    """One campaign.

    Args:
        kills: how many.
        faults: of the link, how many; they come among the kills.
        seed: None: a new one. It fixes the contents and the order of the kills; the moments at
            which they hit are the machine's.
        keep: folder for the local files, state and logs, which stay; a temporary one by default.
    """
    if seed is None:
        seed = random.SystemRandom().randrange(10**9)
    report = Report(seed, server_name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pysubtask-campaign-") as temporary:
        folder = (keep or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        server = SERVERS[server_name]()
        with server, link_to(server) as link:
            turns = ["kill"] * kills + ["fault"] * faults
            random.Random(f"{seed} turns").shuffle(turns)
            Campaign(report, server, link, folder).run(turns)
    report.took_secs = time.monotonic() - began
    return report


SERVERS: dict[str, Callable[[], _Server]] = {
    "openssh": OpenSshServer,
    "rclone": RcloneServer,
    "dropbox": DropboxServer,
    "vsftpd": Vsftpd,
    "vsftpd-tls": lambda: Vsftpd(tls="explicit"),
    "proftpd": Proftpd,
    "proftpd-tls": lambda: Proftpd(tls="explicit"),
}


def link_to(server: _Server) -> TcpProxy:
    """A link to the server, which is still to be entered."""
    # under TLS nobody can read where data connections go: they take no part in the link then
    clear = isinstance(server, FtpServer) and server.tls == "off"
    return (FtpLink if clear else TcpProxy)(server.host, server.port)


class Campaign:
    """One campaign: a host program, what happens to it, and the sum.

    Args:
        report: is filled in.
        server: runs already.
        link: leads to it.
        folder: for the local files, state and logs.
    """

    program = "tests.campaign.host"
    kinds: tuple[str, ...] = KINDS
    links: tuple[tuple[float | None, float], ...] = LINKS

    def __init__(
        self,
        report: Report,
        server: _Server,
        link: TcpProxy,
        folder: pathlib.Path,
    ) -> None:
        self._report = report
        self._server = server
        self._link = link
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir(exist_ok=True)
        self._contents = Contents(report.seed)
        self._rng = random.Random(report.seed)
        self._orphans = Orphans()
        self._runs = 0
        name, self._remote = server.new_folder()
        self._remote_name = name
        if self._by_ftp:  # its user is another one than ours
            (self._remote / "out").mkdir()
            (self._remote / "out").chmod(0o777)
        self._environment: dict[str, str] = {}
        self._to, self._login = self._way_in(name)

    @property
    def _by_ftp(self) -> bool:
        return isinstance(self._server, FtpServer)

    def _way_in(self, name: str) -> tuple[str, dict[str, Any]]:
        """The URL of a folder at the server, and the settings that go with it."""
        server, link = self._server, self._link
        if isinstance(server, DropboxServer):
            self._environment = server.environment(link)
            login = {
                "dropbox_refresh_token": server.refresh_token,
                "dropbox_app_key": server.app_key,
                "ca_file": server.ca_file,
            }
            return f"dropbox://{name}", login
        place = f"{server.user}@{link.host}:{link.port}"
        if isinstance(server, FtpServer):
            scheme = "ftp" if server.tls == "off" else "ftps"
            login = {"password": server.password, "ca_file": server.ca_file or None}
            return f"{scheme}://{place}/{name}", login
        login = {"key_file": server.key_file, "host_key": server.fingerprint}
        return f"sftp://{place}{name}", login

    def run(self, turns: Iterable[object]) -> None:
        """One kill for each of ``turns`` (a fault where it says ``fault``), the end and the sum."""
        weather = Weather(self._link, self._rng)
        host = self._start_host()
        try:
            with self._orphans, self._reader() as reader:
                for turn in turns:
                    self._pause(host)
                    weather.clear()
                    if turn == "fault":
                        fault = self._rng.choice(FAULTS)
                        weather.begin(fault)
                        self._report.faults[fault] += 1
                        continue
                    self._link.bytes_per_sec, self._link.delay_secs = self._rng.choice(self.links)
                    host = self._kill(self._rng.choice(self.kinds), host)
                    if host.ended:
                        self._report.lost.append("the host program ended by itself; see its log")
                        break
                weather.clear()
                words = host.finish(_FINISH_SECS)
                if words != "flushed":
                    self._report.lost.append(f"not flushed in the end: {words}")
                last = reader.rounds + 2  # one of them began after the end
                _until_true(lambda: reader.rounds >= last, 30.0)
        finally:
            if not host.ended:
                left = host.subtasks()
                host.kill()
                for subtask in left:
                    subtask.kill()
        self._sum_up(reader)

    # --- kills

    def _start_host(self) -> Host:
        self._runs += 1
        given = {
            "folder": str(self._data),
            "seed": self._report.seed,
            "run": self._runs,
            "to": self._to,
            "settings": {
                **self._login,
                "retry_short_wait_secs": 0.3,
                "retry_long_wait_secs": 1.0,
            },
        }
        return Host(given, self._folder / "host.log", self._environment, self.program)

    def _pause(self, host: Host) -> None:
        if self._rng.random() < 0.5:
            low, high = _STARTING_SECS
            time.sleep(low * (high / low) ** self._rng.random())
        else:
            time.sleep(self._rng.uniform(*_WORKING_SECS))

    def _kill(self, kind: str, host: Host) -> Host:
        if kind in ("child", "both"):
            subtasks = _until_true(host.subtasks) or []
            for subtask in subtasks:
                subtask.kill()
            if kind == "child":
                self._report.kills[kind] += bool(subtasks)
                return host
        if kind in ("master", "both"):
            self._orphans.add(host.subtasks())
            host.kill()
            self._report.kills[kind] += 1
            if self._rng.random() < _WAIT_FOR_ORPHAN:
                self._orphans.wait()
            return self._start_host()
        if kind == "server" and isinstance(self._server, OpenSshServer | FtpServer):
            hit = _until_true(self._server.kill_sessions)
        else:
            kind = "link"
            hit = _until_true(self._link.cut)
        self._report.kills[kind] += bool(hit)
        return host

    # --- the reader

    def _reader(self) -> Reader:
        if not isinstance(self._server, RcloneServer):
            reader = DiskReader(self._contents, [self._remote, self._remote / "out"])
            if isinstance(self._server, DropboxServer):
                self._server.account.on_commit = reader.committed
            return reader
        folders = [self._remote_name, f"{self._remote_name}/out"]
        # rclone deletes the former file before it moves the new one into its place
        return SftpReader(self._contents, folders, self._connect, may_vanish=True)

    def _connect(self) -> paramiko.Transport:
        assert isinstance(self._server, RcloneServer)
        sock = socket.create_connection((self._server.host, self._server.port), 10)
        transport = paramiko.Transport(sock)
        transport.connect(
            username=self._server.user, pkey=paramiko.PKey.from_path(self._server.key_file)
        )
        return transport

    # --- the sum

    def _sum_up(self, reader: Reader) -> None:
        report = self._report
        report.torn += reader.torn
        report.looks = reader.looks
        report.orphans += self._orphans.late
        report.longest_orphan_secs = self._orphans.longest_secs
        report.cuts = self._link.cuts
        report.lost += [f"{name}: put aside as if it were not ours" for name in reader.aside]
        self._compare()
        if isinstance(reader, DiskReader):
            self._check_rotated(reader)

    def _compare(self) -> None:
        """Every local file that is watched, with the destination's."""
        locals_ = {
            name: self._data / name
            for name in self._local_names(self._data)
            if not re.search(r"\.(asked|casual)$", name)
        }
        locals_ |= {
            f"out/{name}": self._data / "out" / name
            for name in self._local_names(self._data / "out")
        }
        remotes = set(self._local_names(self._remote, hidden=True))
        remotes |= {f"out/{n}" for n in self._local_names(self._remote / "out", hidden=True)}
        for name, path in sorted(locals_.items()):
            want = path.read_bytes()
            try:
                got = (self._remote / name).read_bytes()
            except FileNotFoundError:
                self._report.lost.append(f"{name}: {len(want)} bytes here, no file there")
                continue
            self._report.files += 1
            self._report.bytes_delivered += len(got)
            if got != want:
                same = next(
                    (i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), None
                )
                self._report.lost.append(
                    f"{name}: {len(want)} bytes here, {len(got)} there, "
                    f"{'a prefix' if same is None else f'they differ from byte {same} on'}"
                )
        # a rotated file whose next generation was not begun is there, and not here
        left = {n for n in remotes - set(locals_) if n not in ROTATED}
        if isinstance(self._server, Proftpd) and self._server.tls == "off":
            half = {name for name in left if _HALF_A_NAME.search(name)}
            self._report.half_commands += len(half)
            left -= half
        temps = {name for name in left if _TEMP_NAME.search(name)}
        if len(temps) <= _MOST_LATE_TEMPS:
            self._report.late_temps += [self._left(name) for name in sorted(temps)]
            left -= temps
        self._report.lost += [self._left(name) for name in sorted(left)]

    def _left(self, name: str) -> str:
        found = (self._remote / name).stat()
        age_secs = time.time() - found.st_mtime
        return f"{name}: {found.st_size} bytes left at the destination, {age_secs:.1f} s old"

    def _local_names(self, folder: pathlib.Path, *, hidden: bool = False) -> list[str]:
        if not folder.is_dir():
            return []
        return [
            path.name
            for path in folder.iterdir()
            if path.is_file()
            and not path.name.endswith((".notify", ".heartbeat"))
            and (hidden or not path.name.startswith("."))
        ]

    def _check_rotated(self, reader: Reader) -> None:
        """Rotated files that were replaced: each had to be complete before."""
        for name in ROTATED:
            for path in sorted(self._data.glob(f"{name}.*")):
                match = re.fullmatch(rf"{re.escape(name)}\.(\d{{8}})\.(asked|casual)", path.name)
                if match is None:
                    continue
                number, how = int(match[1]), match[2]
                size = path.stat().st_size
                seen = reader.complete[name].get(number)
                if seen is None:
                    self._report.unseen += 1
                elif seen != size:
                    self._report.lost.append(
                        f"{path.name}: {seen} of {size} bytes were there when it was replaced"
                        f" ({how})"
                    )
                else:
                    self._report.bytes_delivered += size
