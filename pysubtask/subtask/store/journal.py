"""The durable record of what is owed and what was delivered: a log of entries."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from pysubtask.core.model import Entry, entry_from_json, entry_to_json
from pysubtask.seams.clock import Clock
from pysubtask.seams.disk import Disk
from pysubtask.subtask.store.recordlines import lines
from pysubtask.subtask.store.recordlog import Codec, RecordLog

__all__ = ["Journal", "lines"]

_ENTRIES: Codec[Entry] = Codec(Entry, entry_to_json, entry_from_json)


class Journal(RecordLog[Entry]):
    """All :class:`~pysubtask.core.model.Entry` records of a state folder.

    Args: as of :class:`~pysubtask.subtask.store.recordlog.RecordLog`.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        path: str,
        *,
        sync_secs: float = 5.0,
        boot_id: str = "",
        new_id: Callable[[], str] = lambda: os.urandom(4).hex(),
        before_sync: Callable[[], None] = lambda: None,
        log: logging.Logger | None = None,
    ) -> None:
        super().__init__(
            disk,
            clock,
            path,
            codec=_ENTRIES,
            sync_secs=sync_secs,
            boot_id=boot_id,
            new_id=new_id,
            before_sync=before_sync,
            log=log,
        )
