"""The child's log: a rotating file that never lies, never leaks and never stops the child.

* A file name may legally hold a newline or a terminal's escape sequence. Control characters are
  escaped, and each line of a traceback is indented, so that no name forges a line.
* The secrets of the handover are replaced wherever they turn up: in messages, arguments and
  tracebacks, verbatim or quoted as in a URL, in JSON or in a ``repr``.
* A log that can't be opened or written (folder gone, disk full, read-only) loses lines, nothing
  else. It is tried again with each line.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Mapping
from logging.handlers import RotatingFileHandler
from typing import IO, Any

from pysubtask.secret import Secret

__all__ = ["LineFormatter", "close_logs", "open_logs", "secrets_of"]

LOGGER_NAME = "pysubtask"

_MASK = "•••"
_CHATTY = ("paramiko", "filelock", "watchdog", "asyncio", "dropbox", "urllib3")
"""Libraries whose INFO lines are of no use in this log."""

# C0 and C1 controls, the line and paragraph separators, and the marks that turn the direction of
# writing (https://www.unicode.org/reports/tr9/): what could make a line look like another one.
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_WHOLE_WORD_UP_TO = 3


def _escape(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def secrets_of(thing: object) -> list[str]:
    """All secrets in a handover: looks into structs, dataclasses, mappings and sequences."""
    found: list[str] = []
    _collect(thing, found, depth=0)
    return sorted(set(found), key=len, reverse=True)


def _collect(thing: object, found: list[str], depth: int) -> None:
    if isinstance(thing, Secret):
        if thing.reveal():
            found.append(thing.reveal())
        return
    if depth > 8 or thing is None or isinstance(thing, str | bytes | int | float):
        return
    parts: Iterable[object]
    if isinstance(thing, Mapping):
        parts = thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        parts = thing
    else:
        names: Iterable[str] = (
            getattr(thing, "__struct_fields__", ())
            or getattr(thing, "__slots__", ())
            or getattr(thing, "__dict__", ())
        )
        parts = [getattr(thing, name, None) for name in names]
    for part in parts:
        _collect(part, found, depth + 1)


def _redactor(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds each secret in every spelling in which it may be printed.

    A secret of up to three characters is only found as a word of its own: taking each ``a`` out
    of a log would tell more than it hides.
    """
    spellings: set[str] = set()
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        spellings.update(
            (
                secret,
                _escape(secret),
                repr(secret)[1:-1],
                repr(raw)[2:-1],
                json.dumps(secret)[1:-1],
                urllib.parse.quote(raw, safe=""),
                urllib.parse.quote(raw),
                urllib.parse.quote_plus(raw),
            )
        )
    patterns = [
        re.escape(text) if len(text) > _WHOLE_WORD_UP_TO else rf"(?<!\w){re.escape(text)}(?!\w)"
        for text in sorted(spellings, key=len, reverse=True)
        if text
    ]
    return re.compile("|".join(patterns)) if patterns else None


class LineFormatter(logging.Formatter):
    """``2026-11-24 06:40:01 [ftp.FTPSubtask.12345]: INFO: text``, in local time.

    Args:
        label: who writes, shown in brackets. May be set again later.
        secrets: texts that must not appear.
    """

    def __init__(self, label: str, secrets: Iterable[str] = ()) -> None:
        super().__init__(datefmt="%Y-%m-%d %H:%M:%S")
        self.label = label
        self._secret_pattern = _redactor(secrets)

    def redact(self, text: str) -> str:
        """``text`` without the secrets."""
        return self._secret_pattern.sub(_MASK, text) if self._secret_pattern else text

    def format(self, record: logging.LogRecord) -> str:
        foreign = record.name != LOGGER_NAME and not record.name.startswith(LOGGER_NAME + ".")
        who = f"{self.label} {_escape(record.name)}" if foreign else self.label
        try:
            message = record.getMessage()
        except Exception as error:  # a mistake in a log call must not hide what it meant to say
            message = f"{record.msg!s} (arguments do not fit: {error})"
        head = f"{self.formatTime(record, self.datefmt)} [{who}]: {record.levelname}: "
        line = head + _escape(self.redact(message))
        details = []
        if record.exc_info:
            details.append(self.formatException(record.exc_info))
        if record.stack_info:
            details.append(self.formatStack(record.stack_info))
        for detail in details:
            for row in self.redact(detail).splitlines():
                line += "\n    " + _escape(row)
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
