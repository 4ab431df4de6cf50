"""When a flush of a transfer is done."""

from __future__ import annotations

from pathlib import Path

from tests.unit.transfer_bench import Bench


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
