"""What a destination can do, as plain data: plans are made by it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Capabilities"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a destination can do; delivery plans by it, ``doctor`` explains it.

    Known once connected. ``max_write_bytes`` and ``max_read_bytes`` bound the data
    of one request; ``max_files`` the number of files that may be in hand at once.
    """

    positioned_write: bool
    """A visible file can be continued at an offset without being rewritten."""
    sequential: bool
    """Requests take effect in the order in which they were submitted."""
    atomic_replace: bool
    """``Rename(replace=True)`` swaps the target in one step: a reader never misses the file.
    With ``upload_tokens`` that is said of what ``Begin`` began."""
    server_copy: bool = False
    """``Copy`` copies ranges on the server, without sending them."""
    fsync: bool = False
    """``Finish(sync=True)`` puts the data on the server's disk before it is acknowledged."""
    synced_every_bytes: int = 0
    """Of a file that is not in place yet, what is acknowledged may be in a cache of this machine
    only: after a loss of power, or a late error, any of it may be missing. Certain are whole
    multiples of so many bytes, counted from its beginning, and all of it after
    ``Finish(sync=True)``. 0: what is acknowledged is with the server."""
    short_writes: bool = False
    """A write may be acknowledged of which only a part was taken (a full disk): the size is asked
    for before a file takes its place."""
    readable: bool = True
    """What was written can be read back (a write-only drop box can't)."""
    max_put_bytes: int = 0
    """``Put`` delivers a whole file of up to so many bytes in one atomic request. 0: no ``Put``."""
    upload_tokens: bool = False
    """An upload is begun by ``Begin``, which gives a token to go on with it after any break; its
    writes follow each other without gaps, and nothing can be written to a file that is there."""
    checksum: str = ""
    """``Stat`` tells a digest of the whole file, of this kind (:mod:`pysubtask.core.checksum`)."""
    segments: bool = False
    """A growing file may go in segments, each a file of its own, where the setting ``segments``
    asks for it: files can only be replaced as a whole, and folders cost nothing."""
    folds_names: bool | None = None
    """Names that differ only in case, or in the form of their letters (NFC, NFD), are one. None:
    nobody knows before it was tried."""
    max_write_bytes: int = 32_768
    max_read_bytes: int = 32_768
    max_files: int = 64
    limits: tuple[str, ...] = ()
    """What the destination lacks and what that costs, in words; logged when they are found, and
    in ``status().notes``. What is missing of the abilities above is told without it."""
    told: frozenset[str] = frozenset()
    """Names of abilities that, where they are missing, :attr:`limits` tells of in its own words,
    or nobody misses there."""
