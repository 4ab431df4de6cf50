"""A handler for the standard ``logging`` that writes to a watched file, rotates it and notifies.

::

    master = TaskMaster([{"file": "logs/app.log", "growth": "append"}], to="sftp://…")
    logging.getLogger().addHandler(NotifyingHandler(master, "logs/app.log", max_bytes=1 << 20))

What is logged is on its way to the server; a server or link in trouble never holds up a log call.
The subtask follows the rotation: the old file is read to its end under its new name and delivered
before the new one takes its place.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from typing import TYPE_CHECKING

from pysubtask.errors import SettingsError

if TYPE_CHECKING:
    from pysubtask.master._master import TaskMaster

__all__ = ["NotifyingHandler"]


class NotifyingHandler(logging.handlers.RotatingFileHandler):
    """Writes records to ``path``, rotates it at ``max_bytes`` and notifies the master.

    Each record is a notify (some 10 µs); where they come fast, watch the file with ``burstmode``.

    Args:
        master: watches ``path``; it need not be started yet.
        path: the log file, declared in the master's watch list or in one of its folders.
        max_bytes: the file becomes ``path.1``, that ``path.2`` … before it would grow beyond. 0:
            never.
        backup_count: how many of them are kept, at least one if there is a ``max_bytes``.
        encoding: of the file.

    Raises:
        NotWatchedError: the master does not watch ``path``.
        SettingsError: a rotation that would throw away what was not read yet.
    """

    def __init__(
        self,
        master: TaskMaster,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 0,
        backup_count: int = 3,
        encoding: str = "utf-8",
    ) -> None:
        if max_bytes and backup_count < 1:
            raise SettingsError(
                "a rotation without a backup empties the file before it is read",
                operation="logging handler",
                path="backup_count",
                hint="at least 1",
            )
        self._master = master
        self._watched = master.watched_path(path)
        os.makedirs(os.path.dirname(self._watched), exist_ok=True)
        super().__init__(
            self._watched,
            maxBytes=max_bytes,
            backupCount=backup_count,
            encoding=encoding,
            delay=True,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record and notify. Never raises (``logging.raiseExceptions`` applies)."""
        super().emit(record)
        self._master.notify(self._watched)

    def doRollover(self) -> None:  # noqa: N802  (the name in logging)
        """Rotate; the old file is notified first, and the subtask follows its new name."""
        self._master.notify(self._watched)
        super().doRollover()
