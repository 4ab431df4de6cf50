"""What the master tells its subtask: one JSON line on the child's standard input.

After the line the pipe stays open and silent: its end tells the child that the master is gone.
Passwords travel in this line and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from pysubtask.blake import blake2b
from pysubtask.pull import Pull
from pysubtask.settings import Secret, Settings, from_wire, to_wire
from pysubtask.urls import Destination
from pysubtask.watch import Watch

__all__ = ["FORMAT", "Handover", "Source", "purpose_of"]

FORMAT = 1
"""Version of the line's format. Both sides come from one installation unless it was changed while
the program ran; then the child must refuse rather than guess."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where files are fetched from, and the settings for that."""

    pull: Pull
    settings: Settings


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a subtask needs."""

    format: int = FORMAT
    extension: str
    """``base``, ``ftp``, ``folder`` …"""
    settings: Settings
    watches: list[Watch]
    sources: list[Source] = []
    destination: Destination | None
    """None for a subtask that has none."""
    state_dir: str
    """Absolute; it exists."""
    log_dir: str | None
    """Absolute; None for no log files."""
    log_name: str
    """Name of the subtask's log in ``log_dir``."""
    work_dir: str
    """The program's current folder when the master was made."""
    precleanup_old_files: bool
    parent_pid: int
    token: str
    """Names this start; in the lock and the stop file it tells one child from the next."""
    sys_path: list[str]
    """The program's module search path, for user-written subtasks."""
    subtask: str | None
    """``package.module:Class`` of a user-written subtask."""
    blank_marks: list[int | None] = []
    """What the ``.notify`` of each declared file was like when the program started its master, in
    their order (:func:`pysubtask.signals.blank_mark`)."""
    home_dir: str = ""
    """The folder of the first entry of the watch list; ``""``: that of the first watch."""

    def blank_marks_by_path(self) -> dict[str, int | None]:
        """``blank_marks``, each with the path of its file."""
        declared = (watch.path for watch in self.watches if not watch.is_dir)
        return dict(zip(declared, self.blank_marks, strict=False))

    @property
    def purpose(self) -> str:
        """See :func:`purpose_of`."""
        return purpose_of(self.watches, self.sources, self.destination)

    def to_line(self) -> bytes:
        """As one line of ASCII. It holds secrets in the clear: for the pipe only."""
        plain = {name: getattr(self, name) for name in self.__struct_fields__}
        plain["settings"] = to_wire(self.settings)
        plain["watches"] = [msgspec.to_builtins(watch) for watch in self.watches]
        plain["sources"] = [_plain_source(source) for source in self.sources]
        if self.destination is not None:
            plain["destination"] = _plain_destination(self.destination)
        return json.dumps(plain, ensure_ascii=True).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Handover:
        """Read the line.

        Raises:
            ValueError: it is no hand-over of this format. The message holds no secret.
        """
        try:
            plain: dict[str, Any] = json.loads(line)
            if plain.get("format") != FORMAT:
                raise ValueError("the master belongs to another version of pysubtask")
            plain["settings"] = from_wire(plain["settings"])
            for source in plain["sources"]:
                source["settings"] = from_wire(source["settings"])
            for watch in plain["watches"]:
                if watch["declared"] == watch["path"]:
                    watch["declared"] = watch["path"]  # one text, not two: there may be thousands
            return msgspec.convert(plain, cls, dec_hook=_decode)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise ValueError("no hand-over on the standard input") from None
        except msgspec.ValidationError as error:
            raise ValueError(f"damaged hand-over: {error}") from None


def purpose_of(
    watches: Iterable[Watch], sources: Iterable[Source], destination: Destination | None
) -> str:
    """What a subtask is there for, in a few letters: the same for two that take the same files to
    the same place, and fetch the same. The order, and how it was written, do not matter."""
    what = (
        str(destination),
        sorted((w.path, w.is_dir, w.remote_dir, w.remote_name or "") for w in watches),
        sorted((str(s.pull.source), s.pull.suffix, s.pull.to) for s in sources),
    )
    return blake2b(ascii(what).encode("ascii"), digest_size=8).hexdigest()


def _plain_source(source: Source) -> dict[str, Any]:
    pull = msgspec.structs.asdict(source.pull)
    pull["source"] = _plain_destination(source.pull.source)
    return {"pull": pull, "settings": to_wire(source.settings)}


def _plain_destination(destination: Destination) -> dict[str, Any]:
    plain = msgspec.structs.asdict(destination)
    if destination.password is not None:
        plain["password"] = destination.password.reveal()
    return plain


def _decode(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"must be text, not {type(value).__name__}")
