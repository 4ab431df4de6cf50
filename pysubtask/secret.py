"""A text that must not be seen by accident: a password, a passphrase, a token."""

from __future__ import annotations

from typing import Any

__all__ = ["Secret"]


class Secret:
    """Carries a secret text through settings, status and tracebacks without showing it.

    ``str()``, ``repr()`` and formatting give ``Secret('•••')``; only :meth:`reveal` gives the text.
    It compares and pickles by its text, so that settings holding one can be compared and sent to
    another process on purpose.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text._text if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('•••')"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (self._text,)
