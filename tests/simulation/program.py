"""The host program: writes its files as programs do, and notifies.

Each action changes the simulated file system and tells the ledger what that makes of the file. An
action lets no time pass; slow ones plan their later parts as events.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from pysubtask.signals import TOUCHED, is_blank_touch, next_touch_ns
from tests.simulation.clock import SimClock
from tests.simulation.filesystem import Inode, SimFileSystem
from tests.simulation.ledger import Ledger, Source, Touch

__all__ = ["ACTIONS", "Program"]

MILLISECOND_NS = 1_000_000
_HEADER = b"time,a,b,c\n"


class Program:
    """All that the machine's user runs beside the child."""

    def __init__(
        self, clock: SimClock, rng: random.Random, file_system: SimFileSystem, ledger: Ledger
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.fs = file_system
        self.ledger = ledger
        self.block_bytes = 2_000
        """No single write of it is larger than this."""
        self.block_share = 0.1
        """So many of its writes are of any size up to that."""
        self.boot = 0
        """Events that were planned before a loss of power do not happen after it."""
        self.notify_path: Callable[[str], str] = lambda path: path + ".notify"
        self.trace: Callable[[str], None] = lambda text: None
        self._last_notify_ns: dict[str, int] = {}
        self._open: dict[str, Inode] = {}
        self._lines = 0

    def lose_power(self) -> None:
        """What it had open and planned is gone."""
        self.boot += 1
        self._open.clear()

    def forget(self, source: Source) -> None:
        """Somebody moved the file away: what was open is another file now."""
        self._open.pop(source.path, None)

    # -- content ---------------------------------------------------------------------------------

    def _data(self, source: Source) -> bytes:
        """A few lines that occur nowhere else, now and then a block."""
        self._lines += 1
        head = b"%s,%d,%d," % (source.path[-3:].encode("utf-8", "replace"), self._lines, self.boot)
        choice = self.rng.random()
        short_share = 1.0 - self.block_share
        if choice < min(0.6, short_share):
            return head + b"%x\n" % self.rng.getrandbits(40)
        size = self.rng.randrange(20, 400 if choice < short_share else self.block_bytes)
        text = self.rng.randbytes(size // 2).hex().encode()
        if source.lines:  # many lines at once
            text = b"\n".join(text[at : at + 90] for at in range(0, len(text), 90))
        return head + text + b"\n"

    def _start(self, source: Source) -> bytes:
        """How a new content begins: often as the one before did."""
        return (source.header or _HEADER) if self.rng.random() < 0.4 else b""

    def _closed(self, source: Source) -> None:
        """A writer closes it: complete with that in a watched folder, whoever else writes."""
        if source.in_folder:
            source.current.base = min(source.current.base, len(source.current.content))
        self.fs.on_change("close_write", source.path)

    def _later(self, delay_ns: int, action: Callable[[], None]) -> None:
        boot = self.boot
        self.clock.after(delay_ns, lambda: action() if self.boot == boot else None)

    # -- notifying -------------------------------------------------------------------------------

    def notify(self, source: Source, *, plain: bool = False) -> Touch:
        """Touch ``.notify``: with an explicit time as ``notify()`` does, or as ``touch`` does."""
        path = self.notify_path(source.path)
        if plain:
            self.fs.touch(path)
        else:
            last = next_touch_ns(self._last_notify_ns.get(path, 0), self.clock.wall_ns())
            self._last_notify_ns[path] = last
            self.fs.touch(path, last)
        if source.present:  # in a watched folder a touch says that the file is complete
            source.current.base = min(source.current.base, len(source.current.content))
        touch = source.touched(self.fs.file(path).mtime_ns if plain else last, self.clock.now_ns)
        touch.plain = plain
        self.trace(f"notify {source.path} {'plain ' if plain else ''}{touch}")
        return touch

    def make_blank(self, source: Source) -> int | None:
        """What ``start()`` does for a declared file: ``make_blank_notify``, then ``blank_mark``."""
        path = self.notify_path(source.path)
        if not self.fs.exists(path):
            if self.fs.kind.ctime_is_mtime:
                return None  # FAT, which has no hard links
            try:
                self.fs.touch(path, 0)
            except OSError:
                return None
        inode = self.fs.file(path)
        return inode.ctime_ns if is_blank_touch(inode.mtime_ns) else TOUCHED

    # -- actions ---------------------------------------------------------------------------------

    def append(self, source: Source) -> None:
        """Open, write, close."""
        data = self._data(source)
        fresh = not source.present
        if fresh:
            data = self._start(source) + data
            source.begin(b"", 0)
        self._told(source, data)
        self.fs.append(source.path, data)
        self._closed(source)

    def _told(self, source: Source, data: bytes) -> None:
        source.grow(data)
        if source.lines:
            source.current.grown.append((self.clock.now_ns, len(source.current.content)))
        self.trace(f"append {source.path} {len(data)} -> {len(source.current.content)}")

    def append_part(self, source: Source) -> None:
        """Half a line: the next one to write completes it."""
        if not source.present:
            self.append(source)
            return
        self._lines += 1
        data = b"%d,%x" % (self._lines, self.rng.getrandbits(60))
        self._told(source, data)
        self.fs.append(source.path, data)
        self._closed(source)

    def append_open(self, source: Source) -> None:
        """Write through a file that stays open, whatever became of its name."""
        inode = self._open.get(source.path)
        if inode is None or not source.present or inode is not self.fs.file(source.path):
            self.append(source)
            self._open[source.path] = self.fs.file(source.path)
            return
        data = self._data(source)
        self._told(source, data)
        self.fs.write_inode(inode, len(inode.data), data)

    def append_slowly(self, source: Source) -> None:
        """Several writes with pauses."""
        for index in range(self.rng.randrange(2, 6)):
            delay_ns = index * self.rng.randrange(1, 200) * MILLISECOND_NS
            self._later(delay_ns, lambda: self.append(source))

    def touch_only(self, source: Source) -> None:
        """Notify without any change."""
        self.notify(source)

    def disturb(self, source: Source) -> None:
        """Write without a pause, so that nobody finds the file at rest."""
        if source.growth == "append" or not source.present:
            self.append(source)
        else:
            self.overwrite(source)
        self.notify(source)

    def replace(self, source: Source) -> None:
        """Write a new file and rename it into place."""
        content = self._start(source) + b"".join(
            self._data(source) for _ in range(self.rng.randrange(1, 4))
        )
        if source.present and self.rng.random() < 0.3:
            size = len(source.current.content)  # the same size: only the content tells
            content = (content * (size // len(content) + 1))[:size]
        temporary = self._temporary(source)
        self.fs.append(temporary, content)
        self._begin(source, content, len(content), "replace")
        self.fs.rename(temporary, source.path)

    def edit(self, source: Source) -> None:
        """Insert, take out, change something inside, as an editor does: a new file in its place."""
        content = bytearray(source.current.content) if source.present else bytearray()
        for _ in range(self.rng.randrange(1, 4)):
            at = self.rng.randrange(len(content) + 1)
            gone = self.rng.choice([0, 0, 1, 20, 300])
            content[at : at + gone] = self.rng.randbytes(self.rng.choice([0, 1, 20, 300]))
        temporary = self._temporary(source)
        self.fs.append(temporary, bytes(content))
        self._begin(source, bytes(content), len(content), "edit")
        self.fs.rename(temporary, source.path)

    def _temporary(self, source: Source) -> str:
        """The name for a new file before it takes its place; free."""
        folder, _, name = source.path.rpartition("/")
        temporary = f"{folder}/.{name}.new"
        if self.fs.exists(temporary):
            self.fs.remove(temporary)
        return temporary

    def _begin(self, source: Source, content: bytes, base: int, how: str) -> None:
        source.rewritten = True
        source.begin(content, base)
        if source.lines:
            source.current.grown.append((self.clock.now_ns, len(content)))
        self.trace(f"{how} {source.path} -> lineage {source.current.index}, {len(content)} bytes")

    def copy_longer(self, source: Source) -> None:
        """Move a longer copy into place, as ``sed -i '$a …'`` does: another file, which goes on."""
        if not source.present:
            self.append(source)
            return
        temporary = self._temporary(source)
        self._open.pop(source.path, None)
        data = self._data(source)
        self.fs.append(temporary, bytes(source.current.content) + data)
        source.grow(data)
        source.copied_ns = self.clock.now_ns
        self.trace(f"copy {source.path} {len(data)} -> {len(source.current.content)}")
        self.fs.rename(temporary, source.path)

    def truncate(self, source: Source) -> None:
        """Cut to nothing, or to a part, and go on."""
        if not source.present:
            self.append(source)
            return
        size = len(source.current.content)
        size = 0 if self.rng.random() < 0.7 else self.rng.randrange(size + 1)
        inode = self.fs.file(source.path)
        self._begin(source, bytes(inode.data[:size]), size, "truncate")
        self.fs.truncate_inode(inode, size)
        self.append(source)

    def rewrite_slowly(self, source: Source) -> None:
        """Cut to nothing and write anew in parts."""
        if not source.present:
            self.append(source)
            return
        self._begin(source, b"", 0, "rewrite")
        self.fs.truncate_inode(self.fs.file(source.path), 0)
        delay_ns = 0
        for _ in range(self.rng.randrange(1, 5)):
            delay_ns += self.rng.choice([0, 1, 3, 20, 300]) * MILLISECOND_NS
            self._later(delay_ns, lambda: self.append(source))

    def overwrite(self, source: Source) -> None:
        """Change bytes inside; the size stays. Perhaps the old modified time is put back. A file
        that is declared to be appended to only is appended to."""
        if not source.present or not source.current.content or source.growth == "append":
            self.append(source)
            return
        inode = self.fs.file(source.path)
        at = self.rng.randrange(len(inode.data))
        data = self.rng.randbytes(min(self.rng.randrange(1, 30), len(inode.data) - at))
        content = bytearray(inode.data)
        content[at : at + len(data)] = data
        mtime_ns = inode.mtime_ns
        # What follows the change may have been appended after it, for all that a reader can tell.
        self._begin(source, bytes(content), at + len(data), f"overwrite {at}+{len(data)}")
        self.fs.write_inode(inode, at, data)
        hidden = source.in_folder and self.fs.kind.ctime_is_mtime  # nobody could see it
        if not hidden and self.rng.random() < 0.4:
            self.fs.touch(source.path, mtime_ns)
        self._closed(source)

    def rotate(self, source: Source) -> None:
        """Rename to ``.1`` (older ones move up) and begin a new file, at once or later."""
        if not source.present:
            self.append(source)
            return
        self.fs.rename(source.path, self._dated(source) if source.dated else self._shift(source))
        self._open.pop(source.path, None)
        source.present = False
        self._owe_rotated(source)
        self.trace(f"rotate {source.path}")
        if self.rng.random() < 0.8:
            self.append(source)

    def _shift(self, source: Source) -> str:
        """The older ones move up; gives the name that is free then."""
        top = 1
        while self.fs.exists(f"{source.path}.{top}"):
            top += 1
        for number in range(top, 1, -1):
            self.fs.rename(f"{source.path}.{number - 1}", f"{source.path}.{number}")
        return f"{source.path}.1"

    def _dated(self, source: Source) -> str:
        name = f"{source.path}-2026{len(source.rotated_to) + 101:04}"
        source.rotated_to.append(name)
        return name

    def _owe_rotated(self, source: Source) -> None:
        """A rename is followed: what was notified is owed even if nobody has looked since."""
        lineage = source.current
        last = source.last_touch
        if not lineage.known_ns or last is None or last.index != lineage.index:
            return
        if source.copied_ns > source.looked_ns:
            return  # another file than the one that the child knows
        first = lineage.first_served
        if first is not None and not lineage.surely_seen and lineage.shown <= 0:
            return  # seen only while it was empty, and every file begins with nothing
        lineage.rotated = True
        if source.must_precede(last):
            source.owed.append(last)

    def recreate(self, source: Source) -> None:
        """Delete and create anew: the inode number may well be the same."""
        if source.present:
            self.fs.remove(source.path)
            self._open.pop(source.path, None)
            source.present = False
            source.rewritten = True
            self.trace(f"recreate {source.path}")
        self.append(source)

    def delete(self, source: Source) -> None:
        """Delete."""
        if source.present:
            self.fs.remove(source.path)
            self._open.pop(source.path, None)
            source.present = False
            source.rewritten = True
            self.trace(f"delete {source.path}")

    def copy_in(self, source: Source) -> None:
        """Somebody copies a file into a watched folder, part by part, and closes it."""
        if source.present:
            self.append(source)
            return
        parts = [self._data(source) for _ in range(self.rng.randrange(1, 5))]
        whole = b"".join(parts)
        if self.rng.random() < 0.3:
            outside = f"/tmp/{source.path.rpartition('/')[2]}"
            if self.fs.exists(outside):  # one that the power brought back
                self.fs.remove(outside)
            self.fs.append(outside, whole)
            self._begin(source, whole, len(whole), "move in")
            self.fs.rename(outside, source.path)
            return
        # A touch in a watched folder says that the file is complete, and nobody can tell for which.
        may_be_touched = source.stale_touch or bool(source.touches)  # of one that was archived
        source.begin(b"", 0 if may_be_touched else len(whole))
        inode = self.fs.create(source.path)
        delay_ns = 0
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            self._later(delay_ns, partial(self._copy, source, inode, part, last))
            delay_ns += self.rng.choice([0, 1, 5, 100, 400]) * MILLISECOND_NS

    def _copy(self, source: Source, inode: Inode, part: bytes, last: bool) -> None:
        if not source.present or self.fs.file(source.path) is not inode:
            return  # somebody put another file in its place
        self._told(source, part)
        self.fs.write_inode(inode, len(inode.data), part)
        if last:
            self._closed(source)


ACTIONS: dict[str, dict[str, int]] = {
    "append": {"append": 10, "append_open": 6, "append_slowly": 2, "touch_only": 1, "rotate": 2},
    "auto": {
        "append": 10,
        "append_open": 5,
        "append_slowly": 2,
        "touch_only": 1,
        "replace": 2,
        "truncate": 2,
        "rewrite_slowly": 1,
        "overwrite": 2,
        "rotate": 2,
        "recreate": 1,
        "delete": 1,
    },
    "rewrite": {
        "append": 1,
        "replace": 6,
        "rewrite_slowly": 3,
        "truncate": 1,
        "overwrite": 3,
        "recreate": 1,
        "touch_only": 1,
        "delete": 1,
    },
    "folder": {"copy_in": 6, "append": 3, "replace": 2, "overwrite": 1},
}
"""What programs do to a file of each kind, and how often."""
