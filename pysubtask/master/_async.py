"""``await master.flushed()``: the flush of :meth:`TaskMaster.flush` without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pysubtask.master._ask import Question
from pysubtask.signals import StateLayout

__all__ = ["ask"]

_FIRST_PAUSE_SECS = 0.001
_LONGEST_PAUSE_SECS = 0.05


async def ask(
    layout: StateLayout,
    question: dict[str, Any],
    timeout: float,
    hopeless: Callable[[], bool],
) -> dict[str, Any] | None:
    """The answer to a question; None if there is none in time. A cancelled wait takes it back."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = _FIRST_PAUSE_SECS
    with Question(layout, question) as asked:
        while True:
            answer = asked.look()
            if answer is not None:
                return answer
            rest = deadline - loop.time()
            if rest <= 0 or hopeless() or not asked.asked:
                return None
            await asyncio.sleep(min(pause, rest))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECS)
