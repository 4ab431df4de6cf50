"""What a server said, fit for a log, a terminal and a status line.

A server's words reach people: as the reason of an error in ``status()``, in the log, on the
monitor's pages. They are the one text in there that a stranger writes.
"""

from __future__ import annotations

__all__ = ["said"]


def said(words: bytes | str, limit_chars: int = 200) -> str:
    """``words`` as one line of characters that can be seen.

    White space of any kind (line ends included) becomes one space; what can't be printed (terminal
    escapes, C1 controls, marks that turn the direction of writing, bytes that are no UTF-8) becomes
    ``?``; what is over ``limit_chars`` is left out.
    """
    if isinstance(words, str):
        words = words[: 8 * limit_chars]
        text = words.encode("utf-8", "replace").decode("utf-8")
    else:
        text = words[: 8 * limit_chars].decode("utf-8", "replace")
    text = " ".join(text.split())[:limit_chars]
    return "".join(char if char.isprintable() else "?" for char in text)
