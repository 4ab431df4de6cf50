"""Questions to the subtask: written as files, answered as files (see :mod:`pysubtask.signals`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from pysubtask.signals import StateLayout, read_json, write_json

__all__ = ["BurstRelease", "Question"]

_FIRST_PAUSE_SECS = 0.001
_LONGEST_PAUSE_SECS = 0.01


class Question:
    """One question. Making it asks; :meth:`wait` waits; leaving it takes it back."""

    def __init__(self, layout: StateLayout, question: dict[str, Any]) -> None:
        self._layout = layout
        self._id = os.urandom(8).hex()
        self.asked = _write(layout, self._id, question)
        """Whether the question is on disk."""

    def __enter__(self) -> Question:
        return self

    def __exit__(self, *exc: object) -> None:
        _remove(self._layout, self._id)

    def look(self) -> dict[str, Any] | None:
        """The answer, if it is there."""
        path = self._layout.answer_path(self._id)
        return read_json(path) if os.path.exists(path) else None

    def wait(
        self, deadline: float, hopeless: Callable[[], bool] = lambda: False
    ) -> dict[str, Any] | None:
        """The answer; None if there is none before the monotonic time ``deadline``.

        Args:
            hopeless: asked now and then; True ends the wait.
        """
        if not self.asked:
            return None
        pause = _FIRST_PAUSE_SECS
        while True:
            answer = self.look()
            if answer is not None:
                return answer
            rest = deadline - time.monotonic()
            if rest <= 0 or hopeless():
                return None
            time.sleep(min(pause, rest))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECS)


class BurstRelease:
    """Asks for a flush without waiting for it; at most one such question lies about."""

    def __init__(self) -> None:
        self._id: str | None = None

    def ask(self, layout: StateLayout) -> bool:
        """True if the question is on disk. The one before it is taken back: it was acted upon when
        it was read, and one that was not read yet says the same."""
        before, self._id = self._id, os.urandom(8).hex()
        asked = _write(layout, self._id, {"ask": "flush"})
        if before is not None:
            _remove(layout, before)
        return asked

    def forget(self, layout: StateLayout) -> None:
        """Remove what is left of the last one."""
        before, self._id = self._id, None
        if before is not None:
            _remove(layout, before)


def _remove(layout: StateLayout, request_id: str) -> None:
    for path in (layout.ask_path(request_id), layout.answer_path(request_id)):
        try:
            os.unlink(path)
        except OSError:
            pass


def _write(layout: StateLayout, request_id: str, question: dict[str, Any]) -> bool:
    path = layout.ask_path(request_id)
    try:
        try:
            write_json(path, question)
        except FileNotFoundError:
            for folder in (layout.state_dir, layout.requests):
                os.makedirs(folder, mode=0o700, exist_ok=True)
            write_json(path, question)
    except OSError:
        return False
    return True
