"""A child that delivers to a server in memory, step by step, and the one after it."""

from __future__ import annotations

from pathlib import Path

from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.context import Context
from pysubtask.subtask.transfer import TransferSubtask
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.urls import parse_url
from pysubtask.watch import parse_watches
from tests.unit.shell_fakes import FakeClock, make_handover, make_state, quiet_log

__all__ = ["Bench"]


class Bench:
    """One child after another on a machine, without threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.server = MemoryServer()
        (folder / "data").mkdir()

    def start(self, boot: str) -> TransferSubtask:
        subtask = TransferSubtask(
            Context(
                handover=make_handover(
                    self.folder / "state",
                    watches=parse_watches([{"dir": "data"}], str(self.folder)),
                    destination=parse_url("sftp://edge@nowhere.invalid/in"),
                    settle_secs=0.0,
                ),
                layout=make_state(self.folder),
                disk=RealDisk(),
                clock=self.clock,
                log=quiet_log(),
                wake=lambda: None,
                status_changed=lambda: None,
            ),
            make_transport=lambda: MemoryTransport(self.server),
            boot=boot,
            threaded=False,
        )
        subtask.start()
        return subtask

    def deliver_all(self, subtask: TransferSubtask) -> None:
        """Look and deliver until nothing is owed."""
        flushed = subtask.request_flush()
        for _ in range(20):
            self.look(subtask)
            subtask.delivery.step()
        assert flushed()

    def look(self, subtask: TransferSubtask) -> None:
        self.clock.now += 10.0
        subtask.step()
