"""Lines that are too long for a terminal, folded between words, their rest set in."""

from __future__ import annotations

import re
import textwrap

__all__ = ["fold", "fold_attempt"]

_COMMAND = re.compile(r"(?:pysubtask|python|chmod|sudo) ")
_REMARK = re.compile(r" {2,}(?=\()")


def fold(text: str, columns: int, *, indent: int, taken: int = 0) -> str:
    """``text`` in lines of at most ``columns``; a word that is longer stays whole.

    Args:
        columns: of the terminal.
        indent: spaces before each line but the first.
        taken: columns of the first line that hold something else already.
    """
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        before = " " * (indent if lines else taken)
        folded = textwrap.wrap(
            paragraph,
            max(columns, indent + 1),
            initial_indent=before,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [""]
        if not lines:
            folded[0] = folded[0][taken:]
        lines += folded
    return "\n".join(lines)


def fold_attempt(text: str, columns: int, *, taken: int) -> str:
    """What stands behind ``Try:``. A command stays on one line, which the terminal breaks if need
    be, so that it can be copied; a remark behind it moves to the next one if it does not fit."""
    if taken + len(text) <= columns:
        return text
    if not _COMMAND.match(text):
        return fold(text, columns, indent=taken, taken=taken)
    command, *remark = _REMARK.split(text, maxsplit=1)
    spaces = " " * taken
    return "\n".join(
        [command, *(spaces + fold(one, columns, indent=taken, taken=taken) for one in remark)]
    )
