"""What a server can do, found out by a trial on a scratch file.

Neither FEAT nor a greeting tells whether ``REST`` before ``STOR`` leaves the rest of a file alone
(many servers cut it off, or refuse), and whether ``RNTO`` replaces a file. So it is tried, once for
each server program that a process meets, on two temporary files that are removed afterwards.

Whether ``RNTO`` replaces in *one step* can't be seen from here. Programs are believed that are
known to call ``rename(2)`` for it: vsftpd (``sysutil.c``), ProFTPD (``fsio.c``), Pure-FTPd
(``ftpd.c``), pyftpdlib (``filesystems.py``); under a polling reader none of the first, second and
last ever missed the file (``tests/integration/test_ftp_servers.py``). The same programs read
commands from a buffer, so that several may be sent at once.
"""

from __future__ import annotations

import contextlib
import posixpath
from dataclasses import dataclass, replace

from pysubtask.errors import LinkError, RemoteError, RemoteFull, RemoteNotFound
from pysubtask.transports.ftp.files import Files
from pysubtask.transports.ftp.login import Session
from pysubtask.transports.ftp.transfers import Transfers

__all__ = ["Learned", "limits_of", "product_of", "told_of", "try_out"]

_KNOWN = ("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib")
_FIRST = b"0123456789abcdef"
_WHOLE = b"0123WXYZ89abcdefghij"


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a server.

    Attributes:
        tried: False: the trial itself was refused, nothing is known.
        product: the program, if it is one whose ways are known.
        positioned: REST + STOR writes at an offset and leaves the rest alone.
        appends: APPE works.
        readable: what was stored can be read, from any offset.
        replaces: RNTO takes the place of an existing file.
        leaves_holes: REST + STOR of a file that is not there makes one that begins with a hole
            (vsftpd; ProFTPD and pyftpdlib refuse).
    """

    tried: bool = False
    product: str | None = None
    positioned: bool = False
    appends: bool = False
    readable: bool = False
    replaces: bool = False
    leaves_holes: bool = False

    @property
    def atomic_replace(self) -> bool:
        """RNTO replaces in one step, as far as anybody can know."""
        return self.replaces and self.product is not None


def product_of(session: Session, *, may_ask: bool) -> str | None:
    """The server's program, if its ways are known: by its greeting, or by STAT."""
    words = session.greeting
    found = next((name for name in _KNOWN if name in words), None)
    if found is None and may_ask:
        words = session.control.ask(b"STAT").lowered
        found = next((name for name in _KNOWN if name in words), None)
    return found


def try_out(session: Session, folder: str, scratch: str, product: str | None) -> Learned:
    """Find out, in ``folder``, which is made if it is not there.

    Args:
        scratch: beginning of a name that nobody else uses.
        product: see :func:`product_of`.

    Raises:
        LinkError: the connection broke, or the server's disk is full, so that what it can do
            remains unknown.
    """
    try:
        return _try_out(session, folder, scratch, product)
    except RemoteError as error:  # RemoteFull; nothing else may leave connect() either
        raise LinkError(error.message, operation=error.operation, path=error.path) from error


def _try_out(session: Session, folder: str, scratch: str, product: str | None) -> Learned:
    first, second = (posixpath.join(folder, f"{scratch}{end}") for end in "ef")
    transfers = Transfers(session)
    files = Files(session, transfers)
    learned = Learned(product=product)
    try:
        _begin(transfers, files, first, folder)
    except RemoteFull:
        raise
    except RemoteError:
        return learned
    learned = replace(learned, tried=True)
    readable = _reads(transfers, first, _FIRST)
    positioned = _is_positioned(transfers, files, first, readable=readable)
    learned = replace(learned, readable=readable, positioned=positioned)
    if positioned:
        learned = replace(learned, leaves_holes=_leaves_holes(transfers, files, second))
    else:
        learned = replace(learned, appends=_appends(transfers, files, first))
    learned = replace(learned, replaces=_replaces(transfers, files, first, second))
    for path in (first, second):
        with contextlib.suppress(RemoteError):
            files.remove(path)
    return learned


