"""What the two rules for bursts cost and save: deliveries, bytes and delay, for four programs.

The rules are pure functions, so that hours pass in a moment. Four traces are made from fixed seeds,
two hours each; those in ``benchmarks/traces`` were recorded (``python -m benchmarks.record``) from
programs at work. ``--trace FILE`` takes one of your own: a line each of seconds and the bytes that
were added.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import random
import statistics
from collections.abc import Iterable

from pysubtask.core.burst import Burst, BurstRule, ByteRule, Rule, advance, notified

OVERHEAD_BYTES = 132
"""What an append on an open SFTP connection costs beside its data (benchmarks.append_bytes)."""

RECORDED = pathlib.Path(__file__).parent / "traces"

Trace = list[tuple[float, int]]


def steady(hours: float = 2.0) -> Trace:
    """A logger: 120 bytes twice a second."""
    return [(n / 2, 120) for n in range(int(hours * 7200))]


def bursty(hours: float = 2.0) -> Trace:
    """An instrument: some tens of rows within a second, then nothing for 20 s or so."""
    rng = random.Random(1)
    trace: Trace = []
    now = 0.0
    while now < hours * 3600:
        at = now
        for _ in range(rng.randrange(5, 60)):
            trace.append((at, rng.randrange(50, 400)))
            at += rng.uniform(0.005, 0.04)
        now = at + rng.uniform(10, 30)
    return trace


def slow(hours: float = 2.0) -> Trace:
    """A gateway: a row every two to four seconds."""
    rng = random.Random(2)
    times = itertools.accumulate(iter(lambda: rng.uniform(2, 4), None))
    return [(at, 200) for at in itertools.takewhile(lambda at: at < hours * 3600, times)]


def mixed(hours: float = 2.0) -> Trace:
    """All of these in turn, some minutes each, and now and then a block of 100 kB."""
    rng = random.Random(3)
    trace: Trace = []
    now = 0.0
    while now < hours * 3600:
        gap = rng.choice([0.02, 0.2, 1.0, 3.0, 20.0, 90.0])
        until = now + rng.uniform(60, 600)
        while now < until:
            trace.append((now, 100_000 if rng.random() < 0.002 else rng.randrange(60, 2000)))
            now += rng.expovariate(1 / gap)
    return trace


def play(trace: Trace, rule: Rule | None) -> tuple[int, list[float]]:
    """How many deliveries, and how long each notify's data waited."""
    if rule is None:
        return len(trace), [0.0] * len(trace)
    burst, size, deliveries = Burst(), 0, 0
    waiting: list[float] = []
    delays: list[float] = []

    def go(at: float) -> None:
        nonlocal deliveries
        deliveries += 1
        delays.extend(at - since for since in waiting)
        waiting.clear()

    for at, added in [*trace, (float("inf"), 0)]:
        while burst.release_at is not None and burst.release_at < at:
            released_at = burst.release_at
            burst, _ = advance(burst, released_at)
            go(released_at)
        if at == float("inf"):
            break
        size += added
        waiting.append(at)
        burst, now = notified(burst, at, rule, size)
        if now:
            go(at)
    return deliveries, delays


def read(path: pathlib.Path) -> Trace:
    """A trace that was recorded."""
    rows = (line.split() for line in path.read_text().splitlines() if line.strip())
    return [(float(at), int(added)) for at, added in rows]


def table(traces: Iterable[tuple[str, Trace]]) -> list[str]:
    """The table, line by line, in Markdown."""
    lines = [
        "| notifies | rule | deliveries | bytes up | delay: mean | p99 | longest |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    rules: list[tuple[str, Rule | None]] = [
        ("none", None),
        ("calls", BurstRule()),
        ("bytes", ByteRule()),
    ]
    for name, trace in traces:
        data = sum(added for _, added in trace)
        for title, rule in rules:
            deliveries, delays = play(trace, rule)
            delays.sort()
            p99 = delays[int(len(delays) * 0.99)]
            bytes_up = data + deliveries * OVERHEAD_BYTES
            lines.append(
                f"| {name} | {title} | {deliveries:,} | {bytes_up:,} "
                f"| {statistics.fmean(delays):.2f} s | {p99:.2f} s | {delays[-1]:.2f} s |"
            )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trace", type=pathlib.Path, help="a file of seconds and bytes added")
    own: pathlib.Path | None = parser.parse_args().trace
    made = [("steady", steady()), ("bursty", bursty()), ("slow", slow()), ("mixed", mixed())]
    recorded = [(f"{path.stem} (recorded)", read(path)) for path in sorted(RECORDED.glob("*.txt"))]
    print("\n".join(table([(own.name, read(own))] if own else [*made, *recorded])))


if __name__ == "__main__":
    main()
