"""One connection to a Dropbox: the contract's requests as calls of its API (version 2).

An upload that was begun is an *upload session*; a rename commits it (``upload_session/finish``),
which replaces what is there in one step. Sessions are sequential ones: only concurrent sessions
would need offsets and sizes in multiples of 4 MiB, too coarse for a slow link. Every body carries
its ``content_hash``, so that the server takes it whole and sound, or not at all. Nothing is tried
again here.

Limits are Dropbox's own: https://www.dropbox.com/developers/documentation/http/documentation
(``/upload_session/start``: 150 MiB a request, a session lives 7 days;
``/upload_session/finish_batch``: 1,000 entries).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.checksum import DROPBOX
from pysubtask.errors import LoginRefused, RemoteError, RemoteExists, RemoteUnsupported
from pysubtask.transports.contract import Begun, Put, RemoteStat, Result
from pysubtask.transports.dropbox.changes import FolderChanges
from pysubtask.transports.dropbox.refusals import correct_offset, refusals, refused, tags_of
from pysubtask.transports.simple import SimpleTransport

if TYPE_CHECKING:
    from dropbox import Dropbox

    from pysubtask.transports.dropbox.account import Account

__all__ = ["DropboxTransport"]

_CHUNK_BYTES = 8 * 1024 * 1024
_TOGETHER_FROM = 4
_TOGETHER_BYTES = 4 * 1024 * 1024
_MAX_FILES = 64
_MAX_NAMES = 250_000
_MAX_NAME_BYTES = 32 << 20
_MAX_PAGES = 10_000
_LIMIT = (
    "Dropbox takes files as a whole: one that grows or changed inside is sent whole, each time; "
    "what grows can go in pieces (segments)"
)


# The class has a method of the name list.
_Tickets: TypeAlias = list[tuple[int, Put]]
_Results: TypeAlias = list[Result]
_Parts: TypeAlias = list[tuple[int, Any]]


@dataclass(slots=True)
class _Upload:
    session_id: str
    offset: int
    begun: bool
    modified: float | None = None


class DropboxTransport(SimpleTransport):
    """Delivers below ``root`` (``/`` for all of the Dropbox, or of the app's folder)."""

    def __init__(self, account: Account, root: str = "/") -> None:
        super().__init__()
        self._account = account
        self._root = root
        self._uploads: dict[str, _Upload] = {}
        self._client: Dropbox | None = None
        self._listed: dict[str, str] = {}
        """The cursor at the end of each folder's last listing."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            positioned_write=False,
            sequential=True,
            atomic_replace=True,
            max_put_bytes=_CHUNK_BYTES,
            upload_tokens=True,
            checksum=DROPBOX,
            segments=True,
            folds_names=True,
            max_write_bytes=_CHUNK_BYTES,
            max_read_bytes=_CHUNK_BYTES,
            max_files=_MAX_FILES,
            limits=(_LIMIT,),
            told=frozenset({"positioned_write", "server_copy", "fsync"}),
        )

    def connect(self) -> None:
        """Have an access token, and see that it may look at the destination."""
        client = self._client = self._account.client()
        try:
            with refusals("connect", "dropbox"):
                client.check_and_refresh_access_token()
                self._look_at_root(client)
        except RemoteError as error:
            raise LoginRefused(
                error.message,
                operation="log in",
                path="dropbox",
                hint="are the app key and the token those of one app?",
            ) from error

    def _look_at_root(self, client: Dropbox) -> None:
        from dropbox.exceptions import ApiError

        root = _api_path("look at", self._root)
        if not root:
            client.files_list_folder("", limit=1)
            return
        try:
            client.files_get_metadata(root)
        except ApiError as error:
            if "not_found" not in tags_of(error.error):  # it comes with the first file
                raise

    def close(self) -> None:
        super().close()
        self._uploads.clear()
        self._account.disconnect()

    def collect(self) -> Iterator[tuple[int, Result]]:
        """Carry out what was submitted; many small files in a row go together."""
        while self._waiting:
            together = self._leading_puts() if self._account.takes_many else []
            if len(together) < _TOGETHER_FROM:
                yield self._carry_out_next()
                continue
            try:
                results = self._put_together([put for _, put in together])
            except RemoteError as error:  # all of it was refused: one by one, then
                self._account.takes_many = error.retryable
                for _ in together:
                    yield self._carry_out_next()
                continue
            for _ in together:
                self._waiting.popleft()
            for (ticket, _), result in zip(together, results, strict=True):
                yield ticket, result

    # -- looking -----------------------------------------------------------------------------

    def stat(self, path: str) -> RemoteStat:
        upload = self._uploads.get(path)
        if upload is not None:
            return RemoteStat(upload.offset)
        with refusals("stat", path):
            api_path = _api_path("stat", path)
            if not api_path:
                return RemoteStat(0, None, is_dir=True)
            return _stat_of(self._api.files_get_metadata(api_path))

    def list(self, path: str) -> dict[str, RemoteStat]:
        with refusals("list", path):
            page = self._api.files_list_folder(_api_path("list", path))
            found: dict[str, RemoteStat] = {}
            names = name_bytes = 0
            for pages in itertools.count(1):
                names += len(page.entries)
                name_bytes += sum(len(entry.name) for entry in page.entries)
                if names > _MAX_NAMES or name_bytes > _MAX_NAME_BYTES or pages > _MAX_PAGES:
                    raise RemoteError("the folder is too large", operation="list", path=path)
                found.update((e.name, _stat_of(e)) for e in page.entries if _is_plain(e.name))
                if not page.has_more:
                    break
                page = self._api.files_list_folder_continue(page.cursor)
        self._listed[path] = page.cursor
        return found

    def change_waiter(self, path: str) -> FolderChanges | None:
        """Waits for changes since the folder was listed last."""
        cursor = self._listed.get(path)
        return FolderChanges(self._account, path, cursor) if cursor is not None else None

    def read(self, path: str, offset: int, length: int) -> bytes:
        import dropbox.files
        from dropbox.exceptions import HttpError

        from pysubtask.transports.dropbox.bounded import take

        arg = dropbox.files.DownloadArg(_api_path("read", path))
        part = {"Range": f"bytes={offset}-{offset + length - 1}"}
        with refusals("read", path):
            try:
                _, reply = self._api.request(
                    dropbox.files.download, "files", arg, None, extra_headers=part
                )
            except HttpError as error:
                if error.status_code == 416:  # nothing there (RFC 9110, 15.5.17)
                    return b""
                raise
            with reply:
                skipped = 0 if reply.status_code == 206 else offset
                return take(reply, skipped, length, self._account.timeout_secs)

    # -- whole files -------------------------------------------------------------------------

    def put(self, path: str, data: bytes, *, modified: float | None, quiet: bool) -> RemoteStat:
        from dropbox.files import WriteMode

        with refusals("send", path):
            done = self._api.files_upload(
                data,
                _api_path("send", path),
                mode=WriteMode.overwrite,
                client_modified=_timestamp(modified),
                mute=quiet,
            )
        return _stat_of(done)

    def _leading_puts(self) -> _Tickets:
        """The files at the head of the queue that may go together; empty ones can't."""
        found: _Tickets = []
        size = 0
        for ticket, request in self._waiting:
            if not isinstance(request, Put) or not request.data:
                break
            size += len(request.data)
            if size > _TOGETHER_BYTES:
                break
            found.append((ticket, request))
        return found

    def _put_together(self, puts: Sequence[Put]) -> Sequence[Result]:
        """Three requests for any number of files: sessions, all bytes, one commit. Commits lock
        the namespace, so that single ones would come into each other's way."""
        from dropbox import files

        results: _Results = [None] * len(puts)
        commits: _Parts = []
        for index, put in enumerate(puts):
            try:
                _api_path("send", put.path)
                commit = _commit_info(put.path, put.modified, quiet=put.quiet, replace=True)
                commits.append((index, commit))
            except RemoteError as error:
                results[index] = error
        if not commits:
            return results
        with refusals("send", f"{len(commits)} files"):
            ids = self._api.files_upload_session_start_batch(len(commits)).session_ids
            ends = [
                files.UploadSessionCursor(session_id, len(puts[index].data))
                for session_id, (index, _) in zip(ids, commits, strict=True)
            ]
            entries = [
                files.UploadSessionAppendBatchArgEntry(
                    files.UploadSessionCursor(end.session_id, 0), end.offset, close=True
                )
                for end in ends
            ]
            data = b"".join(puts[index].data for index, _ in commits)
            taken = self._api.files_upload_session_append_batch(data, entries).entries
            finishing: _Parts = []
            for (index, commit), end, answer in zip(commits, ends, taken, strict=True):
                if answer.is_success():
                    finishing.append((index, files.UploadSessionFinishArg(end, commit)))
                else:
                    results[index] = refused(answer.get_failure(), "send", puts[index].path)
            if finishing:
                done = self._api.files_upload_session_finish_batch_v2([a for _, a in finishing])
                for (index, _), answer in zip(finishing, done.entries, strict=True):
                    results[index] = (
                        _stat_of(answer.get_success())
                        if answer.is_success()
                        else refused(answer.get_failure(), "send", puts[index].path)
                    )
        return results

    # -- upload sessions ---------------------------------------------------------------------

    def begin(self, path: str, token: str, size: int, *, modified: float | None) -> Begun:
        from dropbox.exceptions import ApiError
        from dropbox.files import UploadSessionCursor

        with refusals("begin", path):
            _api_path("begin", path)
            if not token:
                token, size = self._api.files_upload_session_start(b"").session_id, 0
            else:
                # There is no way to ask; an append of nothing answers with the right offset.
                try:
                    cursor = UploadSessionCursor(token, size)
                    self._api.files_upload_session_append_v2(b"", cursor)
                except ApiError as error:
                    right = correct_offset(error.error)
                    if right is None:
                        raise
                    size = right
        self._uploads[path] = _Upload(token, size, begun=True, modified=modified)
        return Begun(token, size)

    def write(self, path: str, offset: int, data: bytes, *, create: bool) -> None:
        upload = self._uploads.get(path)
        if upload is None and not create:
            self.stat(path)
        if (upload is None and not create) or offset != (upload.offset if upload else 0):
            raise RemoteUnsupported(
                "Dropbox can't write into a file; only an upload can be continued, at its end",
                operation="write",
                path=path,
            )
        with refusals("write", path):
            if upload is None:
                _api_path("write", path)
                session = self._api.files_upload_session_start(data).session_id
                self._uploads[path] = _Upload(session, len(data), begun=False)
            elif data:
                self._append(upload, data)

    def _append(self, upload: _Upload, data: bytes) -> None:
        from dropbox.exceptions import ApiError
        from dropbox.files import UploadSessionCursor

        end = upload.offset + len(data)
        try:
            cursor = UploadSessionCursor(upload.session_id, upload.offset)
            self._api.files_upload_session_append_v2(data, cursor)
        except ApiError as error:
            if correct_offset(error.error) != end:  # else it was taken, and the reply got lost
                raise
        upload.offset = end

    def finish(self, path: str, *, sync: bool) -> None:
        """What was begun stays as it is until it is renamed; else it takes its place now."""
        upload = self._uploads.get(path)
        if upload is not None and not upload.begun:
            self._commit(path, path, upload, replace=True)

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        upload = self._uploads.get(path)
        if upload is not None:
            self._commit(path, target, upload, replace=replace)
            return
        if replace:
            raise RemoteUnsupported(
                "Dropbox can't move a file onto another", operation="rename", path=path
            )
        with refusals("rename", path):
            self._api.files_move_v2(_api_path("rename", path), _api_path("rename", target))

    def _commit(self, path: str, target: str, upload: _Upload, *, replace: bool) -> None:
        from dropbox.files import UploadSessionCursor

        with refusals("put in place", target):
            commit = _commit_info(target, upload.modified, quiet=False, replace=replace)
            self._api.files_upload_session_finish(
                b"", UploadSessionCursor(upload.session_id, upload.offset), commit
            )
        del self._uploads[path]

    # -- the rest ----------------------------------------------------------------------------

    def remove(self, path: str) -> None:
        if self._uploads.pop(path, None) is None:  # what is not finished, Dropbox forgets
            with refusals("remove", path):
                self._api.files_delete_v2(_api_path("remove", path))

    def make_dir(self, path: str) -> None:
        try:
            with refusals("make folder", path):
                self._api.files_create_folder_v2(_api_path("make folder", path))
        except RemoteExists:
            if not self.stat(path).is_dir:
                raise

    @property
    def _api(self) -> Dropbox:
        assert self._client is not None
        return self._client


def _api_path(operation: str, path: str) -> str:
    """As the API wants it: from ``/`` on; ``""`` for the root.

    Raises:
        RemoteError: it is no text.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise RemoteError(
            "the name is not valid UTF-8, and Dropbox's names are text",
            operation=operation,
            path=path,
            retryable=False,
            hint='give it another with "as"',
        ) from None
    tidy = path.strip("/")
    return f"/{tidy}" if tidy else ""


def _commit_info(path: str, modified: float | None, *, quiet: bool, replace: bool) -> Any:
    from dropbox.files import CommitInfo, WriteMode

    return CommitInfo(
        _api_path("send", path),
        mode=WriteMode.overwrite if replace else WriteMode.add,
        client_modified=_timestamp(modified),
        mute=quiet,
        strict_conflict=not replace,
    )


def _timestamp(modified: float | None) -> datetime | None:
    """UTC without its name, as the SDK wants it, in whole seconds, as the API keeps it."""
    if modified is None:
        return None
    try:
        return datetime.fromtimestamp(int(modified), UTC).replace(tzinfo=None)
    except (OverflowError, ValueError, OSError):
        return None


def _is_plain(name: str) -> bool:
    """Whether it leads nowhere else."""
    return name not in ("", ".", "..") and "/" not in name


def _stat_of(entry: Any) -> RemoteStat:
    """From ``FileMetadata`` or ``FolderMetadata``; times without zone are UTC."""
    size = getattr(entry, "size", None)
    if size is None:
        return RemoteStat(0, None, is_dir=True)
    mtime = entry.server_modified.replace(tzinfo=UTC).timestamp()
    return RemoteStat(size, mtime, digest=entry.content_hash)
