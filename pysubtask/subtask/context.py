"""What a subtask is given, and what the main loop expects of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pysubtask.handover import Handover
    from pysubtask.seams.clock import Clock
    from pysubtask.seams.disk import Disk
    from pysubtask.signals import StateLayout
    from pysubtask.status import FileStatus, Status

__all__ = ["Context", "Subtask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The surroundings of a subtask: made by :func:`pysubtask.subtask.shell.main.run`."""

    handover: Handover
    """What the master declared: watches, settings, destination, folders."""
    layout: StateLayout
    """Where things lie in the state folder."""
    disk: Disk
    clock: Clock
    log: logging.Logger
    """The subtask's log. Secrets of the handover never reach it, control characters are escaped."""
    wake: Callable[[], None]
    """Make the main loop call :meth:`Subtask.step` soon. Any thread, cheap, never blocks."""
    status_changed: Callable[[], None]
    """:meth:`Subtask.status` would say something new. Any thread, cheap, never blocks."""
    still_alive: Callable[[], None] = lambda: None
    """For a step that takes longer than a few seconds: call it while progress is made, or the
    master's watchdog (``watchdog_secs``) takes the child for stuck. From the main thread only."""


class Subtask(Protocol):
    """What the main loop calls. All but :meth:`hint` are called from the main thread, in turn."""

    def start(self) -> None:
        """Called once, before anything else."""

    def step(self) -> float:
        """Do what is due. Returns the monotonic time at which it wants to be called again."""

    def hint(self, path: str | None, complete: bool = False, gone: bool = False) -> bool | None:
        """``path`` (None: anything) may have changed; ``complete``: its writer closed it, or it was
        renamed to that name; ``gone``: what had that name was renamed or deleted. Called from the
        events thread, cheap. True: a step should follow soon; a subtask may as well call
        ``Context.wake`` itself."""

    def folders(self) -> list[str]:
        """Folders whose events are wanted. May change from call to call."""

    def status(self) -> Status:
        """How things are now."""

    def file_status(self, path: str) -> FileStatus | None:
        """How things are with one file; None if it is not known."""

    def request_flush(self) -> Callable[[], bool]:
        """Release what is held back; the returned function says whether all that had been notified
        when this was called is delivered."""

    def request_pull(self) -> Callable[[], bool]:
        """Look at all sources; the returned function says whether what they had is here."""

    def is_served(self, path: str, mtime_ns: int) -> bool:
        """Whether the snapshot for the touch of ``path`` with that time is taken."""

    def stop(self, deadline: float) -> bool:
        """End gracefully until the monotonic ``deadline``. True if everything was delivered."""
