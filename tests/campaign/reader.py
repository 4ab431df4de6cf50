"""Readers of the destination: they look all the time and judge what they see.

:class:`DiskReader` looks at the server's folder itself, sees every byte as it is written, and keeps
rotated files open: when another takes their place, the former one is read to its end, which tells
whether it was complete. :class:`SftpReader` looks through the server, as a
consumer on another machine does.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import stat
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import paramiko
from inotify_simple import INotify, flags

from tests.campaign.content import Contents, Judgement
from tests.campaign.host import ROTATED

__all__ = ["DiskReader", "Reader", "SftpReader"]

_OURS = ".pysubtask-"
_HELD = "rotated-"
_ASIDE = re.compile(r"~(\d{8}T\d{6}Z|\d+-\d+)(~\d+)?$")
_CHECK_WHOLE_BYTES = 2 << 20
_WHOLE_EVERY_SECS = 2.0


class Reader:
    """What every reader notes.

    Attributes:
        looks: how many files were read.
        rounds: how often all files were looked at.
        torn: what was wrong, each with the file's name; a version or a size that went back is
            wrong too.
        complete: the greatest size seen of each generation of a rotated file, by name.
        replaced: generations that were seen to be replaced, with their size then.
    """

    may_vanish = False
    """Whether for a moment no file may be there, since the server can't replace in one step."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.looks = self.rounds = 0
        self.torn: list[str] = []
        self.complete: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.replaced: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self.aside: set[str] = set()
        self._last: dict[str, Judgement] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._crash: BaseException | None = None

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)
        if self._thread.is_alive():
            raise RuntimeError("the reader is stuck")
        if self._crash is not None:
            raise self._crash

    def _run(self) -> None:
        try:
            self._watch()
        except BaseException as error:
            self._crash = error

    def _watch(self) -> None:
        raise NotImplementedError

    def _judge(self, name: str, data: bytes) -> None:
        self.looks += 1
        seen = self._contents.judge(name, data)
        before = self._last.get(name)
        self._last[name] = seen
        wrong = seen.wrong
        if wrong is None and before is not None and before.number is not None:
            now = seen.number if seen.number is not None else before.number
            if now < before.number:
                wrong = f"went back from {before.number} to {now}"
            elif seen.number == before.number and seen.size < before.size:
                wrong = f"went back from {before.size} to {seen.size} bytes"
        if wrong is not None:
            self.torn.append(f"{name}: {wrong}")
        elif seen.number is not None:
            sizes = self.complete[name]
            sizes[seen.number] = max(sizes[seen.number], seen.size)

    def committed(self, path: str, file: pathlib.Path) -> None:
        """What a server says that it has put in place: no look is so quick that it sees all of
        what is replaced within milliseconds."""
        name = path.rpartition("/")[2]
        if name not in ROTATED:
            return
        seen = self._contents.judge(name, file.read_bytes())
        if seen.wrong is None and seen.number is not None:
            sizes = self.complete[name]
            sizes[seen.number] = max(sizes[seen.number], seen.size)

    def _vanished(self, name: str) -> None:
        if not self.may_vanish and name in self._last:
            self.torn.append(f"{name}: was not there for a moment")


