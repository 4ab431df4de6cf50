"""``pysubtask doctor``: which part of the way is broken, and what the server can do."""

from __future__ import annotations

import time

import click
from rich.text import Text

from pysubtask.cli.exits import Code, Failure, code_of, scrub, what_to_try
from pysubtask.cli.messages import CheckMessage, SummaryMessage
from pysubtask.cli.options import Connection, UrlType, connection_options, json_option
from pysubtask.cli.output import Output
from pysubtask.doctor import Check, examine
from pysubtask.errors import HostKeyRefused, LoginRefused
from pysubtask.status import printable

__all__ = ["command"]

_MARKS = {
    "ok": ("✓", "green"),
    "missing": ("–", "yellow"),
    "failed": ("✗", "bold red"),
    "unknown": ("?", "yellow"),
}


@click.command("doctor", short_help="Find what is broken, and what a server can do.")
@click.argument("url", type=UrlType(), required=False)
@connection_options
@json_option
def command(url: str | None, connection: Connection, as_json: bool) -> int:
    """Examine a destination: name, port, host key, login, then what the server can do.

    Tries it with small files under temporary names, which are removed. Says of each ability that
    is missing what that costs, and of each failure its cause and a remedy.
    """
    output = Output(as_json=as_json)
    target = connection.target(url, "pysubtask doctor URL")
    began = time.monotonic()
    output.say(Text(f"{target.destination}", style="bold"))
    checks: list[Check] = []
    for check in examine(target.destination, target.settings):
        checks.append(check)
        output.emit(
            CheckMessage(
                name=check.name,
                title=check.title,
                verdict=check.verdict,
                detail=scrub(check.detail),
                cost=check.cost,
                remedy=check.remedy,
                secs=round(check.secs, 3),
            ),
            _line(output, check) if check.verdict != "skipped" else None,
        )
    skipped = [check.title for check in checks if check.verdict == "skipped"]
    if skipped:
        words = output.fold(f"not reached: {', '.join(skipped)}", indent=4, taken=4)
        output.say(Text(f"  · {words}", style="dim"))
    failed = [check for check in checks if check.verdict == "failed"]
    code = code_of(failed[0].error) if failed and failed[0].error is not None else Code.OK
    good = sum(check.verdict == "ok" for check in checks)
    output.emit(
        SummaryMessage(
            command="doctor",
            ok=good,
            total=len(checks),
            exit_code=code,
            secs=round(time.monotonic() - began, 3),
        )
    )
    if failed:
        first = failed[0]
        words = f"{first.title}{' ' if first.name == 'port' else ': '}{first.detail}"
        if isinstance(first.error, HostKeyRefused):
            words = first.error.message
        attempt = first.remedy or ""
        refused = isinstance(first.error, HostKeyRefused | LoginRefused)
        if first.error is not None and (refused or not attempt):
            attempt = what_to_try(first.error, str(target.destination), "pysubtask doctor")
        raise Failure(words, code, attempt)
    missing = sum(check.verdict == "missing" for check in checks)
    ending = "everything works" if not missing else "delivery works, at the costs above"
    output.say(Text(f"{ending} ({time.monotonic() - began:.1f} s)", style="bold green"))
    return Code.OK


def _line(output: Output, check: Check) -> Text:
    mark, style = _MARKS[check.verdict]
    detail = output.fold(printable(scrub(check.detail)), indent=25, taken=25)
    line = Text.assemble((f"  {mark} ", style), f"{check.title:<21}{detail}")
    if check.cost:
        cost = output.fold(check.cost, indent=6, taken=6)
        line.append(f"\n      {cost}", style="yellow")
    return line
