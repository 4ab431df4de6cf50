"""What a Dropbox holds, for the emulator in :mod:`tests.servers.dropbox`: files, folders, upload
sessions, and the refusals of the service.

Each rule is that of the endpoint's section of https://www.dropbox.com/developers/documentation/http/
documentation, named beside it as (``/endpoint``). Files lie on disk as well, below :attr:`root`,
where each appears in one step.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Account", "Cursor", "Refused", "content_hash"]

BLOCK_BYTES = 4 * 1024 * 1024
MAX_BODY_BYTES = 150 * 1024 * 1024
MAX_FILE_BYTES = 2**41 - 2**22
MAX_BATCH = 1000
SESSION_SECS = 7 * 86_400.0
# https://help.dropbox.com/organize/file-names: never synced
DISALLOWED = {"desktop.ini", "thumbs.db", ".ds_store", "icon\r", ".dropbox", ".dropbox.attr"}
_OF_DELETED = ("name", "path_lower", "path_display")
Json = dict[str, Any]


class Refused(Exception):
    """Status 409: the endpoint's own error, as its union in JSON."""

    def __init__(self, error: Json) -> None:
        super().__init__(str(error))
        self.error = error


def tagged(*tags: str, **fields: Any) -> Json:
    """``tagged("path", "conflict", "file")``: nested unions, the innermost with ``fields``."""
    inner: Json = {".tag": tags[-1], **fields}
    for tag in reversed(tags[:-1]):
        inner = {".tag": tag, tag: inner}
    return inner


def content_hash(data: bytes) -> str:
    """https://www.dropbox.com/developers/reference/content-hash, the short way."""
    blocks = (data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES))
    return hashlib.sha256(b"".join(hashlib.sha256(b).digest() for b in blocks)).hexdigest()


@dataclass
class _Item:
    display: str
    id: str
    is_dir: bool = False
    size: int = 0
    digest: str = ""
    rev: str = ""
    server_modified: float = 0.0
    client_modified: float | None = None


@dataclass
class _Session:
    file: pathlib.Path
    began_at: float
    size: int = 0
    closed: bool = False
    done: bool = False
    hashes: list[bytes] = field(default_factory=list)
    block: Any = field(default_factory=hashlib.sha256)
    block_bytes: int = 0

    def take(self, data: bytes) -> None:
        with self.file.open("ab") as file:
            file.write(data)
        self.size += len(data)
        while data:
            part = data[: BLOCK_BYTES - self.block_bytes]
            self.block.update(part)
            self.block_bytes += len(part)
            data = data[len(part) :]
            if self.block_bytes == BLOCK_BYTES:
                self.hashes.append(self.block.digest())
                self.block, self.block_bytes = hashlib.sha256(), 0

    def digest(self) -> str:
        rest = [self.block.digest()] if self.block_bytes else []
        return hashlib.sha256(b"".join(self.hashes + rest)).hexdigest()


@dataclass
class Cursor:
    """Where somebody is in the listing of a folder: entries still to be told, and the entries as
    they are known to him once he has got those."""

    path: str
    left: list[Json]
    known: dict[str, Json]


