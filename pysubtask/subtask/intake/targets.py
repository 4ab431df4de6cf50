"""Which files are ours, and what is known of those that something is expected of."""

from __future__ import annotations

import os
from collections.abc import Callable

from pysubtask.signals import NOTIFY_SUFFIX, StateLayout
from pysubtask.subtask.intake.target import Target
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.suffixes import has_own_suffix
from pysubtask.watch import Watch

__all__ = ["Targets"]


class Targets:
    """The declared files, always, and those of watched folders for as long as they are of interest:
    there may be very many.

    Args:
        own_names: names in watched folders that are ours (logs).
    """

    def __init__(
        self,
        ledger: Ledger,
        watches: list[Watch],
        layout: StateLayout,
        own_names: Callable[[str], bool],
    ) -> None:
        self._ledger = ledger
        self._layout = layout
        self._own_names = own_names
        self.folders = {w.path: w for w in watches if w.is_dir}
        """The watched folders, by path."""
        self._known: dict[str, Target] = {}
        for watch in watches:
            if not watch.is_dir:
                self.add(watch.path, watch)
        self.declared = list(self._known.values())
        """The declared files."""
        self._declared_files = {t.path: t.watch for t in self.declared}

    def add(self, path: str, watch: Watch) -> Target:
        """The target of a file; a new one if nothing is known of it."""
        target = self._known.get(path)
        if target is None:
            target = Target(path, watch, self._layout)
            entry = self._ledger.get(path)
            target.touch_seen = None if entry is None else entry.served
            self._known[path] = target
        return target

    def known(self, path: str) -> Target | None:
        """The target of a file, if something is known of it."""
        return self._known.get(path)

    def all(self) -> list[Target]:
        """All that something is known of."""
        return list(self._known.values())

    def find(self, path: str) -> Target | None:
        """The target of a file that belongs to a watch, else None."""
        return self._known.get(path) or self.in_folder(path)

    def in_folder(self, path: str) -> Target | None:
        """The target of a data file in a watched folder, else None."""
        watch = self.folders.get(os.path.dirname(path))
        if watch is None or not self.is_data(path):
            return None
        return self.add(path, watch)

    def forget(self, path: str) -> None:
        """Nothing is expected of it any more."""
        self._known.pop(path, None)

    def done_with(self, target: Target) -> None:
        """As :meth:`forget`, unless something is expected of its file anew."""
        if self._known.get(target.path) is target:
            del self._known[target.path]

    def is_declared(self, path: str) -> bool:
        """Whether it is one of the declared files (any thread)."""
        return path in self._declared_files

    def is_data(self, path: str) -> bool:
        """Whether a file in a watched folder counts: not hidden, and not one of our own."""
        name = os.path.basename(path)
        if name.startswith(".") or has_own_suffix(name):
            return False
        return not self._own_names(path)

    def concerns_us(self, path: str, gone: bool) -> bool:
        """Whether news of that path, of a ``.notify`` too, may make a look due (any thread).

        A declared file speaks through its ``.notify``: of itself, only that it was renamed or
        deleted (``gone``) is news.
        """
        if path.endswith(NOTIFY_SUFFIX) or os.path.dirname(path) in self.folders:
            return True
        return gone and path in self._declared_files

    def watch_of(self, path: str) -> Watch | None:
        """The watch that ``path`` belongs to: it is declared, or a data file in a watched folder
        (any thread)."""
        watch = self._declared_files.get(path) or self.folders.get(os.path.dirname(path))
        if watch is not None and watch.is_dir and not self.is_data(path):
            return None
        return watch