def limits_of(
    learned: Learned, session: Session, *, encrypted: bool, consumed: bool = False
) -> tuple[str, ...]:
    """What the server lacks and what that costs, in words.

    Args:
        consumed: a consumer takes files away.
    """
    limits = []
    if not encrypted:
        limits.append(
            "plain FTP: anybody on the way can read and change the password and the data; "
            "ftps:// or sftp:// would prevent it"
        )
    if not learned.tried:
        limits.append(
            "it refuses a trial file, so nothing is known of what it can do: growing files are "
            "sent as a whole each time"
        )
        return tuple(limits)
    if not learned.positioned and learned.appends:
        limits.append(
            "it can't write at an offset: growing files are continued by APPE, after a break only "
            "when their size has held still for 10 s"
        )
    if learned.leaves_holes and consumed:
        limits.append(
            "where a consumer has just taken a file, a write at an offset would make one with a "
            "hole: growing files are continued by APPE, after a break or a restart only when their "
            "size has held still for 10 s"
        )
    if not learned.positioned and not learned.appends:
        limits.append(
            "it can't continue a file: growing files are sent as a whole each time, and an upload "
            "that breaks begins again"
        )
    if not learned.atomic_replace:
        limits.append(
            "it is not known to replace a file in one step: while a new version takes its place "
            "there is for a moment no file"
        )
    if not learned.readable:
        limits.append(
            "what it holds can't be read back at an offset: after a break bytes may be sent again "
            "that were there"
        )
    if not session.has("MLST") and not session.has("MDTM"):
        limits.append(
            "it tells no times: after each new connection the end of a file is read back before "
            "it is continued"
        )
    return tuple(limits)


def told_of(learned: Learned) -> frozenset[str]:
    """Which abilities :func:`limits_of` tells of, where they are missing."""
    of_all = {"positioned_write"}
    return frozenset(of_all | {"atomic_replace", "readable"} if learned.tried else of_all)


def _begin(transfers: Transfers, files: Files, path: str, folder: str) -> None:
    try:
        transfers.store(path, memoryview(_FIRST))
        return
    except RemoteError as error:
        if not isinstance(files.why_not_written(error, path), RemoteNotFound):
            raise
    parts = folder.split("/")
    for count in range(1, len(parts) + 1):
        parent = "/".join(parts[:count])
        if parent:
            with contextlib.suppress(RemoteError):
                files.make_dir(parent)
    transfers.store(path, memoryview(_FIRST))


def _reads(transfers: Transfers, path: str, expected: bytes) -> bool:
    """Whether all of it can be read, and its end alone."""
    try:
        whole = transfers.fetch(path, 0, len(expected) + 1)
        return whole == expected and transfers.fetch(path, 4, len(expected)) == expected[4:]
    except RemoteFull:
        raise
    except RemoteError:
        return False


def _is_positioned(transfers: Transfers, files: Files, path: str, *, readable: bool) -> bool:
    try:
        transfers.store(path, memoryview(_WHOLE)[4:8], offset=4)
        if files.size(path) != len(_FIRST):
            return False
        transfers.store(path, memoryview(_WHOLE)[14:], offset=14)
        if files.size(path) != len(_WHOLE):
            return False
    except RemoteFull:
        raise
    except RemoteError:
        return False
    return not readable or _reads(transfers, path, _WHOLE)


def _leaves_holes(transfers: Transfers, files: Files, path: str) -> bool:
    try:
        transfers.store(path, memoryview(b"end"), offset=5)
    except RemoteFull:
        raise
    except RemoteError:
        return False
    try:
        return (files.size(path) or 0) > 5
    except RemoteFull:
        raise
    except RemoteError:
        return True  # it took the bytes, wherever it put them


def _appends(transfers: Transfers, files: Files, path: str) -> bool:
    try:
        before = files.size(path)
        transfers.store(path, memoryview(b"+"), append=True)
        return before is not None and files.size(path) == before + 1
    except RemoteFull:
        raise
    except RemoteError:
        return False


def _replaces(transfers: Transfers, files: Files, old: str, new: str) -> bool:
    try:
        transfers.store(new, memoryview(b"new"))
        files.rename(new, old, replace=True)
        return files.size(old) == 3 and files.size(new) is None
    except RemoteFull:
        raise
    except RemoteError:
        return False
