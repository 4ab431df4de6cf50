"""When a subtask gave its last sign of life, as the master's clock has it: pure."""

from __future__ import annotations

__all__ = ["Pulse"]

_OVERSLEPT_SECS = 1.0


class Pulse:
    """Follows the modified time of ``alive``, which is looked at every now and then.

    The watchdog's time runs from the sign itself, not from the look that found it, or a stuck child
    would be left up to two looks longer than ``watchdog_secs``. How long ago the sign was is told
    by the wall clock, which may have been set meanwhile: what it says is believed only if it falls
    between the last two looks. Of a change that it does not explain, the latest time is taken.

    Args:
        look_secs: usual time between two looks.
        now: monotonic time.
        stamp: modified time of ``alive`` in ns; None if there is none.
    """

    def __init__(self, look_secs: float, now: float, stamp: int | None) -> None:
        self._look_secs = look_secs
        self._stamp = stamp
        self.moved = now
        """Monotonic time of the last sign of life."""
        self.looked = now
        """Monotonic time of the last look."""

    def look(self, now: float, waited_secs: float, stamp: int | None, wall: float) -> None:
        """Note a look.

        Args:
            now: monotonic time.
            waited_secs: how long the master meant to sleep before it. Much more than that means
                that the master itself was stopped (SIGSTOP, a frozen container), and probably
                the child with it: its time begins anew.
            stamp: as above. None: it can't be told whether the child lives, so it is taken to.
            wall: Unix time.
        """
        before, self.looked = self.looked, now
        overslept = now - before - waited_secs > max(_OVERSLEPT_SECS, self._look_secs / 2)
        if stamp is None or overslept:
            self._stamp, self.moved = stamp, now
        elif stamp != self._stamp:
            age = wall - stamp / 1e9
            self._stamp = stamp
            self.moved = now - age if 0 <= age <= now - before else now
