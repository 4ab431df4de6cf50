"""What the tests of the promises share: a master that delivers from one folder to a real server."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil

from pysubtask import TaskMaster
from tests.servers.ftp import FtpServer
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer

__all__ = ["Delivery", "delivering", "is_running", "wait_until"]

_Value = TypeVar("_Value")

QUICK = {"retry_short_wait_secs": 0.2, "retry_long_wait_secs": 0.5}
"""Settings under which a test that breaks the link goes on soon."""


def wait_until(look: Callable[[], _Value], secs: float = 20.0, what: str = "") -> _Value:
    """Whatever ``look`` gives, as soon as it is true.

    Raises:
        AssertionError: it was not in time.
    """
    until = time.monotonic() + secs
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() >= until:
            raise AssertionError(f"not within {secs:g} s: {what or look}; at last {value!r}")
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether there is such a process; a zombie counts as none."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass
class Delivery:
    """A master at work.

    Attributes:
        master: started, unless ``start=False`` was asked for.
        data: the local folder; state and logs lie beside it.
        remote: the server's folder as this machine sees it.
        remote_name: the same as the server's clients name it.
    """

    master: TaskMaster
    data: pathlib.Path
    remote: pathlib.Path
    remote_name: str
    state: pathlib.Path
    logs: pathlib.Path

    def remote_bytes(self, name: str) -> bytes | None:
        """What the server's folder holds under that name; None if there is no file."""
        try:
            return (self.remote / name).read_bytes()
        except FileNotFoundError:
            return None

    def wait_for(self, name: str, content: bytes, secs: float = 20.0) -> None:
        """Until the server's folder holds exactly that under the name."""
        wait_until(lambda: self.remote_bytes(name) == content, secs, f"{name!r} arrives")

    def wait_for_size(self, name: str, size: int, secs: float = 20.0) -> None:
        """Until the file at the server has that many bytes."""
        wait_until(lambda: (self.remote / name).stat().st_size == size, secs, f"{name!r} arrives")

    def append(self, name: str, data: bytes, *, notify: bool = True) -> None:
        """As a program does: append, then notify."""
        with (self.data / name).open("ab") as file:
            file.write(data)
        if notify:
            assert self.master.notify(str(self.data / name))

    def replace(self, name: str, data: bytes, *, notify: bool = True) -> None:
        """Write a new file and rename it into place, then notify."""
        temporary = self.data / f".{name[:200]}.new"
        temporary.write_bytes(data)
        temporary.replace(self.data / name)
        if notify:
            assert self.master.notify(str(self.data / name))

    def flush(self, secs: float = 30.0) -> None:
        """All that was notified is delivered, or the test fails."""
        assert self.master.flush(timeout=secs), f"{self.master.status()}\n{self.log()}"

    def log(self) -> str:
        """The subtask's log."""
        try:
            return (self.logs / "ftp_subtask.log.txt").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def leftovers(self) -> list[str]:
        """Temporary names of ours at the destination."""
        return sorted(str(path) for path in self.remote.rglob(".pysubtask-*"))


@contextmanager
def delivering(
    folder: pathlib.Path,
    server: OpenSshServer | RcloneServer | FtpServer,
    watch: Sequence[str | dict[str, Any]],
    *,
    link: TcpProxy | None = None,
    below: str = "",
    start: bool = True,
    **settings: Any,
) -> Iterator[Delivery]:
    """A master for ``watch``; killed and reaped in the end, whatever happens.

    Args:
        folder: of the test; ``data`` below it is the current folder of relative watches.
        watch: names below ``data``, or dicts with such names.
        link: connect through it.
        below: destination below the server's new folder.
        settings: of the master; login and host key are given unless they are among them.
    """
    data = folder / "data"
    data.mkdir(exist_ok=True)
    remote_name, remote = server.new_folder()
    end = link or server
    given = {
        **_destination(server, f"{end.host}:{end.port}", remote_name + below, settings),
        "bak_to_folder": str(folder / "state"),
        "log_to_folder": str(folder / "logs"),
        **QUICK,
        **settings,
    }
    master = TaskMaster([_below(data, entry) for entry in watch], **given)
    made = Delivery(master, data, remote, remote_name, folder / "state", folder / "logs")
    try:
        if start:
            master.start()
        yield made
    finally:
        pid = master.status().pid
        master.stop(forcekill=True)
        assert pid is None or not is_running(pid)


def _destination(
    server: OpenSshServer | RcloneServer | FtpServer,
    place: str,
    folder: str,
    settings: dict[str, Any],
) -> dict[str, Any]:
    if isinstance(server, FtpServer):
        scheme = "ftp" if server.tls == "off" else "ftps"
        given: dict[str, Any] = {
            "to": f"{scheme}://{server.user}@{place}/{folder}",
            "password": server.password,
        }
        if server.tls != "off":
            given |= {"ca_file": server.ca_file, "ftp_tls": server.tls}
        return given
    given = {
        "to": f"sftp://{server.user}@{place}{folder}",
        "host_key": server.fingerprint,
    }
    return given if "password" in settings else {**given, "key_file": server.key_file}


def _below(data: pathlib.Path, entry: str | dict[str, Any]) -> dict[str, Any]:
    given = {"file": entry} if isinstance(entry, str) else dict(entry)
    for key in ("file", "dir"):
        if key in given:
            given[key] = str(data / given[key])
    return given
