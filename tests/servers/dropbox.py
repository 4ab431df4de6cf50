"""An emulator of the Dropbox API that the official SDK talks to over HTTPS on loopback.

It knows the endpoints that pysubtask uses, keeps the limits that Dropbox publishes, and refuses
what the service refuses, with its status codes and error tags (https://www.dropbox.com/developers/
documentation/http/documentation, "Error handling": 400 bad input in plain text; 401 token; 409 the
endpoint's error; 429 rate limit, with ``Retry-After``; 5xx). The SDK finds it by the environment
variables that ``dropbox/session.py`` reads when it is imported: :meth:`DropboxServer.environment`.

What can go wrong is switched on by :meth:`DropboxServer.fail` and by attributes of
:attr:`DropboxServer.account`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import pathlib
import secrets
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from tests.servers.certificates import make_certificates
from tests.servers.dropbox_account import (
    MAX_BATCH,
    MAX_BODY_BYTES,
    Account,
    Cursor,
    Json,
    Refused,
    content_hash,
    tagged,
)

__all__ = ["DropboxServer", "Fault"]

Fault: TypeAlias = Literal[
    "400", "429", "429-plain", "429-writes", "500", "503", "cut-before", "cut-after", "damage"
]
"""``400``: the endpoint does not take the request. ``429…``: rate limit, in JSON or plain, or for
the namespace's lock. ``cut-before`` and ``cut-after``: reset before the body was taken, or after it
was and before the reply. ``damage``: a bit of the body turns on its way."""
PAGE_ENTRIES = 2000
_WRITING = {
    "upload", "upload_session/finish", "upload_session/finish_batch_v2", "create_folder_v2",
    "delete_v2", "move_v2",
}  # fmt: skip
_LONGPOLL_SECS = range(30, 481)
_NO_AUTH = {"list_folder/longpoll"}
_SCOPES = {
    "get_metadata": "files.metadata.read",
    "list_folder": "files.metadata.read",
    "list_folder/continue": "files.metadata.read",
    "download": "files.content.read",
}


@dataclass
class _Planned:
    kind: Fault
    route: str
    times: int
    retry_after: int


class _BadInput(Exception):
    """Status 400, with its reason as plain text."""


class DropboxServer:
    """``with DropboxServer() as server:``

    Attributes:
        host, port: where it listens.
        ca_file: the certificate to trust.
        account: what the Dropbox holds.
        app_key, refresh_token: a login.
        token_secs: how long the next access tokens live (as the client is told).
        scopes: what the app may do.
        requests: routes asked for, in order, those that were refused included.
        body_bytes: of uploads, as far as they arrived.
        came_early: requests within the time of a ``Retry-After``.
        commit_secs: how long a commit holds the namespace's lock; a second one at the same time
            gets 429 ``too_many_write_operations``.
        longpoll_secs: after this a longpoll ends without a change, instead of after the 30 to 480 s
            that were asked for and up to 90 s of jitter.
        backoff_secs: what the next longpolls' answers ask for; longpolls within that time are
            counted in ``came_early``.
        longpolls: how many wait at this moment.
    """

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.app_key = "emulatedappkey1"
        self.refresh_token = secrets.token_urlsafe(32)
        self.token_secs = 14_400
        self.scopes = {"files.metadata.read", "files.content.write", "files.content.read"}
        self.requests: list[str] = []
        self.body_bytes = 0
        self.came_early = 0
        self.commit_secs = 0.0
        self.longpoll_secs: float | None = None
        self.backoff_secs = 0
        self.longpolls = 0
        self._no_longpoll_until = 0.0
        self._tokens: dict[str, bool] = {}
        self._refresh_tokens = {self.refresh_token}
        self._codes: dict[str, tuple[str, str]] = {}
        self._faults: list[_Planned] = []
        self._cursors: dict[str, Cursor] = {}
        self._epoch = 0
        self._quiet_until = 0.0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._connections: set[socket.socket] = set()

    def __enter__(self) -> DropboxServer:
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="pysubtask-dropbox-"))
        self.account = Account(self.base)
        self.root = self.account.root
        self.ca_file = str(self.base / "ca.pem")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _, certificate, key = make_certificates(self.base)
        self._context.load_cert_chain(certificate, key)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self) -> None:
        """Start it; again on the same port after :meth:`stop`, with all that it held."""
        emulator = self

        class Handler(_Handler):
            server_side = emulator

        self._server = _Server((self.host, self.port), Handler)
        self._server.tls = self._context
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="dropbox emulator", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Nobody listens any more, and all connections are reset."""
        self._server.shutdown()
        self._server.server_close()
        self.cut()
        self._thread.join(5)

    def environment(self, end: Any = None) -> dict[str, str]:
        """Variables that lead the SDK here, or to ``end`` (something with host and port)."""
        where = f"{(end or self).host}:{(end or self).port}"
        names = ("API_HOST", "API_CONTENT_HOST", "API_NOTIFY_HOST", "WEB_HOST")
        return {f"DROPBOX_{name}": where for name in names}

    def new_folder(self) -> tuple[str, pathlib.Path]:
        """A fresh folder: as the API and as this machine name it."""
        name = f"/in-{secrets.token_hex(4)}"
        self.account.create_folder(name)
        return name, self.root / name[1:]

    # -- what goes wrong ---------------------------------------------------------------------

    def fail(self, kind: Fault, route: str = "", times: int = 1, retry_after: int = 1) -> None:
        """The next ``times`` requests whose route begins with ``route`` fail in that way."""
        with self._lock:
            self._faults.append(_Planned(kind, route, times, retry_after))

    def calm(self) -> None:
        """Nothing fails any more, and nothing was asked for yet."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()
            self._epoch += 1  # ends longpolls
        self._quiet_until = self._no_longpoll_until = self.commit_secs = 0.0
        self.longpoll_secs, self.backoff_secs = None, 0
        self.body_bytes = self.came_early = 0
        self.account.space_bytes = None
        self.account.read_only.clear()
        self.account.commits.clear()

    def expire_tokens(self) -> None:
        """All access tokens have expired; refresh tokens have not."""
        self._tokens = dict.fromkeys(self._tokens, False)

    def reset_cursors(self) -> None:
        """All cursors are too old (``reset``)."""
        self._cursors.clear()

    def revoke(self) -> None:
        """The user has taken the app's access back."""
        self._tokens.clear()
        self._refresh_tokens.clear()

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        with self._lock:
            self._epoch += 1  # ends longpolls
            connections = list(self._connections)
        for sock in connections:
            _reset(sock)
        return len(connections)

    def approve(self, url: str) -> str:
        """What a person does in the browser: allow the access, and read the code."""
        parts = urllib.parse.urlsplit(url)
        given = dict(urllib.parse.parse_qsl(parts.query))
        assert parts.path == "/oauth2/authorize"
        assert given["client_id"] == self.app_key
        assert given["response_type"] == "code"
        assert given["code_challenge_method"] == "S256"
        assert given["token_access_type"] == "offline"
        code = secrets.token_urlsafe(16)
        self._codes[code] = (given["code_challenge"], given["client_id"])
        return code

    # -- requests ----------------------------------------------------------------------------

    def next_fault(self, route: str) -> _Planned | None:
        with self._lock:
            self.requests.append(route)
            for planned in self._faults:
                if route.startswith(planned.route):
                    planned.times -= 1
                    if not planned.times:
                        self._faults.remove(planned)
                    return planned
        return None

    def token(self, form: dict[str, str]) -> tuple[int, Json]:
        """``/oauth2/token`` (RFC 6749, 4.1.3 and 6; RFC 7636, 4.6)."""
        if form.get("client_id") != self.app_key:
            return 400, {"error": "invalid_client_id"}
        told: Json = {"token_type": "bearer", "expires_in": self.token_secs, "uid": "1"}
        told |= {"account_id": "dbid:emulated", "scope": " ".join(sorted(self.scopes))}
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") not in self._refresh_tokens:
                return 400, {"error": "invalid_grant", "error_description": "refresh token"}
        else:
            challenge, _ = self._codes.pop(form.get("code", ""), ("", ""))
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != challenge:
                return 400, {"error": "invalid_grant", "error_description": "code"}
            told["refresh_token"] = secrets.token_urlsafe(32)
            self._refresh_tokens.add(told["refresh_token"])
        told["access_token"] = self.new_access_token()
        return 200, told

    def new_access_token(self) -> str:
        """One that is good until :meth:`expire_tokens`."""
        token = f"sl.{secrets.token_urlsafe(60)}"
        self._tokens[token] = True
        return token

    def unauthorized(self, header: str | None, route: str) -> Json | None:
        """The error of status 401, or None."""
        if route in _NO_AUTH:
            return None
        good = self._tokens.get((header or "").removeprefix("Bearer "))
        if good is None:
            return tagged("invalid_access_token")
        if not good:
            return tagged("expired_access_token")
        scope = _SCOPES.get(route, "files.content.write")
        return None if scope in self.scopes else tagged("missing_scope", required_scope=scope)

    def rate_limit(self, retry_after: int) -> None:
        self._quiet_until = max(self._quiet_until, time.monotonic() + retry_after)

    def note_early(self) -> None:
        if time.monotonic() < self._quiet_until - 0.05:
            self.came_early += 1

    def call(self, route: str, arg: Json, body: bytes) -> tuple[Json, bytes | None]:
        """Carry out one endpoint: its result, and the content of a download.

        Raises:
            Refused, _BadInput, TooBusy
        """
        if len(body) > MAX_BODY_BYTES:
            raise Refused(tagged("payload_too_large"))
        told = arg.get("content_hash")
        if told is not None and told != content_hash(body):
            raise Refused(tagged("content_hash_mismatch"))
        if route not in _WRITING:
            return self._carry_out(route, arg, body)
        if not self._writing.acquire(blocking=False):
            raise _TooBusy
        try:
            time.sleep(self.commit_secs)
            return self._carry_out(route, arg, body)
        finally:
            self._writing.release()

    def _carry_out(self, route: str, arg: Json, body: bytes) -> tuple[Json, bytes | None]:
        account = self.account
        match route:
            case "upload":
                return account.upload(arg, body), None
            case "upload_session/start":
                if arg.get("session_type", {".tag": "sequential"})[".tag"] != "sequential":
                    raise _BadInput("the emulator has no concurrent sessions")
                return {"session_id": account.start(body, close=arg.get("close", False))}, None
            case "upload_session/start_batch":
                count = arg["num_sessions"]
                if not 1 <= count <= MAX_BATCH:
                    raise _BadInput("num_sessions: out of range")
                return {
                    "session_ids": [account.start(b"", close=False) for _ in range(count)]
                }, None
            case "upload_session/append_v2":
                account.append(arg["cursor"], body, close=arg.get("close", False))
                return {}, None
            case "upload_session/append_batch":
                return self._append_batch(arg["entries"], body), None
            case "upload_session/finish":
                return account.finish(arg["cursor"], arg["commit"], body), None
            case "upload_session/finish_batch_v2":
                return self._finish_batch(arg["entries"]), None
            case "get_metadata":
                if not arg["path"]:
                    raise _BadInput("path: The root folder is unsupported.")
                return account.metadata(arg["path"]), None
            case "list_folder":
                cursor = account.begin(arg["path"])
                return self._page(cursor, arg.get("limit") or PAGE_ENTRIES), None
            case "list_folder/continue":
                cursor = self._cursor(arg["cursor"])
                account.catch_up(cursor)
                return self._page(cursor, PAGE_ENTRIES), None
            case "list_folder/longpoll":
                return self._longpoll(arg["cursor"], arg.get("timeout", 30)), None
            case "create_folder_v2":
                return {"metadata": account.create_folder(arg["path"])}, None
            case "delete_v2":
                return {"metadata": account.delete(arg["path"])}, None
            case "move_v2":
                return {"metadata": account.move(arg["from_path"], arg["to_path"])}, None
            case "download":
                return account.content(arg["path"])
        raise _BadInput(f"Unknown API function: files/{route}")

    def _append_batch(self, entries: list[Json], body: bytes) -> Json:
        if not 1 <= len(entries) <= MAX_BATCH:
            raise _BadInput("entries: too many or none")
        if sum(entry["length"] for entry in entries) != len(body):
            raise Refused(tagged("length_mismatch"))
        at, results = 0, []
        for entry in entries:
            part = body[at : at + entry["length"]]
            at += len(part)
            try:
                self.account.append(entry["cursor"], part, close=entry.get("close", False))
                results.append({".tag": "success"})
            except Refused as error:
                results.append({".tag": "failure", "failure": error.error})
        return {"entries": results}

    def _finish_batch(self, entries: list[Json]) -> Json:
        if not 1 <= len(entries) <= MAX_BATCH:
            raise _BadInput("entries: too many or none")
        results = []
        for entry in entries:
            try:
                done = self.account.finish(entry["cursor"], entry["commit"], b"", batch=True)
                results.append({**done, ".tag": "success"})
            except Refused as error:
                results.append({".tag": "failure", "failure": error.error})
        return {"entries": results}

    def _page(self, cursor: Cursor, limit: int) -> Json:
        entries, left = cursor.left[:limit], cursor.left[limit:]
        name = secrets.token_urlsafe(16)
        self._cursors[name] = Cursor(cursor.path, left, cursor.known)
        return {"entries": entries, "cursor": name, "has_more": bool(left)}

    def _cursor(self, name: str) -> Cursor:
        try:
            held = self._cursors[name]
        except KeyError:
            raise Refused(tagged("reset")) from None
        return Cursor(held.path, list(held.left), held.known)

    def _longpoll(self, name: str, timeout_secs: int) -> Json:
        """``/list_folder/longpoll``: answers when there is something to be told, or when the time
        is over. Needs no token."""
        if timeout_secs not in _LONGPOLL_SECS:
            raise _BadInput(f"timeout: not within 30 and 480: {timeout_secs}")
        cursor = self._cursor(name)
        began, epoch = time.monotonic(), self._epoch
        if began < self._no_longpoll_until - 0.05:
            self.came_early += 1
        limit = timeout_secs + secrets.randbelow(91)
        with self._lock:
            self.longpolls += 1
        try:
            while not (changed := self.account.has_changed(cursor)) and epoch == self._epoch:
                if time.monotonic() - began > (self.longpoll_secs or limit):
                    break
                time.sleep(0.02)
        finally:
            with self._lock:
                self.longpolls -= 1
        told: Json = {"changes": changed}
        if self.backoff_secs:
            told["backoff"] = self.backoff_secs
            self._no_longpoll_until = time.monotonic() + self.backoff_secs
        return told


