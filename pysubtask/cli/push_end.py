"""How a push ends: done, given up, interrupted, and what is said then."""

from __future__ import annotations

import os
import shlex
import time
from typing import NoReturn

from pysubtask.cli.exits import Code, Failure, code_of_kind, link_error_of, what_to_try
from pysubtask.cli.messages import SummaryMessage
from pysubtask.cli.output import plain
from pysubtask.cli.push_tell import PushFile, Telling
from pysubtask.errors import LinkError
from pysubtask.status import Status, size_words

__all__ = ["end", "is_hopeless"]

_MAX_RESTARTS = 3
_TELLING_BYTES = 1 << 20
_FIRST_TRY_SECS = 60.0


def is_hopeless(status: Status, telling: Telling, give_up_after: float) -> bool:
    """Whether nothing more is to be expected although there is a connection: the files say why.

    Args:
        give_up_after: seconds without any progress.

    Raises:
        Failure: there is no connection, and there won't be one soon.
    """
    code = code_of_kind(status.last_error_kind)
    if code in (Code.LOGIN, Code.IDENTITY):
        _fail(status, telling, code)
    if status.restarts >= _MAX_RESTARTS:
        _fail(status, telling, Code.ERROR)
    still = time.monotonic() - telling.moved
    if still < give_up_after:
        return False
    trying = status.last_error_kind is None and status.link != "connected"
    if trying and still < _FIRST_TRY_SECS:
        return False  # the first try has not failed yet
    if trying or status.last_error_kind is not None:
        _fail(status, telling, Code.UNREACHABLE)
    return bool(status.last_error)  # the others are delivered


def _fail(status: Status, telling: Telling, code: Code) -> NoReturn:
    words = status.last_error or f"no connection to {telling.url}"
    done = sum(file.delivered for file in telling.files.values())
    if done:
        words += f"\n{done} of {len(telling.files)} files were delivered before"
    if code is Code.ERROR:
        attempt = f"read {os.path.join(telling.state_dir, 'logs')}"
    else:
        error = link_error_of(status) or LinkError(words)
        attempt = what_to_try(error, telling.url, "pysubtask push")
    raise Failure(words, code, attempt)


def end(status: Status, telling: Telling, *, interrupted: bool = False) -> int:
    """Say what became of the files; gives the exit code.

    Raises:
        Failure: not all are delivered.
    """
    files = list(telling.files.values())
    good = 0
    for file in files:
        shown = status.files.get(file.path)
        pending = shown.pending_bytes if shown is not None else 0
        error = (shown.last_error if shown is not None else None) or file.error
        missing = shown is None or shown.size_bytes is None
        if pending or (error and not file.delivered) or (missing and not telling.follow):
            file.error = error or "not delivered yet"
        else:
            file.error = None
            good += 1
    code = Code.OK if good == len(files) else (Code.PARTIAL if good else Code.ERROR)
    if interrupted and code is not Code.OK:
        code = Code.INTERRUPTED
    secs = time.monotonic() - telling.began
    total = sum(file.sent_bytes for file in files)
    resumed = sum(file.resumed_bytes for file in files)
    enough = total - resumed >= _TELLING_BYTES and secs > 0.5
    rate = f", {size_words((total - resumed) / secs)}/s" if enough else ""
    there = f", {size_words(resumed)} of it were there" if resumed else ""
    telling.output.emit(
        SummaryMessage(
            command="push",
            ok=good,
            total=len(files),
            exit_code=code,
            bytes=total,
            resumed_bytes=resumed,
            secs=round(secs, 3),
        )
    )
    if not telling.output.as_json:
        telling.output.note(
            f"{good} of {len(files)} files, {size_words(total)}{there}, in {secs:.1f} s{rate}"
        )
    if code is not Code.OK and not interrupted:
        _tell_failures(telling.url, files, code)
    elif interrupted and code is not Code.OK:
        sizes = (file.size_bytes or 0 for file in status.files.values())
        left = size_words(max(0, sum(sizes) - total))
        attempt = "the same command again, which goes on from here"
        raise Failure(f"interrupted; {left} are pending", code, attempt)
    return code


def _tell_failures(url: str, files: list[PushFile], code: Code) -> None:
    failed = [file for file in files if file.error]
    words = [f"{len(failed)} of {len(files)} files are not delivered"]
    words += [f"{plain(file.path)}: {file.error}" for file in failed[:10]]
    if len(failed) > 10:
        words.append(f"… and {len(failed) - 10} more")
    where = shlex.quote(url)
    raise Failure(
        "\n".join(words),
        code,
        f"pysubtask doctor {where}; then the same command again, which goes on from here",
    )
