"""The small files by which master and subtask speak to each other.

==================================  =========  ==================================================
``<file>.notify``                   master →   the touch: "this file has new data"; a difference
                                               in its mtime or ctime is the message
``<state>/notify/<hash>.notify``    master →   the same, where the first can't be written; the
                                               file's content is the path (bytes of the name)
``<state>/requests/<id>.ask``       master →   a question (JSON), see :class:`Ask`
``<state>/requests/<id>.answer``    ← subtask  its answer (JSON)
``<state>/stop``                    master →   leave (JSON: ``by``, ``pid``, ``token``)
``<state>/alive``                   ← subtask  its mtime is the subtask's last sign of life
``<state>/status.json``             ← subtask  what :meth:`TaskMaster.status` shows
``<state>/arrivals/<hash>.json``    ← subtask  a file that was fetched
``<file>.arrived``                  ← subtask  the touch the other way: ``file`` was fetched
==================================  =========  ==================================================

JSON files appear by rename, so that nobody reads half of one.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from pysubtask.suffixes import HEARTBEAT_SUFFIX, NOTIFY_SUFFIX
from pysubtask.systems import windows

__all__ = [
    "HEARTBEAT_SUFFIX",
    "NOTIFY_SUFFIX",
    "TOUCHED",
    "Ask",
    "StateLayout",
    "blank_mark",
    "is_blank_touch",
    "json_object",
    "made_at_ns",
    "make_blank_notify",
    "next_touch_ns",
    "notify_path",
    "read_json",
    "touch",
    "write_json",
]

Ask: TypeAlias = Literal["flush", "snapshot", "status", "pull"]
"""``{"ask": "flush"}``: answered ``{"ok": true}`` when all that was notified before is delivered.
``{"ask": "snapshot", "path", "mtime_ns"}``: answered ``{"ok": true}`` when the snapshot for that
touch is taken. ``{"ask": "status", "path"}``: answered ``{"file": {…} | null}`` at once.
``{"ask": "pull"}``: answered ``{"ok": true}`` when all sources were looked at and what they had is
here, or was refused. With ``"purpose"`` (:func:`pysubtask.handover.purpose_of`) a subtask that is
there for something else answers ``{"ok": false}``: another program's may have taken over.
"""

# NTFS keeps times in units of 100 ns, and Windows' clock may stand still for 15 ms: a step of 1 ns
# would leave the same time stamp. (MS-FSCC 2.1.1; time.time_ns in the Python documentation)
_STEP_NS = 100 if sys.platform == "win32" else 1
_SET_BACK_NS = 4_000_000_000
_CREATE = os.O_WRONLY | os.O_CREAT
for _name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"):  # each where there is such a thing
    _CREATE |= getattr(os, _name, 0)


def notify_path(path: str) -> str:
    """The file whose touch says that ``path`` has new data."""
    return path + NOTIFY_SUFFIX


def next_touch_ns(last_ns: int, now_ns: int) -> int:
    """The modified time for the next touch: now, and never the same as the last one.

    Touches that come faster than the clock ticks are a step apart. After a clock that was set back
    the new time is taken as it is: it differs as well, even on FAT, which keeps only each 2 s.
    """
    if now_ns > last_ns or last_ns - now_ns > _SET_BACK_NS:
        return now_ns
    return last_ns + _STEP_NS


def touch(notify_file: str, last_ns: int, *, content: bytes = b"") -> int:
    """Give a ``.notify`` file a modified time that it never had, making the file if need be.

    A couple of local file-system calls and nothing else.

    Args:
        notify_file: the file to touch.
        last_ns: the greatest time stamp (ns since 1970) that this process gave it before.
        content: what to write into the file if it has to be made.

    Returns:
        The modified time now in place: :func:`next_touch_ns`, or what the system put in where
        the file belongs to another user, who alone may choose it (utime(2), EPERM).

    Raises:
        OSError: it could not be touched.
    """
    ns = next_touch_ns(last_ns, time.time_ns())
    try:
        os.utime(notify_file, ns=(ns, ns))
    except FileNotFoundError:
        fd = os.open(notify_file, _CREATE, 0o666)
        try:
            if content:
                os.write(fd, content)
        finally:
            os.close(fd)
        os.utime(notify_file, ns=(ns, ns))
    except PermissionError:
        os.utime(notify_file)
        return os.stat(notify_file).st_mtime_ns
    return ns


class StateLayout:
    """Where everything lies in a state folder."""

    def __init__(self, state_dir: str) -> None:
        join = os.path.join
        self.state_dir = state_dir
        self.journal = join(state_dir, "journal")
        """The journal: delivered state and outbox."""
        self.outbox = join(state_dir, "outbox")
        """Folder of copies of undelivered data."""
        self.signatures = join(state_dir, "signatures")
        """Folder of what is remembered of contents that were sent, to send their changes only."""
        self.blanks = join(state_dir, "blanks.json")
        """When the ``.notify`` files were made that nobody has touched yet."""
        self.budget = join(state_dir, "budget.json")
        """How much of the day's bytes and deliveries is used up."""
        self.destination = join(state_dir, "destination.json")
        """What is remembered of the destination (which file system a folder is on)."""
        self.pulls = join(state_dir, "pulls")
        """Folder of the journals of what is fetched, one for each source."""
        self.arrivals = join(state_dir, "arrivals")
        """Folder of what the program is told of fetched files (:mod:`pysubtask.arrivals`)."""
        self.lock = join(state_dir, "lock")
        """Held by the one subtask that may use the folder."""
        self.holder = join(state_dir, "holder.json")
        """Who holds the lock: pid, start time, token."""
        self.stop = join(state_dir, "stop")
        """Asks the holder to leave."""
        self.status = join(state_dir, "status.json")
        self.alive = join(state_dir, "alive")
        """Its modified time is the subtask's last sign of life."""
        self.stderr = join(state_dir, "stderr")
        """What the subtask wrote to its standard error, cut when it grows: last words."""
        self.requests = join(state_dir, "requests")
        """Folder of questions and answers."""
        self.notify_dir = join(state_dir, "notify")
        """Folder of ``.notify`` files that can't lie beside their file."""

    def ask_path(self, request_id: str) -> str:
        """The question with this id (16 hex digits)."""
        return os.path.join(self.requests, f"{request_id}.ask")

    def answer_path(self, request_id: str) -> str:
        """The answer to the question with this id."""
        return os.path.join(self.requests, f"{request_id}.answer")

    def fallback_notify_path(self, path: str) -> str:
        """The touch of ``path`` where none can lie beside it. Its content is ``path``'s bytes."""
        from pysubtask.blake import blake2b  # late: rarely needed

        digest = blake2b(os.fsencode(path), digest_size=16).hexdigest()
        return os.path.join(self.notify_dir, digest + NOTIFY_SUFFIX)


