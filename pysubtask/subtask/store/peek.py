"""Reading a journal that somebody else may be writing: no lock, nothing changed."""

from __future__ import annotations

from pysubtask.core.model import Entry, entry_from_json
from pysubtask.subtask.store.journal import lines
from pysubtask.subtask.store.recordlines import refuse_newer

__all__ = ["peek"]


def peek(path: str) -> list[Entry]:
    """The entries of the journal at ``path``; a last line that is being written is not there yet.

    Raises:
        OSError: it can't be read.
        StateError: it was written by a newer version.
    """
    with open(path, "rb") as file:
        data = file.read()
    entries: dict[str, Entry] = {}
    for _, _, record in lines(data):
        if record is None:
            continue
        if "journal" in record:
            refuse_newer(record, path)
            continue
        try:
            entry = entry_from_json(record)
        except (KeyError, TypeError, ValueError):
            continue
        entries[entry.path] = entry
    return list(entries.values())
