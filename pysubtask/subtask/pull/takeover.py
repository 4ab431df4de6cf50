"""What a process before left behind: temporary files, and growth that was not noted any more."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from pysubtask.core.pull import Passage, Pulled, Told, print_of
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
            _take_passage(journal, places, entry, entry.passage)
    for entry in entries:
        if entry.reach:
            _take_growth(journal, places, entry, log)
    note_purged(journal)
    renamed = [e for e in journal.entries() if e.told is not None and e.told.kind == "renamed"]
    if renamed:
        places.sync_names()
    for entry in renamed:
        if not places.is_there(entry.place):  # it may not have come to that
            journal.update(entry.path, lambda e: Pulled(e.path, e.remote, leaving=e.leaving))


def _take_passage(
    journal: RecordLog[Pulled], places: Places, entry: Pulled, passage: Passage
) -> None:
    """A content was on its way when the power failed. One that was complete is under one of its
    two names, or neither: then the power took the name, and it has to come again."""
    places.cut_temp(passage.temp, passage.synced)
    ready = passage.local is not None
    if ready and places.temp_size(passage.temp) is None and not places.is_placed(passage):
        journal.update(entry.path, lambda e: replace(e, passage=None))


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
        places.sync(entry.place)  # it was killed before it could
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
