"""What makes a master handy in a program: fetching, files that notify, events, asyncio, TOML."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, overload

from pysubtask.master._ask import Question
from pysubtask.master._notify import Notifier, Which
from pysubtask.signals import Ask, StateLayout
from pysubtask.status import Status
from pysubtask.watch import Watch

if TYPE_CHECKING:
    from pysubtask.arrivals import Arrival
    from pysubtask.events import Event
    from pysubtask.handover import Source
    from pysubtask.master._master import TaskMaster
    from pysubtask.pull import Pull
    from pysubtask.urls import Destination

__all__ = ["Conveniences"]


class Conveniences:
    """The part of :class:`pysubtask.TaskMaster` that is made of its other parts."""

    _watches: list[Watch]
    _sources: list[Source]
    _notifier: Notifier
    _layout: StateLayout
    _destination: Destination | None
    _last_look: Status | None = None

    def _hopeless(self) -> bool:
        raise NotImplementedError

    def _read_status(self) -> Status:
        raise NotImplementedError

    @cached_property
    def _purpose(self) -> str:
        from pysubtask.handover import purpose_of

        return purpose_of(self._watches, self._sources, self._destination)

    def _ask(self, what: Ask, **more: Any) -> dict[str, Any]:
        """A question to our subtask. One of another program, which may have taken over, answers
        only if it is there for the same."""
        return {"ask": what, "purpose": self._purpose, **more}

    @classmethod
    def from_toml(
        cls, path: str | os.PathLike[str], deliver: str | None = None, **settings: Any
    ) -> TaskMaster:
        """The master that a TOML file describes (:mod:`pysubtask.tomlfile`).

        Args:
            path: the file. Relative paths in it are counted from its folder.
            deliver: the name of one of its ``[[deliver]]`` tables, if it has several.
            settings: keywords, which win over ``PYSUBTASK_*`` variables and the file.

        Raises:
            SettingsError: a mistake in it, at once and in words.
        """
        from pysubtask.tomlfile import load

        return load(path, keywords=settings).delivery(deliver).make_master()

    @property
    def declared_files(self) -> list[str]:
        """Absolute paths of the files that are declared one by one (not those in folders)."""
        return list(self._notifier.files)

    @property
    def watches(self) -> list[Watch]:
        """What is watched, as it was understood."""
        return list(self._watches)

    @property
    def sources(self) -> list[Pull]:
        """What is fetched, as it was understood."""
        return [source.pull for source in self._sources]

    def watched_path(self, which: Which) -> str:
        """The absolute path of a watched file, by any way to it or its index.

        Raises:
            NotWatchedError: nobody declared it.
        """
        return self._notifier.resolve(which)[1]

    @property
    def state_dir(self) -> str:
        """The state folder; before ``start()``, the one that is wanted."""
        return self._layout.state_dir

    async def flushed(self, timeout: float = 30.0) -> bool:
        """:meth:`flush` for asyncio: waits without holding up the event loop.

        A wait that is cancelled takes its question back.
        """
        from pysubtask.master._async import ask

        touched = self._notifier.retry_failed()
        if self._hopeless():
            return False
        answer = await ask(self._layout, self._ask("flush"), timeout, self._hopeless)
        return touched and answer is not None and answer.get("ok") is True

    # --- the other way

    def pull(self, timeout: float = 30.0) -> bool:
        """Look at what is to be fetched, now, and wait until it is here.

        Args:
            timeout: seconds to wait at most.

        Returns:
            True if all that the sources had is here, or was refused (``status().pulls`` says
            what); False if not in time, or if no subtask runs.
        """
        deadline = time.monotonic() + timeout
        if self._hopeless():
            return False
        with Question(self._layout, self._ask("pull")) as question:
            answer = question.wait(deadline, self._hopeless)
        return answer is not None and answer.get("ok") is True

    def arrivals(self, wait_secs: float = 0) -> Iterator[Arrival]:
        """The files that were fetched, and that no program has taken note of yet.

        One counts as noted when the next is asked for or the loop ends, so that a program that
        dies while it works on a file is told of it again. One loop at a time.

        Args:
            wait_secs: how long to wait for the next one; 0: the loop ends when there is none.
        """
        from pysubtask.arrivals import take_arrivals

        return take_arrivals(self._layout.arrivals, wait_secs)

    # --- files that notify

    @overload
    def open(
        self,
        path: str | os.PathLike[str],
        mode: Literal["a", "w", "x", "at", "wt", "xt"] = "a",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
    ) -> TextIO: ...

    @overload
    def open(
        self,
        path: str | os.PathLike[str],
        mode: Literal["ab", "wb", "xb"],
        *,
        buffering: int = -1,
    ) -> BinaryIO: ...

    def open(
        self,
        path: str | os.PathLike[str],
        mode: str = "a",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
    ) -> IO[Any]:
        """Open a watched file for writing; each flush (and close) that wrote something notifies.

        Otherwise an ordinary file: ``with master.open("logs/test1.csv") as file: …``. Text is
        UTF-8 unless ``encoding`` says otherwise. ``buffering=1``: each line is flushed; 0
        (bytes): each write.

        Raises:
            NotWatchedError: nobody declared the file.
            SettingsError: the mode is not one for writing only.
            OSError: as of ``open()``.
        """
        whole = self.watched_path(path)
        from pysubtask.master._file import open_notifying

        return open_notifying(
            whole,
            mode,
            notify=lambda: self._notifier.touch(whole),
            encoding=encoding,
            errors=errors,
            newline=newline,
            buffering=buffering,
        )

    # --- events

    def events(self) -> list[Event]:
        """What changed since the last call (:mod:`pysubtask.events`); to be polled.

        The first call tells how things are. What happened and was over between two calls is not
        told. Reads ``status.json`` once; any thread, but calls share one "since".
        """
        from pysubtask.events import between

        before, self._last_look = self._last_look, self._read_status()
        return between(before, self._last_look)
