"""The heartbeat as a server sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from pysubtask import TaskMaster
from tests.servers.openssh import OpenSshServer


def _until(what: Callable[[], object], secs: float = 15.0) -> None:
    deadline = time.monotonic() + secs
    while not what():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.02)


def _facts(path: Path) -> tuple[int, dict[str, object]]:
    first, second, _ = path.read_text().split("\n")
    return int(first), json.loads(second)


def test_a_heartbeat_from_the_start_to_the_goodbye(openssh: OpenSshServer, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    remote, folder = openssh.new_folder()
    beat = folder / "station7.heartbeat"
    master = TaskMaster(
        [str(data)],
        to=f"sftp://{openssh.user}@{openssh.host}:{openssh.port}{remote}",
        key_file=openssh.key_file,
        host_key=openssh.fingerprint,
        heartbeat_interval_secs=1,
        heartbeat_name="station7",
    )
    with master:
        _until(beat.exists)
        expect, facts = _facts(beat)
        assert expect == 11
        assert facts["backlog_bytes"] == 0
        first = facts["sequence"]
        _until(lambda: _facts(beat)[1]["sequence"] != first)
        assert (tmp_path / "station7.heartbeat").exists()
        # no data: a connection that was opened for a heartbeat closes after it
        _until(lambda: master.status().link == "resting")
        data.write_text("1,2,3\n")
        assert master.notify(str(data))
        assert master.flush(timeout=20)
    expect, _ = _facts(beat)
    assert expect == 0
    assert not (tmp_path / "station7.heartbeat").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["data.csv", beat.name]
