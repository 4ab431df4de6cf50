"""Bugs that are planted into fetching, each of which the histories must show."""

from __future__ import annotations

from tests.simulation.planting import Edit, Plant, one

__all__ = ["FETCHING_KNOWN", "FETCHING_PLANTS"]

FETCHING_PLANTS: dict[str, Plant] = {
    "fetch-few-bytes-count": one(
        "a longer file counts as grown though there were too few bytes to tell",
        "core.pull",
        "_may_grow",
        "entry.size >= HEAD_BYTES",
        "True",
    ),
    "fetch-not-settled": one(
        "a file is fetched without having held still",
        "core.pull",
        "plan",
        'if growth == "append" or now - seen.steady_since >= rule.settle_secs:',
        "if True:",
    ),
    "fetch-half-kept": one(
        "what has come of a version that is no more is kept for good",
        "core.pull",
        "plan",
        "Rest() if entry.passage is None else Drop()",
        "Rest()",
    ),
    "fetch-own-file-overwritten": one(
        "nobody looks whether the program has changed its file",
        "subtask.pull.places",
        "Places._judge",
        "left = entry.local\n",
        'return "as_left"\n',
    ),
    "fetch-unsynced-believed": one(
        "after a loss of power all of a temporary file counts",
        "subtask.pull.places",
        "Places.cut_temp",
        "if have is not None and have > size:",
        "if False:",
    ),
    "fetch-growth-unnoted": one(
        "what was added before a kill is left for the look at the server to judge",
        "subtask.pull.takeover",
        "take_growth",
        "if not entry.reach:",
        "if True:",
    ),
    "fetch-growth-unannounced": one(
        "the record that says what is being added may be lost with the power",
        "subtask.pull.growing",
        "Growing._append",
        "self._session.journal.sync(must=True)",
        "pass",
    ),
    "fetch-tail-not-compared": one(
        "a grown file is not compared with what was fetched of it",
        "subtask.pull.growing",
        "Growing._read_on",
        "if (print_of(first), print_of(tail)) != (entry.head, entry.tail):",
        "if False:",
    ),
    "fetch-placed-unsynced": one(
        "a file gets its name before it is on the disk",
        "subtask.pull.whole",
        "Whole.fetch",
        "temp.handle.sync()",
        "pass",
    ),
    "fetch-unconfirmed": one(
        "nobody looks whether the file was still the same when its last byte was read",
        "subtask.pull.whole",
        "Whole.fetch",
        "yield from self._confirm(path, entry, passage, growing)",
        "yield from ()",
    ),
    "fetch-told-first": one(
        "an arrival is noted as told before it is",
        "subtask.pull.telling",
        "Telling.tell_again",
        "if entry is None or entry.told is None or self.is_told(entry):",
        "self._journal.update(path, lambda e: replace(e, told=None))\n    if not entry.told:",
    ),
    "fetch-removed-unread": one(
        "a file is removed at the server though it has changed since it was read",
        "subtask.pull.removing",
        "Removing.settle",
        "fetched = yield from self._is_fetched(entry, st, was_same=was_same)",
        "fetched = True",
    ),
    "fetch-removed-unsafe": Plant(
        "a file is removed at the server before what came of it is on the disk",
        (
            Edit("subtask.pull.whole", "Whole.fetch", "temp.handle.sync()", "pass"),
            Edit(
                "subtask.pull.rounds",
                "Rounds.remove_some",
                "self._journal.sync(must=True)",
                "pass",
            ),
        ),
    ),
    "fetch-added-unsynced": one(
        "what a killed process had added is noted before it is on the disk",
        "subtask.pull.takeover",
        "take_growth",
        "places.sync(entry.place)",
        "pass",
    ),
    "fetch-no-sleep": one(
        "the child does not sleep while more files wait than the server may have open",
        "subtask.pull.puller",
        "Puller.step",
        "(self._rounds.has_next and connection.has_room)",
        "self._rounds.has_next",
    ),
}

FETCHING_KNOWN: dict[str, int] = {
    "fetch-few-bytes-count": 16_000_000_040,
    "fetch-not-settled": 16_000_000_000,
    "fetch-half-kept": 16_000_000_855,
    "fetch-own-file-overwritten": 16_000_000_029,
    "fetch-unsynced-believed": 16_000_000_375,
    "fetch-growth-unnoted": 16_000_001_194,
    "fetch-growth-unannounced": 16_000_003_407,
    "fetch-tail-not-compared": 16_000_000_000,
    "fetch-placed-unsynced": 16_000_000_003,
    "fetch-unconfirmed": 16_000_000_075,
    "fetch-told-first": 16_000_000_014,
    "fetch-removed-unread": 16_000_000_053,
    "fetch-removed-unsafe": 16_000_000_017,
    "fetch-added-unsynced": 16_000_001_314,
    "fetch-no-sleep": 16_000_000_002,
}
"""A seed that shows each."""
