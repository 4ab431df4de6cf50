"""Sending what changed inside a file: the rest is copied on the server from what it holds.

The signature of the version that was delivered says which ranges those are, without a byte on the
link. It is never believed alone: the remote file must have the size and the time that were
confirmed, a few blocks of it are read back, and it is looked at once more before the new version
takes its place. In doubt the whole file is sent.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pysubtask.core.delta import Kept, Signature, find_delta
from pysubtask.core.model import Delivered, Entry, Upload, Version
from pysubtask.core.plan import may_reuse
from pysubtask.errors import RemoteError
from pysubtask.subtask.delivery.comparison import with_source
from pysubtask.subtask.delivery.engine import Step, flight
from pysubtask.subtask.delivery.session import Session, Steps
from pysubtask.subtask.store.reader import BytesLost, VersionReader
from pysubtask.transports.contract import Read, RemoteStat, Stat

__all__ = ["Reuse"]

_SPOTS = 3
_CATCH_UP_BYTES = 1 << 20
_CATCH_UP_MOST_BYTES = 4 << 20
"""A signature is begun for what is there already up to this size."""


class Reuse:
    """What of a version the destination's file of that name has already."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_likely(self, path: str, entry: Entry, version: Version, upload: Upload) -> bool:
        """Whether :meth:`find` will find something, if the remote file is what it was."""
        done = entry.delivered
        if done is None:
            return False
        session = self._session
        return (
            may_reuse(version, done, upload, session.can, session.policy)
            and session.signatures.load(path, done.version) is not None
        )

    def find(
        self, path: str, entry: Entry, version: Version, upload: Upload, reader: VersionReader
    ) -> Generator[Step, Any, tuple[list[Kept], RemoteStat | None]]:
        """The ranges that can be copied, and the remote file as it was seen.

        Raises:
            BytesLost, OSError: the version can't be read.
        """
        session, done = self._session, entry.delivered
        if done is None or not may_reuse(version, done, upload, session.can, session.policy):
            return [], None
        signature = session.signatures.load(path, done.version)
        signature = None if signature is None else signature.shortened(done.size)
        if signature is None or not len(signature):
            return [], None
        st = yield from self._look(session.remote_name(entry), done, signature)
        if st is None:
            return [], None

        def read_at(offset: int, length: int) -> bytes:
            return reader.read(offset, min(length, upload.size - offset))

        kept: list[Kept] = []
        for found in find_delta(signature, read_at, upload.size):
            if found is None:
                yield None
            else:
                kept.append(found)
        rule = session.signatures.rule
        kept = [k for k in kept if k.end - k.start > rule.range_costs_bytes]
        saved = sum(k.end - k.start - rule.range_costs_bytes for k in kept)
        if saved < rule.least_saved_bytes:
            return [], None
        session.log.debug("%s: %d of %d bytes are there already", path, saved, upload.size)
        return kept, st

    def _look(
        self, name: str, done: Delivered, signature: Signature
    ) -> Generator[Step, Any, RemoteStat | None]:
        """The remote file, if it is what was delivered as far as a few blocks tell."""
        block = signature.block_bytes
        last = len(signature) - 1
        seed = int(self._session.hooks.token_hex()[-8:], 16)
        spots = sorted({0, last, *((seed >> shift) % (last + 1) for shift in range(_SPOTS - 2))})
        length = min(block, self._session.can.max_read_bytes)
        if length < block:
            return None
        st, *blocks = yield from flight(
            Stat(name), *(Read(name, number * block, block) for number in spots)
        )
        if isinstance(st, RemoteError) or st.size != done.remote_size:
            return None
        if done.mtime is not None and st.mtime != done.mtime:
            return None
        for number, found in zip(spots, blocks, strict=True):
            if isinstance(found, RemoteError) or not signature.matches(number, found):
                return None
        return st  # type: ignore[no-any-return]

    # -- making the signature of what is sent ------------------------------------------------

    def sign(self, path: str, version: Version, size: int, base: int, start: int) -> Steps:
        """Have a signature made of what is sent from ``start`` on, if one may be of use: for
        copying on the server, or for finding edits that samples do not show.

        What is missing before ``start`` (an earlier process did not come to write it) is read
        once more, where that can be.
        """
        signatures = self._session.signatures
        of_use = self._session.can.server_copy or version.print.kind == "samples"
        if base or not of_use or not signatures.wants(version):
            if not start:
                signatures.drop(path, version.number)
            return
        at = signatures.position(path, version.number)
        if at is None:
            if start > _CATCH_UP_MOST_BYTES or signatures.is_full(path, version.number):
                return
            signatures.begin(path, version.number, size)
            at = 0
        if at >= start:
            return
        reader = self._session.reader(path, with_source(version, 0))
        try:
            while at < start:
                length = min(_CATCH_UP_BYTES, start - at)
                signatures.add(path, version.number, at, reader.read(at, length))
                at += length
                yield None
        except BytesLost:
            pass  # what is missing stays unknown, and so does what follows it
        finally:
            reader.close()
