"""Reading a big file takes longer than whoever watches a thread waits for its signs of life."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysubtask.subtask.store.reader import VersionReader
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local

MIB = 1 << 20


class Watched:
    """A file of 5 MiB, and how much was read at most without a sign of life."""

    def __init__(self, folder: Path, *, room: bool) -> None:
        self.disk = HookedDisk()
        self.most_silent_bytes = 0
        self._told_at_bytes = 0
        self.local = Local(
            folder, ManualClock(), self.disk, verify_up_to_bytes=MIB, still_alive=self.still_alive
        )
        self.room = room
        self.give_room()
        self.local.write(b"x" * (5 * MIB))

    def give_room(self) -> None:
        self.local.ledger.outbox.has_room = lambda size: self.room

    def still_alive(self) -> None:
        silent_bytes = self.disk.read_bytes - self._told_at_bytes
        self.most_silent_bytes = max(self.most_silent_bytes, silent_bytes)
        self._told_at_bytes = self.disk.read_bytes

    def is_lively(self) -> bool:
        """Whether no more than 2 MiB were read between two signs."""
        self.still_alive()
        return self.most_silent_bytes <= 2 * MIB


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_a_look_at_a_big_file_gives_signs_of_life(tmp_path: Path, growth: str, room: bool) -> None:
    """Where there is no room for a copy, or the program rewrites its file, a look hashes all of it.
    The master's watchdog would kill the child, and the next one at the same place, for ever."""
    watched = Watched(tmp_path, room=room)
    local = watched.local
    assert local.take(growth).result == "taken"
    local.write(b"y" * (2 * MIB), "ab")
    assert local.take(growth).result == "taken"
    os.utime(local.path)
    assert local.take(growth).result == "unchanged"
    assert watched.is_lively()


@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_reading_a_rotated_file_to_its_end_gives_signs_of_life(tmp_path: Path, growth: str) -> None:
    """A process that was started since has no handle of it: it opens what has another name now."""
    watched = Watched(tmp_path, room=False)
    local = watched.local
    local.take("auto")
    local.open()
    watched.give_room()
    os.rename(local.path, local.path + ".1")
    assert local.take(growth).result == "missing"
    local.write(b"new")
    assert local.take(growth).result == "taken"
    assert watched.is_lively()


@pytest.mark.parametrize("room", [True, False])
def test_checking_a_big_copy_gives_signs_of_life(tmp_path: Path, room: bool) -> None:
    """Of an earlier process, or the file itself: all of it is hashed before its first byte is sent.
    The delivery would be taken for stuck, and the next process's at the same place, for ever."""
    watched = Watched(tmp_path, room=room)
    local = watched.local
    local.take("rewrite")
    local.open()
    reader = VersionReader(
        local.path, local.current, local.ledger.outbox, local.sources, now=local.clock.time
    )
    assert reader.read(0, 32768) == b"x" * 32768
    reader.close()
    assert watched.is_lively()


def test_what_was_hashed_to_begin_with_is_not_for_its_first_byte_again(tmp_path: Path) -> None:
    """Once to find the file, once to be sure of it: each takes minutes for a big one."""
    watched = Watched(tmp_path, room=False)
    local = watched.local
    local.take("rewrite")
    watched.disk.read_bytes = 0
    reader = VersionReader(
        local.path, local.current, local.ledger.outbox, local.sources, now=local.clock.time
    )
    reader.read(0, 32768)
    reader.close()
    assert watched.disk.read_bytes < 12 * MIB
