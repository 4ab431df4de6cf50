"""File-system events: hints that something changed, within a fraction of a millisecond.

They are hints only. Losing one costs latency, for the timer looks at everything anyway.

Linux: inotify(7) through ``inotify_simple``, one descriptor and one thread that sleeps until there
is something to read. ``IN_MODIFY`` is left out: it would wake us with every ``write`` of a program
that appends, and what it appends is told by its ``.notify``. Elsewhere: ``watchdog``. The choice
was made by measuring, see ``python -m benchmarks.watchers``.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging

__all__ = ["Events", "Hint", "open_events"]


class Hint(Protocol):
    """``hint(path, complete, gone)``: ``path`` may have changed, or anything if it is None.
    ``complete``: its writer closed it, or it was renamed to this name. ``gone``: what had this name
    was renamed or deleted; another file may have it by now. Called from the events thread."""

    def __call__(self, path: str | None, complete: bool = False, gone: bool = False) -> None: ...


class Events(Protocol):
    """Watches folders, without their subfolders."""

    def watch(self, folder: str) -> bool:
        """Watch ``folder``; call it again from time to time, for a folder that was missing or
        became another one. Returns whether its events come."""

    def unwatch(self, folder: str) -> None:
        """Stop watching ``folder``. None of it an error."""

    def close(self) -> None:
        """Stop. No hint comes once this has returned."""

    @property
    def alive(self) -> bool:
        """Whether the events of all folders that could be opened come."""


def open_events(on_hint: Hint, log: logging.Logger) -> Events:
    """The best that this system has to offer.

    Args:
        on_hint: called from another thread; must be cheap. What it raises is logged.
        log: hears once if there are no events, and why.
    """
    if sys.platform.startswith("linux"):
        return InotifyEvents(on_hint, log)
    return WatchdogEvents(on_hint, log)


class _Reporter:
    """Calls ``on_hint`` so that a mistake in it does not end the thread."""

    def __init__(self, on_hint: Hint, log: logging.Logger) -> None:
        self._on_hint = on_hint
        self._log = log
        self._failed = False

    def __call__(self, path: str | None, complete: bool = False, gone: bool = False) -> None:
        try:
            self._on_hint(path, complete, gone)
        except Exception:
            if not self._failed:
                self._failed = True
                self._log.exception("a hint was not understood; more of these are not logged")


_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_UNMOUNT, _Q_OVERFLOW, _IGNORED, _ONLYDIR = 0x2000, 0x4000, 0x8000, 0x01000000
_MASK = (
    _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
) | _ONLYDIR
_COMPLETE = _CLOSE_WRITE | _MOVED_TO
_GONE = _MOVED_FROM | _DELETE
_FOLDER_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED

_BUSY_SECS = 0.01
_BUSY_PAUSE_SECS = 0.005
_RETRY_SECS = 60.0


class InotifyEvents:
    """See :class:`Events`. Two folders that are one (a symbolic link) share a watch."""

    def __init__(self, on_hint: Hint, log: logging.Logger) -> None:
        self._report = _Reporter(on_hint, log)
        self._log = log
        self._lock = threading.Lock()
        self._inotify: Any = None
        self._folders: dict[str, tuple[int, tuple[int, int]]] = {}  # folder: wd, (device, inode)
        self._by_wd: dict[int, set[str]] = {}
        self._refused: set[str] = set()
        self._retry_at = 0.0
        self._complained = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._wake_read = self._wake_write = -1
        self._open()

    @property
    def alive(self) -> bool:
        return self._inotify is not None and not self._refused

    def watch(self, folder: str) -> bool:
        with self._lock:
            if self._closed or (self._inotify is None and not self._open()):
                return False
            try:
                st = os.stat(folder)
            except OSError:
                self._forget(folder)
                self._refused.discard(folder)  # not there: nothing to watch
                return False
            identity = (st.st_dev, st.st_ino)
            known = self._folders.get(folder)
            if known is not None and known[1] == identity:
                return True
            if folder in self._refused and time.monotonic() < self._retry_at:
                return False
            self._forget(folder)
            return self._add(folder, identity)

    def unwatch(self, folder: str) -> None:
        with self._lock:
            self._forget(folder)
            self._refused.discard(folder)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._wake_write >= 0:
                os.write(self._wake_write, b"x")
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._tear_down()

    def _open(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        try:
            import inotify_simple  # type: ignore[import-untyped, unused-ignore]

            self._inotify = inotify_simple.INotify(nonblocking=True)
            self._wake_read, self._wake_write = os.pipe()
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()
        except (OSError, ImportError, RuntimeError) as error:
            self._tear_down()
            self._retry_at = time.monotonic() + _RETRY_SECS
            self._complain(error)
            return False
        return True

    def _tear_down(self) -> None:
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.close()
        for fd in (self._wake_read, self._wake_write):
            if fd >= 0:
                os.close(fd)
        self._wake_read = self._wake_write = -1
        self._folders.clear()
        self._by_wd.clear()

    def _add(self, folder: str, identity: tuple[int, int]) -> bool:
        try:
            wd = self._inotify.add_watch(folder, _MASK)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EACCES):
                self._refused.add(folder)
                self._retry_at = time.monotonic() + _RETRY_SECS
                self._complain(error, folder)
            return False
        self._refused.discard(folder)
        self._folders[folder] = (wd, identity)
        self._by_wd.setdefault(wd, set()).add(folder)
        return True

    def _forget(self, folder: str) -> None:
        known = self._folders.pop(folder, None)
        if known is None:
            return
        wd = known[0]
        sharers = self._by_wd.get(wd, set())
        sharers.discard(folder)
        if not sharers:
            self._by_wd.pop(wd, None)
            try:
                self._inotify.rm_watch(wd)
            except OSError:
                pass  # the kernel dropped it with its folder

    def _complain(self, error: Exception, folder: str | None = None) -> None:
        if self._complained:
            return
        self._complained = True
        why = str(error)
        code = getattr(error, "errno", None)
        if code == errno.ENOSPC:
            why = "the limit fs.inotify.max_user_watches is reached"
        elif code == errno.EMFILE:
            why = "the limit fs.inotify.max_user_instances (or of open files) is reached"
        where = f" of {folder}" if folder else ""
        self._log.warning("no file-system events%s (%s): the timer has to do", where, why)

    def _run(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("it has no inotify")
        poller = select.poll()
        poller.register(self._inotify.fileno(), select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        last = 0.0
        while True:
            poller.poll()
            if self._closed:
                return
            now = time.monotonic()
            if now - last < _BUSY_SECS:
                # A storm: let events gather, so that the same names are told once. At 5 ms the
                # kernel's queue (16,384 events by default) holds more than 3 million a second.
                time.sleep(_BUSY_PAUSE_SECS)
            try:
                events = self._inotify.read(timeout=0)
            except OSError as error:
                self._log.warning("file-system events can't be read: %s", error)
                events = None
            if events is None:
                time.sleep(1.0)
                self._report(None)
            else:
                self._tell(events)
            last = time.monotonic()

    def _tell(self, events: list[Any]) -> None:
        changed: dict[str, bool] = {}
        gone: set[str] = set()
        anything = False
        with self._lock:
            for event in events:
                mask = event.mask
                if mask & _Q_OVERFLOW:
                    anything = True
                    continue
                folders = self._by_wd.get(event.wd)
                if folders is None:
                    continue  # what was still under way when the watch was removed
                if mask & _FOLDER_GONE:
                    anything = True
                    for folder in list(folders):
                        self._forget(folder)
                    continue
                complete = bool(mask & _COMPLETE)
                for folder in folders:
                    path = os.path.join(folder, event.name) if event.name else folder
                    changed[path] = changed.get(path, False) or complete
                    if mask & _GONE:
                        gone.add(path)
        for path, complete in changed.items():
            if self._closed:
                return
            self._report(path, complete, path in gone)
        if anything and not self._closed:
            self._report(None)


class WatchdogEvents:
    """See :class:`Events`. For macOS, Windows and the BSDs."""

    def __init__(self, on_hint: Hint, log: logging.Logger) -> None:
        self._report = _Reporter(on_hint, log)
        self._log = log
        self._observer: Any = None
        self._watches: dict[str, tuple[Any, tuple[int, int]]] = {}
        self._complained = False
        self._closed = False
        try:
            from watchdog.observers import Observer

            self._observer = Observer()
            self._observer.daemon = True
            self._observer.start()
        except (ImportError, OSError, RuntimeError) as error:
            self._observer = None
            self._complain(error)

    @property
    def alive(self) -> bool:
        return self._observer is not None and self._observer.is_alive() and not self._complained

    def watch(self, folder: str) -> bool:
        if self._observer is None or self._closed:
            return False
        try:
            st = os.stat(folder)
        except OSError:
            self.unwatch(folder)
            return False
        identity = (st.st_dev, st.st_ino)
        known = self._watches.get(folder)
        if known is not None and known[1] == identity:
            return True
        self.unwatch(folder)
        try:
            watch = self._observer.schedule(_handler(self._on_event), folder, recursive=False)
        except (OSError, RuntimeError) as error:
            self._complain(error)
            return False
        self._watches[folder] = (watch, identity)
        return True

    def unwatch(self, folder: str) -> None:
        known = self._watches.pop(folder, None)
        if known is not None:
            try:
                self._observer.unschedule(known[0])
            except (KeyError, OSError, RuntimeError):
                pass  # it ended with its folder

    def close(self) -> None:
        self._closed = True
        if self._observer is not None:
            self._observer.stop()
            if threading.current_thread() is not self._observer:
                self._observer.join(5.0)

    def _on_event(self, event: Any) -> None:
        if self._closed or event.event_type in ("opened", "closed_no_write"):
            return
        source = os.fsdecode(event.src_path)
        if event.event_type == "deleted" and source in self._watches:
            self._report(None)
        elif event.event_type == "moved":
            self._report(source, gone=True)
            self._report(os.fsdecode(event.dest_path), True)
        else:
            self._report(source, event.event_type == "closed", event.event_type == "deleted")

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            self._log.warning("no file-system events (%s): the timer has to do", error)


def _handler(on_event: Callable[[Any], None]) -> Any:
    from watchdog.events import FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: Any) -> None:
            on_event(event)

    return Handler()
