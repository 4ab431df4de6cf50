"""Files that notify by themselves: what :meth:`TaskMaster.open` gives."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import IO, Any

from pysubtask.errors import SettingsError

__all__ = ["open_notifying"]

_MODES = ("w", "a", "x")


class _Raw(io.FileIO):
    """Counts what reaches the file."""

    written = 0

    def write(self, data: Any) -> int:
        count = super().write(data)
        self.written += count or 0
        return count

    def truncate(self, size: int | None = None) -> int:
        self.written += 1
        return super().truncate(size)


class _Writer(io.BufferedWriter):
    """A buffered file that calls ``notify`` when a flush has brought something to the file."""

    def __init__(
        self, raw: _Raw, size: int, notify: Callable[[], object], *, through: bool
    ) -> None:
        super().__init__(raw, size)
        self._through = through
        self._counted = raw
        self._notify = notify
        self._told = 0

    def flush(self) -> None:
        super().flush()
        if self._counted.written != self._told:
            self._told = self._counted.written
            self._notify()

    def write(self, data: Any) -> int:
        count = super().write(data)
        if self._through:
            self.flush()
        elif self._counted.written != self._told:  # the buffer ran over: that is a flush, too
            self._told = self._counted.written
            self._notify()
        return count


def open_notifying(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    mode: str,
    *,
    notify: Callable[[], object],
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    buffering: int,
) -> IO[Any]:
    """Open ``path`` for writing. See :meth:`pysubtask.TaskMaster.open`."""
    kind = mode.replace("b", "").replace("t", "")
    binary = "b" in mode
    if kind not in _MODES or ("b" in mode and "t" in mode):
        raise SettingsError(
            f"the mode {mode!r} is not one for writing only",
            operation="open",
            path=os.fsdecode(path),
            hint="'a', 'w' or 'x', with 'b' for bytes",
        )
    if buffering == 0 and not binary:
        raise ValueError("can't have unbuffered text I/O")  # as open() says
    if binary and (encoding or errors or newline):
        raise ValueError("a binary file takes no encoding, errors or newline")
    line_buffering = buffering == 1 and not binary
    size = io.DEFAULT_BUFFER_SIZE if buffering in (-1, 0, 1) else buffering
    raw = _Raw(path, kind)
    try:
        if kind == "w":
            raw.written = 1  # it was emptied: that is news
        writer = _Writer(raw, size, notify, through=buffering == 0)
        if binary:
            return writer
        return io.TextIOWrapper(
            writer,
            encoding or "utf-8",
            errors,
            newline,
            line_buffering=line_buffering,
        )
    except BaseException:
        raw.close()
        raise
