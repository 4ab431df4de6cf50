"""How servers of the contract suite are brought into trouble, and out of it again.

A harness that has such means shows them as ``troubles``; one that has none skips the cases of
``test_faults.py`` by its own words.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from pysubtask.errors import RemoteDenied, RemoteFull
from pysubtask.transports.memory import MemoryServer
from tests.servers.dropbox import DropboxServer
from tests.servers.smalldisk import fill, freeze, make_read_only, small_disk, thaw

__all__ = ["BOX", "Away", "ByEmulator", "OnDisk", "Planted", "Restarts", "Troubles"]

DISK_BYTES = 1 << 20
BOX = "box"
"""The folder, in the test's, that troubles come over."""


class Troubles(Protocol):
    """Each is a context manager: the trouble is over at its end."""

    def opened(self) -> AbstractContextManager[object]:
        """``BOX`` is there, for as long."""

    def denied(self, name: str) -> AbstractContextManager[object]:
        """The folder ``name``, and what is in it, may not be changed."""

    def full(self) -> AbstractContextManager[object]:
        """There is room for a few KiB at most."""

    def read_only(self) -> AbstractContextManager[object]:
        """Nothing can be changed in ``BOX``, by anybody."""

    def down(self) -> AbstractContextManager[object]:
        """The server is not there; afterwards it is, on the same port."""


class Restarts(Protocol):
    """A server that can be stopped, with its sessions, and started again on the same port."""

    def start(self) -> None:
        """Start it again."""

    def stop(self) -> None:
        """End it and its sessions."""


class OnDisk:
    """A server whose folder lies on this machine: ``BOX`` is a small file system of its own.

    Args:
        folder: the test's.
        is_root: it works as root, who is not held up by modes.
        settle_secs: after so long it sees what others did in its folder.
        is_mute_when_full: once it can't write it never answers.
    """

    def __init__(
        self,
        folder: Path,
        server: Restarts,
        *,
        is_root: bool,
        settle_secs: float = 0.0,
        is_mute_when_full: bool = False,
    ) -> None:
        self._folder = folder
        self._server = server
        self._is_root = is_root
        self._settle_secs = settle_secs
        self._is_mute_when_full = is_mute_when_full

    @contextmanager
    def opened(self) -> Iterator[None]:
        from tests.servers.fixtures import enter_or_skip  # a plug-in: pytest has to load it first

        with ExitStack() as stack:
            enter_or_skip(stack, small_disk(self._folder / BOX, DISK_BYTES))
            self._settle()
            yield

    @contextmanager
    def denied(self, name: str) -> Iterator[None]:
        places = [*sorted((self._folder / name).rglob("*")), self._folder / name]
        modes = [place.stat().st_mode for place in places]
        for place in places:
            if self._is_root:
                _freeze_or_skip(place)
            else:
                place.chmod(place.stat().st_mode & ~0o222)
        self._settle()
        try:
            yield
        finally:
            for place, mode in zip(reversed(places), reversed(modes), strict=True):
                if self._is_root:
                    thaw(place)
                else:
                    place.chmod(mode)
            self._settle()

    @contextmanager
    def full(self) -> Iterator[None]:
        if self._is_mute_when_full:
            pytest.skip("a server that can't write never answers: only a lost link is told")
        filler = fill(self._folder / BOX, leave_bytes=8192)
        self._settle()
        try:
            yield
        finally:
            filler.unlink()
            self._settle()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        make_read_only(self._folder / BOX)
        self._settle()
        try:
            yield
        finally:
            make_read_only(self._folder / BOX, read_only=False)
            self._settle()

    @contextmanager
    def down(self) -> Iterator[None]:
        self._server.stop()
        try:
            yield
        finally:
            self._server.start()

    def _settle(self) -> None:
        time.sleep(self._settle_secs)


def _freeze_or_skip(place: Path) -> None:
    try:
        freeze(place)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM):
            raise
        pytest.skip("root can't be denied anything here (immutable files)")


class Away:
    """No server, but a folder that goes away and comes back, as that of a share does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._elsewhere = folder.with_name(f"{folder.name}.away")

    def stop(self) -> None:
        self._folder.rename(self._elsewhere)

    def start(self) -> None:
        self._elsewhere.rename(self._folder)


class Planted:
    """The transport in memory: refusals and breaks are planted."""

    _CHANGES = ("write", "rename", "remove", "make_dir", "copy")

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._server.make_folder(BOX)
        yield

    @contextmanager
    def denied(self, name: str) -> Iterator[None]:
        def refuse(operation: str, path: str) -> None:
            if operation in self._CHANGES and path.startswith(name):
                raise RemoteDenied("the server denies permission", operation=operation, path=path)

        with self._before(refuse):
            yield

    @contextmanager
    def full(self) -> Iterator[None]:
        def refuse(operation: str, path: str) -> None:
            if operation in ("write", "copy"):
                raise RemoteFull("no space is left", operation=operation, path=path)

        with self._before(refuse):
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        def refuse(operation: str, path: str) -> None:
            if operation in self._CHANGES:
                words = "the file system there is read-only"
                raise RemoteDenied(words, operation=operation, path=path)

        with self._before(refuse):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        self._server.up = False
        try:
            yield
        finally:
            self._server.up = True

    @contextmanager
    def _before(self, act: Callable[[str, str], None]) -> Iterator[None]:
        held, self._server.before = self._server.before, act
        try:
            yield
        finally:
            self._server.before = held


class ByEmulator:
    """Dropbox: what the service refuses in each case."""

    def __init__(self, server: DropboxServer, folder: str) -> None:
        self._server = server
        self._folder = folder

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._server.account.create_folder(f"{self._folder}/{BOX}")
        yield

    @contextmanager
    def denied(self, name: str) -> Iterator[None]:
        """As in a shared folder that the account may only look at (``no_write_permission``)."""
        place = f"{self._folder}/{name}".lower()
        self._server.account.read_only.add(place)
        try:
            yield
        finally:
            self._server.account.read_only.discard(place)

    @contextmanager
    def full(self) -> Iterator[None]:
        account = self._server.account
        account.space_bytes = account.used_bytes + 1000
        try:
            yield
        finally:
            account.space_bytes = None

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """The app may only look (``missing_scope``)."""
        scopes = self._server.scopes
        self._server.scopes = scopes - {"files.content.write"}
        try:
            yield
        finally:
            self._server.scopes = scopes

    @contextmanager
    def down(self) -> Iterator[None]:
        self._server.stop()
        try:
            yield
        finally:
            self._server.start()