class DiskReader(Reader):
    """Looks at the folders of the server on this machine, whenever something changes in them."""

    def __init__(self, contents: Contents, folders: list[pathlib.Path]) -> None:
        super().__init__(contents)
        self._folders = folders
        self._open: dict[str, tuple[int, int]] = {}
        self._checked: dict[str, tuple[int, int, float]] = {}

    def _watch(self) -> None:
        with INotify() as events:
            watched: dict[int, pathlib.Path] = {}
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
                mask = (
                    flags.MODIFY | flags.MOVED_TO | flags.CREATE | flags.DELETE | flags.MOVED_FROM
                )
                watched[events.add_watch(folder, mask)] = folder
            try:
                while not self._stopping.is_set():
                    found = events.read(timeout=200)
                    names = {watched[e.wd] / e.name for e in found if e.wd in watched}
                    if not found or any(e.mask & flags.Q_OVERFLOW for e in found):
                        names = {p for folder in self._folders for p in folder.iterdir()}
                        self.rounds += 1
                    for path in sorted(names):
                        self._look(path)
                    time.sleep(0.001)
            finally:
                for path in [p for folder in self._folders for p in folder.iterdir()]:
                    self._look(path)
                for fd, _ in self._open.values():
                    os.close(fd)

    def _look(self, path: pathlib.Path) -> None:
        name = path.name
        if name.startswith(_OURS) or path.is_dir():
            return
        if _ASIDE.search(name):
            self.aside.add(name)
            return
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            self._vanished(name)
            return
        inode = os.fstat(fd).st_ino
        try:
            self._read(name, fd, inode)
        finally:
            if name.startswith(_HELD):
                self._hold(name, fd, inode)
            else:
                os.close(fd)

    def _hold(self, name: str, fd: int, inode: int) -> None:
        held = self._open.get(name)
        if held is not None and held[1] == inode:
            os.close(fd)
            return
        self._open[name] = fd, inode
        if held is not None:
            self._let_go(name, held[0])

    def _read(self, name: str, fd: int, inode: int) -> None:
        size = os.fstat(fd).st_size
        now = time.monotonic()
        before = self._checked.get(name)
        if (
            size > _CHECK_WHOLE_BYTES
            and before is not None
            and before[0] == inode
            and now - before[2] < _WHOLE_EVERY_SECS
        ):
            self._read_end(name, fd, size, before)
            return
        data = _read_all(fd)
        self._judge(name, data)
        self._checked[name] = inode, len(data), now

    def _read_end(self, name: str, fd: int, size: int, before: tuple[int, int, float]) -> None:
        """What was added to a long file; all of it is read now and then."""
        inode, former_size, read_whole_at = before
        start = max(0, former_size - 4096)
        data = os.pread(fd, size - start, start)
        end = start + len(data)
        self.looks += 1
        if data != self._contents.stream(name, 0, start, end):
            self.torn.append(f"{name}: wrong between {start} and {end}")
        if end < former_size:
            self.torn.append(f"{name}: went back to {end} bytes")
        self._checked[name] = inode, end, read_whole_at

    def _let_go(self, name: str, fd: int) -> None:
        """Another file has taken its place: note what the former one had at last."""
        data = _read_all(fd)
        os.close(fd)
        seen = self._contents.judge(name, data)
        if seen.wrong is not None:
            self.torn.append(f"{name}: {seen.wrong} when it was replaced")
        elif seen.number is not None:
            sizes = self.complete[name]
            sizes[seen.number] = max(sizes[seen.number], seen.size)
            self.replaced[name][seen.number] = seen.size


def _read_all(fd: int) -> bytes:
    parts = []
    at = 0
    while data := os.pread(fd, 1 << 22, at):
        parts.append(data)
        at += len(data)
    return b"".join(parts)


class SftpReader(Reader):
    """Looks through the server, over a connection of its own that it makes again when it breaks."""

    def __init__(
        self,
        contents: Contents,
        folders: list[str],
        connect: Callable[[], paramiko.Transport],
        *,
        may_vanish: bool,
    ) -> None:
        super().__init__(contents)
        self._folders = folders
        self._connect = connect
        self.may_vanish = may_vanish

    def _watch(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(paramiko.SSHException, EOFError, ConnectionError):
                transport = self._connect()
                try:
                    sftp = paramiko.SFTPClient.from_transport(transport)
                    assert sftp is not None
                    sftp.get_channel().settimeout(20)
                    while not self._stopping.is_set():
                        self._look_at_all(sftp)
                        self.rounds += 1
                        self._stopping.wait(0.005)
                finally:
                    transport.close()
            self._stopping.wait(0.1)

    def _look_at_all(self, sftp: paramiko.SFTPClient) -> None:
        for folder in self._folders:
            try:
                entries = sftp.listdir_attr(folder)
            except FileNotFoundError:
                continue
            for entry in entries:
                if entry.filename.startswith(_OURS) or stat.S_ISDIR(entry.st_mode or 0):
                    continue
                if _ASIDE.search(entry.filename):
                    self.aside.add(entry.filename)
                    continue
                with (
                    contextlib.suppress(FileNotFoundError),
                    sftp.open(f"{folder}/{entry.filename}", "rb") as file,
                ):
                    self._judge(entry.filename, file.read())
                if self._stopping.is_set():
                    return
