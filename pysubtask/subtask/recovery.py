"""After a loss of power: what the journal may have forgotten, and the outbox may have lost."""

from __future__ import annotations

from collections.abc import Callable

from pysubtask.core.model import Piece
from pysubtask.seams.clock import Clock
from pysubtask.subtask.intake.rescue import Rescue
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.outbox import Outbox

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
            lost = [p for p in version.pieces if p.name is not None and _is_lost(ledger.outbox, p)]
            if lost:
                rescue.read_again(path, version, lost)


def _is_lost(outbox: Outbox, piece: Piece) -> bool:
    try:
        return not outbox.is_whole(piece)
    except OSError:
        return True  # for now: it is asked once more when it is sent
