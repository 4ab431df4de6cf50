"""A lock on a file that the system drops with its holder, however that ends.

POSIX: flock(2), which is held by the open file. Windows: filelock, which is loaded there only: with
what it imports it takes 5 MB and 35 ms, and most of it is about locks that are mere files.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Protocol

__all__ = ["HeldFile", "file_lock"]


class HeldFile(Protocol):
    """One lock, held by one process at a time."""

    def acquire(self) -> bool:
        """Take it now; False if somebody else has it.

        Raises:
            OSError: it can't be told who has it: no such folder, no locks on this file system …
        """

    def release(self) -> None:
        """Let go of it. The file stays: who waits for it waits for this very file."""


def file_lock(path: str) -> HeldFile:
    """The lock at ``path``, not taken yet."""
    if sys.platform != "win32":
        return _ByFlock(path)
    return _ByFilelock(path)


if sys.platform != "win32":
    import fcntl

    class _ByFlock:
        """flock(2): NFS since Linux 2.6.12 turns it into a lock of the server."""

        def __init__(self, path: str) -> None:
            self._path = path
            self._fd = -1

        def acquire(self) -> bool:
            # not truncated, not followed: a link under this name would lead elsewhere
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            fd = os.open(self._path, flags, 0o600)
            taken = False
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    # some file systems say EACCES for "held by another"
                    if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK):
                        return False
                    raise
                taken = self._is_there(fd)
            finally:
                if not taken:
                    os.close(fd)
            if taken:
                self._fd = fd
            return taken

        def _is_there(self, fd: int) -> bool:
            """Whether others find this one under the name: it may have been deleted since."""
            try:
                return os.path.samestat(os.fstat(fd), os.stat(self._path))
            except FileNotFoundError:
                return False

        def release(self) -> None:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)


class _ByFilelock:
    """LockFile(), with what filelock knows about its failures."""

    def __init__(self, path: str) -> None:
        import filelock

        # A lock that is a mere file would outlive its holder's death, so no such fall-back.
        self._lock = filelock.FileLock(
            path, blocking=False, thread_local=False, fallback_to_soft=False
        )
        self._held_by_another = filelock.Timeout

    def acquire(self) -> bool:
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._lock.acquire(blocking=False)
        except self._held_by_another:
            return False
        except NotImplementedError as error:  # older releases of filelock for ENOSYS
            raise OSError(errno.ENOSYS, str(error)) from None
        return True

    def release(self) -> None:
        self._lock.release(force=True)
