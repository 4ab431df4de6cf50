"""``pysubtask verify``: compare what is at the destination with what is here."""

from __future__ import annotations

import os
import time

import click
from rich.text import Text

from pysubtask.cli.convert import verified_message
from pysubtask.cli.exits import Code, Failure
from pysubtask.cli.messages import SummaryMessage
from pysubtask.cli.options import Connection, UrlType, connection_options, json_option
from pysubtask.cli.output import Output, plain
from pysubtask.status import printable, size_words
from pysubtask.verify import Comparison, compare, pairs
from pysubtask.watch import parse_watches

__all__ = ["command"]

_STYLES = {
    "equal": "green",
    "behind": "yellow",
    "different": "bold red",
    "missing": "bold red",
    "unreadable": "red",
}


@click.command("verify", short_help="Compare with the destination, byte for byte.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True))
@click.option("--to", type=UrlType(), metavar="URL", help="The destination.")
@click.option("--sizes", is_flag=True, help="Compare sizes only; nothing is read back.")
@connection_options
@json_option
def command(
    files: tuple[str, ...], to: str | None, sizes: bool, connection: Connection, as_json: bool
) -> int:
    """Compare files (or all files of folders) with those at the destination, byte for byte.

    Reads them back, so it costs as much traffic as they are large; --sizes costs nothing.
    """
    output = Output(as_json=as_json)
    target = connection.target(to)
    began = time.monotonic()
    watches = parse_watches([os.path.abspath(os.path.expanduser(file)) for file in files])
    found: list[Comparison] = []
    for comparison in compare(
        pairs(watches, target.destination),
        target.destination,
        target.settings,
        sizes_only=sizes,
    ):
        found.append(comparison)
        output.emit(
            verified_message(comparison),
            _line(comparison),
        )
    good = sum(comparison.match == "equal" for comparison in found)
    code = Code.OK if good == len(found) else (Code.PARTIAL if good else Code.ERROR)
    how = "of the same size" if sizes else "equal, byte for byte"
    output.emit(
        SummaryMessage(
            command="verify",
            ok=good,
            total=len(found),
            exit_code=code,
            bytes=sum(comparison.size_bytes for comparison in found),
            secs=round(time.monotonic() - began, 3),
        )
    )
    if code is not Code.OK:
        raise Failure(
            f"{len(found) - good} of {len(found)} files are not {how}",
            code,
            f"pysubtask push FILE --to '{target.destination}'",
        )
    output.say(Text(f"{good} of {len(found)} files are {how}", style="bold green"))
    return code


def _line(comparison: Comparison) -> Text:
    line = Text.assemble(
        (f"{comparison.match:<10}", _STYLES[comparison.match]),
        f"  {plain(comparison.path)}  {size_words(comparison.size_bytes)}",
    )
    if comparison.detail:
        line.append(f"  {printable(comparison.detail)}", style="dim")
    return line
