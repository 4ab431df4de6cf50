"""What a program has beside ``notify``: states seen from outside, ``await flushed()``, events."""

from __future__ import annotations

import asyncio
import os
import pathlib

import pytest

from pysubtask import TaskMaster
from pysubtask.events import Delivered, LinkChanged, between
from pysubtask.states import find_states, read_owed, read_status
from tests.integration.commands import (
    LIMIT_SECS,
    elsewhere,
)

__all__ = ["elsewhere"]  # a fixture


def test_states_are_seen_from_outside(tmp_path: pathlib.Path) -> None:
    (tmp_path / "share").mkdir()
    pathlib.Path("a.csv").write_text("1\n")
    with TaskMaster(["a.csv"], to=(tmp_path / "share").as_uri()) as master:
        assert master.notify("a.csv")
        assert master.flush(LIMIT_SECS)
        assert find_states(".") == find_states("a.csv") == [master.state_dir]
        assert read_status(master.state_dir).pid == master.status().pid
        (owed,) = read_owed(master.state_dir)
        assert (owed.path, owed.delivered_bytes) == (os.path.abspath("a.csv"), 2)
    assert read_status(master.state_dir).link == "gone"
    assert read_status(str(tmp_path / "nowhere")).link == "gone"
    assert read_owed(str(tmp_path / "nowhere")) == []


def test_flushed_and_events(tmp_path: pathlib.Path) -> None:
    (tmp_path / "share").mkdir()
    with TaskMaster(["a.csv"], to=(tmp_path / "share").as_uri()) as master:
        first = master.events()
        assert isinstance(first[0], LinkChanged)

        async def work() -> tuple[bool, bool]:
            with master.open("a.csv") as file:
                file.write("1\n")
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            done = await master.flushed(timeout=LIMIT_SECS)
            ticking.cancel()
            return done, ticks > 1

        assert asyncio.run(work()) == (True, True)
        assert (tmp_path / "share" / "a.csv").read_text() == "1\n"
        assert Delivered("a.csv", 2) in master.events()
        assert master.events() == []
        assert between(None, master.status())
    assert asyncio.run(master.flushed(timeout=5)) is False  # nobody to ask


def test_a_cancelled_wait_takes_its_question_back(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share").mkdir()
    master = TaskMaster(["a.csv"], to=(tmp_path / "share").as_uri())
    monkeypatch.setattr(master, "_hopeless", lambda: False)  # a subtask that never answers

    async def work() -> None:
        waiting = asyncio.create_task(master.flushed(timeout=LIMIT_SECS))
        while not (os.path.isdir(requests) and os.listdir(requests)):
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    requests = os.path.join(master.state_dir, "requests")
    asyncio.run(asyncio.wait_for(work(), LIMIT_SECS))
    assert os.listdir(requests) == []
    assert asyncio.run(master.flushed(timeout=0.02)) is False
