"""Remote names that two local files would have: whose they are, when they go to the other one.

The first has it until it has been gone for a while and all of it is there; what a reader sees is
the one's or the other's, never both, and what stood there is kept. The child's journal says which
of them has sent something; whether it may have been, and whether its words are true, is checked
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from unicodedata import normalize

from tests.simulation.ledger import Source

if TYPE_CHECKING:
    from tests.simulation.checker import Checker
    from tests.simulation.remote import RemoteFile

__all__ = ["Slot", "Slots", "folded"]

_GONE_NS = 4_900_000_000
_LATELY_NS = 60_000_000_000


def folded(path: str) -> str:
    """As a server does that takes names for one which differ in case, or in the form of letters."""
    return normalize("NFC", normalize("NFC", path).lower())


@dataclass(slots=True)
class Slot:
    """One remote name of several files."""

    remote: str
    sources: list[Source]
    holder: Source | None = None
    """Whose content a reader saw there last."""
    claimed: bool = False
    """The journal calls something of the holder delivered, or on its way."""
    shown: bytes = b""
    """What a reader saw there last."""
    gone_since_ns: dict[str, int] = field(default_factory=dict)
    """Local paths that the child has not found, each time it looked since then."""
    long_gone_ns: dict[str, int] = field(default_factory=dict)
    """When one had been gone for long enough, the last time it was looked for."""
    swept: set[str] = field(default_factory=set)
    """Those that a loss of power took, and that the child has not found since."""


class Slots:
    """All of them."""

    def __init__(self, checker: Checker, now_ns: Callable[[], int]) -> None:
        self._checker = checker
        self._now_ns = now_ns
        self.replaces = False
        """What somebody else left at the destination may be replaced (``on_first_contact``)."""
        self.by_remote: dict[str, Slot] = {}
        self.has_claim: Callable[[str], bool] = lambda path: False
        """Whether the journal of the last child says that something of a local file was sent."""

        self.is_let_go: Callable[[str], bool] = lambda path: True
        """Whether it says neither that, nor that anything has to be: what is in doubt after a loss
        of power keeps its name."""

    def add(self, source: Source) -> None:
        """A file that is watched."""
        other = self._checker.ledger.by_remote.get(source.remote)
        if other is not None:
            slot = self.by_remote.setdefault(source.remote, Slot(source.remote, [other]))
            slot.sources.append(source)

    def waiting(self) -> Iterator[tuple[Slot, Source]]:
        """The files that do not have their name."""
        for slot in self.by_remote.values():
            for source in slot.sources:
                if slot.holder is not source:
                    yield slot, source

    def waits(self, source: Source) -> bool:
        """Whether another file has its name."""
        slot = self.by_remote.get(source.remote)
        return slot is not None and slot.holder is not source

    # -- what happens ----------------------------------------------------------------------------

    def looked(self, path: str, is_there: bool) -> None:
        """The child looks at a local file."""
        now_ns = self._now_ns()
        for slot in self.by_remote.values():
            if is_there:
                slot.gone_since_ns.pop(path, None)
                slot.swept.discard(path)
            elif now_ns - slot.gone_since_ns.setdefault(path, now_ns) >= _GONE_NS:
                slot.long_gone_ns[path] = now_ns

    def source_at(self, path: str, file: RemoteFile, *, in_place: bool = False) -> Source | None:
        """Whose a content is that was put at a remote path, or grew there (``in_place``)."""
        checker = self._checker
        slot = self.by_remote.get(path)
        if slot is None or checker.disk.another_hand:
            return checker.ledger.by_remote.get(path)
        self._note_claim(slot)
        holder = slot.holder
        if holder is None or not slot.claimed:
            # what is a beginning of both (nothing at all, say) is that one's which has a claim
            for source in sorted(slot.sources, key=lambda s: not self.has_claim(s.path)):
                if source is not holder and _holds(source, file.content, in_place):
                    alike = holder is not None and _holds(holder, file.content, in_place)
                    if alike and not self.has_claim(source.path):
                        continue
                    self._take_over(slot, source, file)
                    break
        slot.shown = bytes(file.content)
        return slot.holder or slot.sources[0]

    def unnamed(self, path: str) -> None:
        """The child removed what stood at a remote path: before a newer one of the same file, where
        it can't be replaced."""
        slot = self.by_remote.get(path)
        if slot is not None and slot.holder is not None and self.has_claim(slot.holder.path):
            slot.shown = b""

    def _take_over(self, slot: Slot, source: Source, file: RemoteFile) -> None:
        checker = self._checker
        kept = self.replaces or file.content.startswith(slot.shown)
        if slot.holder is not None and not kept and slot.shown not in checker.set_aside.values():
            _broken("lost", f"{slot.remote!r} of {slot.holder.path!r} was not kept")
        slot.holder, slot.claimed = source, self.has_claim(source.path)
        checker.ledger.by_remote[slot.remote] = source
        checker.forget_view(slot.remote)

    def observe(self, *, rolled_back: bool = False) -> None:
        """After each step of the child. ``rolled_back``: the journal may have forgotten."""
        for slot in self.by_remote.values():
            if rolled_back:
                slot.claimed = False
                slot.swept = {s.path for s in slot.sources if not s.present}
            self._note_claim(slot)
            claims = [s.path for s in slot.sources if self.has_claim(s.path)]
            if len(claims) > 1:
                _broken("taken", f"{slot.remote!r} is sent of both {claims}")

    def _note_claim(self, slot: Slot) -> None:
        holder, before = slot.holder, slot.claimed
        if holder is None:
            return
        slot.claimed = self.has_claim(holder.path)
        if before and not slot.claimed and self.is_let_go(holder.path):
            self._check_end(slot, holder)

    def _check_end(self, slot: Slot, holder: Source) -> None:
        """It has lost its name: rightly?"""
        long_gone_ns = slot.long_gone_ns.get(holder.path)
        lately = long_gone_ns is not None and self._now_ns() - long_gone_ns <= _LATELY_NS
        if not lately and holder.path not in slot.swept:
            _broken("taken", f"{slot.remote!r} was taken from {holder.path!r}, which is there")
        for touch in holder.owed:
            if not holder.was_shown(touch) and holder.must_precede(touch):
                _broken("lost", f"{slot.remote!r} was taken from {holder.path!r}: {touch} is owed")


def _holds(source: Source, content: bytearray, in_place: bool) -> bool:
    return any(lineage.holds(content, in_place=in_place) for lineage in source.lineages)


def _broken(kind: str, words: str) -> NoReturn:
    from tests.simulation.checker import Violation

    raise Violation(kind, words)
