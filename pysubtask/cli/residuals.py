"""``pysubtask residuals``: what former runs left undelivered."""

from __future__ import annotations

import os
import shlex
import time

import click
from rich.text import Text

from pysubtask.cli.exits import Code, Failure
from pysubtask.cli.messages import ResidualMessage, SummaryMessage
from pysubtask.cli.options import json_option
from pysubtask.cli.output import Output, plain
from pysubtask.cli.status import places_of
from pysubtask.states import read_owed, read_status
from pysubtask.status import size_words
from pysubtask.tomlfile import load

__all__ = ["command"]


@click.command("residuals", short_help="List what former runs left undelivered.")
@click.argument("place", default=".", metavar="[PLACE]")
@json_option
def command(place: str, as_json: bool) -> int:
    """List data that former runs left undelivered; nothing is sent or changed.

    PLACE is a folder with watched files (default: this one), a state folder, or a TOML file of
    `pysubtask run`; for that also files beside the watched ones are listed, which `run --sweep`
    would send.
    """
    output = Output(as_json=as_json)
    states = places_of(place)
    is_config = place.endswith(".toml") and os.path.isfile(place)
    if not states and not is_config:
        raise Failure(
            f"no delivery keeps its state in {place}",
            Code.ERROR,
            "pysubtask residuals FOLDER, where FOLDER holds the watched files",
        )
    found: list[ResidualMessage] = []
    for state in states:
        destination = read_status(state).destination
        found += [
            ResidualMessage(
                path=owed.path,
                kind="owed",
                pending_bytes=owed.pending_bytes,
                state_dir=state,
                destination=destination,
            )
            for owed in read_owed(state)
            if owed.pending_bytes
        ]
    if is_config:
        found += _beside(place)
    for residual in found:
        words = "owed" if residual.kind == "owed" else "beside"
        shown = f"  {plain(residual.path)}  {size_words(residual.pending_bytes)}"
        if residual.destination:
            shown += f"  to {residual.destination}"
        output.emit(residual, Text.assemble((f"{words:<6}", "yellow"), shown))
    total = sum(residual.pending_bytes for residual in found)
    code = Code.PARTIAL if found else Code.OK
    output.emit(
        SummaryMessage(command="residuals", ok=0, total=len(found), exit_code=code, bytes=total)
    )
    if found:
        again = "the same push, run or program again: it goes on where it ended"
        if is_config:
            again = f"pysubtask run --sweep {shlex.quote(place)}"
        raise Failure(f"{len(found)} files with {size_words(total)} are not delivered", code, again)
    output.say(Text("nothing is left", style="bold green"))
    return code


def _beside(place: str) -> list[ResidualMessage]:
    from pysubtask.seams.disk import RealDisk
    from pysubtask.subtask.intake.residuals import find_residuals

    found = []
    for delivery in load(place).deliveries:
        master = delivery.without_passwords().make_master()
        for watch in find_residuals(
            RealDisk(),
            master.watches,
            _is_data,
            now=time.time(),
            up_to_days_old=36_500,
        ):
            found.append(
                ResidualMessage(
                    path=watch.path,
                    kind="beside",
                    pending_bytes=os.path.getsize(watch.path),
                    state_dir=master.state_dir,
                )
            )
    return found


def _is_data(path: str) -> bool:
    name = os.path.basename(path)
    return not name.startswith(".") and not name.endswith((".notify", ".heartbeat"))
