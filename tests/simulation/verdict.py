"""The end of a history: what has to be at the destination by now, and is not."""

from __future__ import annotations

from collections.abc import Iterable

from pysubtask.subtask.delivery.beats import is_beat
from tests.simulation.checker import TEMP_PREFIX, Checker
from tests.simulation.ledger import Source, common
from tests.simulation.remote import RemoteFile

__all__ = ["unmet"]


def unmet(checker: Checker) -> list[tuple[str, str]]:
    """What is still missing, as (kind, what)."""
    problems: list[tuple[str, str]] = []
    for source in checker.ledger.by_path.values():
        problems.extend(_unmet_of(checker, source))
    for path in checker.neighbours - checker.disk.files.keys():
        problems.append(("lost", f"{path!r}, another client's, is gone"))
    for path in checker.disk.files:
        name = path.rpartition("/")[2]
        if not name.startswith(TEMP_PREFIX) or path in checker.late_temps | checker.neighbours:
            continue
        if is_beat(name):
            continue  # it has the same few names each time
        own = name.startswith(TEMP_PREFIX + checker.client_id)
        if own or path not in checker.forgiven_temps:
            problems.append(("litter", f"{path!r} is left"))
    return problems


def _unmet_of(checker: Checker, source: Source) -> Iterable[tuple[str, str]]:
    if source.touches:
        yield "unserved", f"{source.path!r}: {len(source.touches)} touches were not served"
    if source.untold or checker.slots.waits(source):
        return
    for owed in source.owed:
        if source.was_shown(owed):
            continue
        if owed.index == source.current.index or source.must_precede(owed):
            yield "lost", f"{source.remote!r}: {owed} was never shown"
    for words in checker.rotated.missing(source, checker.view(source.remote).index):
        yield "lost", words
    if source.present:
        yield from _unmet_now(checker, source)


def _unmet_now(checker: Checker, source: Source) -> Iterable[tuple[str, str]]:
    """Whether the destination shows what the file holds now, as far as it was notified."""
    wanted = bytes(source.current.content)
    due = len(wanted)
    if not source.in_folder:
        touch = source.last_touch
        if touch is None or not touch.present or touch.index != source.current.index:
            return
        due = touch.size
    pieces = checker.pieces.get(source.remote, [])
    if pieces or (checker.continued and source.current.returned):
        yield from _unmet_pieces(checker, source, wanted, due, pieces)
        return
    content = checker.content_of(source)
    if content is None:
        yield "lost", f"{source.remote!r} is not there"
    elif len(content) < due or not wanted.startswith(content):
        yield "lost", f"{source.remote!r} has {len(content)} bytes, {due} were notified"


def _unmet_pieces(
    checker: Checker, source: Source, wanted: bytes, due: int, taken: list[tuple[int, RemoteFile]]
) -> Iterable[tuple[str, str]]:
    """Whether what consumers took, joined, is the file."""
    pieces = list(taken)
    last = checker.disk.files.get(source.remote)
    if last is not None and all(last is not piece for _, piece in pieces):
        pieces.append((source.current.index, last))
    end, resent = source.current.returned, 0
    for index, piece in pieces:
        start = wanted.rfind(piece.content, 0, end + len(piece.content))
        if start >= 0:
            resent += end - start
            end = max(end, start + len(piece.content))
        elif index < source.current.index:  # of another content; but they may begin alike
            lineage = source.lineages[index]
            alike = common(lineage.content, source.current.content)
            end = max(end, min(alike, lineage.content.find(piece.content) + len(piece.content)))
        else:
            yield "lost", f"{source.remote!r}: the pieces leave a gap at {end}"
            return
    checker.resent_pieces_bytes = resent
    if end < due:
        yield "lost", f"{source.remote!r}: the pieces have {end} of {due} bytes"
