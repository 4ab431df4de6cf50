"""Looking at files, renaming, removing, making folders: requests over the control connection.

A refusal whose text does not tell its reason (vsftpd: "Could not create file.") is followed by a
second look, so that a missing folder and a denied permission are told apart.
"""

from __future__ import annotations

import posixpath

from pysubtask.errors import (
    LinkLost,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteNotFound,
    RemoteUnsupported,
)
from pysubtask.transports.contract import RemoteStat
from pysubtask.transports.ftp.facts import parse_facts, parse_list_line, parse_time
from pysubtask.transports.ftp.login import Session
from pysubtask.transports.ftp.names import decode_name, encode_path
from pysubtask.transports.ftp.replies import Momentary, check_that_it_looked, remote_error
from pysubtask.transports.ftp.transfers import Transfers, size_told

__all__ = ["Files"]

_UNEXPLAINED = (RemoteError, Momentary)
"""Neither the text nor the code told why: a look may."""


class Files:
    """What is called how, over one session."""

    def __init__(self, session: Session, transfers: Transfers) -> None:
        self._session = session
        self._control = session.control
        self._transfers = transfers
        self._home: bytes | None = None
        self.has_size = True
        """The server knows SIZE, as far as is known."""

    def stat(self, path: str) -> RemoteStat:
        """Size and time; a folder is told as such.

        Raises:
            RemoteNotFound: nothing is there, or nothing that we may see.
            RemoteError: the server can't look at the moment.
        """
        raw = encode_path(path)
        if self._session.has("MLST"):
            reply = self._control.ask(b"MLST " + raw if raw else b"MLST")
            if not reply.done:
                raise _missing(remote_error(reply, "stat", path))
            found = parse_facts(reply.lines[1]) if len(reply.lines) > 2 else None
            if found is not None:
                return found[1]
        size = self.size(path)
        if size is not None:
            return RemoteStat(size, self._time(raw))
        if self._is_folder(raw):
            return RemoteStat(0, None, True)
        if not self.has_size:
            found_in_list = self._listed(path)
            if found_in_list is not None:
                return found_in_list
        raise RemoteNotFound("there is no such file or folder", operation="stat", path=path)

    def size(self, path: str) -> int | None:
        """The size of a file by SIZE (RFC 3659, 4); None if there is no such file.

        Where the server has no SIZE, LIST tells.

        Raises:
            RemoteError: the server can't look at the moment.
        """
        if self.has_size:
            reply = self._control.ask(b"SIZE " + encode_path(path))
            if reply.code not in (500, 502):
                return size_told(reply, path)
            self.has_size = False
        listed = self._listed(path)
        return None if listed is None or listed.is_dir else listed.size

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        try:
            self.stat(path)
        except RemoteNotFound:
            return False
        return True

    def rename(self, path: str, target: str, *, replace: bool) -> None:
        """RNFR, RNTO. Without ``replace`` an existing target is refused here: most servers on Unix
        would silently replace it."""
        raw, raw_target = encode_path(path), encode_path(target)
        if not replace and self.exists(target):
            raise RemoteExists(f"{target} is there already", operation="rename", path=path)
        reply = self._control.ask(b"RNFR " + raw)
        if reply.goes_on:
            reply = self._control.ask(b"RNTO " + raw_target)
            if reply.done:
                return
            error = remote_error(reply, "rename", path)
            if type(error) in _UNEXPLAINED and not self._folder_is_there(target):
                error = RemoteNotFound("the folder is not there", operation="rename", path=target)
            elif type(error) in _UNEXPLAINED and not self.exists(path):
                error = RemoteNotFound("it was taken meanwhile", operation="rename", path=path)
            elif type(error) in _UNEXPLAINED and not self.exists(target):
                error = _denied(error, "rename", path)
            raise error
        raise self.explained(remote_error(reply, "rename", path), path)

    def remove(self, path: str) -> None:
        """DELE."""
        reply = self._control.ask(b"DELE " + encode_path(path))
        if not reply.done:
            raise self.explained(remote_error(reply, "remove", path), path)

    def make_dir(self, path: str) -> None:
        """MKD; a folder that is there is as good."""
        raw = encode_path(path)
        reply = self._control.ask(b"MKD " + raw)
        if reply.done:
            return
        error = remote_error(reply, "make folder", path)
        if self._is_folder(raw):
            return
        if type(error) in (*_UNEXPLAINED, RemoteDenied) and not self._folder_is_there(path):
            error = RemoteNotFound("its folder is not there", operation="make folder", path=path)
        elif type(error) in _UNEXPLAINED and not self.exists(path):
            error = _denied(error, "make folder", path)
        raise error

    def list(self, path: str) -> dict[str, RemoteStat]:
        """MLSD where it is; else LIST in the folder, for its argument would be an option or a
        pattern to many servers."""
        raw = encode_path(path)
        found: dict[str, RemoteStat] = {}
        if self._session.has("MLST"):
            try:
                lines = self._transfers.listing(b"MLSD " + raw if raw else b"MLSD", path)
            except RemoteUnsupported:
                raise
            except RemoteError as error:
                raise self.explained(error, path) from error
            parse = parse_facts
        else:
            if raw and not self._enter(raw):
                raise RemoteNotFound("there is no such folder", operation="list", path=path)
            try:
                try:
                    lines = self._transfers.listing(b"LIST -a", path)  # hidden ones, too
                except RemoteError:
                    lines = self._transfers.listing(b"LIST", path)
            finally:
                if raw:
                    self._leave()
            parse = parse_list_line
        for line in lines:
            entry = parse(line)
            if entry is not None and entry[0] not in (".", "..", "") and "/" not in entry[0]:
                found[entry[0]] = entry[1]
        return found

    def why_not_written(self, error: RemoteError, path: str) -> RemoteError:
        """A refused STOR: what is missing, the folder or the permission?"""
        if type(error) not in (*_UNEXPLAINED, RemoteDenied):
            return error
        if not self._folder_is_there(path):
            return RemoteNotFound("its folder is not there", operation="write", path=path)
        if type(error) is RemoteError and "553" in error.message:
            return _denied(error, "write", path)
        return error

    def explained(self, error: RemoteError, path: str) -> RemoteError:
        """A refusal that may only mean that nothing is there: look."""
        if type(error) not in _UNEXPLAINED:
            return error
        if not self.exists(path):
            return RemoteNotFound(
                "there is no such file or folder", operation=error.operation, path=path
            )
        return _denied(error, error.operation, path)

    def _listed(self, path: str) -> RemoteStat | None:
        return self.list(posixpath.dirname(path)).get(posixpath.basename(path))

    def _time(self, raw: bytes) -> float | None:
        if not self._session.has("MDTM"):
            return None
        reply = self._control.ask(b"MDTM " + raw)
        return parse_time(reply.lines[0]) if reply.code == 213 else None

    def _folder_is_there(self, path: str) -> bool:
        return self._is_folder(encode_path(posixpath.dirname(path)))

    def _is_folder(self, raw: bytes) -> bool:
        if not raw:
            return True
        if not self._enter(raw):
            return False
        self._leave()
        return True

    def _enter(self, raw: bytes) -> bool:
        if self._home is None:
            reply = self._control.ask(b"PWD")
            quoted = reply.lines[0].strip()
            end = quoted.rfind(b'"')
            if reply.code != 257 or not quoted.startswith(b'"') or end < 1:
                raise LinkLost(f"the server does not tell the current folder: {str(reply)!r}")
            home = quoted[1:end].replace(b'""', b'"')  # RFC 959, appendix II
            if b"\r" in home or b"\0" in home:  # it could never be sent back
                raise LinkLost(f"the server's current folder is none: {str(reply)!r}")
            self._home = home
        reply = self._control.ask(b"CWD " + raw)
        if not reply.done:
            check_that_it_looked(reply, decode_name(raw))
        return reply.done

    def _leave(self) -> None:
        assert self._home is not None
        if not self._control.ask(b"CWD " + self._home).done:
            raise LinkLost("the server does not let us back into the login folder")


def _missing(error: RemoteError) -> RemoteError:
    if type(error) is RemoteError:
        return RemoteNotFound(error.message, operation="stat", path=error.path)
    return error


def _denied(error: RemoteError, operation: str | None, path: str) -> RemoteError:
    """A refusal without a reason, of something that is there in a folder that is there."""
    if type(error) is Momentary:
        return error
    words = error.message.replace("the server refuses", "most likely no permission, or read-only")
    return RemoteDenied(words, operation=operation, path=path, retryable=True)