class _TooBusy(Exception):
    """Another commit holds the namespace's lock."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is part of the play."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    server_side: DropboxServer
    server: _Server

    def setup(self) -> None:
        self.request.settimeout(self.timeout)
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        with self.server_side._lock:
            self.server_side._connections.add(self.request)

    def finish(self) -> None:
        with self.server_side._lock:
            self.server_side._connections.discard(self.request)
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        with contextlib.suppress(OSError):
            self.request.close()

    def log_message(self, *_: Any) -> None:
        """Silence."""

    def do_POST(self) -> None:
        emulator = self.server_side
        path = urllib.parse.urlsplit(self.path).path
        route = path.removeprefix("/2/files/")
        fault = emulator.next_fault(route)
        if fault is not None and fault.kind == "cut-before":
            self._cut()
            return
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            self._cut()
            return
        uploads = "Dropbox-API-Arg" in self.headers
        emulator.body_bytes += len(body) if uploads else 0
        if path == "/oauth2/token":
            form = dict(urllib.parse.parse_qsl(body.decode()))
            self._reply(*emulator.token(form))
            return
        emulator.note_early()
        if fault is not None and self._fails(fault):
            return
        error = emulator.unauthorized(self.headers.get("Authorization"), route)
        if error is not None:
            self._reply(401, {"error_summary": error[".tag"] + "/...", "error": error})
            return
        if fault is not None and fault.kind == "damage" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        try:
            arg = json.loads(self.headers["Dropbox-API-Arg"] if uploads else body or b"null")
            result, content = emulator.call(route, arg or {}, body if uploads else b"")
        except Refused as refused:
            summary = f"{refused.error['.tag']}/..."
            self._reply(409, {"error_summary": summary, "error": refused.error})
        except _TooBusy:
            self._busy("too_many_write_operations", 1)
        except (_BadInput, KeyError, ValueError) as bad:
            self._send(400, f"Error in call to API function: {bad}".encode(), "text/plain")
        else:
            if fault is not None and fault.kind == "cut-after":
                self._cut()
            elif content is None:
                self._reply(200, result)
            else:
                self._download(result, content)

    def _fails(self, fault: _Planned) -> bool:
        if fault.kind in ("400", "500", "503"):
            self._send(int(fault.kind), b"something is wrong here", "text/plain")
        elif fault.kind == "429-plain":
            self.server_side.rate_limit(fault.retry_after)
            after = {"Retry-After": str(fault.retry_after)}
            self._send(429, b"too many requests", "text/plain", after)
        elif fault.kind in ("429", "429-writes"):
            self.server_side.rate_limit(fault.retry_after)
            writes = fault.kind == "429-writes"
            self._busy(
                "too_many_write_operations" if writes else "too_many_requests", fault.retry_after
            )
        else:
            return False
        return True

    def _busy(self, reason: str, retry_after: int) -> None:
        error = {"reason": {".tag": reason}, "retry_after": retry_after}
        told = {"error_summary": f"{reason}/...", "error": error}
        self._reply(429, told, {"Retry-After": str(retry_after)})

    def _download(self, told: Json, content: bytes) -> None:
        """``Range`` as in RFC 9110, 14."""
        headers = {"Dropbox-API-Result": json.dumps(told)}
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(200, content, "application/octet-stream", headers)
            return
        first, last = (int(text) for text in wanted.removeprefix("bytes=").split("-"))
        if first >= len(content):
            self._send(416, b"", "text/plain")
            return
        self._send(206, content[first : last + 1], "application/octet-stream", headers)

    def _reply(self, status: int, told: Json, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(told).encode(), "application/json", headers)

    def _send(
        self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Dropbox-Request-Id", secrets.token_hex(16))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _cut(self) -> None:
        self.close_connection = True
        _reset(self.request)


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
