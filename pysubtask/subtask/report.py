"""What ``status()`` and the heartbeat say of the deliveries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection

import msgspec

from pysubtask.core.space import held
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
        error = self._delivery.link.last_error or self._delivery.first_error
        return self._ledger.owed_bytes, oldest, error

    def look_for_silence(self) -> bool:
        """Whether the server has begun, or ended, to keep silent for longer than it should."""
        before, self._silence = self._silence, self._delivery.silence
        return self._silence != before

    def status(self, plain: Status, file_status: Callable[[str], FileStatus]) -> Status:
        """How things are: all declared files, as in ``plain``, and up to 1,000 others that are
        pending or failed."""
        link = self._delivery.link
        files = dict(plain.files)
        others, left_out = self._others()
        for path in others:
            files[self._declared_name(path)] = file_status(path)
        first = self._delivery.first_error
        lie = self._ledger.held
        return Status(
            pid=plain.pid,
            link=link.link,
            since=link.since,
            next_try=link.next_try,
            last_error=link.last_error or self._silence or first or plain.last_error,
            last_error_kind=link.last_error_kind if link.last_error else None,
            last_error_reason=link.last_error_reason if link.last_error else None,
            pending_bytes=self._ledger.owed_bytes,
            files=files,
            files_left_out=left_out,
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
        if entry is None and self._delivery.error_of(path) is None:
            return plain
        return msgspec.structs.replace(
            plain,
            copied_bytes=held(entry).copied_bytes if entry is not None else 0,
            last_error=plain.last_error or self._delivery.error_of(path),
        )

    def _others(self) -> tuple[list[str], int]:
        """The files to show that are not declared, and how many more there are: first what can't
        be read, then what is refused, then what waits, the longest first."""
        owed, declared = self._ledger.owed, self._declared
        failed = self._intake.errors()
        total = len(owed) + sum(1 for path in failed if path not in owed)
        total -= sum(1 for path in declared if path in owed or path in failed)
        shown: dict[str, None] = {}
        for path in itertools.chain(failed, self._delivery.refused(), list(owed)):
            if len(shown) >= _MAX_OTHER_FILES:
                break
            if path not in declared:
                shown[path] = None
        return sorted(shown), max(0, total - len(shown))
