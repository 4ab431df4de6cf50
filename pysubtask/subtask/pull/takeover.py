"""What a process before left behind: temporary files, and growth that was not noted any more."""

from __future__ import annotations

import logging
from collections.abc import Collection

from msgspec.structs import replace

from pysubtask.core.pull import Passage, Pulled, Told, print_of
from pysubtask.subtask.pull.places import Places
from pysubtask.subtask.store.recordlog import RecordLog

__all__ = [
    "note_grown",
    "note_purged",
    "settle_move",
    "take_growth",
    "take_over",
    "take_over_one",
]


def take_over(
    journal: RecordLog[Pulled], places: Places, log: logging.Logger
) -> dict[str, OSError]:
    """Bring the folder and the journal together, without asking the server.

    Returns:
        The files of which that could not be done, by path here, and why: nothing must be fetched
        of them before :func:`take_over_one` has been.
    """
    entries = journal.entries()
    places.sweep(journal.client_id, {e.passage.temp for e in entries if e.passage is not None})
    refused: dict[str, OSError] = {}
    for entry in entries:
        try:
            take_over_one(journal, places, entry, log)
        except OSError as error:
            refused[entry.path] = error
    note_purged(journal, refused)
    return refused


def take_over_one(
    journal: RecordLog[Pulled], places: Places, entry: Pulled, log: logging.Logger
) -> None:
    """The same for one file.

    Raises:
        OSError: the disk refuses.
    """
    if entry.passage is not None and journal.unclean_boot:
        _take_passage(journal, places, entry, entry.passage)
    take_growth(journal, places, entry, log)
    settle_move(journal, places, entry.path)


def settle_move(journal: RecordLog[Pulled], places: Places, path: str) -> bool:
    """Whether a file that was to get another name, as on the server, has it, for good. If it has
    not come to that, it is forgotten under the new one.

    Raises:
        OSError: the disk refuses.
    """
    entry = journal.get(path)
    if entry is None or entry.told is None or entry.told.kind != "renamed":
        return True
    if places.is_there(entry.place):
        places.sync_names()
        return True
    journal.update(path, lambda e: Pulled(e.path, e.remote, leaving=e.leaving))
    return False


def _take_passage(
    journal: RecordLog[Pulled], places: Places, entry: Pulled, passage: Passage
) -> None:
    """A content was on its way when the power failed. One that was complete is under one of its
    two names, or neither: then the power took the name, and it has to come again."""
    places.cut_temp(passage.temp, passage.synced)
    ready = passage.local is not None
    if ready and places.temp_size(passage.temp) is None and not places.is_placed(passage):
        journal.update(entry.path, lambda e: replace(e, passage=None))


def take_growth(
    journal: RecordLog[Pulled], places: Places, entry: Pulled, log: logging.Logger
) -> None:
    """Bytes were being added to a visible file. All of them are known by their print: they count
    now, since the server may show another file by the next look. After a loss of power, others are
    garbage, and are cut off; else they may be a part of ours, or the program's own.

    Raises:
        OSError: the disk refuses.
    """
    if not entry.reach:
        return
    look = places.look(entry)
    if look == "changed" and journal.unclean_boot and places.is_cut(entry):
        note_grown(journal, places, entry.path, entry.size)
    if look != "partly":
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
    # what the program has added meanwhile was not left by us
    local = replace(places.left(entry.place), size=size)
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


def note_purged(journal: RecordLog[Pulled], refused: Collection[str]) -> None:
    """Note whether nothing here may still hold what a loss of power has left.

    Args:
        refused: files that could not be looked at.
    """
    if journal.unclean_boot and not journal.purged:
        journal.purged = not refused and not any(entry.reach for entry in journal.entries())
