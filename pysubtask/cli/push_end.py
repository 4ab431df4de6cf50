"""How a push ends: done or interrupted, and what is said then."""

from __future__ import annotations

import shlex
import time

from pysubtask.cli.exits import Code, Failure
from pysubtask.cli.messages import SummaryMessage
from pysubtask.cli.output import plain
from pysubtask.cli.push_tell import PushFile, Telling
from pysubtask.status import Status, size_words

__all__ = ["end"]

_TELLING_BYTES = 1 << 20


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
