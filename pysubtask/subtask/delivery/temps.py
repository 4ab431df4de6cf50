"""Temporary files at the destination that nobody needs any more."""

from __future__ import annotations

import posixpath

from msgspec.structs import replace

from pysubtask.core.model import Entry
from pysubtask.errors import RemoteError, RemoteNotFound
from pysubtask.subtask.delivery.beats import is_beat
from pysubtask.subtask.delivery.engine import flight
from pysubtask.subtask.delivery.nametrial import is_trial
from pysubtask.subtask.delivery.session import TEMP_PREFIX, Session, Steps
from pysubtask.transports.contract import Finish, List, Remove

__all__ = ["Temps"]


class Temps:
    """Removes them: those that the journal knows of, and those that it lost with the power."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def purge(self) -> Steps:
        """Remove temporary files of ours that the journal lost with the power.

        Only names with our own client id are touched: others may share the folder. Those of
        heartbeats stay: the next one is written there, perhaps at this moment.

        Raises:
            RemoteError: a folder could not be looked through, or a file not be removed, now.
        """
        only_trials = self._session.can.upload_tokens  # nobody sees others, the server forgets them
        if only_trials and self._session.can.folds_names is not None:
            return  # nor has anything to be tried
        journal = self._session.ledger.journal
        ours = TEMP_PREFIX + journal.client_id
        folders = {posixpath.dirname(self._session.remote_name(e)) for e in journal.entries()}
        for below in self._session.hooks.folders():  # the power may have taken the entries, too
            folders.add(posixpath.dirname(self._session.full_name(posixpath.join(below, "-"))))
        refused: RemoteError | None = None
        for folder in sorted(folders):
            (names,) = yield from flight(List(folder))
            if isinstance(names, RemoteError):
                refused = refused or _for_now(names)
                continue
            known = {t for e in journal.entries() for t in e.temps}
            for name in names:
                temp = posixpath.join(folder, name)
                if only_trials and not is_trial(temp):
                    continue
                if name.startswith(ours) and temp not in known and not is_beat(name):
                    (removed,) = yield from flight(Remove(temp))
                    refused = refused or _for_now(removed)
        if refused is not None:
            raise refused

    def sweep(self, path: str, entry: Entry) -> Steps:
        """Remove temporary files of ours that nobody needs."""
        gone = set()
        for temp in entry.litter:
            if self._session.can.upload_tokens and not is_trial(temp):
                gone.add(temp)  # nobody sees those, and the server forgets them
                continue
            (result,) = yield from flight(Finish(temp))
            (result,) = yield from flight(Remove(temp))
            if result is None or isinstance(result, RemoteNotFound):
                gone.add(temp)
        self._session.ledger.update(
            path,
            lambda e: replace(e, litter=tuple(t for t in e.litter if t not in gone)),
            must=False,
        )


def _for_now(result: object) -> RemoteError | None:
    """What was refused, and may be granted another time."""
    if not isinstance(result, RemoteError) or isinstance(result, RemoteNotFound):
        return None
    return result if result.retryable else None