def write_json(path: str, value: dict[str, Any]) -> None:
    """Put a JSON file in place in one step.

    Raises:
        OSError: it could not be written; no half file stays.
    """
    data = json.dumps(value, ensure_ascii=True).encode("ascii")
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    fd = os.open(temporary, _CREATE | os.O_EXCL, 0o600)
    try:
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        if sys.platform == "win32":
            windows.replace(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def read_json(path: str, limit_bytes: int = 16 << 20) -> dict[str, Any] | None:
    """A JSON file's object; None if it is missing, unreadable, too big or no JSON object."""
    try:
        # a plain open() would keep the other side from replacing the file meanwhile
        opener = windows.opener if sys.platform == "win32" else None
        with open(path, "rb", opener=opener) as file:
            data = file.read(limit_bytes + 1)
    except OSError:
        return None
    return json_object(data) if len(data) <= limit_bytes else None


def json_object(data: bytes) -> dict[str, Any] | None:
    """The object that JSON text says; None if it says none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_BLANK_BEFORE_NS = 400_000_000 * 1_000_000_000
"""September 1982: later than FAT's oldest date (1 January 1980, any time zone)."""


def make_blank_notify(notify_file: str, *, content: bytes = b"") -> None:
    """Make a ``.notify`` that nobody has touched yet, if there is none.

    ``start()`` makes them, so that a touch needs no space later. Their modified time is 1970, which
    no touch gives, and so they are told from one. It is set under another name, which is then
    linked into place: set afterwards, it could undo a touch that another thread just made. Where
    there are no hard links (FAT under Linux) none is made, and the first touch makes it.

    Raises:
        OSError: it could not be made.
    """
    if os.path.lexists(notify_file):
        return
    folder = os.path.dirname(notify_file)
    temporary = os.path.join(folder, f".pysubtask-{os.urandom(8).hex()}")
    fd = os.open(temporary, _CREATE | os.O_EXCL, 0o666)
    try:
        try:
            if content:
                os.write(fd, content)
        finally:
            os.close(fd)
        os.utime(temporary, ns=(0, 0))
        if sys.platform == "win32":
            os.rename(temporary, notify_file)  # refuses to replace (os.rename, Windows)
        else:
            os.link(temporary, notify_file)
    except FileExistsError:
        pass
    except OSError as error:
        # link(2): EPERM, the file system has no hard links
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
    finally:
        try:
            os.unlink(temporary)
        except OSError:
            pass


def is_blank_touch(mtime_ns: int) -> bool:
    """Whether a ``.notify`` with this modified time was made but never touched."""
    return mtime_ns < _BLANK_BEFORE_NS


TOUCHED = -1
"""A :func:`blank_mark` that no blank ``.notify`` has."""


def blank_mark(*notify_files: str) -> int | None:
    """What the ``.notify`` of a file is like, in all its places: who looks later can tell whether
    it is another.

    Returns:
        When it was made (ns; the sum, if both places are in use), if nobody has touched it yet;
        :data:`TOUCHED` if somebody has; None if there is none, or it is just being made.
    """
    found = []
    for path in notify_files:
        try:
            st = os.stat(path)
        except OSError:
            continue
        if not is_blank_touch(st.st_mtime_ns):
            return TOUCHED
        found.append((st.st_ctime_ns, st.st_nlink if sys.platform != "win32" else 1))
    return made_at_ns(found) if found else None


def made_at_ns(found: Iterable[tuple[int, int]]) -> int | None:
    """When a blank ``.notify`` was made: the same by whoever looks, for it is compared.

    Args:
        found: changed time (ns) and number of names of the one or two that there are.

    Returns:
        The sum; None if one is just being made: with two names (:func:`make_blank_notify`) its
        changed time moves once more.
    """
    times, names = zip(*found, strict=True)
    return None if max(names) > 1 else sum(times)
