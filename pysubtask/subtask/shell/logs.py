"""The child's log: a rotating file that never lies, never leaks and never stops the child.

* A file name may legally hold a newline or a terminal's escape sequence. Control characters are
  escaped, and each line of a traceback is indented, so that no name forges a line.
* The secrets of the handover are replaced wherever they turn up: in messages, arguments and
  tracebacks, verbatim or quoted as in a URL, in JSON or in a ``repr``.
* A log that can't be opened or written (folder gone, disk full, read-only) loses lines, nothing
  else. It is tried again with each line.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from typing import IO, Any

from pysubtask.redaction import MASK, escape, redactor, secrets_of

__all__ = ["LineFormatter", "close_logs", "open_logs", "secrets_of"]

LOGGER_NAME = "pysubtask"

_CHATTY = ("paramiko", "filelock", "watchdog", "asyncio", "dropbox", "urllib3")
"""Libraries whose INFO lines are of no use in this log."""


class LineFormatter(logging.Formatter):
    """``2026-11-24 06:40:01 [ftp.FTPSubtask.12345]: INFO: text``, in local time.

    Args:
        label: who writes, shown in brackets. May be set again later.
        secrets: texts that must not appear.
    """

    def __init__(self, label: str, secrets: Iterable[str] = ()) -> None:
        super().__init__(datefmt="%Y-%m-%d %H:%M:%S")
        self.label = label
        self._secret_pattern = redactor(secrets)

    def redact(self, text: str) -> str:
        """``text`` without the secrets."""
        return self._secret_pattern.sub(MASK, text) if self._secret_pattern else text

    def format(self, record: logging.LogRecord) -> str:
        foreign = record.name != LOGGER_NAME and not record.name.startswith(LOGGER_NAME + ".")
        who = f"{self.label} {escape(record.name)}" if foreign else self.label
        try:
            message = record.getMessage()
        except Exception as error:  # a mistake in a log call must not hide what it meant to say
            message = f"{record.msg!s} (arguments do not fit: {error})"
        head = f"{self.formatTime(record, self.datefmt)} [{who}]: {record.levelname}: "
        line = head + escape(self.redact(message))
        details = []
        if record.exc_info:
            details.append(self.formatException(record.exc_info))
        if record.stack_info:
            details.append(self.formatStack(record.stack_info))
        for detail in details:
            for row in self.redact(detail).splitlines():
                line += "\n    " + escape(row)
        return line


class _PatientFileHandler(RotatingFileHandler):
    """Rotates, follows a log that was moved or deleted, and survives a disk that fails."""

    def __init__(self, path: str, max_bytes: int, backup_count: int) -> None:
        super().__init__(
            path,
            maxBytes=max_bytes,
            backupCount=backup_count,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )

    def _open(self) -> Any:
        os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
        return super()._open()

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and self._is_elsewhere(self.stream):
            self._drop_stream()
        super().emit(record)

    def _is_elsewhere(self, stream: IO[str]) -> bool:
        try:
            here, there = os.stat(self.baseFilename), os.fstat(stream.fileno())
        except (OSError, ValueError):
            return True
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def _drop_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            try:
                stream.close()
            except (OSError, ValueError):
                pass

    def rotate(self, source: str, dest: str) -> None:
        """Rename; where that fails, start the log afresh, so that it never outgrows its limit."""
        try:
            super().rotate(source, dest)
        except OSError:
            if source == self.baseFilename:
                os.truncate(source, 0)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name in logging)
        # What could not be written would stay in the buffer and fail again: open it anew instead.
        self._drop_stream()


class _ConsoleHandler(logging.StreamHandler[IO[str]]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name in logging)
        pass  # the terminal is gone


def open_logs(
    label: str,
    *,
    path: str | None,
    level: str = "INFO",
    max_bytes: int = 1 << 20,
    backup_count: int = 3,
    to_console: bool = False,
    secrets: Iterable[str] = (),
) -> LineFormatter:
    """Send everything that is logged in this process to ``path`` and, if wanted, to stderr.

    Set on the root logger, so that libraries and a user's own modules are heard as well.

    Args:
        label: see :class:`LineFormatter`.
        path: the log file, or None for no file.
        level: the least level of pysubtask's and the user's lines; libraries below WARNING are
            never shown unless it is DEBUG.
        max_bytes: size at which the file is rotated.
        backup_count: rotated files that are kept.
        to_console: also to stderr, where the process has one (``pythonw`` has none).
        secrets: texts that must not appear.

    Returns:
        The formatter, whose ``label`` may still be changed.
    """
    logging.raiseExceptions = False
    formatter = LineFormatter(label, secrets)
    handlers: list[logging.Handler] = []
    if path is not None:
        handlers.append(_PatientFileHandler(path, max_bytes, backup_count))
    if to_console and sys.stderr is not None:
        handlers.append(_ConsoleHandler(sys.stderr))
    root = logging.getLogger()
    for handler in handlers or [logging.NullHandler()]:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    if logging.getLevelName(level) != logging.DEBUG:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return formatter


def close_logs() -> None:
    """Flush and close the handlers of :func:`open_logs` (for tests and the end of the process)."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, LineFormatter):
            root.removeHandler(handler)
            try:
                handler.close()
            except (OSError, ValueError):
                pass
