"""The transports under test. Each is a function that gives a context manager of a harness."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pysubtask.core.capabilities import Capabilities
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
from pysubtask.transports.sftp.channel import Connector
from pysubtask.transports.sftp.client import SftpTransport
from pysubtask.transports.sftp.process import ProcessConnector
from pysubtask.transports.sftp.ssh import SshConnector
from tests.contract.cases import Driver, Harness
from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer
from tests.servers.modsftp import ModSftp
from tests.servers.openssh import OpenSshServer
from tests.servers.rclone import RcloneServer
from tests.servers.shelf import ShelfServer


class SftpOnDisk:
    """SFTP to a server whose folder lies on this machine."""

    keeps_line_breaks = True
    makes_folders = False
    impossible_names: tuple[str, ...] = ()
    writes_only_at_end = False
    shares = True
    peeks_cheaply = True

    def __init__(self, connector: Connector, remote: str, folder: Path) -> None:
        self._connector = connector
        self._remote = remote
        self._folder = folder

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

    def make(self, wake: Wake) -> Transport:
        return FolderTransport(str(self._folder))

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


def _connector(server: OpenSshServer | RcloneServer) -> SshConnector:
    return SshConnector(
        server.host,
        port=server.port,
        user=server.user,
        key_file=server.key_file,
        host_key=server.fingerprint,
    )


@contextmanager
def openssh_by_paramiko(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: OpenSshServer = request.getfixturevalue("openssh")
    yield SftpOnDisk(_connector(server), *server.new_folder())


@contextmanager
def openssh_by_ssh(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: OpenSshServer = request.getfixturevalue("openssh")
    command = (
        f"ssh -F {os.devnull} -o BatchMode=yes -o IdentitiesOnly=yes -i {server.key_file}"
        f" -o UserKnownHostsFile={server.known_hosts}"
    )
    connector = ProcessConnector(command, server.host, user=server.user, port=server.port)
    yield SftpOnDisk(connector, *server.new_folder())


@contextmanager
def rclone_by_paramiko(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: RcloneServer = request.getfixturevalue("rclone")
    yield SftpThroughCache(_connector(server), *server.new_folder())


@contextmanager
def openssh_denied(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: OpenSshServer = request.getfixturevalue("openssh_denied")
    yield SftpOnDisk(_connector(server), *server.new_folder())


@contextmanager
def modsftp(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: ModSftp = request.getfixturevalue("modsftp")
    connector = SshConnector(
        server.host,
        port=server.port,
        user=server.user,
        password=Secret(server.password),
        host_key=server.fingerprint,
    )
    yield SftpByOthers(connector, *server.new_folder())


@contextmanager
def shelf(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: ShelfServer = request.getfixturevalue("shelf")
    from pysubtask_shelf.harness import ShelfHarness  # the fixture has "installed" it

    made = ShelfHarness(server.url, *server.new_folder())
    made.shares = True  # one server for all tests
    yield made


@contextmanager
def memory(request: pytest.FixtureRequest) -> Iterator[Harness]:
    yield InMemory()


@contextmanager
def folder(request: pytest.FixtureRequest) -> Iterator[Harness]:
    yield InFolder(request.getfixturevalue("tmp_path"))


@contextmanager
def dropbox_by_sdk(request: pytest.FixtureRequest) -> Iterator[Harness]:
    yield InDropbox(request.getfixturevalue("dropbox"))


def ftp_on(fixture: str) -> Callable[[pytest.FixtureRequest], object]:
    """FTP to the server of that fixture."""

    @contextmanager
    def make(request: pytest.FixtureRequest) -> Iterator[Harness]:
        yield FtpOnDisk(request.getfixturevalue(fixture))

    make.__name__ = f"ftp_{fixture}"
    return make


FTP_SERVERS = (
    "vsftpd",
    "vsftpd_tls",
    "vsftpd_implicit",
    "proftpd",
    "proftpd_whole",
    "proftpd_tls",
    "pyftpd",
    "pyftpd_bare",
    "pyftpd_implicit",
)

OURS: list[Callable[[pytest.FixtureRequest], object]] = [
    memory,
    folder,
    openssh_by_paramiko,
    openssh_by_ssh,
    openssh_denied,
    rclone_by_paramiko,
    modsftp,
    dropbox_by_sdk,
    shelf,
    *(ftp_on(name) for name in FTP_SERVERS),
]


def _others(named: str) -> list[Callable[[pytest.FixtureRequest], object]]:
    """A transport of somebody else's that is to be tried instead of ours: ``module:function``, as
    ``docs/transports.md`` says."""
    module, _, function = named.partition(":")
    return [getattr(importlib.import_module(module), function)]


_NAMED = os.environ.get("PYSUBTASK_CONTRACT")
MAKERS = _others(_NAMED) if _NAMED else OURS


SEEN = pytest.StashKey[dict[str, Capabilities]]()
"""What each transport said of itself: for the page that ``python -m tests.contract`` writes."""


_KEPT = pytest.StashKey[dict[str, Driver]]()
"""One connection for each kind of transport that can serve several tests."""
_LEAVING = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test here, close what is kept, while the servers are still there."""
    leaving = nextitem is None or nextitem.path.parent != item.path.parent
    item.config.stash[_LEAVING] = leaving
    if leaving:
        kept = item.config.stash.get(_KEPT, {})
        while kept:
            kept.popitem()[1].close()


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    with request.param(request) as made:
        yield made


@pytest.fixture
def driver(request: pytest.FixtureRequest, harness: Harness) -> Iterator[Driver]:
    stash = request.config.stash
    kept = stash.setdefault(_KEPT, {})
    kind = request.node.callspec.params["harness"].__name__
    made = kept.pop(kind, None)
    if made is None or not made.is_usable:
        made = Driver(harness)
        stash.setdefault(SEEN, {})[kind] = made.transport.capabilities
    try:
        yield made
    finally:
        if harness.shares and made.is_usable and not stash.get(_LEAVING, True):
            kept[kind] = made
        else:
            made.close()
