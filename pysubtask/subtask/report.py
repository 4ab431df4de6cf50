"""What ``status()`` and the heartbeat say of the deliveries."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from pysubtask.core.space import Held, held
from pysubtask.status import FileStatus, PullStatus, Status
from pysubtask.subtask.delivery.delivery import Delivery
from pysubtask.subtask.intake.intake import Intake
from pysubtask.subtask.store.ledger import Ledger
from pysubtask.subtask.store.space import Space

__all__ = ["Report"]

_MAX_OTHER_FILES = 1000


class Report:
    """Puts together what intake, ledger and delivery know.

    Args:
        destination: its URL, without secrets; None if nothing is delivered.
        pulls: how the sources are.
        declared: paths that are always shown.
        declared_name: a path as the program wrote it.
    """

    def __init__(
        self,
        ledger: Ledger,
        intake: Intake,
        delivery: Delivery,
        space: Space,
        *,
        destination: str | None,
        declared: Collection[str],
        declared_name: Callable[[str], str],
        pulls: Callable[[], tuple[PullStatus, ...]],
    ) -> None:
        self._pulls = pulls
        self._ledger = ledger
        self._intake = intake
        self._delivery = delivery
        self._space = space
        self._destination = destination
        self._declared = declared
        self._declared_name = declared_name
        self._silence: str | None = None

    def backlog(self) -> tuple[int, float | None, str | None]:
        """For the heartbeat: bytes that are owed, since when (Unix seconds), the last error."""
        oldest: float | None = None
        for path in list(self._ledger.owed):
            entry = self._ledger.get(path)
            version = entry.next_owed if entry is not None else None
            if version is not None and (oldest is None or version.taken_at < oldest):
                oldest = version.taken_at
        error = self._delivery.link.last_error or next(iter(self._delivery.errors.values()), None)
        return sum(list(self._ledger.owed.values())), oldest, error

    def look_for_silence(self) -> bool:
        """Whether the server has begun, or ended, to keep silent for longer than it should."""
        before, self._silence = self._silence, self._delivery.silence
        return self._silence != before

    def status(self, plain: Status, file_status: Callable[[str], FileStatus]) -> Status:
        """How things are: all declared files, as in ``plain``, and up to 1,000 others that are
        pending or failed."""
        link = self._delivery.link
        refused = self._delivery.errors
        trouble = set(self._ledger.owed) | set(refused) | set(self._intake.errors())
        others = sorted(trouble - set(self._declared))
        files = dict(plain.files)
        for path in others[:_MAX_OTHER_FILES]:
            files[self._declared_name(path)] = file_status(path)
        first = next(iter(refused.values()), None)
        lie = self._where_it_lies()
        return Status(
            pid=plain.pid,
            link=link.link,
            since=link.since,
            next_try=link.next_try,
            last_error=link.last_error or self._silence or first or plain.last_error,
            last_error_kind=link.last_error_kind if link.last_error else None,
            pending_bytes=sum(list(self._ledger.owed.values())),
            files=files,
            files_left_out=max(0, len(others) - _MAX_OTHER_FILES),
            destination=self._destination,
            pulls=self._pulls(),
            notes=(*plain.notes, *self._delivery.limits),
            updated_at=plain.updated_at,
            copied_bytes=lie.copied_bytes,
            only_in_files_bytes=lie.only_in_files_bytes,
            deleted_bytes=min(self._space.pinned_bytes, lie.only_in_files_bytes),
            outbox_bytes=self._ledger.outbox.held_bytes,
            outbox_limit_bytes=self._space.limit_bytes,
            outbox_full=self._space.full,
            given_up_bytes=self._ledger.given_up_bytes,
        )

    def file_status(self, plain: FileStatus, path: str) -> FileStatus:
        """How things are with one file; ``plain`` is what intake and journal say of it."""
        entry = self._ledger.get(path)
        return msgspec.structs.replace(
            plain,
            copied_bytes=held(entry).copied_bytes if entry is not None else 0,
            last_error=plain.last_error or self._delivery.errors.get(path),
        )

    def _where_it_lies(self) -> Held:
        total = Held()
        for path in list(self._ledger.owed):
            entry = self._ledger.get(path)
            if entry is not None:
                total += held(entry)
        return total
