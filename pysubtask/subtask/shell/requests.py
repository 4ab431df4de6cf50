"""Questions of the master, asked and answered by small files.

``<state>/requests/<16 hex>.ask`` holds a JSON object; :mod:`pysubtask.signals` says which. The
answer appears as ``<16 hex>.answer``, by rename, and then the question goes. A question that the
master takes back (it stopped waiting) is forgotten; what is older than an hour is swept up.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import logging

    from pysubtask.seams.clock import Clock
    from pysubtask.seams.disk import Disk
    from pysubtask.signals import StateLayout
    from pysubtask.subtask.context import Subtask

__all__ = ["Requests"]

STALE_SECS = 3600.0
MAX_NEW_PER_ROUND = 64
MAX_OPEN = 1024
MAX_NAMES_PER_LOOK = 4096
ASK_LIMIT_BYTES = 1 << 16

_NAME = re.compile(r"(?P<id>[0-9a-f]{16})\.(?P<kind>ask|answer)(?P<temporary>\..*\.tmp)?")


class Requests:
    """Finds questions, keeps those that can't be answered yet, and answers them in time.

    Args:
        layout: the state folder.
        subtask: who knows the answers.
        purpose: what the subtask is there for (:func:`pysubtask.handover.purpose_of`).
        before_answer: brings ``status.json`` up to date, so that whoever hears of a flush or a
            snapshot finds it there.
    """

    def __init__(
        self,
        layout: StateLayout,
        subtask: Subtask,
        *,
        disk: Disk,
        clock: Clock,
        log: logging.Logger,
        purpose: str = "",
        before_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._purpose = purpose
        self._before_answer = before_answer
        self._layout = layout
        self._subtask = subtask
        self._disk = disk
        self._clock = clock
        self._log = log
        self._open: dict[str, Callable[[], dict[str, Any] | None]] = {}
        self._done: set[str] = set()  # answered or dropped, but the question could not be deleted
        self._failing = False

    def __len__(self) -> int:
        """How many questions wait for their answer."""
        return len(self._open)

    def look(self) -> bool:
        """Take in new questions.

        Returns:
            True if there are more than fit in one round: look again soon.
        """
        asked, more = self._scan()
        for request_id in [known for known in self._open if known not in asked]:
            if not more:
                del self._open[request_id]  # taken back
        self._done &= asked
        fresh = [name for name in asked if name not in self._open and name not in self._done]
        for request_id in fresh[:MAX_NEW_PER_ROUND]:
            if len(self._open) >= MAX_OPEN:
                return False  # the timer looks again
            self._take_in(request_id)
        return more or len(fresh) > MAX_NEW_PER_ROUND

    def answer(self) -> None:
        """Answer what can be answered now."""
        for request_id, ready in list(self._open.items()):
            try:
                reply = ready()
            except Exception:
                self._log.exception("question %s could not be answered", request_id)
                reply = {"ok": False, "error": "the subtask failed; see its log"}
            if reply is not None:
                self._before_answer()
                self._reply(request_id, reply)

    def _scan(self) -> tuple[set[str], bool]:
        asked: set[str] = set()
        more = False
        now = self._clock.time()
        try:
            names = self._disk.scan(self._layout.requests)
            for count, (name, st) in enumerate(itertools.islice(names, MAX_NAMES_PER_LOOK + 1)):
                if count == MAX_NAMES_PER_LOOK:
                    more = True
                    break
                match = _NAME.fullmatch(name)
                if match is None or st is None:
                    continue
                waits = match["id"] in self._open  # the clock may have been set since it was asked
                if not waits and abs(now - st.mtime_ns / 1e9) > STALE_SECS:
                    self._drop(name, "old" if match["kind"] == "ask" else None)
                elif match["kind"] == "ask" and not match["temporary"]:
                    asked.add(match["id"])
            self._failing = False
        except FileNotFoundError:
            self._make_folder()
        except OSError as error:
            if not self._failing:
                self._log.warning("%s can't be read: %s", self._layout.requests, error)
            self._failing = True
            return set(self._open), False  # not known: no question is forgotten
        return asked, more

    def _make_folder(self) -> None:
        try:
            self._disk.make_dirs(self._layout.requests)
        except OSError as error:
            if not self._failing:
                self._log.warning("%s can't be made: %s", self._layout.requests, error)
            self._failing = True

    def _take_in(self, request_id: str) -> None:
        path = self._layout.ask_path(request_id)
        try:
            data = self._disk.read_whole(path, ASK_LIMIT_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            self._drop(os.path.basename(path), f"unreadable ({error})")
            return
        try:
            ask = json.loads(data)
            self._open[request_id] = self._understand(ask)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._drop(os.path.basename(path), "not understood")
        except Exception:
            self._log.exception("question %s could not be taken in", request_id)
            self._reply(request_id, {"ok": False, "error": "the subtask failed; see its log"})

    def _understand(self, ask: dict[str, Any]) -> Callable[[], dict[str, Any] | None]:
        kind = ask["ask"]
        if ask.get("purpose", self._purpose) != self._purpose:
            # by a program that was taken over by ours: we can't know of its files
            return lambda: {"ok": False, "error": "this subtask is there for something else"}
        if kind == "flush":
            delivered = self._subtask.request_flush()
            return lambda: {"ok": True} if delivered() else None
        if kind == "snapshot":
            path, mtime_ns = ask["path"], ask["mtime_ns"]
            if not isinstance(path, str) or not isinstance(mtime_ns, int):
                raise TypeError
            return lambda: {"ok": True} if self._subtask.is_served(path, mtime_ns) else None
        if kind == "status":
            path = ask["path"]
            if not isinstance(path, str):
                raise TypeError
            return lambda: {"file": msgspec.to_builtins(self._subtask.file_status(path))}
        if kind == "pull":
            fetched = self._subtask.request_pull()
            return lambda: {"ok": True} if fetched() else None
        raise ValueError

    def _reply(self, request_id: str, reply: dict[str, Any]) -> None:
        data = json.dumps(reply, ensure_ascii=True).encode("ascii")
        try:
            self._disk.write_whole(self._layout.answer_path(request_id), data)
        except OSError as error:
            if not self._failing:
                self._log.warning("an answer can't be written: %s", error)
            self._failing = True
            return  # it stays open: the next round tries again
        self._open.pop(request_id, None)
        if not self._drop(f"{request_id}.ask", None):
            self._drop(f"{request_id}.answer", None)  # taken back meanwhile: nobody reads it

    def _drop(self, name: str, why: str | None) -> bool:
        """Remove a file; False if it was gone already."""
        if why is not None:
            self._log.warning("question %s dropped: %s", name, why)
        try:
            self._disk.remove(os.path.join(self._layout.requests, name))
        except FileNotFoundError:
            return False
        except OSError:
            self._done.add(name.partition(".")[0])
        return True
