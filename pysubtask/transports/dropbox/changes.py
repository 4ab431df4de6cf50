"""Waiting for a change in a folder of a Dropbox: ``/files/list_folder/longpoll``.

The service answers once something has changed since the cursor was given out, or after the timeout
that is asked for (30 to 480 s) and up to 90 s of jitter. It may ask to be left alone for a while
before the next such request (``backoff``). The request carries no access token: the cursor is
secret enough. https://www.dropbox.com/developers/documentation/http/documentation
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pysubtask.errors import AskedToWait
from pysubtask.transports.dropbox.refusals import refusals, tags_of

if TYPE_CHECKING:
    from dropbox import Dropbox

    from pysubtask.transports.dropbox.account import Account

__all__ = ["FolderChanges"]

_WAIT_SECS = 60
"""A connection that a box on the way has dropped without a word is noticed after this, the jitter
and the grace; shorter ones would cost more requests."""
_JITTER_SECS = 90
_GRACE_SECS = 10
_CONNECT_SECS = 8


class FolderChanges:
    """Waits for changes since one listing.

    Args:
        account: whose Dropbox it is.
        folder: for messages.
        cursor: of that listing's end.
    """

    def __init__(self, account: Account, folder: str, cursor: str) -> None:
        self._account = account
        self._folder = folder
        self._cursor = cursor
        self._closed = threading.Event()

    def wait(self) -> bool:
        """Wait; see :class:`pysubtask.transports.contract.ChangeWaiter`."""
        from dropbox.exceptions import ApiError

        rest = self._account.quiet_until - time.monotonic()
        if (rest > 0 and self._closed.wait(rest)) or self._closed.is_set():
            return False
        try:
            with refusals("wait for changes in", self._folder):
                try:
                    changed, backoff_secs = self._ask(self._account.waiting_client())
                except ApiError as error:
                    if "reset" in tags_of(error.error):  # the cursor is too old
                        return True
                    raise
        except AskedToWait as error:
            self._account.be_quiet(error.wait_secs)
            raise
        self._account.be_quiet(backoff_secs)
        return changed

    def _ask(self, client: Dropbox) -> tuple[bool, float]:
        from dropbox import files

        answer = client.request(
            files.list_folder_longpoll,
            "files",
            files.ListFolderLongpollArg(self._cursor, _WAIT_SECS),
            None,
            timeout=(_CONNECT_SECS, _WAIT_SECS + _JITTER_SECS + _GRACE_SECS),
        )
        return bool(answer.changes), float(answer.backoff or 0)

    def close(self) -> None:
        """No more requests. The one that waits is left to end by itself: the SDK has no way to cut
        it short."""
        self._closed.set()
