"""Servers as pytest fixtures; one of each per test session.

A server program that is missing skips its tests by name, unless ``PYSUBTASK_REQUIRE_SERVERS=1``
(set in CI): then they fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from typing import TypeVar

import pytest

from tests.servers.dropbox import DropboxServer
from tests.servers.ftp import FtpServer, Proftpd, Pyftpd, Vsftpd
from tests.servers.modsftp import ModSftp
from tests.servers.openssh import OpenSshServer
from tests.servers.processes import ServerMissing
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer
from tests.servers.shelf import ShelfServer

__all__ = ["enter_or_skip"]

_Server = TypeVar("_Server")


class _Missing:
    """A server that can't be started."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        raise ServerMissing(self._name)

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""


def enter_or_skip(stack: ExitStack, server: AbstractContextManager[_Server]) -> _Server:
    """Start a server that ``stack`` will stop; skip (or fail) if its program is missing."""
    try:
        return stack.enter_context(server)
    except ServerMissing as missing:
        words = f"server not installed: {missing}"
        if os.environ.get("PYSUBTASK_REQUIRE_SERVERS") == "1":
            pytest.fail(words)
        pytest.skip(words)


@pytest.fixture(scope="session")
def openssh() -> Iterator[OpenSshServer]:
    """The system's sshd with ed25519, ECDSA and RSA host keys; login by key."""
    with ExitStack() as stack:
        server = OpenSshServer(key_types=("ed25519", "ecdsa", "rsa"))
        yield enter_or_skip(stack, server)


@pytest.fixture(scope="session")
def openssh_with_password() -> Iterator[OpenSshServer]:
    """The system's sshd with a user who has a password (root only)."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, OpenSshServer(password=True))


@pytest.fixture(scope="session")
def openssh_denied() -> Iterator[OpenSshServer]:
    """The system's sshd as an old or cautious server is: it can neither replace a file in one
    step, nor copy, nor sync."""
    with ExitStack() as stack:
        server = OpenSshServer(denied=("posix-rename", "copy-data", "fsync"))
        yield enter_or_skip(stack, server)


@pytest.fixture(scope="session")
def modsftp() -> Iterator[ModSftp]:
    """ProFTPD's mod_sftp."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, ModSftp())


@pytest.fixture(scope="session")
def _shelf() -> Iterator[ShelfServer]:
    with ExitStack() as stack:
        server = enter_or_skip(stack, ShelfServer())
        server.hide()
        yield server


@pytest.fixture
def shelf(_shelf: ShelfServer) -> Iterator[ShelfServer]:
    """The example of a transport of one's own, as if it were installed, and its toy server; for one
    test, so that no other finds it installed."""
    _shelf.show()
    yield _shelf
    _shelf.hide()


@pytest.fixture(scope="session")
def rclone() -> Iterator[RcloneServer]:
    """``rclone serve sftp``: parallel workers, login by password or key."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, RcloneServer())


@pytest.fixture(scope="session")
def _dropbox_emulator() -> Iterator[DropboxServer]:
    if find_spec("dropbox") is None:
        with ExitStack() as stack:
            enter_or_skip(stack, _Missing("dropbox (the SDK)"))
    with DropboxServer() as server, pytest.MonkeyPatch.context() as patch:
        for name in [n for n in sys.modules if n == "dropbox" or n.startswith("dropbox.")]:
            patch.delitem(sys.modules, name)  # it reads the variables when it is imported
        with _led_to(server):
            import dropbox  # noqa: F401
        yield server
        for name in [n for n in sys.modules if n == "dropbox" or n.startswith("dropbox.")]:
            del sys.modules[name]  # it would lead others to a server that has gone


@pytest.fixture
def dropbox(_dropbox_emulator: DropboxServer) -> Iterator[DropboxServer]:
    """The emulated Dropbox, to which the SDK is led, here and in child processes."""
    _dropbox_emulator.calm()
    with _led_to(_dropbox_emulator):
        yield _dropbox_emulator
    _dropbox_emulator.calm()


@contextmanager
def _led_to(server: DropboxServer) -> Iterator[None]:
    """The environment of this process, and of those that it starts, for so long only."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def vsftpd() -> Iterator[FtpServer]:
    """The system's vsftpd, in the clear."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Vsftpd())


@pytest.fixture(scope="session")
def vsftpd_tls() -> Iterator[FtpServer]:
    """vsftpd with explicit TLS, which data connections have to go on with."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Vsftpd(tls="explicit"))


@pytest.fixture(scope="session")
def vsftpd_implicit() -> Iterator[FtpServer]:
    """vsftpd with TLS from the first byte."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Vsftpd(tls="implicit"))


@pytest.fixture(scope="session")
def proftpd() -> Iterator[FtpServer]:
    """ProFTPD that lets clients continue files."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Proftpd())


@pytest.fixture(scope="session")
def proftpd_whole() -> Iterator[FtpServer]:
    """ProFTPD as it is by default: no file can be continued."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Proftpd(restartable=False))


@pytest.fixture(scope="session")
def proftpd_tls() -> Iterator[FtpServer]:
    """ProFTPD with mod_tls."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Proftpd(tls="explicit"))


@pytest.fixture(scope="session")
def pyftpd() -> Iterator[FtpServer]:
    """pyftpdlib."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Pyftpd())


@pytest.fixture(scope="session")
def pyftpd_bare() -> Iterator[FtpServer]:
    """A server that knows APPE but neither REST nor MLST, and hides what program it is."""
    with ExitStack() as stack:
        server = Pyftpd(
            without=["REST", "MLST", "MLSD", "MDTM", "STAT", "EPSV"], config=['banner="hello"']
        )
        yield enter_or_skip(stack, server)


@pytest.fixture(scope="session")
def pyftpd_implicit() -> Iterator[FtpServer]:
    """pyftpdlib with TLS from the first byte."""
    with ExitStack() as stack:
        yield enter_or_skip(stack, Pyftpd(tls="implicit"))


@pytest.fixture
def open_ftpd() -> Iterator[Callable[..., FtpServer]]:
    """Makes further FTP servers: ``open_ftpd(Proftpd, restartable=False)``."""
    with ExitStack() as stack:
        yield lambda kind, **options: enter_or_skip(stack, kind(**options))


@pytest.fixture
def open_sshd() -> Iterator[Callable[..., OpenSshServer]]:
    """Makes further sshd with options of their own: ``open_sshd(denied=["rename"])``."""
    with ExitStack() as stack:
        yield lambda **options: enter_or_skip(stack, OpenSshServer(**options))


@pytest.fixture
def link() -> Iterator[Callable[..., TcpProxy]]:
    """Makes links: ``link(server, delay_secs=0.025)`` relays to the server's port."""
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(
            TcpProxy(server.host, server.port, **options)
        )
