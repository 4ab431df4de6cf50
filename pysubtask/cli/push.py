"""``pysubtask push``: deliver files now, and with ``--follow`` whatever they become."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import msgspec
from rich.text import Text

from pysubtask.cli.exits import Busy, Code, Failure, code_of_kind, scrub
from pysubtask.cli.messages import (
    DeliveredMessage,
    FailedMessage,
    LinkMessage,
    ProgressMessage,
    SummaryMessage,
)
from pysubtask.cli.options import Connection, Target, UrlType, connection_options, json_option
from pysubtask.cli.output import Output, plain, size
from pysubtask.cli.progress import Bars
from pysubtask.cli.pushes import forget_old_states, push_state_dir
from pysubtask.errors import SettingsError
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
from pysubtask.follow import Follower
from pysubtask.master._master import TaskMaster
from pysubtask.states import Owed, holder_pid, read_owed
from pysubtask.status import Status

__all__ = ["command"]

_LOOK_SECS = 0.1
_LOOK_COST = 10
_FOREVER_SECS = 30 * 86_400.0
_MAX_RESTARTS = 3
_TELLING_BYTES = 1 << 20
_FIRST_TRY_SECS = 60.0


@click.command("push", short_help="Deliver files now; --follow: and what they become.")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=False, path_type=str),
)
@click.option("--to", type=UrlType(), metavar="URL", help="Where to, such as sftp://user@host/in.")
@click.option("--follow", is_flag=True, help="Go on: deliver what is appended, until Ctrl-C.")
@click.option(
    "--follow-secs",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    metavar="SECS",
    help="With --follow: seconds between two looks at the files.",
)
@click.option(
    "--give-up-after",
    type=click.FloatRange(0, 86_400 * 30),
    default=30.0,
    show_default=True,
    metavar="SECS",
    help="Seconds without any progress after which to give up (not with --follow).",
)
@connection_options
@json_option
def command(
    files: tuple[str, ...],
    to: str | None,
    follow: bool,
    follow_secs: float,
    give_up_after: float,
    connection: Connection,
    as_json: bool,
) -> int:
    """Deliver files (or all files of folders) to a destination.

    An upload that breaks goes on near the byte where it broke, also after this command was
    interrupted: run it again. What is there already is not sent again.
    """
    output = Output(as_json=as_json)
    watches = _watches(files, follow)
    target = connection.target(to)
    try:
        push = _Push(output, target, watches, follow, give_up_after)
    except SettingsError as error:
        if "would have the name" not in error.message:
            raise
        attempt = "push them one after the other, each to a folder of its own in the URL"
        raise Failure(f"{error.path}: {error.message}", Code.ERROR, attempt) from None
    with push:
        return push.run(follow_secs)


def _watches(files: Sequence[str], follow: bool) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for given in files:
        path = os.path.abspath(os.path.expanduser(given))
        if os.path.isdir(path):
            if follow:
                found[path] = {"dir": path}
                continue
            names = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
            for name in names:
                if not name.startswith(".") and not name.endswith((".notify", ".heartbeat")):
                    whole = os.path.join(path, name)
                    found[whole] = {"file": whole}
        elif os.path.exists(path) or follow:
            found[path] = {"file": path}
        else:
            raise FileNotFoundError(2, "there is no such file or folder", given)
    if not found:
        raise Failure(
            f"no files in {', '.join(files)}",
            Code.ERROR,
            "name files; subfolders and hidden files are left alone",
        )
    return list(found.values())


@dataclass(slots=True)
class _File:
    path: str
    resumed_bytes: int = 0
    version: int = 0
    """The one that ``resumed_bytes`` belong to."""
    sent_bytes: int = 0
    delivered: bool = False
    error: str | None = None
    began: float = field(default_factory=time.monotonic)
    first: tuple[float, int] | None = None
    """When the first progress was seen, and how much it was."""

    def rate(self, sent_bytes: int) -> float | None:
        """Bytes a second since the first sign of progress."""
        now = time.monotonic()
        if self.first is None or sent_bytes < self.first[1]:
            self.first = now, sent_bytes
        at, before = self.first
        return (sent_bytes - before) / (now - at) if sent_bytes > before else None


class _Push:
    """One run of the command."""

    def __init__(
        self,
        output: Output,
        target: Target,
        watches: list[dict[str, Any]],
        follow: bool,
        give_up_after: float,
    ) -> None:
        self._output = output
        self._follow = follow
        self._give_up_after = give_up_after
        home = os.path.dirname(watches[0].get("file") or watches[0]["dir"] + os.sep)
        settings = dict(target.keywords)
        self.state_dir = push_state_dir(target.destination, home)
        settings.setdefault("bak_to_folder", self.state_dir)
        settings.setdefault("log_to_folder", os.path.join(self.state_dir, "logs"))
        if not follow:
            settings.setdefault("stop_timeout_secs", 1.0)  # all that can be done is done before
        self._master = TaskMaster(watches, to=target.to, **settings)
        self.state_dir = self._master.state_dir
        self._url = str(target.destination)
        self._files = {path: _File(path) for path in self._master.declared_files}
        self._bars = Bars(output) if output.has_bars else None
        self._status: Status | None = None
        self._done = threading.Event()
        self._stale: float | None = None
        self._told: dict[str, tuple[int, float | None]] = {}
        self._began_at = time.time()
        self._began = time.monotonic()
        self._moved = self._began

    def __enter__(self) -> _Push:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bars is not None:
            self._bars.close()
        self._master.stop()

    def run(self, follow_secs: float) -> int:
        pid = holder_pid(self.state_dir)
        if pid is not None:
            raise Busy(pid, self.state_dir, f"push from there to {self._url}")
        forget_old_states(time.time())
        self._note_resumed()
        self._stale = self._master.status().updated_at
        self._master.start()
        self.state_dir = self._master.state_dir  # elsewhere, if the wanted one can't be used
        follower = Follower(self._master, secs=follow_secs)
        try:
            if self._follow:
                self._output.note(f"following {len(self._files)} files; Ctrl-C ends it")
                follower.start()
                while True:
                    time.sleep(self._look())
            self._master.notify_all_files()
            threading.Thread(target=self._flush, daemon=True).start()
            pause = _LOOK_SECS
            while not self._done.is_set():
                self._done.wait(pause)
                pause = self._look()
                self._give_up_if_hopeless()
        except KeyboardInterrupt:
            self._close_bars()
            if self._follow:
                follower.stop()
                self._output.note("stopping")
            self._master.stop()
            self._look()
            return self._end(interrupted=not self._follow)
        self._look()
        self._close_bars()
        self._master.stop()
        self._look()
        return self._end()

    def _note_resumed(self) -> None:
        for owed in read_owed(self.state_dir):
            file = self._files.get(owed.path)
            if file is not None and _continues(owed):
                file.resumed_bytes = max(owed.delivered_bytes, owed.sent_bytes)
                file.version = owed.version

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

    def _flush(self) -> None:
        while not self._done.is_set():
            # asked once: each asking makes the subtask try the server at once
            if self._master.flush(timeout=_FOREVER_SECS):
                self._done.set()
            else:
                self._done.wait(1)  # the subtask ended and is started again

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    # --- what happens

    def _look(self) -> float:
        """Look at the status and tell what is new; gives the seconds until the next look, longer
        where thousands of files make it costly."""
        began = time.monotonic()
        before, status = self._status, self._master.status()
        if status.updated_at == self._stale:  # files as a former run left them
            status = msgspec.structs.replace(status, files={}, last_error=None)
            self._moved = time.monotonic()  # the subtask is still starting
        self._status = status
        events = between(before, status)
        self._forget_other_versions(events)
        for event in events:
            self._tell(event)
        if self._bars is not None:
            self._bars.link(status)
        return max(_LOOK_SECS, _LOOK_COST * (time.monotonic() - began))

    def _tell(self, event: Event) -> None:
        output = self._output
        if isinstance(event, LinkChanged):
            if event.link == "connected":
                self._moved = time.monotonic()
            output.emit(
                LinkMessage(
                    link=event.link,
                    error=event.error and scrub(event.error),
                    error_kind=event.error_kind,
                    next_try=event.next_try,
                )
            )
            shown = event.error and event.link != "gone"
            if shown and self._bars is None and not output.as_json:
                output.note(f"{event.link}: {event.error}")
        elif isinstance(event, Progress):
            file = self._file(event.path)
            if event.sent_bytes > file.sent_bytes:
                self._moved = time.monotonic()
            file.sent_bytes = event.sent_bytes
            resumed = min(file.resumed_bytes, event.sent_bytes)
            rate = file.rate(event.sent_bytes)
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
            assert self._status is not None
            total = self._status.files[event.path].size_bytes or event.pending_bytes
            self._bars.progress(event.path, total - event.pending_bytes, total, 0)
        elif isinstance(event, Delivered):
            self._delivered(event)
        elif isinstance(event, FileFailed):
            self._file(event.path).error = event.error
            output.emit(FailedMessage(path=event.path, error=scrub(event.error)))
            if not output.as_json:
                output.note(f"{plain(event.path)}: {event.error}")
        elif isinstance(event, TakenOver):
            pid = holder_pid(self.state_dir) or 0
            raise Busy(pid, self.state_dir, f"push to {self._url} was taken over")

    def _file(self, path: str) -> _File:
        return self._files.setdefault(path, _File(path))  # new in a folder

    def _delivered(self, event: Delivered) -> None:
        assert self._status is not None
        notified_at = self._status.files[event.path].notified_at
        news = (event.size_bytes, notified_at)
        early = not self._follow and (notified_at or 0.0) < self._began_at - 0.1
        if early or self._told.get(event.path) == news:
            return  # delivered by a former run; the notify of this one is still to be served
        self._told[event.path] = news
        file = self._file(event.path)
        now = time.monotonic()
        secs, self._moved = now - file.began, now
        file.began = now
        file.delivered, file.error, file.sent_bytes = True, None, event.size_bytes
        file.resumed_bytes = min(file.resumed_bytes, event.size_bytes)
        there = f"  ({size(file.resumed_bytes)} were there)" if file.resumed_bytes else ""
        if self._bars is not None:
            self._bars.done(event.path, event.size_bytes)
        self._output.emit(
            DeliveredMessage(
                path=event.path,
                size_bytes=event.size_bytes,
                resumed_bytes=file.resumed_bytes,
                secs=round(secs, 3),
            ),
            Text.assemble(
                ("delivered", "green"),
                f"  {plain(event.path)}  {size(event.size_bytes)}{there}",
            ),
        )

    # --- the end

    def _give_up_if_hopeless(self) -> None:
        status = self._status
        if status is None or self._done.is_set():
            return
        code = code_of_kind(status.last_error_kind)
        if code in (Code.LOGIN, Code.IDENTITY):
            self._fail(status, code)
        if status.restarts >= _MAX_RESTARTS:
            self._fail(status, Code.ERROR)
        still = time.monotonic() - self._moved
        if still < self._give_up_after:
            return
        trying = status.last_error_kind is None and status.link != "connected"
        if trying and still < _FIRST_TRY_SECS:
            return  # the first try has not failed yet
        if trying or status.last_error_kind is not None:
            self._fail(status, Code.UNREACHABLE)
        if status.last_error:
            self._done.set()  # the files say why; the others are delivered

    def _fail(self, status: Status, code: Code) -> None:
        from pysubtask import errors
        from pysubtask.cli.exits import what_to_try

        self._done.set()
        self._close_bars()
        words = status.last_error or f"no connection to {self._url}"
        kind = getattr(errors, status.last_error_kind or "", errors.LinkError)
        done = sum(file.delivered for file in self._files.values())
        if done:
            words += f"\n{done} of {len(self._files)} files were delivered before"
        if code is Code.ERROR:
            attempt = f"read {os.path.join(self.state_dir, 'logs')}"
        else:
            attempt = what_to_try(kind(words), self._url, "pysubtask push")
        raise Failure(words, code, attempt)

    def _end(self, *, interrupted: bool = False) -> int:
        status = self._master.status()
        files = list(self._files.values())
        good = 0
        for file in files:
            shown = status.files.get(file.path)
            pending = shown.pending_bytes if shown is not None else 0
            error = (shown.last_error if shown is not None else None) or file.error
            missing = shown is None or shown.size_bytes is None
            if pending or (error and not file.delivered) or (missing and not self._follow):
                file.error = error or "not delivered yet"
            else:
                file.error = None
                good += 1
        code = Code.OK if good == len(files) else (Code.PARTIAL if good else Code.ERROR)
        if interrupted and code is not Code.OK:
            code = Code.INTERRUPTED
        secs = time.monotonic() - self._began
        total = sum(file.sent_bytes for file in files)
        resumed = sum(file.resumed_bytes for file in files)
        enough = total - resumed >= _TELLING_BYTES and secs > 0.5
        rate = f", {size((total - resumed) / secs)}/s" if enough else ""
        there = f", {size(resumed)} of it were there" if resumed else ""
        self._output.emit(
            SummaryMessage(
                command="push",
                ok=good,
                total=len(files),
                exit_code=code,
                bytes=total,
                resumed_bytes=resumed,
                secs=round(secs, 3),
            )
        )
        if not self._output.as_json:
            self._output.note(
                f"{good} of {len(files)} files, {size(total)}{there}, in {secs:.1f} s{rate}"
            )
        if code is not Code.OK and not interrupted:
            self._tell_failures(files, code)
        elif interrupted and code is not Code.OK:
            sizes = (file.size_bytes or 0 for file in status.files.values())
            left = size(max(0, sum(sizes) - total))
            attempt = "the same command again, which goes on from here"
            raise Failure(f"interrupted; {left} are pending", code, attempt)
        return code

    def _tell_failures(self, files: list[_File], code: Code) -> None:
        failed = [file for file in files if file.error]
        words = [f"{len(failed)} of {len(files)} files are not delivered"]
        words += [f"{plain(file.path)}: {file.error}" for file in failed[:10]]
        if len(failed) > 10:
            words.append(f"… and {len(failed) - 10} more")
        where = shlex.quote(self._url)
        raise Failure(
            "\n".join(words),
            code,
            f"pysubtask doctor {where}; then the same command again, which goes on from here",
        )


def _continues(owed: Owed) -> bool:
    return bool(owed.delivered_bytes or owed.sent_bytes)
