"""When a flush of a transfer is done."""

from __future__ import annotations

from pathlib import Path

from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.context import Context
from pysubtask.subtask.transfer import TransferSubtask
from pysubtask.testing import MemoryServer, MemoryTransport
from pysubtask.urls import parse_url
from pysubtask.watch import parse_watches
from tests.unit.shell_fakes import FakeClock, make_handover, make_state, quiet_log


class Bench:
    """One child after another on a machine, without threads; none of them stops."""

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

    def look(self, subtask: TransferSubtask) -> None:
        self.clock.now += 10.0
        subtask.step()


def test_a_flush_waits_for_what_is_in_doubt_after_a_loss_of_power(tmp_path: Path) -> None:
    """The journal calls delivered what a later version, lost with the power, has replaced at the
    destination: that is set aside first (history 10111 of the simulator)."""
    bench = Bench(tmp_path)
    (tmp_path / "data" / "a").write_bytes(b"ours\n")
    before = bench.start("one")
    flushed = before.request_flush()
    for _ in range(20):
        bench.look(before)
        before.delivery.step()
    assert flushed()
    assert bench.server.read_file("/in/a") == b"ours\n"
    bench.server.put_file("/in/a", b"lost with the power\n")

    after = bench.start("two")
    flushed = after.request_flush()
    for _ in range(5):
        bench.look(after)
        assert not flushed()
    for _ in range(20):
        after.delivery.step()
        if flushed():
            break
        bench.look(after)
    assert flushed()
    assert bench.server.read_file("/in/a") == b"ours\n"
    after.stop(bench.clock.now)


def test_a_flush_waits_for_all_of_the_version_that_came_meanwhile(tmp_path: Path) -> None:
    """A part of it was at the destination before us, and counts as delivered when it is met
    (history 18005205844 of the simulator)."""
    bench = Bench(tmp_path)
    path = tmp_path / "data" / "a"
    bench.server.put_file("/in/a", b"head\n")
    path.write_bytes(b"head\nold\n")
    subtask = bench.start("one")
    flushed = subtask.request_flush()
    bench.look(subtask)
    assert not flushed()
    path.write_bytes(b"head\nnew and more\n")
    bench.look(subtask)

    shown: list[bytes | None] = []
    bench.server.before = lambda name, where: shown.append(
        bench.server.read_file("/in/a") if flushed() else None
    )
    for _ in range(20):
        bench.look(subtask)
        subtask.delivery.step()
    assert flushed()
    assert {content for content in shown if content is not None} <= {b"head\nnew and more\n"}
    subtask.stop(bench.clock.now)
