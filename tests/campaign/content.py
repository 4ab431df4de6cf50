"""What the files of the campaign hold: every byte follows from a seed, a name and a number.

So whoever reads a file at any moment, on either side, can tell whether it is right without having
been told what was written. There are two kinds:

* a *stream* only grows; its first line names its generation (a rotated file has many). What is
  right is any prefix of it.
* a *version* is one whole content; its first line names its number and its length. What is right is
  all of it, or nothing.
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

__all__ = ["Contents", "Judgement", "kind_of"]

Kind = Literal["stream", "version"]

_BLOCK_BYTES = 65_536
_STREAM_LINE = re.compile(rb"stream ([0-9]{8})\n")
_VERSION_LINE = re.compile(rb"version ([0-9]{8}) of ([0-9]{8}) bytes\n")
_STREAM_HEAD_BYTES = len(b"stream 00000000\n")
_VERSION_HEAD_BYTES = len(b"version 00000000 of 00000000 bytes\n")


def kind_of(name: str) -> Kind:
    """The kind of a file of the campaign, which its name tells."""
    return "version" if name.startswith(("whole-", "image-")) else "stream"


@dataclass(frozen=True)
class Judgement:
    """What a reader saw: the generation or version, its length, and what is wrong (None: right).

    ``number`` is None where too little is there to tell.
    """

    number: int | None
    size: int
    wrong: str | None = None


class Contents:
    """All contents of one campaign.

    Args:
        seed: of the campaign.
        keep_bytes: how much of the streams is kept in memory; the rest is made anew when needed.
    """

    def __init__(self, seed: int, keep_bytes: int = 64 << 20) -> None:
        self._seed = seed
        self._most_blocks = max(1, keep_bytes // _BLOCK_BYTES)
        self._blocks: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._versions: dict[tuple[str, int], bytes] = {}

    def stream(self, name: str, number: int, start: int, end: int) -> bytes:
        """The bytes ``[start, end)`` of a generation of a stream."""
        first = start // _BLOCK_BYTES
        blocks = range(first, -(-end // _BLOCK_BYTES))
        data = b"".join(self._block(name, number, block) for block in blocks)
        return data[start - first * _BLOCK_BYTES : end - first * _BLOCK_BYTES]

    def _block(self, name: str, number: int, block: int) -> bytes:
        key = name, number, block
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        head = b"" if block else b"stream %08d\n" % number
        rng = random.Random(f"{self._seed} {name} {number} {block}")
        self._blocks[key] = data = head + rng.randbytes(_BLOCK_BYTES - len(head))
        if len(self._blocks) > self._most_blocks:
            self._blocks.popitem(last=False)
        return data

    def version(self, name: str, number: int) -> bytes:
        """One version, from some 40 bytes to 200 kB."""
        key = name, number
        if key not in self._versions:
            while len(self._versions) > 64:
                self._versions.pop(next(iter(self._versions)))
            rng = random.Random(f"{self._seed} {name} {number}")
            size = int(40 * 5000 ** rng.random())
            head = b"version %08d of %08d bytes\n" % (number, size)
            self._versions[key] = head + rng.randbytes(max(0, size - len(head)))
        return self._versions[key]

    def judge(self, name: str, data: bytes) -> Judgement:
        """Whether ``data`` is a prefix of a stream, or one whole version."""
        if kind_of(name) == "version":
            return self._judge_version(name, data)
        return self._judge_stream(name, data)

    def _judge_stream(self, name: str, data: bytes) -> Judgement:
        if len(data) < _STREAM_HEAD_BYTES:
            right = b"stream 00000000\n"[: min(len(data), 7)] == data[:7]
            return Judgement(None, len(data), None if right else f"begins with {data!r}")
        head = _STREAM_LINE.match(data)
        if head is None:
            return Judgement(None, len(data), f"begins with {data[:40]!r}")
        number = int(head[1])
        expected = self.stream(name, number, 0, len(data))
        if data == expected:
            return Judgement(number, len(data))
        return Judgement(number, len(data), _first_difference(data, expected))

    def _judge_version(self, name: str, data: bytes) -> Judgement:
        head = _VERSION_LINE.match(data)
        if head is None:
            return Judgement(None, len(data), f"{len(data)} bytes, beginning with {data[:40]!r}")
        number = int(head[1])
        expected = self.version(name, number)
        if data == expected:
            return Judgement(number, len(data))
        return Judgement(number, len(data), _first_difference(data, expected))


def _first_difference(data: bytes, expected: bytes) -> str:
    if len(data) != len(expected):
        return f"{len(data)} bytes instead of {len(expected)}"
    low, high = 0, len(data)  # data[:low] is right, data[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if data[:middle] == expected[:middle]:
            low = middle
        else:
            high = middle
    zeros = len(data[low:]) - len(data[low:].lstrip(b"\0"))
    return f"wrong from byte {low} of {len(data)} on ({zeros} zeros)"
