"""The destinations under test: each with a folder of its own for one test."""

from __future__ import annotations

from pathlib import Path

from pysubtask.errors import RemoteNotFound
from pysubtask.seams.clock import RealClock
from pysubtask.secret import Secret
from pysubtask.transports.contract import Finish, Read, Transport, Wake, Write
from pysubtask.transports.dropbox.account import Account
from pysubtask.transports.dropbox.client import DropboxTransport
from pysubtask.transports.folder import FolderTransport
from pysubtask.transports.ftp.client import FtpTransport
from pysubtask.transports.ftp.login import FtpConnector
from pysubtask.transports.memory import MemoryServer, MemoryTransport
from pysubtask.transports.notes import Notes
from pysubtask.transports.sftp.channel import Connector
from pysubtask.transports.sftp.client import SftpTransport
from tests.contract.cases import Driver
from tests.contract.troubles import Away, ByEmulator, OnDisk, Planted, Troubles
from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer

__all__ = [
    "FtpOnDisk",
    "InDropbox",
    "InFolder",
    "InMemory",
    "SftpByOthers",
    "SftpOnDisk",
    "SftpThroughCache",
]


class SftpOnDisk:
    """SFTP to a server whose folder lies on this machine."""

    keeps_line_breaks = True
    makes_folders = False
    impossible_names: tuple[str, ...] = ()
    writes_only_at_end = False
    shares = True
    peeks_cheaply = True

    def __init__(self, connector: Connector, remote: str, folder: Path, troubles: Troubles) -> None:
        self._connector = connector
        self._remote = remote
        self._folder = folder
        self.troubles = troubles

    def make(self, wake: Wake) -> Transport:
        return SftpTransport(self._connector, RealClock(), wake=wake)

    def path(self, name: str) -> str:
        return f"{self._remote}/{name}"

    def peek(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)


class SftpThroughCache(SftpOnDisk):
    """A server with a cache (rclone): only another connection sees what it holds."""

    keeps_line_breaks = False
    peeks_cheaply = False
    caches = True

    def peek_below(self, name: str) -> bytes | None:
        """What the server has put into its folder."""
        return super().peek(name)

    def peek(self, name: str) -> bytes | None:
        driver = Driver(self)
        try:
            data = driver.ask(Read(self.path(name), 0, 1 << 24))
            assert isinstance(data, bytes)
            return data
        except RemoteNotFound:
            return None
        finally:
            driver.close()

    def put(self, name: str, data: bytes) -> None:
        driver = Driver(self)
        try:
            step = driver.transport.capabilities.max_write_bytes
            for at in range(0, len(data), step):
                driver.ask(Write(self.path(name), at, data[at : at + step], create=True))
            driver.ask(Finish(self.path(name)))
        finally:
            driver.close()


class FtpOnDisk:
    """FTP to a server whose folder lies on this machine."""

    keeps_line_breaks = False
    makes_folders = False
    impossible_names: tuple[str, ...] = ()
    shares = True
    peeks_cheaply = True

    def __init__(self, server: FtpServer) -> None:
        self.may_hang_up = bool(server.tls)
        """ProFTPD was seen, now and then, to end the session when a transfer under TLS is broken
        off: a lost link like any other."""
        self._connector = FtpConnector(
            server.host,
            server.port,
            RealClock(),
            user=server.user,
            password=Secret(server.password),
            tls=server.tls,
            ca_file=server.ca_file or None,
        )
        self._remote, self._folder = server.new_folder()
        self.troubles: Troubles = OnDisk(
            self._folder,
            server,
            is_root=server.is_root,
            is_mute_when_full=server.is_mute_when_full,
        )
        self._memory = server.memory
        self._memory.quiet.secs = 0.0  # nobody else writes

    @property
    def writes_only_at_end(self) -> bool:
        return self._memory.learned.appends

    def make(self, wake: Wake) -> Transport:
        return FtpTransport(
            self._connector,
            RealClock(),
            folder=self._remote,
            client_id="0a1b2c3d",
            memory=self._memory,
            wake=wake,
        )

    def path(self, name: str) -> str:
        return f"{self._remote}/{name}"

    def peek(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)
        (self._folder / name).chmod(0o666)  # for the server's user


class InMemory:
    """The transport for tests of programs."""

    keeps_line_breaks = True
    makes_folders = False
    impossible_names: tuple[str, ...] = ()
    writes_only_at_end = False
    shares = False
    peeks_cheaply = True

    def __init__(self) -> None:
        self._server = MemoryServer()
        self.troubles: Troubles = Planted(self._server)

    def make(self, wake: Wake) -> Transport:
        return MemoryTransport(self._server)

    def path(self, name: str) -> str:
        return name

    def peek(self, name: str) -> bytes | None:
        return self._server.read_file(name)

    def put(self, name: str, data: bytes) -> None:
        self._server.put_file(name, data)


class InFolder:
    """``file://``"""

    keeps_line_breaks = True
    makes_folders = False
    impossible_names: tuple[str, ...] = ()
    writes_only_at_end = False
    shares = False
    peeks_cheaply = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes = Notes()
        self.troubles: Troubles = OnDisk(folder, Away(folder), is_root=True)

    def make(self, wake: Wake) -> Transport:
        return FolderTransport(str(self._folder), notes=self._notes)

    def path(self, name: str) -> str:
        return name

    def peek(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)


class InDropbox:
    """The SDK, to an emulated Dropbox."""

    keeps_line_breaks = True
    makes_folders = True
    writes_only_at_end = False
    impossible_names = ("back\\slash",)
    shares = True
    peeks_cheaply = True

    def __init__(self, server: DropboxServer) -> None:
        self._server = server
        self._name, self._folder = server.new_folder()
        self.troubles: Troubles = ByEmulator(server, self._name)
        self._account = Account(
            refresh_token=Secret(server.refresh_token),
            app_key=server.app_key,
            ca_file=server.ca_file,
        )

    def make(self, wake: Wake) -> Transport:
        return DropboxTransport(self._account, self._name)

    def path(self, name: str) -> str:
        return f"{self._name}/{name}"

    def peek(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        self._server.account.put(self.path(name), data)


class SftpByOthers(SftpOnDisk):
    """The server's user is another one than ours."""

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        (self._folder / name).chmod(0o666)
