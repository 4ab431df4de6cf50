"""What one history is made of: the world's parameters, and the events that happen in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.filesystem import FileSystemKind
from tests.simulation.server import ServerKind

__all__ = ["Config", "Event", "FileSpec", "History"]


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file that the program writes."""

    name: str
    growth: str
    burstmode: bool = False
    in_folder: bool = False
    remote_start: str = ""
    """What another hand left under its remote name: ``prefix``, ``same``, ``foreign`` or ``""``."""
    lines: bool = False
    """``records="lines"``: a reader sees whole lines."""
    rotates: str = ""
    """It is rotated often, to ``numbered`` or ``dated`` names."""


@dataclass(frozen=True, slots=True)
class Config:
    """What one world is like."""

    file_system: FileSystemKind
    server_name: str
    server: ServerKind
    latency_ns: int
    jitter_ns: int
    bytes_per_sec: int
    call_ns: int
    """What one call to the local disk costs."""
    events: float
    """The share of file-system events that reach the child."""
    block_bytes: int
    files: tuple[FileSpec, ...]
    settings: dict[str, Any]
    remote_dir: str
    remote_dir_exists: bool
    block_share: float = 0.1
    """The share of the program's writes that are blocks."""
    worst_share: float = 0.5
    """How often a program that has waited for the snapshot destroys its file then."""
    archives: bool = False
    """Old files of the folders move aside."""
    finish_secs: int = 900
    """When everything must have arrived, once there is no trouble any more."""
    stuck: bool = False
    """The first file can't be delivered; that must not hold up the others."""
    masters: bool = False
    """Each child has to have the lock of the state folder, which others want, too."""
    small_outbox: bool = False
    """Snapshots are delivered from the files themselves, which may change meanwhile."""

    def describe(self) -> str:
        """In a few lines, for people."""
        disk, server = self.file_system, self.server
        marks = [n for n in ("reuse_inodes", "ordered_names", "zero_tails") if getattr(disk, n)]
        files = "; ".join(
            f"{f.name!r} {'folder' if f.in_folder else f.growth}"
            f"{' burst' if f.burstmode else ''}{' lines' if f.lines else ''}"
            f"{f' remote:{f.remote_start}' * bool(f.remote_start)}"
            for f in self.files
        )
        return (
            f"files: {files}\n"
            f"disk: tick {disk.tick_ns / 1e9:g} s, {' '.join(marks)}, "
            f"call {self.call_ns / 1e9:g} s, events {self.events:g}\n"
            f"server: {self.server_name} ({'parallel' if server.parallel else 'sequential'}), "
            f"latency {self.latency_ns / 1e9:g}+{self.jitter_ns / 1e9:g} s, "
            f"{self.bytes_per_sec or 'any'} B/s, {self.remote_dir} "
            f"{'exists' if self.remote_dir_exists else 'to be made'}\n"
            f"settings: {' '.join(f'{k}={v}' for k, v in self.settings.items())}"
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at ``at_ns``, or at the child's ``near_call``-th call after that."""

    at_ns: int
    kind: str
    target: int = 0
    detail: Any = None
    near_call: int = 0
    exact: bool = False
    """It waits for that call, however long it takes to come."""
    how: str = ""
    """Of a loss of power: what survives (:data:`tests.simulation.filesystem.SURVIVALS`)."""


@dataclass(frozen=True, slots=True)
class History:
    """The whole of one run."""

    seed: int
    config: Config
    events: tuple[Event, ...]
    troubles: frozenset[str] = field(default_factory=frozenset)
    focus: str = ""
