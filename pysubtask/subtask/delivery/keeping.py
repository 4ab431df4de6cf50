"""What stands under a name at the destination and is not to be replaced gets another name first.

A file of somebody else, or what may be all that a loss of power left of ours, is kept as
``name~YYYYMMDDThhmmssZ``; a rotated file under the name that its rotation was given
(``rotated_as``). A rename is no request that can be repeated, so the mark of one that was done is
that nothing is there any more. The name of a rotated file was in the journal before: when it is
asked for again, by another process, it is the same one.
"""

from __future__ import annotations

import posixpath
import time
from itertools import count

from pysubtask.core.model import Entry, Upload
from pysubtask.core.rotation import numbered_apart
from pysubtask.errors import RemoteError, RemoteExists, RemoteNotFound
from pysubtask.subtask.delivery.engine import call, flight
from pysubtask.subtask.delivery.segments import segment_folder
from pysubtask.subtask.delivery.session import Session, Steps
from pysubtask.transports.contract import RemoteStat, Rename, Stat

__all__ = ["Keeping"]

_MAX_NAMES = 1000


class Keeping:
    """Makes way for a version that is about to take its name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_due(self, entry: Entry, upload: Upload) -> bool:
        """Whether what is there has to be kept."""
        if upload.tail:
            # It has a name of its own. But the version behind it takes the file's, and would know
            # nothing of what is there.
            return upload.set_aside and not upload.segment
        return upload.set_aside or self._rotated_name(entry, upload) != ""

    def make_way(self, entry: Entry, upload: Upload) -> Steps:
        """Give what is there its other name. Nothing there: that was done, or a consumer took it.

        Raises:
            RemoteError: the server refuses; the new version must wait.
        """
        name = self._session.remote_name(entry)
        if upload.segment:
            name = segment_folder(name)
        self._session.ledger.make_durable()  # or, after a loss of power, a consumer took it
        rotated = self._rotated_name(entry, upload)
        if rotated:
            yield from self._keep_rotated(name, rotated, upload)
        else:
            yield from self._set_aside(name, entry, upload)

    def _rotated_name(self, entry: Entry, upload: Upload) -> str:
        done = entry.delivered
        if done is None or done.version >= upload.version:
            return ""
        return dict(entry.rotated).get(done.version, "")

    def _keep_rotated(self, name: str, rotated: str, upload: Upload) -> Steps:
        for number in count():
            aside = posixpath.join(posixpath.dirname(name), numbered_apart(rotated, number))
            if upload.segment:
                aside = segment_folder(aside)
            here, there = yield from flight(Stat(name), Stat(aside))
            if isinstance(here, RemoteNotFound):
                return
            for found in (here, there):
                if isinstance(found, RemoteError) and not isinstance(found, RemoteNotFound):
                    raise found
            if isinstance(there, RemoteStat):
                if number >= _MAX_NAMES:
                    raise RemoteExists("all its names are taken", operation="keep", path=aside)
                continue
            try:
                yield from call(Rename(name, aside))
            except RemoteNotFound:
                return
            except RemoteExists:
                continue
            self._session.log.info("%s was rotated; what was delivered is %s now", name, aside)
            return

    def _set_aside(self, name: str, entry: Entry, upload: Upload) -> Steps:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._session.clock.time()))
        aside = f"{name}~{stamp}"
        try:
            yield from call(Rename(name, aside))
        except RemoteNotFound:
            return
        if upload.segment and entry.delivered is not None:
            self._session.log.info("%s: a new version begins; the old one is %s", name, aside)
            return
        if entry.delivered is None:
            words = "%s was there already and is not ours; kept as %s"
        else:
            words = "%s may have what a loss of power took from the file here; kept as %s"
        self._session.log.warning(words, name, aside)
