"""The transports under test. Each is a function that gives a context manager of a harness."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.secret import Secret
from pysubtask.transports.sftp.channel import Connector
from pysubtask.transports.sftp.process import ProcessConnector
from pysubtask.transports.sftp.ssh import SshConnector
from tests.contract.cases import Driver, Harness
from tests.contract.harnesses import (
    FtpOnDisk,
    InDropbox,
    InFolder,
    InMemory,
    SftpByOthers,
    SftpOnDisk,
    SftpThroughCache,
)
from tests.contract.troubles import OnDisk, Troubles
from tests.servers.modsftp import ModSftp
from tests.servers.openssh import OpenSshServer
from tests.servers.rclone import RcloneServer
from tests.servers.shelf import ShelfServer


def _connector(server: OpenSshServer | RcloneServer) -> SshConnector:
    return SshConnector(
        server.host,
        port=server.port,
        user=server.user,
        key_file=server.key_file,
        host_key=server.fingerprint,
    )


def _sftp(
    kind: type[SftpOnDisk],
    connector: Connector,
    server: OpenSshServer | RcloneServer | ModSftp,
    *,
    is_root: bool = True,
    settle_secs: float = 0.0,
) -> SftpOnDisk:
    remote, folder = server.new_folder()
    troubles = OnDisk(folder, server, is_root=is_root, settle_secs=settle_secs)
    return kind(connector, remote, folder, troubles)


@contextmanager
def openssh_by_paramiko(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: OpenSshServer = request.getfixturevalue("openssh")
    yield _sftp(SftpOnDisk, _connector(server), server)


@contextmanager
def openssh_by_ssh(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: OpenSshServer = request.getfixturevalue("openssh")
    command = (
        f"ssh -F {os.devnull} -o BatchMode=yes -o IdentitiesOnly=yes -i {server.key_file}"
        f" -o UserKnownHostsFile={server.known_hosts}"
    )
    connector = ProcessConnector(command, server.host, user=server.user, port=server.port)
    yield _sftp(SftpOnDisk, connector, server)


@contextmanager
def rclone_by_paramiko(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: RcloneServer = request.getfixturevalue("rclone")
    yield _sftp(SftpThroughCache, _connector(server), server, settle_secs=0.3)


@contextmanager
def openssh_denied(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: OpenSshServer = request.getfixturevalue("openssh_denied")
    yield _sftp(SftpOnDisk, _connector(server), server)


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
    yield _sftp(SftpByOthers, connector, server, is_root=False)


@contextmanager
def shelf(request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: ShelfServer = request.getfixturevalue("shelf")
    from pysubtask_shelf.harness import ShelfHarness  # the fixture has "installed" it

    remote, place = server.new_folder()
    made = ShelfHarness(server.url, remote, place)
    made.shares = True  # one server for all tests
    made.troubles = OnDisk(place, server, is_root=True)
    yield made


@contextmanager
def memory(request: pytest.FixtureRequest) -> Iterator[Harness]:
    yield InMemory()


@contextmanager
def folder(request: pytest.FixtureRequest) -> Iterator[Harness]:
    there = request.getfixturevalue("tmp_path") / "there"
    there.mkdir()
    yield InFolder(there)


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
def alone(request: pytest.FixtureRequest) -> None:
    """Nobody else is connected to any server: one may be stopped."""
    kept = request.config.stash.get(_KEPT, {})
    while kept:
        kept.popitem()[1].close()


@pytest.fixture
def troubles(harness: Harness) -> Troubles:
    """What can be done to its server; without, the test is skipped."""
    found: Troubles | None = getattr(harness, "troubles", None)
    if found is None:
        pytest.skip("the harness has no means to bring its server into trouble")
    return found


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
