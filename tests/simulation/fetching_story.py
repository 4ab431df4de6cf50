"""What happens in a history, and when: the server's writers, the program, the clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.fetching_origin import FOLDER

if TYPE_CHECKING:
    from tests.simulation.fetching_world import FetchingWorld

__all__ = ["plan_story"]

_HEAD_BYTES = 1024
_ENDS_BYTES = _HEAD_BYTES + 4096
"""More than that is in no print (pysubtask/core/pull.py)."""


def plan_story(world: FetchingWorld, secs: float) -> None:
    """Plan what others do until then."""
    rng = world.rng
    server = world.server
    grows = world.growth != "rewrite"
    writers: list[Callable[[], None]] = []
    if grows:
        writers += [lambda name=name: _append(world, name) for name in ("a.log", "b.log")]
        if rng.random() < 0.5:
            writers.append(lambda: _rotate(world, "a.log"))
    if world.growth != "append":
        writers += [lambda name=name: _replace(world, name) for name in ("c.cfg", "d.dat")]
        whole = world.server_name == "sessions"  # there a file is seen when it is complete
        if rng.random() < 0.5 and not whole:
            writers.append(lambda: _write_slowly(world, "slow.dat"))
        if rng.random() < 0.3:
            writers.append(lambda: server.delete(rng.choice(["c.cfg", "d.dat"])))
    at = 0.0
    while at < secs - 15:
        at += rng.expovariate(1 / rng.choice([0.3, 2.0, 8.0]))
        world.clock.at(int(at * 1e9), rng.choice(writers))
    if world.alike.random() < 0.25:
        for _ in range(world.alike.randrange(1, 5)):
            at_ns = int(world.alike.uniform(5, secs - 15) * 1e9)
            world.clock.at(at_ns, lambda: _put_alike(world, world.alike))
    at = 0.0
    while at < secs + 60:
        at += rng.uniform(0.5, 6.0)
        world.clock.at(int(at * 1e9), world.read_news)
    if world.edits:
        for _ in range(rng.randrange(1, 4)):
            world.clock.at(int(rng.uniform(5, secs) * 1e9), world.edit)
    if rng.random() < 0.3:
        wait = rng.choice([0.5, 4.0, 15.0])
        world.clock.at(int(rng.uniform(5, secs) * 1e9), lambda: world.refuse_for(wait))
    if rng.random() < 0.2:
        step = rng.choice([-3600.0, 3600.0, -1.5])
        world.clock.at(int(rng.uniform(5, secs) * 1e9), lambda: world.clock.step_wall(step))


def _bytes(rng: random.Random, size: int) -> bytes:
    """Nowhere like themselves, so that a shift shows."""
    mark = rng.randrange(1 << 32)
    return b"".join(b"%08x %07d\n" % (mark, n) for n in range(size // 17 + 1))[:size]


def _new_size(world: FetchingWorld, least: int) -> int:
    """About that, and like no other."""
    size = least + world.rng.randrange(60)
    while size in world.sizes:
        size += 1
    world.sizes.add(size)
    return size


def _append(world: FetchingWorld, name: str) -> None:
    before = world.server.content(name) or b""
    least = len(before) + world.rng.choice([1, 40, 700, 5000, 30_000])
    size = _new_size(world, least) - len(before)
    world.server.append(name, _bytes(world.rng, size))
    world.say(f"server appends {size} to {name}")


def _replace(world: FetchingWorld, name: str) -> None:
    size = world.rng.choice([0, 100, 100, 3000, 60_000])
    if size:
        size = _new_size(world, size)
    world.server.replace(name, _bytes(world.rng, size))
    world.say(f"server replaces {name}: {size}")


def _rotate(world: FetchingWorld, name: str) -> None:
    if world.server.content(name) is None:
        return
    world.server.rotate(name, f"{name}.1")
    world.say(f"server rotates {name}")
    if world.rng.random() < 0.7:
        _append(world, name)


def _put_alike(world: FetchingWorld, rng: random.Random) -> None:
    """A file comes that looks like one that is there, but for its time: as big, the same beginning
    and end, another middle. The other one may go, or change, soon."""
    server = world.server
    names = [n for n in sorted(server.lines) if len(server.content(n) or b"") > _ENDS_BYTES]
    if not names:
        return
    name = rng.choice(names)
    content, complete = server.content(name) or b"", server.line(name).complete
    changed_secs = world.remote.files[f"{FOLDER}/{name}"].mtime
    if not complete or world.server_secs() - changed_secs < 3:
        return
    if not world.is_noted_whole(name, content):
        return  # of what has only begun to come, beginning and end tell too little
    new = f"like-{len(server.lines)}.dat"
    middle = _HEAD_BYTES + rng.randrange(len(content) - _ENDS_BYTES)
    changed = bytearray(content)
    changed[middle] ^= 1
    server.replace(new, bytes(changed))
    world.say(f"server has {new}, which looks like {name}: {len(content)}")
    what = rng.choice(["stay", "delete", "rotate", "replace"])
    wait_ns = int(rng.choice([0.0, 0.5, 3.0, 10.0]) * 1e9)
    if what == "delete" and world.growth != "append":
        world.clock.after(wait_ns, lambda: server.delete(name))
    elif what == "rotate" and name == "a.log":
        world.clock.after(wait_ns, lambda: _rotate(world, name))
    elif what == "replace" and name in ("c.cfg", "d.dat"):
        world.clock.after(wait_ns, lambda: _replace(world, name))


def _write_slowly(world: FetchingWorld, name: str) -> None:
    """In steps of less than 1 s: what holds still for longer counts as complete."""
    server, rng = world.server, world.rng
    if server.lines.get(name) and not server.line(name).complete:
        return
    file, line = server.begin_slowly(name, _bytes(rng, 2000))
    world.say(f"server begins {name}")
    steps, at = rng.randrange(1, 5), 0.0
    for number in range(steps):
        at += rng.uniform(0.1, 0.95)
        part, last = _bytes(rng, 2000), number == steps - 1

        def go_on(part: bytes = part, last: bool = last) -> None:
            server.go_on_slowly(file, line, part, end=last)
            world.say(f"server goes on with {name}" + (", to its end" if last else ""))

        world.clock.after(int(at * 1e9), go_on)
