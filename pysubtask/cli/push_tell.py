"""Telling what happens to the files of a push, and keeping count of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from rich.text import Text

from pysubtask.cli.exits import Busy
from pysubtask.cli.messages import DeliveredMessage, ProgressMessage
from pysubtask.cli.output import Output, plain
from pysubtask.cli.progress import Bars
from pysubtask.cli.telling import RateMeter, tell_failed, tell_link
from pysubtask.events import (
    Delivered,
    Event,
    FileFailed,
    LinkChanged,
    Pending,
    Progress,
    TakenOver,
    between,
)
from pysubtask.states import Owed, read_owed
from pysubtask.status import Status, size_words

__all__ = ["PushFile", "Telling"]


@dataclass(slots=True)
class PushFile:
    """What is known of one file of this push."""

    path: str
    resumed_bytes: int = 0
    version: int = 0
    """The one that ``resumed_bytes`` belong to."""
    sent_bytes: int = 0
    delivered: bool = False
    error: str | None = None
    began: float = field(default_factory=time.monotonic)
    meter: RateMeter = field(default_factory=RateMeter)


class Telling:
    """As bars, as lines, or as JSON.

    Args:
        paths: the files that are pushed.
        folders: those whose files are, too.
        url: the destination, without password.
        state_dir: where the push keeps its journal.
        follow: the push goes on until Ctrl-C.
    """

    command = "push"

    def __init__(
        self,
        output: Output,
        paths: Iterable[str],
        folders: Iterable[str],
        url: str,
        state_dir: str,
        *,
        follow: bool,
    ) -> None:
        self._folders = {folder.rstrip("/" + os.sep) for folder in folders}
        self.output = output
        self.files = {path: PushFile(path) for path in paths}
        self.url = url
        self.state_dir = state_dir
        self.follow = follow
        self.began = time.monotonic()
        self.moved = self.began
        """When anything got on last, by monotonic time."""
        self._began_at = time.time()
        self._bars = Bars(output) if output.has_bars else None
        self._told: dict[str, tuple[int, float | None]] = {}

    def done_words(self) -> str | None:
        """How many files are delivered; None if none is."""
        done = sum(file.delivered for file in self.files.values())
        return f"{done} of {len(self.files)} files were delivered before" if done else None

    def close_bars(self) -> None:
        """No more bars from here on."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def note_resumed(self) -> None:
        """Remember what is there of former runs, before this one begins."""
        for owed in read_owed(self.state_dir):
            file = self.files.get(owed.path)
            if file is not None and _continues(owed):
                file.resumed_bytes = max(owed.delivered_bytes, owed.sent_bytes)
                file.version = owed.version

    def own(self, status: Status) -> Status:
        """``status`` of our files alone: another push to the same place, which has taken over or
        was taken over, shows its own."""
        ours = {
            path: file
            for path, file in status.files.items()
            if path in self.files or os.path.dirname(path) in self._folders
        }
        same = len(ours) == len(status.files)
        return status if same else msgspec.structs.replace(status, files=ours)

    def tell(self, before: Status | None, status: Status) -> None:
        """Tell what is new in ``status``.

        Raises:
            Busy: another process took the push over.
        """
        events = between(before, status)
        self._forget_other_versions(events)
        for event in events:
            self._tell(event, status)
        if self._bars is not None:
            self._bars.link(status)

    def _forget_other_versions(self, events: list[Event]) -> None:
        """What was there of an earlier version is nothing of the one that is delivered now."""
        paths = {event.path for event in events if isinstance(event, Delivered | Progress)}
        doubtful = [path for path in paths if self._file(path).resumed_bytes]
        if not doubtful:
            return
        versions = {owed.path: owed.version for owed in read_owed(self.state_dir)}
        for path in doubtful:
            file = self._file(path)
            if versions.get(path) != file.version:
                file.resumed_bytes = 0

    def _tell(self, event: Event, status: Status) -> None:
        output = self.output
        if isinstance(event, LinkChanged):
            if event.link == "connected":
                self.moved = time.monotonic()
            tell_link(output, event)
        elif isinstance(event, Progress):
            file = self._file(event.path)
            if event.sent_bytes > file.sent_bytes:
                self.moved = time.monotonic()
            file.sent_bytes = event.sent_bytes
            resumed = min(file.resumed_bytes, event.sent_bytes)
            rate = file.meter.rate(event.sent_bytes)
            eta = max(0, event.size_bytes - event.sent_bytes) / rate if rate else None
            output.emit(
                ProgressMessage(
                    path=event.path,
                    sent_bytes=event.sent_bytes,
                    size_bytes=event.size_bytes,
                    resumed_bytes=resumed,
                    rate_bytes_per_sec=rate and round(rate, 1),
                    eta_secs=eta and round(eta, 1),
                )
            )
            if self._bars is not None:
                self._bars.progress(event.path, event.sent_bytes, event.size_bytes, resumed)
        elif isinstance(event, Pending) and self._bars is not None:
            total = status.files[event.path].size_bytes or event.pending_bytes
            self._bars.progress(event.path, total - event.pending_bytes, total, 0)
        elif isinstance(event, Delivered):
            self._delivered(event, status)
        elif isinstance(event, FileFailed):
            self._file(event.path).error = event.error
            tell_failed(output, event.path, event.error)
        elif isinstance(event, TakenOver):
            raise Busy(self.state_dir, f"push to {self.url} was taken over")

    def _file(self, path: str) -> PushFile:
        return self.files.setdefault(path, PushFile(path))  # new in a folder

    def _delivered(self, event: Delivered, status: Status) -> None:
        notified_at = status.files[event.path].notified_at
        news = (event.size_bytes, notified_at)
        early = not self.follow and (notified_at or 0.0) < self._began_at - 0.1
        if early or self._told.get(event.path) == news:
            return  # delivered by a former run; the notify of this one is still to be served
        self._told[event.path] = news
        file = self._file(event.path)
        now = time.monotonic()
        secs, self.moved = now - file.began, now
        file.began = now
        file.delivered, file.error, file.sent_bytes = True, None, event.size_bytes
        file.resumed_bytes = min(file.resumed_bytes, event.size_bytes)
        there = f"  ({size_words(file.resumed_bytes)} were there)" if file.resumed_bytes else ""
        if self._bars is not None:
            self._bars.done(event.path, event.size_bytes)
        self.output.emit(
            DeliveredMessage(
                path=event.path,
                size_bytes=event.size_bytes,
                resumed_bytes=file.resumed_bytes,
                secs=round(secs, 3),
            ),
            Text.assemble(
                ("delivered", "green"),
                f"  {plain(event.path)}  {size_words(event.size_bytes)}{there}",
            ),
        )


def _continues(owed: Owed) -> bool:
    return bool(owed.delivered_bytes or owed.sent_bytes)
