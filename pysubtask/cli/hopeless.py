"""When ``push`` and ``pull`` give up, and what they say then."""

from __future__ import annotations

import os
import time
from typing import NoReturn, Protocol

from pysubtask.cli.exits import Code, Failure, code_of_kind, link_error_of, what_to_try
from pysubtask.errors import LinkError
from pysubtask.status import Status

__all__ = ["Doing", "is_hopeless"]

_MAX_RESTARTS = 3
_FIRST_TRY_SECS = 60.0


class Doing(Protocol):
    """What a command does, as far as it matters here."""

    command: str
    """Its name."""
    url: str
    """Where to, or from where; without password."""
    state_dir: str
    moved: float
    """When anything got on last, by monotonic time."""

    def done_words(self) -> str | None:
        """How much of it is done; None if nothing is."""

    def close_bars(self) -> None:
        """No more bars from here on."""


def is_hopeless(status: Status, doing: Doing, give_up_after: float) -> bool:
    """Whether nothing more is to be expected although there is a connection: the files say why.

    Args:
        status: its link is the one that matters.
        give_up_after: seconds without any progress.

    Raises:
        Failure: there is no connection, and there won't be one soon.
    """
    code = code_of_kind(status.last_error_kind)
    if code in (Code.LOGIN, Code.IDENTITY):
        _fail(status, doing, code)
    if status.restarts >= _MAX_RESTARTS:
        _fail(status, doing, Code.ERROR)
    still = time.monotonic() - doing.moved
    if still < give_up_after:
        return False
    trying = status.last_error_kind is None and status.link != "connected"
    if trying and still < _FIRST_TRY_SECS:
        return False  # the first try has not failed yet
    if trying or status.last_error_kind is not None:
        _fail(status, doing, Code.UNREACHABLE)
    return bool(status.last_error)  # the others are done


def _fail(status: Status, doing: Doing, code: Code) -> NoReturn:
    words = status.last_error or f"no connection to {doing.url}"
    done = doing.done_words()
    if done:
        words += f"\n{done}"
    if code is Code.ERROR:
        attempt = f"read {os.path.join(doing.state_dir, 'logs')}"
    else:
        error = link_error_of(status) or LinkError(words)
        attempt = what_to_try(error, doing.url, f"pysubtask {doing.command}")
    raise Failure(words, code, attempt)
