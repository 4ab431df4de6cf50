"""The programs whose states are kept: what they watch, and where they deliver to."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import Pyftpd
from tests.servers.ftplink import FtpLink
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

__all__ = ["CASES", "LOCAL", "Case", "Place", "rows", "watch_list"]

LOCAL = {
    "grow.csv": "grow.csv",
    "auto.csv": "auto.csv",
    "whole.json": "whole.json",
    "machine.log": "rotated.log",
    "lines.log": "lines.log",
    "large.bin": "large.bin",
    "image.bin": "image.bin",
    "ünïcode [1].csv": "ünïcode [1].csv",
    "pictures/one.jpg": "out/one.jpg",
    "pictures/two.jpg": "out/two.jpg",
}
"""By the name at the destination: the name here."""


def watch_list(data: pathlib.Path) -> list[dict[str, Any]]:
    """What each of the programs declares."""
    return [
        {"file": str(data / "grow.csv"), "growth": "append"},
        {"file": str(data / "auto.csv"), "burstmode": True},
        {"file": str(data / "whole.json"), "growth": "rewrite"},
        {"file": str(data / "rotated.log"), "growth": "append", "as": "machine.log"},
        {"file": str(data / "lines.log"), "records": "lines"},
        {"file": str(data / "large.bin")},
        {"file": str(data / "image.bin")},
        {"file": str(data / "ünïcode [1].csv")},
        {"dir": str(data / "out"), "remote_dir": "pictures"},
    ]


def rows(name: str, first: int, last: int) -> bytes:
    """Lines ``first`` to ``last - 1`` of a file."""
    return b"".join(
        b"%s, row %08d, of some length\n" % (name.encode(), n) for n in range(first, last)
    )


@dataclass
class Place:
    """A destination that runs.

    Attributes:
        to, settings: how a master gets there.
        base: the folder, as the server names it.
        folder: the same on this disk.
        environment: variables that its subtask needs.
        link: leads there; None for a folder.
    """

    to: str
    settings: dict[str, Any]
    base: str
    folder: pathlib.Path
    environment: dict[str, str]
    link: TcpProxy | None
    server: Any = None

    def go_away(self) -> None:
        """The destination is gone, without a word."""
        if self.link is not None:
            self.link.go_down()
        else:
            self.folder.rename(self.folder.with_name("away"))

    def fill(self, before: pathlib.Path) -> None:
        """Have it hold what it held when the state was kept."""
        if isinstance(self.server, DropboxServer):
            self._upload(before)
            return
        shutil.copytree(before, self.folder, dirs_exist_ok=True)
        for path in [self.folder, *self.folder.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o666)

    def _upload(self, before: pathlib.Path) -> None:
        account, folder = self.server.account, f"/{self.folder.name}"
        for path in sorted(before.rglob("*")):
            name = f"{folder}/{path.relative_to(before)}"
            if path.is_dir():
                account.create_folder(name)
            else:
                account.upload({"path": name, "mode": "overwrite"}, path.read_bytes())


@dataclass(frozen=True)
class Case:
    """One program.

    Args:
        name: of its transport.
        run: makes the destination.
    """

    name: str
    run: Callable[[pathlib.Path], Any]


@contextmanager
def _openssh(home: pathlib.Path) -> Iterator[Place]:
    with OpenSshServer() as server, TcpProxy(server.host, server.port) as link:
        name, folder = server.new_folder()
        to = f"sftp://{server.user}@{link.host}:{link.port}{name}"
        login = {"key_file": server.key_file, "host_key": server.fingerprint}
        yield Place(to, login, name, folder, {}, link, server)


@contextmanager
def _ftp(home: pathlib.Path) -> Iterator[Place]:
    # in the clear, so that the data connections go over the link, too
    with Pyftpd() as server, FtpLink(server.host, server.port) as link:
        name, folder = server.new_folder()
        to = f"ftp://{server.user}@{link.host}:{link.port}/{name}"
        yield Place(to, {"password": server.password}, name, folder, {}, link, server)


@contextmanager
def _dropbox(home: pathlib.Path) -> Iterator[Place]:
    with DropboxServer() as server, TcpProxy(server.host, server.port) as link:
        name, folder = server.new_folder()
        login = {
            "dropbox_refresh_token": server.refresh_token,
            "dropbox_app_key": server.app_key,
            "ca_file": server.ca_file,
        }
        environment = server.environment(link)
        yield Place(f"dropbox://{name}", login, name, folder, environment, link, server)


@contextmanager
def _folder(home: pathlib.Path) -> Iterator[Place]:
    folder = home / "share"
    folder.mkdir()
    yield Place(f"file://{folder}", {}, str(folder), folder, {}, None)


CASES = {
    case.name: case
    for case in (
        Case("sftp", _openssh),
        Case("ftp", _ftp),
        Case("dropbox", _dropbox),
        Case("folder", _folder),
    )
}
