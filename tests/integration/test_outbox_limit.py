"""A real subtask at the limits of the disk: it goes on, and says what is held where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pysubtask import Status, TaskMaster
from tests.integration.promises import QUICK, wait_until

SETTINGS = {**QUICK, "timer_interval_secs": 0.1, "heartbeat_interval_secs": 1.0}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"outbox_max_bytes": 50_000, "keep_free_bytes": 0},
            ("the outbox is full with ", "of 48.8 KiB (outbox_max_bytes)"),
        ),
        (
            {"outbox_max_bytes": None, "keep_free_bytes": 1 << 60},
            ("less than 1048576.0 TiB would be left of the local disk (keep_free_bytes)",),
        ),
    ],
    ids=["outbox_max_bytes", "keep_free_bytes"],
)
def test_at_a_limit(tmp_path: Path, limits: dict[str, int | None], words: tuple[str, ...]) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    data.mkdir()
    small, big = data / "small.csv", data / "big.csv"
    small.write_bytes(b"1\n" * 10_000)
    big.write_bytes(b"22\n" * 100_000)
    master = TaskMaster(
        [str(small), str(big)],
        to=f"file://{there}",
        heartbeat_name="edge",
        **SETTINGS,  # type: ignore[arg-type]
        **limits,
    )

    def full(status: Status) -> bool:
        return status.outbox_full is not None and status.pending_bytes == 320_000

    with master:
        has_room = limits["keep_free_bytes"] == 0
        assert master.notify(str(small), wait_secs=10 if has_room else 1) is has_room
        assert master.notify(str(big))
        wait_until(lambda: full(master.status()), what="the limit shows")
        status = master.status()
        text = str(status)
        for part in (*words, "must stay in their files until delivered", "in their files only"):
            assert part in text, text
        assert status.copied_bytes + status.only_in_files_bytes == 320_000
        assert status.outbox_bytes == status.copied_bytes
        copied = status.files[str(small)].copied_bytes
        assert copied == (20_000 if has_room else 0)
        assert status.files[str(big)].copied_bytes == 0
        assert not master.notify(str(big), wait_secs=0.5), "it is not safe to truncate it"

        def note() -> str:
            lines = (data / "edge.heartbeat").read_text().splitlines()
            return str(json.loads(lines[1]).get("note", ""))

        wait_until(lambda: words[0] in note(), what="the heartbeat says so")
        there.mkdir()
        assert master.flush(timeout=20)
        assert (there / "big.csv").read_bytes() == big.read_bytes()
        assert (there / "small.csv").read_bytes() == small.read_bytes()
        wait_until(lambda: master.status().outbox_full is None, what="there is room again")
        assert "copied to the outbox" not in str(master.status())


def test_a_quarter_of_what_is_free_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "there").mkdir()
    path = tmp_path / "data/a.csv"
    path.write_text("1\n")
    with TaskMaster([str(path)], to=f"file://{tmp_path}/there", keep_free_bytes=0) as master:
        assert master.notify(str(path))
        assert master.flush(timeout=20)
        status = master.status()
        assert status.outbox_limit_bytes
        assert status.outbox_full is None
