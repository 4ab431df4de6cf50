"""What must go on while something else is busy: flushes under steady notifies, rotated files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pysubtask import TaskMaster


def test_a_flush_does_not_wait_for_notifies_that_come_later(tmp_path: Path) -> None:
    """It promises what was notified before it; another file is notified all the time."""
    there = tmp_path / "there"
    there.mkdir()
    first, other = tmp_path / "first.csv", tmp_path / "other.csv"
    over = threading.Event()
    with TaskMaster([str(first), str(other)], to=f"file://{there}") as master:

        def keep_notifying() -> None:
            with other.open("ab", buffering=0) as file:
                while not over.wait(0.004):
                    file.write(b"x" * 10)
                    master.notify(str(other))

        thread = threading.Thread(target=keep_notifying)
        thread.start()
        try:
            for number in range(5):
                with first.open("a") as file:
                    file.write(f"{number}\n")
                master.notify(str(first))
                assert master.flush(timeout=20)
                assert (there / "first.csv").read_bytes() == first.read_bytes()
        finally:
            over.set()
            thread.join()
        assert master.flush(timeout=20)
    assert (there / "other.csv").read_bytes() == other.read_bytes()


def test_a_small_file_does_not_wait_for_a_big_one(tmp_path: Path) -> None:
    there, drop = tmp_path / "there", tmp_path / "drop"
    there.mkdir()
    drop.mkdir()
    big = tmp_path / "big.part"
    with big.open("wb") as file:
        file.truncate(400 << 20)
    with TaskMaster([{"dir": str(drop)}], to=f"file://{there}") as master:
        assert master.flush(timeout=20)
        big.rename(drop / "big.bin")
        deadline = time.monotonic() + 60
        while not any(name.startswith(".pysubtask-") for name in os.listdir(there)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        (drop / "small.txt").write_text("soon\n")
        while not (there / "small.txt").exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        assert not (there / "big.bin").exists()
        assert master.flush(timeout=60)
    assert (there / "big.bin").stat().st_size == 400 << 20
