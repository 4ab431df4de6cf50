"""notify(): the hot path in the host program.

A touch is one ``utime`` in the usual case. There is no lock here: none that another thread could
hold while the program waits, none that a fork could leave held. What is counted may be off by one
when threads meet; what is touched may not, and is not: each touch carries its own time stamp.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeAlias

from pysubtask.errors import NotWatchedError
from pysubtask.signals import (
    NOTIFY_SUFFIX,
    StateLayout,
    blank_mark,
    make_blank_notify,
    notify_path,
    touch,
)
from pysubtask.suffixes import has_own_suffix
from pysubtask.watch import Watch

__all__ = ["Notifier", "Touch", "Which"]

Which: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes] | int"
Touch: TypeAlias = tuple[str, int]
"""A touch that is on disk: the watched path and the time stamp (ns) it was given."""


class _Target:
    """One file that can be notified."""

    __slots__ = ("last_ns", "notify_file", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.notify_file = notify_path(path)
        self.last_ns = 0


class Notifier:
    """Touches for everything that is watched.

    Args:
        watches: what is declared.
        layout: gives the state folder, where touches go that can't lie beside their file. Asked
            only then.
        cwd: folder that relative paths start from.
    """

    def __init__(self, watches: list[Watch], layout: Callable[[], StateLayout], cwd: str) -> None:
        self._layout = layout
        self._cwd = cwd
        self._count = len(watches)
        self._known: dict[object, _Target] = {}
        self._folders: dict[str, _Target] = {}
        self._folder_names: dict[str, _Target] = {}
        self._failed: dict[str, _Target] = {}
        self.failures = 0
        """Touches that failed so far."""
        self.last_error: str | None = None
        self.files: list[str] = [watch.path for watch in watches if not watch.is_dir]
        """The declared files."""
        for index, watch in enumerate(watches):
            target = _Target(watch.path)
            if watch.is_dir:
                self._folders[os.path.normcase(watch.path)] = target
                for name in (watch.declared.rstrip("/" + os.sep), watch.path.rstrip(os.sep)):
                    self._folder_names.setdefault(name, target)
                continue
            for way in (watch.declared, watch.path, os.path.normcase(watch.path), index):
                self._known.setdefault(way, target)
        self._indexed_folders = {
            index: watch.path for index, watch in enumerate(watches) if watch.is_dir
        }

    def touch(self, which: Which) -> Touch | None:
        """Touch one file.

        Args:
            which: its path (as declared, or any other way to it), or its index in the watch list.

        Returns:
            What is on disk now; None if the disk refuses (counted; the next call tries again).

        Raises:
            NotWatchedError: nobody declared it.
        """
        try:
            target = self._known[which]
        except (KeyError, TypeError):
            pass
        else:
            return self._touch(target)
        if isinstance(which, str):  # the usual way to a file in a watched folder
            head, _, name = which.rpartition(os.sep)
            folder = self._folder_names.get(head)
            if folder is not None and _is_data_name(name) and which not in self._folder_names:
                path = f"{folder.path}{os.sep}{name}"
                known = self._known.get(path)
                return self._touch_in(folder, path) if known is None else self._touch(known)
        return self._touch_unusual(which)

    def make_blanks(self) -> list[int | None]:
        """Make the ``.notify`` files of the declared files, so that a touch needs no space.

        Returns:
            What they are like now, for the subtask (:func:`pysubtask.signals.blank_mark`).
        """
        layout = self._layout()
        for path in self.files:
            try:
                make_blank_notify(notify_path(path))
            except (OSError, ValueError):
                try:
                    _make_folders(layout)
                    place = layout.fallback_notify_path(path)
                    make_blank_notify(place, content=os.fsencode(path))
                except OSError:
                    pass  # the first touch tries again, and says so
        if not os.path.isdir(layout.notify_dir):
            return [blank_mark(notify_path(path)) for path in self.files]
        fallback = layout.fallback_notify_path
        return [blank_mark(notify_path(path), fallback(path)) for path in self.files]

    def paths(self, which: Which) -> list[str]:
        """The files that ``which`` stands for: one, or all of a folder.

        Raises:
            NotWatchedError: nobody declared it.
        """
        folder = self._folder_of(which)
        if folder is not None:
            return list(_data_files(folder))
        return [self.resolve(which)[0].path]

    def retry_failed(self) -> bool:
        """Touch again what failed; True if nothing is left."""
        for target in list(self._failed.values()):
            self._touch(target)
        return not self._failed

    def is_folder(self, which: Which) -> bool:
        """Whether it is a declared folder."""
        return self._folder_of(which) is not None

    def resolve(self, which: Which) -> tuple[_Target, str]:
        """The target of a path or index, and the path of the file itself.

        For a file in a watched folder the target is made anew, with the folder's last time stamp.

        Raises:
            NotWatchedError: nobody declared it.
        """
        known = self._known.get(which) if isinstance(which, str | int) else None
        if known is not None:
            return known, known.path
        if isinstance(which, int):
            raise NotWatchedError(
                f"there is no watch {which}",
                operation="notify",
                hint=f"indexes go from 0 to {self._count - 1}",
            )
        try:
            text = os.fsdecode(which)
        except TypeError:
            raise NotWatchedError(
                f"a path or an index is needed, not {type(which).__name__}", operation="notify"
            ) from None
        plain = os.path.normpath(os.path.join(self._cwd, os.path.expanduser(text)))
        folder, name = os.path.split(plain)
        # the second look is for ways through symbolic links
        for path in (plain, os.path.join(_real(folder), name)):
            if os.path.normcase(path) in self._folders:
                break  # itself a watched folder, maybe inside another
            known = self._known.get(path) or self._known.get(os.path.normcase(path))
            if known is not None:
                return known, known.path
            held = self._folders.get(os.path.normcase(os.path.dirname(path)))
            if held is not None and _is_data_name(name):
                target = _Target(os.path.join(held.path, name))
                target.last_ns = held.last_ns
                return target, target.path
        hint = None
        if name.endswith(NOTIFY_SUFFIX):
            hint = f"name the file itself: {name.removesuffix(NOTIFY_SUFFIX)}"
        raise NotWatchedError("nobody watches it", operation="notify", path=text, hint=hint)

    def _folder_of(self, which: Which) -> str | None:
        if isinstance(which, int):
            return self._indexed_folders.get(which)
        try:
            text = os.fsdecode(which)
        except TypeError:
            return None
        path = os.path.normpath(os.path.join(self._cwd, os.path.expanduser(text)))
        held = self._folders.get(os.path.normcase(path))
        return held.path if held is not None else None

    def _touch_unusual(self, which: Which) -> Touch | None:
        target, path = self.resolve(which)
        folder = self._folders.get(os.path.normcase(os.path.dirname(path)))
        known = self._known.get(path)
        if folder is None or known is not None:
            return self._touch(target)
        return self._touch_in(folder, path)

    def _touch_in(self, folder: _Target, path: str) -> Touch | None:
        """Touch a file in a watched folder. Its files share one last time stamp, so that a
        program that makes new names for ever does not fill our memory."""
        target = _Target(path)
        target.last_ns = folder.last_ns
        done = self._touch(target)
        folder.last_ns = target.last_ns
        return done

    def _touch(self, target: _Target) -> Touch | None:
        try:
            ns = touch(target.notify_file, target.last_ns)
        except (OSError, ValueError) as error:
            return self._touch_elsewhere(target, error)
        target.last_ns = ns
        if self._failed:
            self._failed.pop(target.path, None)
        return target.path, ns

    def _touch_elsewhere(self, target: _Target, first: Exception) -> Touch | None:
        try:
            layout = self._layout()
            place = layout.fallback_notify_path(target.path)
            content = os.fsencode(target.path)
            try:
                ns = touch(place, target.last_ns, content=content)
            except FileNotFoundError:
                _make_folders(layout)
                ns = touch(place, target.last_ns, content=content)
        except (OSError, ValueError):
            self.failures += 1
            self.last_error = f"{target.notify_file}: {_reason(first)}"
            self._failed[target.path] = target
            if len(self._failed) > 10_000:  # of a folder whose files come and go
                self._failed.pop(next(iter(self._failed), ""), None)
            return None
        target.last_ns = ns
        if self._failed:
            self._failed.pop(target.path, None)
        return target.path, ns


def _real(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # a NUL in it: there is no such folder
        return folder


def _make_folders(layout: StateLayout) -> None:
    """``os.makedirs`` gives the mode to the last folder only."""
    for folder in (layout.state_dir, layout.notify_dir):
        os.makedirs(folder, mode=0o700, exist_ok=True)


def _is_data_name(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not has_own_suffix(name)


def _data_files(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_data_name(entry.name) and entry.is_file():
                    yield os.path.join(folder, entry.name)
    except OSError:
        return


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
