"""Is the destination folder the one that it was? A mount may vanish and leave its bare mount point.

A share that is unmounted, or a stick that is pulled, leaves an ordinary folder on the local disk.
What was written there would fill that disk, reach nobody, and lie hidden below the next mount. So
a destination that lies on a mount gets a marker at the first contact, ``.pysubtask-destination``,
and the state folder notes where it was. From then on nothing is written there without one of them:

- the marker is there: it is a destination of ours, wherever it is mounted now. That its id is
  another one (sticks that are swapped) is as good: the plan sends what is missing there.
- no marker, but the same device at the same mount point: somebody emptied the folder. It is marked
  anew.
- else it is refused, until the share is back, or somebody makes the marker by hand (an empty file
  will do).

A folder on the root file system gets no marker, and nothing is asked of it. Device numbers alone
would not do: they are given anew at each mount (``stat(2)``; NFS, SMB and tmpfs take the next
anonymous one, a stick the next ``sdX``), so the same share has another one after a reboot, and
another share may have the same.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pysubtask.errors import LinkError, LinkLost
from pysubtask.transports.beneath import keep_inside
from pysubtask.transports.notes import Notes

__all__ = ["MARKER", "MountRule", "Root", "is_gone", "mount_point"]

MARKER = ".pysubtask-destination"
MountRule = Literal["auto", "required", "ignored"]

_MARKER_BYTES = 4096
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_UNTRUSTED = _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""It may be a link to another file, or a named pipe that nobody reads."""
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_HAS_DIR_FD = os.name == "posix"
_GONE = frozenset(
    getattr(errno, name)
    for name in (
        "EIO",  # a disk that was pulled; also a bad block: whoever asks looks at the folder
        "ENODEV",
        "ENXIO",
        "ENOMEDIUM",
        "ESTALE",  # NFS: the server does not know the handle any more
        "ENOTCONN",  # FUSE: the process behind it is gone ("transport endpoint …")
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ESHUTDOWN",
        "ETIMEDOUT",  # NFS with "soft", SMB
    )
    if hasattr(errno, name)
)
_MAKE_ONE = f"mount it; if this is the new place, make an empty file {MARKER} there"


def is_gone(error: OSError) -> bool:
    """Whether the error may mean that the whole file system is gone."""
    return error.errno in _GONE


def mount_point(path: str) -> str | None:
    """Where the file system of the folder ``path`` is mounted; None for the root file system.

    On Windows always None: a drive that is not there leaves no folder behind.
    """
    if os.name == "nt":
        return None
    place = os.path.realpath(path)
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return None if os.path.dirname(place) == place else place


