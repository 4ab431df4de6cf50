"""``pysubtask push``: deliver files now, and with ``--follow`` whatever they become."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from pysubtask.cli.asking import Asking
from pysubtask.cli.exits import Busy, Code, Failure
from pysubtask.cli.options import (
    Connection,
    Target,
    UrlType,
    connection_options,
    give_up_option,
    json_option,
)
from pysubtask.cli.output import Output
from pysubtask.cli.push_end import end
from pysubtask.cli.push_tell import Telling
from pysubtask.cli.pushes import forget_old_states, push_state_dir
from pysubtask.errors import SettingsError
from pysubtask.follow import Follower
from pysubtask.holder import holder_pid
from pysubtask.master._master import TaskMaster
from pysubtask.status import Status

__all__ = ["command"]

_LOOK_SECS = 0.1
_LOOK_COST = 10


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
@give_up_option
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
        url = str(target.destination)
        files = self._master.declared_files
        folders = [watch.declared for watch in self._master.watches if watch.is_dir]
        self._telling = Telling(output, files, folders, url, self.state_dir, follow=follow)
        self._status: Status | None = None
        self._flush = Asking(self._master.flush, self._telling)
        self._stale: float | None = None

    def __enter__(self) -> _Push:
        return self

    def __exit__(self, *exc: object) -> None:
        self._telling.close_bars()
        self._master.stop()

    def run(self, follow_secs: float) -> int:
        if holder_pid(self.state_dir) is not None:
            raise Busy(self.state_dir, f"push from there to {self._telling.url}")
        forget_old_states(time.time())
        self._telling.note_resumed()
        self._stale = self._master.status().updated_at
        self._master.start()
        # elsewhere, if the wanted one can't be used
        self.state_dir = self._telling.state_dir = self._master.state_dir
        follower = Follower(self._master, secs=follow_secs)
        try:
            if self._follow:
                self._output.note(f"following {len(self._telling.files)} files; Ctrl-C ends it")
                follower.start()
                while True:
                    time.sleep(self._look())
            self._master.notify_all_files()
            self._flush.start()
            pause = _LOOK_SECS
            while not self._flush.is_over:
                self._flush.wait(pause)
                pause = self._look()
                if self._status is not None:
                    self._flush.give_up_if_hopeless(self._status, self._give_up_after)
        except KeyboardInterrupt:
            self._telling.close_bars()
            if self._follow:
                follower.stop()
                self._output.note("stopping")
            self._master.stop()
            self._look()
            return end(self._master.status(), self._telling, interrupted=not self._follow)
        self._look()
        self._telling.close_bars()
        self._master.stop()
        self._look()
        return end(self._master.status(), self._telling)

    # --- what happens

    def _look(self) -> float:
        """Look at the status and tell what is new; gives the seconds until the next look, longer
        where thousands of files make it costly."""
        began = time.monotonic()
        before, status = self._status, self._master.status()
        if status.updated_at == self._stale:  # files as a former run left them
            status = msgspec.structs.replace(status, files={}, last_error=None)
            self._telling.moved = time.monotonic()  # the subtask is still starting
        status = self._telling.own(status)
        self._status = status
        self._telling.tell(before, status)
        return max(_LOOK_SECS, _LOOK_COST * (time.monotonic() - began))
