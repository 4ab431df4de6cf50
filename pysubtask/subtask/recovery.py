"""After a loss of power: what the journal may have forgotten, and the outbox may have lost."""

from __future__ import annotations

from collections.abc import Callable

from pysubtask.seams.clock import Clock
from pysubtask.subtask.intake.rescue import Rescue
from pysubtask.subtask.store.ledger import Ledger

__all__ = ["doubt_deliveries", "mend_outbox"]

_OLD_PIECE_SECS = 86_400.0


def doubt_deliveries(ledger: Ledger, sync_secs: float, ready: Callable[[str], None]) -> None:
    """The journal may have lost what came later: the destination is asked for each file.

    Args:
        sync_secs: so old the journal may have been on the disk.
        ready: called with each path.
    """
    delivered = [e for e in ledger.journal.entries() if e.delivered and e.current]
    latest = max((e.delivered.at for e in delivered if e.delivered), default=0.0)
    ledger.compare_since = latest - sync_secs - 2.0
    for entry in delivered:
        ledger.doubt(entry)
        ready(entry.path)


def mend_outbox(ledger: Ledger, clock: Clock, rescue: Rescue) -> None:
    """Pieces that the power took are read again from their files, while those may still hold the
    bytes: before anybody is told that a snapshot is safe."""
    for path in list(ledger.owed):
        entry = ledger.get(path)
        for version in entry.versions if entry is not None else ():
            if clock.time() - version.taken_at > _OLD_PIECE_SECS:
                continue  # on the disk long since; checked once more when it is sent
            lost = [
                piece
                for piece in version.pieces
                if piece.name is not None and not ledger.outbox.is_whole(piece)
            ]
            if lost:
                rescue.read_again(path, version, lost)
