"""Kept states: packing them, and putting them where a test wants them.

The paths in a state folder are absolute. Kept ones say :data:`HOME` and, of temporary files at the
destination, :data:`THERE`; :func:`unpack` changes that to where things lie now. It knows the format
of the state folders by itself, not by the code that is tested.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import tarfile
import zlib

__all__ = ["HOME", "THERE", "archive_of", "copy_of", "pack", "reboot", "unpack"]

HOME = "/var/lib/edge"
THERE = "@destination@"
_STATES = pathlib.Path(__file__).parent / "states"


def archive_of(number: int, name: str) -> pathlib.Path:
    """Where the state of a format and a transport is kept."""
    return _STATES / f"format-{number}-{name}.tar.xz"


def pack(home: pathlib.Path, base: str, target: pathlib.Path) -> None:
    """Keep ``data`` (with the state folder in it) and ``remote`` of a program at ``home``, which
    delivered to the folder ``base``."""
    _move(home, {f'"{base}/': f'"{THERE}/', base: "/incoming", str(home): HOME})

    def nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(target, "w:xz", format=tarfile.PAX_FORMAT) as archive:
        for name in ("data", "remote"):
            archive.add(home / name, name, filter=nobody)


def unpack(archive: pathlib.Path, home: pathlib.Path, base: str) -> None:
    """Put a program's files below ``home``, as it left them, times included, with a state folder
    as if it delivered to ``base``."""
    with tarfile.open(archive) as kept:
        kept.extractall(home, filter="data")
    _move(home, {HOME: str(home), THERE: base})


def reboot(state: pathlib.Path, boot_id: str) -> None:
    """Say that the machine runs in the boot in which the state was left."""

    def change(record: dict[str, object]) -> dict[str, object]:
        return {**record, "boot": boot_id} if "journal" in record else record

    for journal in state.rglob("journal"):
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(_line(change(json.loads(line[9:]))) for line in lines))


def _line(record: dict[str, object]) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _move(home: pathlib.Path, names: dict[str, str]) -> None:
    """Have everything in the state folders speak of the new names instead of the old ones."""

    def renamed(data: bytes) -> bytes:
        for old, new in names.items():
            data = data.replace(old.encode(), new.encode())
        return data

    for state in {path.parent for path in home.rglob("journal")}:
        for path in [path for path in state.rglob("*") if path.is_file()]:
            data = path.read_bytes()
            if path.name == "journal":
                lines = [line[9:] for line in data.splitlines() if _is_whole(line)]
                data = b"".join(
                    b"%08x %s\n" % (zlib.crc32(line), line) for line in map(renamed, lines)
                )
            elif path.suffix == ".sig":
                head, _, rest = data.partition(b"\n")
                head = renamed(head)
                data = head + b"\n" + rest
                path = path.rename(path.with_name(_signature_name(json.loads(head))))
            elif path.suffix == ".json":
                data = renamed(data)
            times = path.stat()
            path.write_bytes(data)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _is_whole(line: bytes) -> bool:
    return len(line) > 9 and int(line[:8], 16) == zlib.crc32(line[9:])


def _signature_name(head: dict[str, object]) -> str:
    path = str(head["path"]).encode("utf-8", "surrogatepass")
    return f"{hashlib.blake2b(path, digest_size=16).hexdigest()}-{head['version']}.sig"


def copy_of(folder: pathlib.Path) -> dict[str, bytes]:
    """All files below a folder, by their names there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
