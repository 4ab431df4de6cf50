"""What every request has to pass before a page sees it, and every answer carries.

- The Host must be one of ours: a stranger's name that points to 127.0.0.1 (DNS rebinding) is not.
- A request that changes something must come from our own pages: ``Sec-Fetch-Site`` or ``Origin``
  says so in every browser; programs send neither and carry no cookie by accident.
- Whoever is not logged in gets the login page, programs a 401.
- A strict Content-Security-Policy: nothing but our own files, no inline script or style.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pysubtask.monitor.web.access import Access
from pysubtask.monitor.web.access import Scope as May

__all__ = ["COOKIE", "Guard", "session_of"]

COOKIE = "pysubtask_monitor"
_MAX_BODY_BYTES = 65_536
_OPEN_PATHS = ("/healthz", "/login")
_METRICS_PATHS = ("/metrics", "/badges/", "/api/v1/http_sd")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware around everything.

    Args:
        hosts: the names, without port, that requests may name in ``Host``.
        any_address: bare IP addresses will do as well. No stranger's *name* can be one, so this
            opens nothing to DNS rebinding; who listens on all addresses is called by each.
    """

    def __init__(
        self, app: ASGIApp, access: Access, hosts: Iterable[str], *, any_address: bool = False
    ) -> None:
        self._app, self._access, self._any_address = app, access, any_address
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refuse(scope, headers)
        cached = scope["path"].startswith("/static/")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, text in _HEADERS.items():
                    out[name] = text
                out["cache-control"] = "max-age=3600" if cached else "no-store"
            await send(message)

        if refused is not None:
            await refused(scope, receive, sending)
        else:
            body = _Body(receive)
            try:
                await self._app(scope, body, sending)
            except ClientDisconnect:  # it went in the middle, or was made to
                if body.too_large:
                    await _too_large()(scope, receive, sending)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        name = _name(host)
        if name not in self._hosts and not (self._any_address and _is_address(name)):
            return PlainTextResponse(
                "This host name is not one of the monitor's: see --allow-host.\n", 421
            )
        path, method = scope["path"], scope["method"]
        changing = method not in ("GET", "HEAD", "OPTIONS")
        if changing and not _same_site(headers, host):
            return PlainTextResponse("This request came from another site's page.\n", 403)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > _MAX_BODY_BYTES:
            return _too_large()
        scope.setdefault("state", {})["may"] = may = self._may(headers)
        if path in _OPEN_PATHS or path.startswith("/static/"):
            return None
        needed = May.WRITE if changing else May.READ
        if path.startswith(_METRICS_PATHS):
            needed = May.METRICS
        if may >= needed:
            return None
        if path.startswith(("/api/", *_METRICS_PATHS)) or "authorization" in headers:
            status = 403 if may > May.NOTHING else 401
            words = "this key may not do that" if may > May.NOTHING else "a key is needed"
            return JSONResponse(
                {"error": words, "hint": "pysubtask-monitor key add; Authorization: Bearer …"},
                status,
                headers={"WWW-Authenticate": "Bearer"} if status == 401 else None,
            )
        if method != "GET" or "hx-request" in headers:
            # htmx follows a redirect within the fragment; this makes it change the page instead
            return Response(status_code=401, headers={"HX-Redirect": "/login"})
        return RedirectResponse("/login", 303)

    def _may(self, headers: Headers) -> May:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._access.of_key(key.strip())
        return self._access.of_session(session_of(headers))


def session_of(headers: Headers) -> str | None:
    """The session's secret in the cookie."""
    # not http.cookies: that gives up at the first cookie that it finds wrong, and another program
    # on the same host, on whatever port, may have set one
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def _name(host: str) -> str:
    """A Host header without its port; IPv6 addresses keep their brackets' content."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_site(headers: Headers, host: str) -> bool:
    fetch = headers.get("sec-fetch-site")
    if fetch is not None:
        return fetch in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urllib.parse.urlsplit(origin).netloc == host


def _too_large() -> Response:
    return PlainTextResponse("Too large.\n", 413, headers={"Connection": "close"})


class _Body:
    """A request's body, which ends where it is too long."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._taken_bytes = 0

    @property
    def too_large(self) -> bool:
        """There was no content-length, or a wrong one."""
        return self._taken_bytes > _MAX_BODY_BYTES

    async def __call__(self) -> Message:
        message = await self._receive()
        self._taken_bytes += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self.too_large else message
