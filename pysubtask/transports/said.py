"""What a server said, fit for a log, a terminal and a status line.

A server's words reach people: as the reason of an error in ``status()``, in the log, in a
heartbeat, on the monitor's pages. They are the one text in there that a stranger writes. He knows
our password, too, and some servers repeat it.
"""

from __future__ import annotations

import re

from pysubtask.redaction import MASK, redactor, secrets_of

__all__ = ["hide_secrets", "said", "visible"]

_secrets: frozenset[str] = frozenset()
_pattern: re.Pattern[str] | None = None


def hide_secrets(thing: object) -> None:
    """From here on no server's words in this process show the secrets in ``thing`` (settings, a
    destination …)."""
    global _secrets, _pattern
    secrets = _secrets.union(secrets_of(thing))
    if secrets != _secrets:
        _secrets, _pattern = secrets, redactor(secrets)


def said(words: bytes | str, limit_chars: int = 200) -> str:
    """``words`` as one line of characters that can be seen, without secrets.

    White space of any kind (line ends included) becomes one space; what can't be printed (terminal
    escapes, C1 controls, marks that turn the direction of writing, bytes that are no UTF-8) becomes
    ``?``; what is over ``limit_chars`` is left out.
    """
    text = _line(words, limit_chars)
    return _shown(_pattern.sub(MASK, text) if _pattern else text, limit_chars)


def visible(words: bytes | str, limit_chars: int = 200) -> str:
    """As :func:`said`, but with whatever is in it: to be looked into, not to be shown."""
    return _shown(_line(words, limit_chars), limit_chars)


def _line(words: bytes | str, limit_chars: int) -> str:
    if isinstance(words, str):
        words = words[: 8 * limit_chars]
        text = words.encode("utf-8", "replace").decode("utf-8")
    else:
        text = words[: 8 * limit_chars].decode("utf-8", "replace")
    return " ".join(text.split())


def _shown(text: str, limit_chars: int) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:limit_chars])
