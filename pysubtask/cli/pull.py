"""``pysubtask pull``: fetch files now, and with ``--follow`` whatever comes."""

from __future__ import annotations

import os
import time
from typing import Any

import click
import msgspec

from pysubtask.cli.asking import Asking
from pysubtask.cli.exits import Busy
from pysubtask.cli.options import (
    Connection,
    Target,
    UrlType,
    connection_options,
    give_up_option,
    json_option,
)
from pysubtask.cli.output import Output
from pysubtask.cli.pull_tell import PullTelling, end
from pysubtask.cli.pushes import forget_old_states, pull_state_dir
from pysubtask.holder import holder_pid
from pysubtask.master._master import TaskMaster
from pysubtask.status import PullStatus, Status

__all__ = ["command"]

_LOOK_SECS = 0.1
_NOT_OF_A_SOURCE = ("host", "host_port", "host_path", "use_sftp")
"""The URL says them."""


@click.command("pull", short_help="Fetch files now; --follow: and what comes.")
@click.argument("url", type=UrlType(), metavar="URL")
@click.argument("folder", type=click.Path(file_okay=False, path_type=str), metavar="DIR")
@click.option("--follow", is_flag=True, help="Go on: fetch what comes or changes, until Ctrl-C.")
@click.option(
    "--growth",
    type=click.Choice(["auto", "append", "rewrite"]),
    default="auto",
    metavar="HOW",
    help="append: the files only grow, take any beginning; rewrite: take whole versions only; "
    "auto: find out.",
)
@click.option(
    "--delete-remote", is_flag=True, help="Remove a file from the server once it is safe here."
)
@click.option(
    "--interval",
    "interval_secs",
    type=click.FloatRange(0.05, 86_400),
    default=None,
    metavar="SECS",
    help="With --follow: seconds between two looks at the source; longer while nothing is new "
    "(setting pull_max_interval_secs).",
)
@give_up_option
@connection_options
@json_option
def command(
    url: str,
    folder: str,
    follow: bool,
    growth: str,
    delete_remote: bool,
    interval_secs: float | None,
    give_up_after: float,
    connection: Connection,
    as_json: bool,
) -> int:
    """Fetch what a server has into a local folder, which is made if need be.

    URL is a file, a folder (with a / at its end, or if it is one), or a folder with a pattern for
    names: 'sftp://user@host/in/*.cfg'. A file that was fetched before costs what is new of it; one
    that was changed here stays, and what the server has is put beside it as NAME~conflict-….

    A fetch that breaks goes on near the byte where it broke, also after this command was
    interrupted: run it again.
    """
    output = Output(as_json=as_json)
    target = connection.target(url)
    entry: dict[str, Any] = {
        "pull": url,
        "to": os.path.abspath(os.path.expanduser(folder)),
        "growth": growth,
        "delete_remote": delete_remote,
    }
    if interval_secs is not None:
        entry["interval_secs"] = interval_secs
    with _Pull(output, target, entry, follow, give_up_after) as pull:
        return pull.run()


class _Pull:
    """One run of the command."""

    def __init__(
        self,
        output: Output,
        target: Target,
        entry: dict[str, Any],
        follow: bool,
        give_up_after: float,
    ) -> None:
        self._output = output
        self._follow = follow
        self._give_up_after = give_up_after
        settings = {
            name: value for name, value in target.keywords.items() if name not in _NOT_OF_A_SOURCE
        }
        self._state_dir = pull_state_dir(target.destination, entry["to"])
        settings.setdefault("bak_to_folder", self._state_dir)
        settings.setdefault("log_to_folder", os.path.join(self._state_dir, "logs"))
        self._master = TaskMaster([entry], **settings)
        self._state_dir = self._master.state_dir
        (source,) = self._master.sources
        self._telling = PullTelling(output, source, self._state_dir)
        self._status: Status | None = None
        self._round = Asking(self._master.pull, self._telling)
        self._stale: float | None = None

    def __enter__(self) -> _Pull:
        return self

    def __exit__(self, *exc: object) -> None:
        self._telling.close_bars()
        self._master.stop()

    def run(self) -> int:
        if holder_pid(self._state_dir) is not None:
            raise Busy(self._state_dir, f"pull from {self._telling.source}")
        forget_old_states(time.time())
        self._stale = self._master.status().updated_at
        self._master.start()
        # elsewhere, if the wanted one can't be used
        self._state_dir = self._telling.state_dir = self._master.state_dir
        interrupted = False
        try:
            if self._follow:
                self._output.note(f"following {self._telling.source}; Ctrl-C ends it")
            else:
                self._round.start()
            while not self._round.is_over:
                self._round.wait(_LOOK_SECS)
                self._look()
                if not self._follow:
                    self._give_up_if_hopeless()
        except KeyboardInterrupt:
            interrupted = not self._follow
        self._telling.close_bars()
        if self._follow:
            self._output.note("stopping")
        self._master.stop()
        self._look()
        return end(self._telling, self._source(self._master.status()), interrupted=interrupted)

    # --- what happens

    def _look(self) -> None:
        before, status = self._status, self._master.status()
        if status.updated_at == self._stale:  # the source as a former run left it
            status = msgspec.structs.replace(status, pulls=(), last_error=None)
            self._telling.moved = time.monotonic()  # the subtask is still starting
        self._status = status
        for arrival in self._master.arrivals():
            self._telling.arrived(arrival)
        self._telling.tell(before, status, self._source(status))

    def _give_up_if_hopeless(self) -> None:
        status = self._status
        if status is None or self._round.is_over:
            return
        source = self._source(status)
        shown = msgspec.structs.replace(
            status,
            link=source.link,
            next_try=source.next_try,
            last_error=source.last_error or status.last_error,
            last_error_kind=source.last_error_kind,
            last_error_reason=source.last_error_reason,
        )
        self._round.give_up_if_hopeless(shown, self._give_up_after)
        still = time.monotonic() - self._telling.moved >= self._give_up_after
        if still and source.link == "connected":
            self._round.give_up()  # what is missing does not hold still

    def _source(self, status: Status) -> PullStatus:
        return status.pulls[0] if status.pulls else PullStatus(link=status.link)