class Root:
    """The destination folder, watched over.

    Args:
        path: absolute.
        notes: what is remembered of it.
        rule: ``auto``: as the module says. ``required``: it has to lie on a mount, from the first
            contact on. ``ignored``: none of this.
        new_id: for a marker that has to be made.
    """

    def __init__(self, path: str, notes: Notes, rule: MountRule, new_id: str) -> None:
        self.path = path
        self._notes = notes
        self._rule = rule
        self._new_id = new_id
        self._device: int | None = None
        self.limits: tuple[str, ...] = ()

    def check(self) -> None:
        """Look whether it is there, and the one that it was; mark it, if need be.

        Raises:
            LinkError: it is not, in words.
        """
        self._device = None
        try:
            self._check()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise LinkError(
                    "the folder is not there",
                    operation="connect",
                    path=self.path,
                    hint="make it, or mount the share that holds it",
                ) from error
            raise LinkError(
                error.strerror or str(error), operation="connect", path=self.path
            ) from error

    def _check(self) -> None:
        with self._opened() as at:
            device = self._device_of(at)
            _peep(self.path if at is None else at)
            mount = mount_point(self.path)
            if self._rule != "ignored":
                self._identify(at, mount, device)
            if os.stat(self.path).st_dev != device:
                raise self._other("changed in this moment")
        self._device = device

    def _identify(self, at: int | None, mount: str | None, device: int) -> None:
        noted = self._notes.read()
        if noted.get("path") != self.path:
            noted = {}
        if self._rule == "required" and mount is None:
            raise LinkError(
                "nothing is mounted there (folder_mount says that it has to be)",
                operation="connect",
                path=self.path,
                hint="mount the share that holds it",
            )
        marker = self._read_marker(at)
        was = noted.get("mount")
        if marker is None and was is not None:
            if mount != was:
                raise self._other(f"nothing is mounted at {was}")
            if noted.get("id") is not None and noted.get("device") != device:
                raise self._other(f"it has no {MARKER}")
        if mount is None and not marker:
            if was is not None:  # a marker made by hand says that this is the new place
                self._remember({})
            return
        self.limits = ()
        if not marker:
            marker = self._make_marker(at, is_new=marker is None)
        self._remember({"path": self.path, "mount": mount, "id": marker, "device": device})

    def _remember(self, value: dict[str, object]) -> None:
        try:
            self._notes.write(value)
        except OSError:
            pass  # it is in memory; with a full local disk there is other trouble to tell of

    def _other(self, why: str) -> LinkError:
        return LinkError(
            f"the folder is on another file system than before: {why}; nothing is written there",
            operation="connect",
            path=self.path,
            hint=_MAKE_ONE,
        )

    def _read_marker(self, at: int | None) -> str | None:
        """Its id; "" if it holds none; None if there is none."""
        try:
            fd = os.open(self.name(MARKER, at), os.O_RDONLY | _UNTRUSTED, dir_fd=at)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                return None  # a link: not ours
            if not isinstance(error, PermissionError):
                raise
            return "?"  # somebody made it: that it is there is enough
        try:
            text = os.read(fd, _MARKER_BYTES)
        finally:
            os.close(fd)
        try:
            value = json.loads(text)
        except ValueError:
            return ""
        found = value.get("id") if isinstance(value, dict) else None
        return found if isinstance(found, str) else ""

    def _make_marker(self, at: int | None, *, is_new: bool) -> str | None:
        text = json.dumps({"id": self._new_id, "about": "pysubtask delivers to this folder"})
        try:
            flags = os.O_WRONLY | _UNTRUSTED | (os.O_CREAT | os.O_EXCL if is_new else 0)
            fd = os.open(self.name(MARKER, at), flags, 0o644, dir_fd=at)
            try:
                os.write(fd, text.encode("ascii") + b"\n")
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            words = (
                f"no {MARKER} can be made there ({error.strerror}): another file system that is "
                "mounted at the same place can't be told from this one"
            )
            self.limits = (words,)
            return None
        return self._new_id

    @contextmanager
    def at(self) -> Iterator[int | None]:
        """The folder, open, for calls that take ``dir_fd``; None where there are none (Windows).

        Whatever is mounted or unmounted meanwhile, what is done by it is done in this folder, on
        the file system that :meth:`check` saw.

        Raises:
            LinkLost: it is not there any more, or on another file system.
        """
        try:
            with self._opened() as at:
                if self._device_of(at) != self._device:
                    raise LinkLost(
                        "the folder is on another file system than before: it was unmounted, or "
                        "something was mounted over it",
                        operation="deliver to",
                        path=self.path,
                    )
                yield at
        except FileNotFoundError as error:
            if error.filename == self.path:
                raise LinkLost(
                    "the folder is not there any more",
                    operation="deliver to",
                    path=self.path,
                    hint="mount the share that holds it",
                ) from error
            raise

    def lost(self, error: OSError) -> LinkLost | None:
        """What the error of a call means for the whole folder; None if the folder is well."""
        if not is_gone(error):
            return None
        try:
            _peep(self.path)
        except OSError as now:
            return LinkLost(
                f"the folder can't be reached any more: {now.strerror or now}",
                operation="deliver to",
                path=self.path,
            )
        return None

    def keep_inside(self, path: str) -> None:
        """Look whether the links in ``path`` lead out of the folder.

        Raises:
            RemoteDenied: so they do.
        """
        keep_inside(self.path, path)

    def name(self, path: str, at: int | None) -> str:
        """``path`` as a call takes it that gets ``dir_fd=at``."""
        full = os.path.join(self.path, path) if path else self.path
        if at is None:
            return full
        base = self.path.rstrip("/")
        if full.rstrip("/") == base:
            return "."
        return full[len(base) + 1 :] if full.startswith(f"{base}/") else full

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        if not _HAS_DIR_FD:
            yield None
            return
        fd = os.open(self.path, _FOLDER)
        try:
            yield fd
        finally:
            os.close(fd)

    def _device_of(self, at: int | None) -> int:
        return (os.stat(self.path) if at is None else os.fstat(at)).st_dev


def _peep(folder: str | int) -> None:
    """Read the folder's first entry: an error, if it can't be read. It may hold very many."""
    with os.scandir(folder) as entries:
        next(entries, None)
