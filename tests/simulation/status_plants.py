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
    "deleted-held": 397,
    "copy-held": 5,
}
