"""What people see: pages rendered here, parts of them fetched again by htmx as things change."""

from __future__ import annotations

import pathlib
import time
import urllib.parse
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from pysubtask.monitor.listing import ORDERS, Listing, Query
from pysubtask.monitor.names import shown
from pysubtask.monitor.rule import TABLE, Flag, State
from pysubtask.monitor.units import bytes_in_words, duration
from pysubtask.monitor.web.access import Access
from pysubtask.monitor.web.access import Scope as May
from pysubtask.monitor.web.detail import detail_of
from pysubtask.monitor.web.guard import COOKIE, session_of
from pysubtask.monitor.web.stream import Hub
from pysubtask.monitor.web.view import View
from pysubtask.monitor.words import FLAG_NAMES, clock
from pysubtask.version import __version__

if TYPE_CHECKING:
    from pysubtask.monitor.keeper import Monitor

__all__ = ["Pages"]

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
SIGNS = {
    State.UP: "●",
    State.LATE: "◐",
    State.DOWN: "✖",
    State.UNKNOWN: "?",
    State.NEW: "○",
    State.GONE: "∅",
    State.PAUSED: "‖",
    State.STOPPED: "■",
    State.ARCHIVED: "▫",
}
"""A shape for each state, so that nothing is said by colour alone."""
_PAUSES = {"1h": 3600.0, "8h": 8 * 3600.0, "1d": 86_400.0, "1w": 7 * 86_400.0}
_MAX_TAGS, _TAG_CHARS = 20, 40


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    """The templates; compiled once, and never told what a name holds without escaping it."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "duration": duration,
        "size": bytes_in_words,
        "iso": lambda at: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        "share": lambda part: "–" if part is None else f"{100 * part:.2f} %",
        "shown": shown,
    }
    templates.globals |= {
        "State": State,
        "SIGNS": SIGNS,
        "FLAG_NAMES": FLAG_NAMES,
        "FLAGS": tuple(Flag),
        "ORDERS": ORDERS,
        "MEANINGS": {row.state: row.meaning for row in TABLE},
        "version": __version__,
        "clock": clock,
    }
    return templates


class Pages:
    """The routes for people."""

    def __init__(
        self, monitor: Monitor, access: Access, hub: Hub, view: View, *, secure: bool
    ) -> None:
        self._monitor, self._access, self._hub, self._secure = monitor, access, hub, secure
        self._view = view
        self._templates = _environment()

    def routes(self) -> list[BaseRoute]:
        """Which address is answered by what."""
        return [
            Route("/", self.fleet),
            Route("/events", self.events),
            Route("/alerts", self.notices),
            Route("/alerts/test", self.test, methods=["POST"]),
            Route("/source/accept", self.accept, methods=["POST"]),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/clients/{id}", self.client),
            Route("/clients/{id}/{act}", self.act, methods=["POST"]),
        ]

    def _render(self, name: str, request: Request, status: int = 200, **given: Any) -> Response:
        snapshot = given.setdefault("snapshot", self._view.snapshot)
        text = self._templates.get_template(name).render(
            request=request,
            source=snapshot.source,
            now=self._monitor.clock(),
            may_write=getattr(request.state, "may", May.NOTHING) >= May.WRITE,
            login=not self._access.open,
            **given,
        )
        return HTMLResponse(text, status)

    async def not_found(self, request: Request, _: Exception) -> Response:
        """No such page, in words."""
        return self._render("message.html", request, 404, title="There is no such page")

    async def fleet(self, request: Request) -> Response:
        """Counts, map and table; for htmx only what changes."""
        query = Query.of(request.query_params)
        snapshot = self._view.snapshot
        part = "hx-request" in request.headers and "hx-history-restore-request" not in (
            request.headers
        )

        def build() -> Response:
            listing = Listing.of(snapshot.rows.values(), query)
            tags = sorted({tag for row in snapshot.rows.values() for tag in row.tags})
            return self._render(
                "_fleet.html" if part else "fleet.html",
                request,
                query=query,
                listing=listing,
                snapshot=snapshot,
                tags=tags[:200],
                total=sum(snapshot.counts.values()) - snapshot.counts.get(State.ARCHIVED, 0),
            )

        return await run_in_threadpool(build)

    async def client(self, request: Request) -> Response:
        """One client: what is known and why."""
        client_id = request.path_params["id"]
        part = "hx-request" in request.headers

        def build() -> Response:
            detail = detail_of(self._monitor, client_id, self._view)
            if detail is None:
                return self._render(
                    "message.html", request, 404, title="There is no such client (any more)"
                )
            name = "_client.html" if part else "client.html"
            return self._render(name, request, detail=detail, pauses=tuple(_PAUSES))

        return await run_in_threadpool(build)

    async def act(self, request: Request) -> Response:
        """What the buttons of a client's page do."""
        client_id, act = request.path_params["id"], request.path_params["act"]
        form = await _form(request)
        monitor = self._monitor
        target = f"/clients/{urllib.parse.quote(client_id)}"
        if act == "pause":
            wish = form.get("until", "hand")
            if wish in _PAUSES:
                done = await run_in_threadpool(monitor.pause, client_id, "time", _PAUSES[wish])
            else:
                until = "beat" if wish == "beat" else "hand"
                done = await run_in_threadpool(monitor.pause, client_id, until)
        elif act == "resume":
            done = await run_in_threadpool(monitor.resume, client_id)
        elif act == "tags":
            words = form.get("tags", "").replace(",", " ").split()
            tags = [shown(word)[:_TAG_CHARS] for word in words[:_MAX_TAGS]]
            done = await run_in_threadpool(monitor.tag, client_id, tags)
        elif act == "forget":
            done = await run_in_threadpool(monitor.forget, client_id)
            target = "/" if done else target
        else:
            done = False
        if not done:
            return self._render("message.html", request, 404, title="That can't be done")
        return RedirectResponse(target, 303)

    async def notices(self, request: Request) -> Response:
        """What was told, to whom, and whether it arrived."""

        def build() -> Response:
            monitor = self._monitor
            with monitor.lock:
                found = monitor.history.query(
                    "SELECT number, at, kind, title, body FROM notices "
                    "ORDER BY number DESC LIMIT 200"
                )
                sent = monitor.history.query(
                    "SELECT notice, channel, tries, done_at, error FROM deliveries "
                    "WHERE notice >= ?",
                    found[-1][0] if found else 0,
                )
            deliveries: dict[int, list[tuple[Any, ...]]] = {}
            for notice, *rest in sent:
                deliveries.setdefault(notice, []).append(tuple(rest))
            return self._render(
                "alerts.html",
                request,
                notices=found,
                deliveries=deliveries,
                channels=[channel.name for channel in monitor.channels],
            )

        return await run_in_threadpool(build)

    async def test(self, request: Request) -> Response:
        """The test button."""
        await run_in_threadpool(self._monitor.test_alerts)
        return RedirectResponse("/alerts", 303)

    async def accept(self, request: Request) -> Response:
        """The files that vanished are meant to be gone."""
        await run_in_threadpool(self._monitor.accept_loss)
        return RedirectResponse("/", 303)

    async def events(self, request: Request) -> Response:
        """The stream of one tab."""
        if self._hub.full:
            return Response("Too many open pages.\n", 503)
        number = request.query_params.get("known", "")
        known = int(number) if number.isascii() and number.isdigit() and len(number) < 16 else 0

        async def stream() -> AsyncIterator[str]:
            async for text in self._hub.events(known, request.query_params.get("client")):
                yield text

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def login(self, request: Request) -> Response:
        """The login page."""
        if self._access.open:
            return RedirectResponse("/", 303)
        wrong = None
        if request.method == "POST":
            form = await _form(request)
            password = form.get("password", "")
            try:
                who = request.client.host if request.client is not None else ""
                secret = await run_in_threadpool(self._access.log_in, password, who)
                wrong = "That is not the password."
            except PermissionError as error:
                secret, wrong = None, f"{error}".capitalize() + "."
            if secret is not None:
                answer = RedirectResponse("/", 303)
                answer.set_cookie(
                    COOKIE,
                    secret,
                    max_age=14 * 86_400,
                    httponly=True,
                    samesite="strict",
                    secure=self._secure,
                )
                return answer
        return self._render("login.html", request, 403 if wrong else 200, wrong=wrong)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        secret = session_of(request.headers)
        if secret:
            await run_in_threadpool(self._access.log_out, secret)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer


async def _form(request: Request) -> dict[str, str]:
    """A form as browsers send it (``application/x-www-form-urlencoded``)."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=50))
    except ValueError:  # more fields than any form of ours has
        return {}
