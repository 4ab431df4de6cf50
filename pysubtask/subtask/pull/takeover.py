"""What a process before left behind: temporary files, and growth that was not noted any more."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from pysubtask.core.pull import Pulled, Told, print_of
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.store.recordlog import RecordLog

__all__ = ["note_grown", "note_purged", "take_over"]


def take_over(journal: RecordLog[Pulled], places: Places, log: logging.Logger) -> None:
    """Bring the folder and the journal together, without asking the server.

    Raises:
        OSError: the folder can't be looked at.
    """
    entries = journal.entries()
    places.sweep(journal.client_id, {e.passage.temp for e in entries if e.passage is not None})
    for entry in entries if journal.unclean_boot else ():
        if entry.passage is not None:
            places.cut_temp(entry.passage.temp, entry.passage.synced)
    for entry in entries:
        if entry.reach:
            _take_growth(journal, places, entry, log)
    note_purged(journal)
    for entry in journal.entries():
        renamed = entry.told is not None and entry.told.kind == "renamed"
        if renamed and not places.is_there(entry.place):  # it may not have come to that
            journal.update(entry.path, lambda e: Pulled(e.path, e.remote, leaving=e.leaving))


def _take_growth(
    journal: RecordLog[Pulled], places: Places, entry: Pulled, log: logging.Logger
) -> None:
    """Bytes were being added to a visible file. All of them are known by their print: they count
    now, since the server may show another file by the next look. After a loss of power, others are
    garbage, and are cut off; else they may be a part of ours, or the program's own."""
    if places.look(entry) != "partly":
        return
    local = places.left(entry.place)
    added = places.read(entry.place, entry.size, local.size - entry.size)
    if local.size == entry.reach and print_of(added) == entry.reach_print:
        note_grown(journal, places, entry.path, local.size)
    elif journal.unclean_boot:
        log.info("cut %s to the %d bytes that are known to be good", entry.place, entry.size)
        places.cut(entry.place, entry.size)
        note_grown(journal, places, entry.path, entry.size)


def note_grown(journal: RecordLog[Pulled], places: Places, path: str, size: int) -> Pulled:
    """So many bytes stand in the visible file now."""
    entry = journal.get(path)
    assert entry is not None
    local = places.left(entry.place)
    head, tail = places.prints(entry.place, size)

    def grow(entry: Pulled) -> Pulled:
        told = entry.told  # what the program was not told of yet begins earlier
        if size > entry.size and told is None:
            told = Told("grown", entry.size)
        return replace(
            entry,
            size=size,
            reach=0,
            reach_print="",
            head=head,
            tail=tail,
            local=local,
            told=told,
        )

    return journal.update(path, grow)


def note_purged(journal: RecordLog[Pulled]) -> None:
    """Note whether nothing here may still hold what a loss of power has left."""
    if journal.unclean_boot and not journal.purged:
        journal.purged = not any(entry.reach for entry in journal.entries())
