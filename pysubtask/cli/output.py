"""Where a command's words go: data to standard output, progress and notes to standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.text import Text

from pysubtask.cli.exits import scrub
from pysubtask.cli.messages import ErrorMessage, Message, NoteMessage
from pysubtask.cli.wrapping import fold, fold_attempt
from pysubtask.status import printable

__all__ = ["Output", "age", "crop", "plain"]


_WIDE = 500


class Output:
    """One command's output.

    Args:
        as_json: NDJSON instead of text; then nothing but that is printed.

    ``NO_COLOR`` and a stream that is no terminal switch colours off (``rich`` sees to both), and no
    terminal on standard error means no bars.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)
        self.bars: Console | None = None
        """The console that bars are drawn on at the moment."""

    def _print(self, shown: RenderableType) -> None:
        """On a terminal that bars are drawn on, above them."""
        bars = self.bars if self.out.is_terminal else None
        (bars or self.out).print(shown, soft_wrap=not self.out.is_terminal)

    @property
    def has_bars(self) -> bool:
        """Whether progress may be drawn: a person looks at a terminal that can redraw."""
        return not self.as_json and self.err.is_terminal and not self.err.is_dumb_terminal

    def emit(self, message: Message, shown: RenderableType | None = None) -> None:
        """Data: the message with ``--json``, else ``shown`` (None: nothing)."""
        if self.as_json:
            print(to_line(message), flush=True)
        elif shown is not None:
            self._print(shown)

    def say(self, text: RenderableType) -> None:
        """Text for a person on standard output; not with ``--json``."""
        if not self.as_json:
            self._print(text)

    def note(self, text: str) -> None:
        """Something that a person should know; on standard error, or as a ``note``."""
        if self.as_json:
            print(to_line(NoteMessage(text=text)), flush=True)
        else:
            shown = "\n".join(map(printable, text.splitlines()))
            self.err.print(Text(self.fold(shown, on=self.err), style="dim"), soft_wrap=True)

    def fail(self, message: str, attempt: str, code: int, kind: str | None) -> None:
        """An error and its remedy; the last words of a command."""
        message, attempt = scrub(message), scrub(attempt)
        if self.as_json:
            error = ErrorMessage(message=message, exit_code=code, attempt=attempt, kind=kind)
            print(to_line(error), flush=True)
            return
        lines = "\n".join(map(printable, message.splitlines()))
        lines = self.fold(lines, indent=7, taken=7, on=self.err)
        self.err.print(Text.assemble(("Error: ", "bold red"), lines), soft_wrap=True)
        if self.err.is_terminal:
            attempt = fold_attempt(attempt, self.err.width, taken=5)
        self.err.print(Text.assemble(("Try: ", "bold green"), attempt), soft_wrap=True)

    def fold(self, text: str, *, indent: int = 0, taken: int = 0, on: Console | None = None) -> str:
        """``text`` as it fits on a terminal; nothing is folded for a file or a pipe.

        Args:
            text: without escape sequences.
            indent: spaces before each line but the first.
            taken: columns of the first line that hold something else already.
            on: where it is printed; default: standard output.
        """
        console = on or self.out
        columns = console.width if console.is_terminal else sys.maxsize
        return fold(text, columns, indent=indent, taken=taken)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE  # nothing is folded for a file or a pipe
    return console


def to_line(message: Message) -> str:
    """As one line of ASCII; names that are no UTF-8 keep their bytes as lone surrogates."""
    return json.dumps(_plain_values(message), ensure_ascii=True, separators=(",", ":"))


def _plain_values(message: Message) -> dict[str, Any]:
    info = msgspec.inspect.type_info(type(message))
    assert isinstance(info, msgspec.inspect.StructType)
    values: dict[str, Any] = {"message_type": info.tag}
    for field in info.fields:
        values[field.encode_name] = getattr(message, field.name)
    return values


def age(secs: float) -> str:
    """``3 s``, ``5 min``, ``2 h``, ``4 d``"""
    secs = max(0.0, secs)
    for limit, unit, step in ((60, "s", 1), (3600, "min", 60), (86_400, "h", 3600)):
        if secs < limit:
            return f"{secs / step:.0f} {unit}"
    return f"{secs / 86_400:.0f} d"


def crop(text: str, columns: int) -> str:
    """``text``, or its end behind a ``…`` if it is longer."""
    return text if len(text) <= columns else "…" + text[len(text) - columns + 1 :]


def plain(path: str) -> str:
    """A path as a person reads it: from here if it is here, control characters escaped."""
    here = os.getcwd() + os.sep
    return printable(path.removeprefix(here))
