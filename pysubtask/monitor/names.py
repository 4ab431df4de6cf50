"""Names of files that strangers may choose: how they are told apart and shown.

Over SFTP a file may be called ``<img onerror=…>``, hold a newline, an ESC or a right-to-left
override, or look like another one. Nothing here is an escape for one output: ``shown()`` makes a
text that is one harmless line everywhere (page, terminal, mail, CSV), and each output quotes it
by its own rules as well.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from functools import lru_cache

__all__ = ["SUFFIX", "client_id", "client_name", "shown", "skeleton"]

SUFFIX = ".heartbeat"
_LIMIT_CHARS = 200
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LOOK_ALIKE = str.maketrans(
    # the Cyrillic and Greek letters that fonts draw as Latin ones, after case folding
    # (a part of Unicode TR 39's confusables.txt)
    "абвеёзікмнорсстухѕјԁһӏԛԝαβενικορτυχγω",
    "a6bee3ikmhopcctyxsjdhlqwabevikoptuxyw",
)


def client_name(path: str) -> str | None:
    """The client's name for a path below the source; None if that is no heartbeat file.

    ``site/edge7.heartbeat`` is ``site/edge7``. Hidden files are none: pysubtask's own temporary
    names begin with a dot, and so do those of rsync and of most editors.
    """
    base = path.rpartition("/")[2]
    if base.startswith(".") or not base.endswith(SUFFIX) or base == SUFFIX:
        return None
    return path.removesuffix(SUFFIX)


def client_id(name: str) -> str:
    """16 hex digits that stand for the name in URLs; by its bytes, so each spelling has its own."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


@lru_cache(maxsize=65536)
def shown(text: str, limit: int = _LIMIT_CHARS) -> str:
    """One line for people: what can't be seen, or would change how the rest is seen, is escaped.

    Bytes that are not UTF-8 (lone surrogates here) become ``\\xNN``, all else ``\\u{NNNN}``. A text
    of more than ``limit`` characters is cut in its middle.
    """
    if text.isascii() and text.isprintable() and len(text) <= limit and "\\" not in text:
        return text
    if len(text) > limit:
        half = limit // 2
        text = f"{text[: half - 1]}…{text[-half:]}"
    return "".join(_shown_char(char) for char in text)


def _shown_char(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if char == "\\":
        return "\\\\"  # else a name could pretend to hold what is escaped here
    category = unicodedata.category(char)
    if category in _HIDDEN_CATEGORIES or (category == "Zs" and char != " "):
        return f"\\u{{{code:04x}}}"
    if category.startswith("M"):
        return f"\\u{{{code:04x}}}" if unicodedata.combining(char) > 0 or code > 0x2000 else char
    return char


@lru_cache(maxsize=65536)
def skeleton(name: str) -> str:
    """Names with the same skeleton look alike: two forms of é, capitals, Cyrillic letters."""
    if name.isascii():
        return name.lower().translate(_ASCII_ALIKE)
    folded = unicodedata.normalize("NFKD", name).casefold().translate(_LOOK_ALIKE)
    kept = (char for char in folded if unicodedata.category(char) not in {*_HIDDEN_CATEGORIES})
    return unicodedata.normalize("NFKC", "".join(kept)).translate(_ASCII_ALIKE)


_ASCII_ALIKE = str.maketrans({"\x00": None})
