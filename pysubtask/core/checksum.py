"""Digests that servers tell of whole files, computed from bytes as they come."""

from __future__ import annotations

__all__ = ["DROPBOX", "DropboxHash", "hasher"]

DROPBOX = "dropbox"
_BLOCK_BYTES = 4 * 1024 * 1024


class DropboxHash:
    """Dropbox's ``content_hash``: SHA-256 over the SHA-256 digests of blocks of 4 MiB, the last
    one shorter (https://www.dropbox.com/developers/reference/content-hash)."""

    def __init__(self) -> None:
        from hashlib import sha256  # late: it loads OpenSSL

        self._new = sha256
        self._all = sha256()
        self._block = sha256()
        self._room = _BLOCK_BYTES

    def update(self, data: bytes) -> None:
        """The next bytes of the file."""
        rest = memoryview(data)
        while rest:
            part = rest[: self._room]
            self._block.update(part)
            self._room -= len(part)
            rest = rest[len(part) :]
            if not self._room:
                self._all.update(self._block.digest())
                self._block, self._room = self._new(), _BLOCK_BYTES

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        whole = self._all.copy()
        if self._room < _BLOCK_BYTES:
            whole.update(self._block.digest())
        return whole.hexdigest()


def hasher(kind: str) -> DropboxHash:
    """A new hasher of the kind that ``Capabilities.checksum`` names.

    Raises:
        ValueError: there is no such kind.
    """
    if kind != DROPBOX:
        raise ValueError(f"no such kind of digest: {kind}")
    return DropboxHash()
