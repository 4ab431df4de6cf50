"""The master's log: a rotating file on the standard ``logging``, light enough for the host.

The lines also go to the logger ``pysubtask`` of the program's own logging, if it listens there.
Every master has a logger object of its own that is not registered anywhere, so that a thousand
masters leave nothing behind.
"""

from __future__ import annotations

import logging
import os
import sys

from pysubtask.status import printable

__all__ = ["close_log", "open_log"]


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # a file name may hold a line end: it must not forge a line
        return "\n    ".join(printable(line) for line in super().format(record).split("\n"))


class _RotatingFile(logging.Handler):
    """Appends to a file; at ``max_bytes`` it becomes ``name.1`` and so on. Never raises.

    (``logging.handlers`` has one, at the price of 1.3 MB and 10 ms in the host program.)
    """

    def __init__(self, path: str, max_bytes: int, backup_count: int) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._fd = -1

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            if self._fd < 0:
                self._open()
            if os.fstat(self._fd).st_size + len(data) > self._max_bytes:
                self._rotate()
            os.write(self._fd, data)
        except Exception:  # a log is never a reason to fail
            self._shut()

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(self._path, flags, 0o644)

    def _rotate(self) -> None:
        if os.fstat(self._fd).st_size == 0:
            return
        if self._backup_count == 0:
            os.ftruncate(self._fd, 0)
            return
        self._shut()
        try:
            for number in range(self._backup_count - 1, 0, -1):
                if os.path.exists(f"{self._path}.{number}"):
                    os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
            os.replace(self._path, f"{self._path}.1")
        except OSError:  # held open by another process (Windows): start afresh, stay small
            self._open()
            os.ftruncate(self._fd, 0)
            return
        self._open()

    def _shut(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                pass

    def close(self) -> None:
        self._shut()
        super().close()


class _Console(logging.StreamHandler):  # type: ignore[type-arg]
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name in logging)
        pass  # the terminal is gone


def open_log(
    label: str,
    *,
    path: str | None,
    level: str,
    max_bytes: int,
    backup_count: int,
    to_console: bool,
) -> logging.Logger:
    """A logger for one master. The file is opened with the first line.

    Args:
        label: who writes, as in ``[ftp.FTPTaskMaster.1234]``.
        path: the log file; None for none.
    """
    logger = logging.Logger("pysubtask.master", level)
    logger.parent = logging.getLogger("pysubtask")
    formatter = _Formatter(
        f"%(asctime)s [{label}.%(process)d]: %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S"
    )
    handlers: list[logging.Handler] = []
    if path is not None:
        handlers.append(_RotatingFile(path, max_bytes, backup_count))
    if to_console and sys.stderr is not None:
        handlers.append(_Console(sys.stderr))
    for handler in handlers or [logging.NullHandler()]:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    return logger


def close_log(logger: logging.Logger) -> None:
    """Close its file and let go of its handlers."""
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
