"""Telling what is fetched, keeping count of it, and how a pull ends."""

from __future__ import annotations

import shlex
import time

import msgspec
from rich.text import Text

from pysubtask.arrivals import Arrival
from pysubtask.cli.convert import arrived_message
from pysubtask.cli.exits import Busy, Code, Failure, code_of_kind, link_error_of, what_to_try
from pysubtask.cli.messages import PullProgressMessage, SummaryMessage
from pysubtask.cli.output import Output, plain
from pysubtask.cli.progress import Bars
from pysubtask.cli.telling import RateMeter, arrival_words, tell_failed, tell_link
from pysubtask.errors import RemoteNotFound
from pysubtask.events import SourceChanged, TakenOver, between
from pysubtask.pull import Pull
from pysubtask.status import PullStatus, Status, size_words

__all__ = ["PullTelling", "end"]

_TELLING_BYTES = 1 << 20


class PullTelling:
    """As a bar, as lines, or as JSON.

    Args:
        pull: what is fetched.
        state_dir: where it keeps its journal.
    """

    command = "pull"

    def __init__(self, output: Output, pull: Pull, state_dir: str) -> None:
        self.output = output
        self.url = str(pull.source)
        """The folder, or the file; without the pattern."""
        self.source = self.url + pull.suffix
        self.state_dir = state_dir
        self.began = time.monotonic()
        self.moved = self.began
        """When anything got on last, by monotonic time."""
        self.files: dict[str, Arrival] = {}
        """What arrived, by path."""
        self.fetched_bytes = 0
        self._earlier_bytes = self._counted_bytes = 0
        self._bars = Bars(output) if output.has_bars else None
        self._meter = RateMeter()
        self._refused: dict[str, str] = {}

    def done_words(self) -> str | None:
        """How many files have arrived; None if none has."""
        return f"{len(self.files)} files arrived before" if self.files else None

    def close_bars(self) -> None:
        """No more bars from here on."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def arrived(self, arrival: Arrival) -> None:
        """A file has arrived, or more of it."""
        self.moved = time.monotonic()
        self.files[arrival.path] = arrival
        style = "yellow" if arrival.kind == "conflict" else "green"
        line = Text.assemble((f"{arrival.kind:<8}", style), f"  {arrival_words(arrival)}")
        self.output.emit(arrived_message(arrival), line)

    def tell(self, before: Status | None, status: Status, source: PullStatus) -> None:
        """Tell what is new in ``status``.

        Raises:
            Busy: another process took the pull over.
        """
        for event in between(before, status):
            if isinstance(event, SourceChanged):
                self._link(event, source)
            elif isinstance(event, TakenOver):
                raise Busy(self.state_dir, f"pull from {self.source} was taken over")
        for path, error in source.refused.items():
            if self._refused.get(path) != error:
                tell_failed(self.output, path, error)
        self._refused = dict(source.refused)
        self._progress(source)
        if self._bars is not None:
            self._bars.link(
                msgspec.structs.replace(
                    status,
                    link=source.link,
                    next_try=source.next_try,
                    last_error=source.last_error if source.last_error_kind else None,
                )
            )

    def _link(self, event: SourceChanged, source: PullStatus) -> None:
        if event.link == "connected":
            self.moved = time.monotonic()
        if event.error in source.refused.values():  # a file's trouble is told as such
            event = SourceChanged(event.source, event.link)
        tell_link(self.output, event)

    def _progress(self, source: PullStatus) -> None:
        if source.fetched_bytes < self._counted_bytes:  # another subtask, which counts from 0
            self._earlier_bytes += self._counted_bytes
        self._counted_bytes = source.fetched_bytes
        fetched = self._earlier_bytes + source.fetched_bytes
        if fetched <= self.fetched_bytes:
            return
        self.fetched_bytes, self.moved = fetched, time.monotonic()
        rate = self._meter.rate(fetched)
        self.output.emit(
            PullProgressMessage(
                source=self.source,
                fetched_bytes=fetched,
                pending_bytes=source.pending_bytes,
                pending_files=source.pending_files,
                rate_bytes_per_sec=rate and round(rate, 1),
                eta_secs=round(source.pending_bytes / rate, 1) if rate else None,
            )
        )
        if self._bars is not None:
            if source.pending_bytes:
                total = fetched + source.pending_bytes
                self._bars.progress(self.source, fetched, total, 0)
            else:
                self._bars.done(self.source, fetched)


def end(telling: PullTelling, source: PullStatus, *, interrupted: bool) -> int:
    """Say what became of it; gives the exit code.

    Raises:
        Failure: not all that the source has is here.
    """
    refused = source.refused
    waiting = max(0, source.pending_files - len(refused))
    good = len([path for path in telling.files if path not in refused])
    trouble = source.last_error if source.last_error not in refused.values() else None
    code = Code.OK
    if refused or waiting:
        code = Code.PARTIAL
    kind = source.last_error_kind
    if trouble is not None and kind is not None:
        code = code_of_kind(kind)
    elif trouble is not None:
        code = Code.PARTIAL if good else Code.ERROR
    if interrupted:
        code = Code.INTERRUPTED
    secs = time.monotonic() - telling.began
    telling.output.emit(
        SummaryMessage(
            command="pull",
            ok=good,
            total=good + len(refused) + waiting,
            exit_code=code,
            bytes=telling.fetched_bytes,
            secs=round(secs, 3),
        )
    )
    if not telling.output.as_json:
        enough = telling.fetched_bytes >= _TELLING_BYTES and secs > 0.5
        rate = f", {size_words(telling.fetched_bytes / secs)}/s" if enough else ""
        what = f"{good} files arrived" if good else "nothing new"
        telling.output.note(f"{what}, {size_words(telling.fetched_bytes)} in {secs:.1f} s{rate}")
    again = "the same command again, which goes on from here"
    if interrupted:
        raise Failure(
            f"interrupted; about {size_words(source.pending_bytes)} were still to come", code, again
        )
    if code is Code.OK:
        return code
    words, attempt = [], f"pysubtask doctor {shlex.quote(telling.url)}; then {again}"
    if trouble is not None:
        words.append(f"{telling.source}: {trouble}")
        shown = Status(
            last_error=trouble, last_error_kind=kind, last_error_reason=source.last_error_reason
        )
        error = link_error_of(shown) or RemoteNotFound(trouble)
        attempt = what_to_try(error, telling.url, "pysubtask pull")
    if refused:
        words.append(f"{len(refused)} files are not fetched")
        words += [f"{plain(path)}: {error}" for path, error in list(refused.items())[:10]]
    if len(refused) > 10:
        words.append(f"… and {len(refused) - 10} more")
    if waiting:
        why = "" if source.pending_bytes else ": they keep changing"
        words.append(f"{waiting} files are not here yet{why}")
    raise Failure("\n".join(words), code, attempt)
