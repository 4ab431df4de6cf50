"""Whether to compress a connection, and what is learnt from one for the next. Pure.

SSH can compress only a whole connection, decided when it is made (RFC 4253, section 6.2;
``zlib@openssh.com`` begins after the login). With paramiko it carries some 37 MB/s where the plain
one carries 135 (sensor rows, which shrink to a quarter): it pays on links slower than that, and
never where the data do not shrink.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Compress", "CompressionChoice"]

Compress: TypeAlias = bool | Literal["auto"]

_FAST_BYTES_PER_SEC = 30_000_000
_NEAR_SECS = 0.005
"""Who answers quicker is taken for a neighbour on a fast link, until a rate is known."""
_LEAST_RATIO = 1.1
_SAMPLE_BYTES = 16_384
_SAMPLE_EVERY_BYTES = 1 << 20
_BURST_BYTES = 1 << 20
_PAUSE_SECS = 0.2


class CompressionChoice:
    """Decides, and learns from what is sent.

    Args:
        setting: ``True``, ``False`` or ``"auto"``.
    """

    def __init__(self, setting: Compress = "auto") -> None:
        self._setting = setting
        self.ratio: float | None = None
        """How many times smaller the latest sample became."""
        self.bytes_per_sec: float | None = None
        """What the link took when much was to be sent."""
        self._sample = bytearray()
        self._until_sample = 0
        self._burst_bytes = 0
        self._burst_began = 0.0
        self._last_at = 0.0

    def decide(self, round_trip_secs: float) -> bool:
        """Whether the next connection should compress."""
        if self._setting != "auto":
            return self._setting
        if self.ratio is not None and self.ratio < _LEAST_RATIO:
            return False
        if self.bytes_per_sec is not None:
            return self.bytes_per_sec < _FAST_BYTES_PER_SEC
        return round_trip_secs >= _NEAR_SECS

    def sent(self, parts: Sequence[bytes], began: float, ended: float) -> None:
        """These bytes were handed to the link between two monotonic times."""
        if self._setting != "auto":
            return
        if began - self._last_at > _PAUSE_SECS:
            self._burst_bytes, self._burst_began = 0, began
        size = sum(map(len, parts))
        self._burst_bytes += size
        self._last_at = ended
        if self._burst_bytes >= _BURST_BYTES and ended > self._burst_began:
            self.bytes_per_sec = self._burst_bytes / (ended - self._burst_began)
        if (self.bytes_per_sec or 0) >= _FAST_BYTES_PER_SEC:
            return  # whatever it would save, this link does without
        self._until_sample -= size
        if self._until_sample <= 0:
            for part in parts:
                self._sample += part[: _SAMPLE_BYTES - len(self._sample)]
            if len(self._sample) >= _SAMPLE_BYTES:
                self.ratio = len(self._sample) / len(zlib.compress(self._sample, 1))
                self._sample.clear()
                self._until_sample = _SAMPLE_EVERY_BYTES
