"""The host program of the soak: the campaign's, at the pace of a data logger.

It does some ten things a second, and the number of its files is bounded, so that what still grows
with time is a leak: the images in the watched folder take new versions instead of new names.
"""

from __future__ import annotations

from tests.campaign.host import HostProgram, main

__all__ = ["SoakProgram"]

_IMAGES = 40
_MOST_SLOW = 40


class SoakProgram(HostProgram):
    """See the module."""

    waits = (0.01, 0.05, 0.1, 0.2)

    def _put_image(self) -> None:
        name = f"image-{self._rng.randrange(_IMAGES):03d}.bin"
        self._next_version(self._folder / "out" / name)

    def _write_slowly(self) -> None:
        slow = sum(1 for _ in (self._folder / "out").glob("slow-*.bin"))
        if self._slow is not None or slow < _MOST_SLOW:
            super()._write_slowly()
        else:
            self._append_to_day()


if __name__ == "__main__":
    raise SystemExit(main(SoakProgram))
