"""Writing one piece of a file, by whatever the server turned out to be able to do.

Each of these ways leaves what it acknowledged, and never a hole, whoever takes the file meanwhile.
"""

from __future__ import annotations

import posixpath

from pysubtask.errors import RemoteError, RemoteNotFound, RemoteUnsupported
from pysubtask.seams.clock import Clock
from pysubtask.transports.ftp.appending import Appending
from pysubtask.transports.ftp.files import Files
from pysubtask.transports.ftp.login import Session
from pysubtask.transports.ftp.streaming import Stream
from pysubtask.transports.ftp.transfers import Transfers
from pysubtask.transports.ftp.trial import Learned

__all__ = ["SLICE_SECS", "TEMP_PREFIX", "Writing", "is_temp"]

TEMP_PREFIX = ".pysubtask-"
SLICE_SECS = 5.0
"""After so long a transfer ends in order, and what is left goes into the next one: so a break
costs no more, and others get their turn."""


class Writing:
    """The writes of one session.

    Args:
        scratch: the path of a temporary file that no upload has.
        consumed: a consumer takes files away (``on_remote_gone="continue"``).
    """

    def __init__(
        self,
        session: Session,
        transfers: Transfers,
        files: Files,
        appending: Appending,
        clock: Clock,
        learned: Learned,
        *,
        scratch: str,
        consumed: bool,
    ) -> None:
        self._session = session
        self._transfers = transfers
        self._files = files
        self._appending = appending
        self._clock = clock
        self._learned = learned
        self._scratch = scratch
        self._consumed = consumed
        self.stream: Stream | None = None
        """The upload that is open, on a server that can't continue a file."""

    def store(self, path: str, offset: int, data: memoryview, *, create: bool) -> int:
        """Have the data there; how many bytes of it the server has acknowledged.

        Raises:
            RemoteError: refused. The file holds what it held, or the beginning of the data.
        """
        temp = is_temp(path)
        size: int | None = None
        if offset or not (create and temp):
            size = self._files.size(path)
            if size is None and (offset or not create):
                raise RemoteNotFound("there is no such file", operation="write", path=path)
            if size is not None and offset > size:
                raise RemoteError(
                    f"it has {size} bytes: writing at {offset} would leave a hole",
                    operation="write",
                    path=path,
                )
        try:
            if not self._learned.positioned:
                return self._store_at_end(path, offset, data, size, temp=temp)
            if offset == 0 and size and not temp:
                # STOR without REST would empty it for a moment. That its first byte is ours is
                # known, or not to be known: see Append.longer in core/plan.py.
                return 1 + self._put(path, 1, data[1:], None) if len(data) > 1 else 1
            if self._consumed and self._learned.leaves_holes and size is not None and not temp:
                return self._append_visible(path, offset, data, size)
            check = offset and not temp and self._files.has_size
            return self._put(path, offset, data, size if check else None)
        except RemoteError as error:
            raise self._files.why_not_written(error, path) from error

    def make_empty(self, path: str, *, create: bool) -> int:
        """Have a file there, empty if it is a new one; gives its size.

        Raises:
            RemoteError: refused.
        """
        size = self._files.size(path)
        if size is not None:
            return size
        if not create:
            raise RemoteNotFound("there is no such file", operation="write", path=path)
        try:
            self._transfers.store(path, memoryview(b""))
        except RemoteError as error:
            raise self._files.why_not_written(error, path) from error
        return 0

    def _put(self, path: str, offset: int, data: memoryview, expected_size: int | None) -> int:
        until = self._clock.monotonic() + SLICE_SECS
        self._appending.unsettle(path)
        sent = self._transfers.store(
            path,
            data,
            offset=offset,
            expected_size=expected_size,
            go_on=lambda: self._clock.monotonic() < until,
        )
        self._appending.settle(path)
        return sent

    def _store_at_end(
        self, path: str, offset: int, data: memoryview, size: int | None, *, temp: bool
    ) -> int:
        """Where the server can't write at an offset."""
        if offset == 0 and (temp or not size):
            if self._learned.appends:
                return self._appending.begin(path, data)
            stream = Stream(self._session, path)
            try:
                stream.write(bytes(data))
            except BaseException:
                stream.close()
                raise
            self.stream = stream
            return len(data)
        if self._learned.appends and not temp:
            return self._append_visible(path, offset, data, size or 0)
        if self._learned.appends:
            return self._appending.write(path, offset, data, size or 0, temp=True)
        if temp:  # an upload that broke: it begins again, under another name
            self._files.remove(path)
            raise RemoteNotFound("it can't be continued; removed", operation="write", path=path)
        raise RemoteUnsupported("the server can't continue a file", operation="write", path=path)

    def _append_visible(self, path: str, offset: int, data: memoryview, size: int) -> int:
        """APPE to a file that a consumer may take at any moment. Had he taken it just before, the
        file is a new one that begins with these bytes: no hole, but not what was agreed either.
        Then it is taken back by a rename, which shows who has it."""
        written = self._appending.write(path, offset, data, size, temp=False)
        found = self._files.size(path)
        if found is None or found >= offset + written:
            return written  # None: the consumer has it, with these bytes
        if not self._is_new(path, found, data[max(0, size - offset) :], size):
            raise RemoteError(
                f"the server took {written} bytes at {offset} and has {found}",
                operation="write",
                path=path,
            )
        aside = posixpath.join(posixpath.dirname(path), f"{self._scratch}d")
        try:
            self._files.rename(path, aside, replace=True)
        except RemoteNotFound:
            return written  # the consumer has taken the new one, too
        self._files.remove(aside)
        raise RemoteNotFound("it was taken a moment ago", operation="write", path=path)

    def _is_new(self, path: str, found: int, sent: memoryview, size: int) -> bool:
        """Whether a file that is too short is one that APPE has made, of ``sent`` alone. It may as
        well be the one that had ``size`` bytes: on a full disk, or by a size that is not up to
        date. Then what it holds must stay."""
        if found != len(sent) or found != size:
            return found == len(sent)
        return self._learned.readable and self._transfers.fetch(path, 0, found) == sent


def is_temp(path: str) -> bool:
    """Whether it is a temporary file of ours, which nobody reads."""
    return posixpath.basename(path).startswith(TEMP_PREFIX)