class Account:
    """One user's Dropbox.

    Attributes:
        root: where its files lie on disk.
        space_bytes: how much may be in it; None: any amount.
        read_only: folders (lower case) in which the user may not write.
        commits: paths in the order in which they were committed, with whether they were muted.
        on_commit: called with the path, and the file on disk, before anybody can replace it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.root = folder / "files"
        self._parts = folder / "parts"
        for made in (self.root, self._parts):
            made.mkdir()
        self.space_bytes: int | None = None
        self.read_only: set[str] = set()
        self.commits: list[tuple[str, bool]] = []
        self.on_commit: Callable[[str, pathlib.Path], None] = lambda path, file: None
        self.now = time.time
        self._items: dict[str, _Item] = {}
        self._sessions: dict[str, _Session] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # -- for tests ---------------------------------------------------------------------------

    def put(self, path: str, data: bytes) -> None:
        """As another hand would."""
        session = self._sessions[self.start(b"", close=False)]
        session.take(data)
        self._commit(session, {"path": path, "mode": "overwrite"}, "reason")

    def lose_sessions(self) -> None:
        """As if all were older than a week."""
        for session in self._sessions.values():
            session.began_at -= SESSION_SECS

    @property
    def used_bytes(self) -> int:
        return sum(item.size for item in self._items.values())

    # -- upload sessions ---------------------------------------------------------------------

    def start(self, data: bytes, *, close: bool) -> str:
        """``/upload_session/start``: sequential sessions."""
        with self._lock:
            number = next(self._numbers)
            name = f"pid_upload_session:{number:08d}{os.urandom(12).hex()}"
            session = _Session(self._parts / f"{number:08d}", self.now())
            session.file.touch()
            session.take(data)
            session.closed = close
            self._sessions[name] = session
            return name

    def append(self, cursor: Json, data: bytes, *, close: bool) -> None:
        """``/upload_session/append:2``: at the right offset only, and not after the end."""
        with self._lock:
            session = self._lookup(cursor)
            if session.closed:
                raise Refused(tagged("closed"))
            if session.size + len(data) > MAX_FILE_BYTES:
                raise Refused(tagged("too_large"))
            session.take(data)
            session.closed = close

    def _lookup(self, cursor: Json) -> _Session:
        session = self._sessions.get(cursor["session_id"])
        if session is None or self.now() - session.began_at >= SESSION_SECS:
            raise Refused(tagged("not_found"))
        if session.done:
            raise Refused(tagged("closed"))
        if cursor["offset"] != session.size:
            raise Refused(tagged("incorrect_offset", correct_offset=session.size))
        return session

    def finish(self, cursor: Json, commit: Json, data: bytes, *, batch: bool = False) -> Json:
        """``/upload_session/finish``; in a batch each session must have been closed."""
        with self._lock:
            try:
                session = self._lookup(cursor)
                if batch and not session.closed:
                    raise Refused(tagged("not_closed"))
            except Refused as error:
                raise Refused({".tag": "lookup_failed", "lookup_failed": error.error}) from None
            session.take(data)  # stays even if the commit is refused: UploadSessionFinishError.path
            return self._commit(session, commit, "path")

    def upload(self, commit: Json, data: bytes) -> Json:
        """``/upload``."""
        with self._lock:
            name = self.start(data, close=True)
            try:
                return self._commit(self._sessions[name], commit, "reason")
            except Refused as error:
                failed = {".tag": "path", "reason": error.error, "upload_session_id": name}
                raise Refused(failed) from None

    def _commit(self, session: _Session, commit: Json, key: str) -> Json:
        try:
            item = self._place(session, commit)
        except Refused as error:
            if key == "path":
                raise Refused({".tag": "path", "path": error.error}) from None
            raise
        session.done = session.closed = True
        self.commits.append((item.display, bool(commit.get("mute"))))
        self.on_commit(item.display, self._on_disk(item.display))
        return self._metadata(item)

    def _place(self, session: _Session, commit: Json) -> _Item:
        """``CommitInfo``: ``mode`` says what happens to a file that is there; a file of the same
        content is no conflict, and no write, unless ``strict_conflict``."""
        path = self._checked(commit["path"])
        mode = commit.get("mode", "add")
        mode = mode[".tag"] if isinstance(mode, dict) else mode
        parent = self._folders_for(path)
        there = self._items.get(path.lower())
        if there is not None and there.is_dir:
            raise Refused(tagged("conflict", "folder"))
        same = there is not None and there.digest == session.digest()
        if there is not None and same and not commit.get("strict_conflict"):
            return there
        if there is not None and mode != "overwrite":
            raise Refused(tagged("conflict", "file"))
        grows = session.size - (there.size if there is not None else 0)
        if self.space_bytes is not None and self.used_bytes + grows > self.space_bytes:
            raise Refused(tagged("insufficient_space"))
        item = there or _Item(f"{parent}/{path.rpartition('/')[2]}", f"id:{os.urandom(12).hex()}")
        item.size, item.digest = session.size, session.digest()
        item.rev = f"{next(self._numbers):015x}"
        item.server_modified = float(int(self.now()))
        stamp = commit.get("client_modified")
        item.client_modified = None if stamp is None else _seconds(stamp)
        session.file.replace(self._on_disk(item.display))
        self._items[path.lower()] = item
        return item

    def _checked(self, path: str, *, write: bool = True) -> str:
        """Path formats: from ``/`` on, no empty parts, at most 255 characters each."""
        parts = path.split("/")
        bad = not path.startswith("/") or any(
            part in ("", ".", "..") or len(part) > 255 or re.search(r"[\0\\]", part)
            for part in parts[1:]
        )
        if bad:
            raise Refused({".tag": "malformed_path", "malformed_path": None})
        if not write:
            return path
        if parts[-1].lower() in DISALLOWED:
            raise Refused(tagged("disallowed_name"))
        lower = path.lower()
        if any(lower.startswith(folder + "/") for folder in self.read_only):
            raise Refused(tagged("no_write_permission"))
        return path

    def _folders_for(self, path: str) -> str:
        """Missing folders are made with the file; gives the parent as it is shown."""
        shown = ""
        for part in path.split("/")[1:-1]:
            key = f"{shown}/{part}".lower()
            item = self._items.get(key)
            if item is None:
                item = self._items[key] = _Item(
                    f"{shown}/{part}", f"id:{os.urandom(12).hex()}", is_dir=True
                )
                self._on_disk(item.display).mkdir()
            if not item.is_dir:
                raise Refused(tagged("conflict", "file_ancestor"))
            shown = item.display
        return shown

    def _on_disk(self, display: str) -> pathlib.Path:
        return self.root / display[1:]

    # -- files and folders -------------------------------------------------------------------

    def metadata(self, path: str) -> Json:
        """``/get_metadata``."""
        with self._lock:
            return self._metadata(self._find(path, "path"))

    def _find(self, path: str, key: str) -> _Item:
        try:
            self._checked(path, write=False)
            if path.lower() not in self._items:
                raise Refused(tagged("not_found"))
        except Refused as error:
            raise Refused({".tag": key, key: error.error}) from None
        return self._items[path.lower()]

    def _metadata(self, item: _Item) -> Json:
        name = item.display.rpartition("/")[2]
        told: Json = {
            ".tag": "folder" if item.is_dir else "file",
            "name": name,
            "id": item.id,
            "path_lower": item.display.lower(),
            "path_display": item.display,
        }
        if not item.is_dir:
            stamp = item.client_modified
            told |= {
                "client_modified": _stamp(item.server_modified if stamp is None else stamp),
                "server_modified": _stamp(item.server_modified),
                "rev": item.rev,
                "size": item.size,
                "is_downloadable": True,
                "content_hash": item.digest,
            }
        return told

    def list(self, path: str) -> Any:
        """``/list_folder``: all entries; the caller makes pages."""
        with self._lock:
            if path and not self._find(path, "path").is_dir:
                raise Refused(tagged("path", "not_folder"))
            prefix = path.lower() + "/"
            return [
                self._metadata(item)
                for key, item in sorted(self._items.items())
                if key.startswith(prefix) and "/" not in key[len(prefix) :]
            ]

    def begin(self, path: str) -> Cursor:
        """``/list_folder``: a cursor before the first entry."""
        entries = self.list(path)
        return Cursor(path, entries, {entry["path_lower"]: entry for entry in entries})

    def catch_up(self, cursor: Cursor) -> None:
        """``/list_folder/continue`` past the end: what has changed since. A folder that is gone is
        ``path/not_found``."""
        if cursor.left:
            return
        now = {entry["path_lower"]: entry for entry in self.list(cursor.path)}
        gone = [
            {".tag": "deleted", **{key: entry[key] for key in _OF_DELETED}}
            for name, entry in cursor.known.items()
            if name not in now
        ]
        fresh = [entry for name, entry in now.items() if cursor.known.get(name) != entry]
        cursor.left, cursor.known = gone + fresh, now

    def has_changed(self, cursor: Cursor) -> bool:
        """``/list_folder/longpoll``: whether there is more to be told."""
        try:
            now = {entry["path_lower"]: entry for entry in self.list(cursor.path)}
        except Refused:
            return True
        return bool(cursor.left) or now != cursor.known

    def create_folder(self, path: str) -> Json:
        """``/create_folder_v2``: parents are made as well."""
        with self._lock:
            try:
                self._checked(path)
                there = self._items.get(path.lower())
                if there is not None:
                    raise Refused(tagged("conflict", "folder" if there.is_dir else "file"))
                self._folders_for(f"{path}/x")
            except Refused as error:
                raise Refused({".tag": "path", "path": error.error}) from None
            return self._metadata(self._items[path.lower()])

    def delete(self, path: str) -> Json:
        """``/delete_v2``: a folder with all that is in it."""
        with self._lock:
            item = self._find(path, "path_lookup")
            try:
                self._checked(path)
            except Refused as error:
                raise Refused({".tag": "path_write", "path_write": error.error}) from None
            for key in [k for k in self._items if k == path.lower() or _below(k, path)]:
                gone = self._items.pop(key)
                if not gone.is_dir:
                    self._on_disk(gone.display).unlink()
            if item.is_dir:
                for left in sorted(self._on_disk(item.display).rglob("*"), reverse=True):
                    left.rmdir()
                self._on_disk(item.display).rmdir()
            return self._metadata(item)

    def move(self, source: str, target: str) -> Json:
        """``/move_v2`` without ``autorename``: never onto something."""
        with self._lock:
            item = self._find(source, "from_lookup")
            try:
                self._checked(target)
                there = self._items.get(target.lower())
                if there is not None:
                    raise Refused(tagged("conflict", "folder" if there.is_dir else "file"))
                parent = self._folders_for(target)
            except Refused as error:
                raise Refused({".tag": "to", "to": error.error}) from None
            old, new = item.display, f"{parent}/{target.rpartition('/')[2]}"
            self._on_disk(old).rename(self._on_disk(new))
            for key in [k for k in self._items if k == source.lower() or _below(k, source)]:
                moved = self._items.pop(key)
                moved.display = new + moved.display[len(old) :]
                self._items[moved.display.lower()] = moved
            return self._metadata(item)

    def content(self, path: str) -> tuple[Json, bytes]:
        """``/download``."""
        with self._lock:
            item = self._find(path, "path")
            if item.is_dir:
                raise Refused(tagged("path", "not_file"))
            return self._metadata(item), self._on_disk(item.display).read_bytes()


def _below(key: str, folder: str) -> bool:
    return key.startswith(folder.lower() + "/")


def _stamp(secs: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(secs))


def _seconds(stamp: str) -> float:
    import calendar

    return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
