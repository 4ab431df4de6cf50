"""Rotated files that are kept at the destination (``rotated_as``), as their reader sees them.

What a reader saw under the watched name when the program rotated the file lives on under another
one: it is never replaced by the new file, never over another, never there twice, and never changes
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.simulation.ledger import Ledger, Source
from tests.simulation.remote import RemoteFile

__all__ = ["Rotated"]


@dataclass(slots=True)
class _Kept:
    source: Source
    file: RemoteFile
    content: bytes


class Rotated:
    """All files that are kept.

    Args:
        shown: the file that is at a source's remote name, or was last.
        broken: raises what is wrong (kind, words).
    """

    def __init__(
        self,
        ledger: Ledger,
        shown: Callable[[str], RemoteFile | None],
        broken: Callable[[str, str], None],
    ) -> None:
        self._ledger = ledger
        self._shown = shown
        self._broken = broken
        self._kept: dict[str, _Kept] = {}
        self._removed: dict[str, RemoteFile] = {}
        self._doubles_forgiven = False

    def has_kept(self, source: Source) -> bool:
        """Whether something of it was renamed: its name may be free for a moment."""
        return any(kept.source is source for kept in self._kept.values())

    def named(self, path: str, file: RemoteFile, replaced: RemoteFile | None) -> bool:
        """A name that is not a watched one. False: it is none of ours."""
        source = next((s for s in self._sources() if self._shown(s.remote) is file), None)
        before = self._kept.get(path)
        if before is not None and before.file is not file:
            self._broken("lost", f"{path!r}, a rotated file, was replaced")
        if source is None or not _may_be_called(path, source):
            return before is not None
        if replaced is not None:
            self._broken("lost", f"{path!r}: a rotated file was put over another")
        self._note(path, source, file, bytes(file.content))
        return True

    def folder_named(self, path: str, source: Source, content: bytes) -> None:
        """A folder of segments has another name."""
        if source.keeps and _may_be_called(path, source):
            self._note(path, source, RemoteFile(), content)

    def _note(self, path: str, source: Source, file: RemoteFile, content: bytes) -> None:
        for other, kept in self._kept.items():
            same = kept.source is source and kept.content == content and kept.file is not file
            if same and content and not (self._doubles_forgiven or source.interfered):
                self._broken("doubled", f"{path!r} has what {other!r} has")
        self._kept[path] = _Kept(source, file, content)

    def _sources(self) -> Iterator[Source]:
        return (s for s in self._ledger.by_remote.values() if s.keeps)

    def wrote(self, file: RemoteFile) -> None:
        """The content of a file has changed."""
        for path in file.names:
            kept = self._kept.get(path)
            if kept is not None and kept.file is file and file.content != kept.content:
                self._broken("torn", f"{path!r}, a rotated file, has changed")

    def unnamed(self, path: str, file: RemoteFile, *, by_us: bool) -> None:
        """A name is gone; a watched one is remembered until it is taken again."""
        kept = self._kept.pop(path, None)
        if kept is not None and by_us:
            self._broken("lost", f"{path!r}, a rotated file, is gone")
        if by_us and not file.names and path in self._ledger.by_remote:
            self._removed[path] = file

    def taken(self, source: Source, before: int, now: int, replaced: RemoteFile | None) -> None:
        """The remote name of a source, which showed one lineage, shows another."""
        gone = replaced or self._removed.get(source.remote)
        self._removed.pop(source.remote, None)
        if not source.keeps or gone is None or not gone.content or before >= now:
            return
        if source.lineages[before].rotated and not source.interfered:
            self._broken("lost", f"{source.remote!r}: lineage {before} was rotated and not kept")

    def records_refused(self) -> None:
        """The local disk was full: that holds nothing up, and what was renamed may not be noted."""
        self._doubles_forgiven = True

    def rolled_back(self) -> None:
        """A loss of power, here or at the server: what was rotated may look as if it was not."""
        self._doubles_forgiven = True
        for source in self._ledger.by_path.values():
            for lineage in source.lineages:
                lineage.rotated = False

    def lost(self, files: dict[str, RemoteFile]) -> None:
        """The server has lost what it had not synced."""
        self.rolled_back()
        self._removed.clear()
        left = {path: files[path] for path in self._kept if path in files}
        self._kept = {
            path: _Kept(self._kept[path].source, file, bytes(file.content))
            for path, file in left.items()
        }

    def missing(self, source: Source, shown_now: int) -> Iterator[str]:
        """At the end: rotated lineages of which nobody kept what was shown, in words."""
        if not source.keeps or source.interfered:
            return
        kept = {k.content for k in self._kept.values() if k.source is source}
        for lineage in source.lineages[:shown_now]:
            wanted = bytes(lineage.content[: max(0, lineage.shown)])
            if lineage.rotated and wanted and wanted not in kept:
                yield f"{source.remote!r}: of lineage {lineage.index} nothing was kept"


def _may_be_called(path: str, source: Source) -> bool:
    """Beside it, and with its name, as all patterns of the histories have it."""
    folder, _, name = path.rpartition("/")
    own_folder, _, own = source.remote.rpartition("/")
    stem = own.rpartition(".")[0]
    return folder == own_folder and name.startswith(stem) and "~" not in name
