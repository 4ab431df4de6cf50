"""What a loss of power left at the destination only.

The last rows of a file had arrived when the power failed, and the disk had not kept them: what the
destination shows is longer than what is left here, and nobody has those rows but the server. What
goes on from what is left here must not take their place; they stay under some name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.remote import RemoteDisk

if TYPE_CHECKING:
    from tests.simulation.ledger import Ledger

__all__ = ["Doubted"]


class Doubted:
    """Watches, by remote name, what is nowhere else."""

    def __init__(
        self, ledger: Ledger, disk: RemoteDisk, broken: Callable[[str, str], None]
    ) -> None:
        self._ledger = ledger
        self._disk = disk
        self._broken = broken
        self._only_there: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        """By the local path, since two may have one remote name: what files held when the power
        failed that were never begun anew."""
        self.replaced = False
        """``on_first_contact="replace"``: who asked for that gets it."""

    def power_fails(self) -> None:
        """Note what the disk here shows until now."""
        self._written = {
            source.path: bytes(source.current.content)
            for source in self._ledger.by_path.values()
            if source.present and source.growth != "rewrite" and len(source.lineages) == 1
        }

    def power_lost(self) -> None:
        """Compare what is left here with what is there."""
        self._only_there.clear()
        for source in self._ledger.by_path.values():
            file = self._disk.files.get(source.remote)
            written = self._written.get(source.path)
            if file is None or self.replaced or not source.present or written is None:
                continue
            left = source.current.content
            is_ours = written.startswith(file.content)
            if is_ours and len(left) < len(file.content) and file.content.startswith(left):
                self._only_there[source.remote] = bytes(file.content)

    def forget(self, remote: str) -> None:
        """Another hand has been there."""
        self._only_there.pop(remote, None)

    def clear(self) -> None:
        """The server itself has lost what nobody knows."""
        self._only_there.clear()

    def check(self) -> None:
        """It is still there."""
        for remote, content in list(self._only_there.items()):
            file = self._disk.files.get(remote)
            if file is None or file.content.startswith(content):
                continue  # between two names, or as it was
            if not any(other.content.startswith(content) for other in self._disk.files.values()):
                self._broken(
                    "lost",
                    f"{remote!r} had {len(content)} bytes that a loss of power had left nowhere "
                    "else, and they were not kept",
                )
            del self._only_there[remote]
