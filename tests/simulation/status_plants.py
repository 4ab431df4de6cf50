"""Planted bugs in what ``status()`` says, and in what is held open."""

from __future__ import annotations

from tests.simulation.planting import Plant, one

__all__ = ["STATUS_KNOWN", "STATUS_PLANTS", "STATUS_WORLDS"]

STATUS_PLANTS: dict[str, Plant] = {
    "sum-drifts": one(
        "what was owed of a file before stays in the sums of copies",
        "subtask.store.ledger",
        "Ledger._note_owed",
        "self.held -= lay",
        "pass",
    ),
    "whole-pending": one(
        "of a file that grows all is pending while a part of it is",
        "subtask.store.ledger",
        "Ledger._note_owed",
        "= pending_bytes = entry.pending_bytes",
        "= pending_bytes = entry.pending_bytes and sum(v.size for v in entry.versions)",
    ),
    "half-write-uncounted": one(
        "what a full disk took of a refused write is not counted as the outbox's",
        "subtask.store.outbox",
        "Outbox._append_all",
        "self._count_anew(name)",
        "pass",
    ),
    "full-for-ever": one(
        "an outbox that was full once is called so for ever",
        "subtask.store.space",
        "Space.review",
        "self._refusal = None",
        "pass",
    ),
    "link-error-stays": one(
        "the last trouble of the link is told after it is over",
        "subtask.delivery.linkstate",
        "LinkBoard.fine",
        "LinkState(link, self._since(link))",
        "replace(self.state, link=link)",
    ),
    "delivered-untold": one(
        "what is at the destination of a file is told as nothing",
        "subtask.subtask",
        "BaseSubtask._file_status",
        "delivered_bytes=done.size if done is not None and shown else 0",
        "delivered_bytes=0",
    ),
    "lost-link-told": one(
        "a link that nobody needs any more is said to be tried again",
        "subtask.delivery.delivery",
        "Delivery.step",
        'self._board.fine("resting")',
        "pass",
    ),
    "left-over-stays": one(
        "a copy that the disk would not remove stays until the next start",
        "subtask.store.outbox",
        "Outbox.remove_left_over",
        "self._remove(path)",
        "pass",
    ),
    "journal-held": one(
        "the journal of before is held open, deleted, once a new one has taken its place",
        "subtask.store.recordfile",
        "RecordFile.replace",
        "    if self._handle is not None:\n        self._handle.close()\n"
        "        self._handle = None\n    self.size",
        "    self.__dict__.setdefault('left', []).append(self._handle); self._handle = None\n"
        "    self.size",
    ),
    "deleted-held": one(
        "a file that was deleted is held open for ever, and takes room",
        "subtask.intake.keeper",
        "Keeper._let_go_of_delivered",
        "elif self._sources.is_gone(path):",
        "elif False:",
    ),
    "copy-held": one(
        "a copy that was looked through is not closed",
        "subtask.store.outbox",
        "Outbox.is_whole",
        "handle.close()",
        "pass",
    ),
}

STATUS_WORLDS: dict[str, str] = {"full-for-ever": "limited"}

STATUS_KNOWN: dict[str, int] = {
    "sum-drifts": 0,
    "whole-pending": 0,
    "half-write-uncounted": 428,
    "full-for-ever": 3_000_000_001,
    "link-error-stays": 0,
    "delivered-untold": 2,
    "lost-link-told": 2_015_100_228,
    "left-over-stays": 605,
    "journal-held": 478,
    "deleted-held": 397,
    "copy-held": 5,
}
