"""What programs ask: the JSON API, badges, metrics."""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pysubtask.monitor.documents import client_document, fleet_csv, fleet_document, metrics
from pysubtask.monitor.listing import Query
from pysubtask.monitor.names import client_id
from pysubtask.monitor.snapshot import Row
from pysubtask.monitor.web.badges import badge_json, badge_svg, client_badge, fleet_badge
from pysubtask.monitor.web.stream import STATES
from pysubtask.monitor.web.view import View

if TYPE_CHECKING:
    from pysubtask.monitor.keeper import Monitor

__all__ = ["Api", "packed"]

_PACK_FROM_BYTES = 2_000
_SHARD = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})\Z", re.ASCII)
MAX_PAUSE_SECS = 366 * 86_400.0


def packed(request: Request, body: bytes, media_type: str) -> Response:
    """An answer, gzipped if it is large and the asker knows how to read that."""
    headers = {"Vary": "Accept-Encoding"}
    if len(body) > _PACK_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=3)
    return Response(body, media_type=media_type, headers=headers)


class Api:
    """The routes; each answers from the latest snapshot."""

    def __init__(self, monitor: Monitor, view: View) -> None:
        self._monitor, self._view = monitor, view

    def routes(self) -> list[BaseRoute]:
        """Which address is answered by what."""
        return [
            Route("/api/v1/clients", self.clients),
            Route("/api/v1/clients.csv", self.csv),
            Route("/api/v1/clients/{name:path}/pause", self.pause, methods=["POST"]),
            Route("/api/v1/clients/{name:path}/resume", self.resume, methods=["POST"]),
            Route("/api/v1/clients/{name:path}", self.client),
            Route("/api/v1/http_sd", self.http_sd),
            Route("/metrics", self.metrics),
            Route("/badges/fleet.{kind}", self.badge),
            Route("/badges/{id}.{kind}", self.badge),
            Route("/map.json", self.map),
        ]

    def _find(self, name: str) -> Row | None:
        """A client by its id, its name, or its name as shown."""
        rows = self._view.snapshot.rows
        return (
            rows.get(name)
            or rows.get(client_id(name))
            or next((row for row in rows.values() if row.shown == name), None)
        )

    async def clients(self, request: Request) -> Response:
        """All clients, or those that the page's own filters (q, state, flag, tag) leave."""
        snapshot, query = self._view.snapshot, Query.of(request.query_params)
        rows = [row for row in snapshot.rows.values() if query.wants(row)]
        body = await run_in_threadpool(
            lambda: json.dumps(fleet_document(snapshot, rows)).encode("ascii")
        )
        return packed(request, body, "application/json")

    async def csv(self, request: Request) -> Response:
        """The same as CSV."""
        snapshot, query = self._view.snapshot, Query.of(request.query_params)
        rows = [row for row in snapshot.rows.values() if query.wants(row)]
        body = await run_in_threadpool(lambda: fleet_csv(rows).encode())
        return packed(request, body, "text/csv; charset=utf-8")

    async def client(self, request: Request) -> Response:
        """One client."""
        row = self._find(request.path_params["name"])
        return _unknown() if row is None else JSONResponse(client_document(row))

    async def pause(self, request: Request) -> Response:
        """Pause: ``{"until": "beat" | "hand"}`` or ``{"secs": 3600}``."""
        row = self._find(request.path_params["name"])
        if row is None:
            return _unknown()
        try:
            wish: Any = json.loads(await request.body() or b"{}")
        except (ValueError, RecursionError):
            return JSONResponse({"error": "the body is not JSON"}, 400)
        wish = wish if isinstance(wish, dict) else {}
        secs, until = wish.get("secs"), wish.get("until", "hand")
        if secs is not None:
            if not isinstance(secs, (int, float)) or not 0 < secs <= MAX_PAUSE_SECS:
                return JSONResponse({"error": "secs is a number from 0 to a year"}, 400)
            until = "time"
        elif until not in ("beat", "hand"):
            return JSONResponse({"error": 'until is "beat" or "hand"; or give secs'}, 400)
        await run_in_threadpool(self._monitor.pause, row.id, until, secs)
        return JSONResponse(client_document(self._view.snapshot.rows[row.id]))

    async def resume(self, request: Request) -> Response:
        """End a pause."""
        row = self._find(request.path_params["name"])
        if row is None:
            return _unknown()
        await run_in_threadpool(self._monitor.resume, row.id)
        return JSONResponse(client_document(self._view.snapshot.rows[row.id]))

    async def http_sd(self, request: Request) -> Response:
        """Prometheus' HTTP service discovery: this monitor as ``?shards=N`` targets."""
        wish = request.query_params.get("shards", "1")
        shards = int(wish) if re.fullmatch(r"[1-9][0-9]{0,2}", wish, re.ASCII) else 1
        return JSONResponse(
            [
                {
                    "targets": [request.headers["host"]],
                    "labels": {"__param_shard": f"{part}/{shards}", "shard": str(part)},
                }
                for part in range(1, shards + 1)
            ]
        )

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format; ``?shard=3/10`` for a part of the clients."""
        wish = request.query_params.get("shard")
        shard = None
        if wish is not None:
            found = _SHARD.match(wish)
            if found is None or int(found[1]) > int(found[2]):
                return JSONResponse({"error": "shard is K/N with K from 1 to N"}, 400)
            shard = int(found[1]), int(found[2])
        snapshot = self._view.snapshot
        text = await run_in_threadpool(lambda: metrics(snapshot, shard=shard).encode())
        return packed(request, text, "text/plain; version=0.0.4")

    async def badge(self, request: Request) -> Response:
        """``/badges/fleet.svg``, ``/badges/ID.svg``, or ``.json``."""
        kind, which = request.path_params["kind"], request.path_params.get("id")
        snapshot = self._view.snapshot
        if which is None:
            badge = fleet_badge(snapshot)
        else:
            row = snapshot.rows.get(which)
            if row is None:
                return _unknown()
            badge = client_badge(row)
        if kind == "svg":
            return Response(badge_svg(*badge), media_type="image/svg+xml")
        return JSONResponse(badge_json(*badge)) if kind == "json" else _unknown()

    async def map(self, request: Request) -> Response:
        """The whole fleet for the map, in columns, by name."""
        snapshot = self._view.snapshot

        def build() -> bytes:
            rows = sorted(snapshot.rows.values(), key=lambda row: row.shown)
            columns = {
                "n": snapshot.number,
                "ids": [row.id for row in rows],
                "names": [row.shown for row in rows],
                "states": [STATES.index(row.state) for row in rows],
                "flags": [int(bool(row.flags)) for row in rows],
            }
            return json.dumps(columns, separators=(",", ":")).encode("ascii")

        return packed(request, await run_in_threadpool(build), "application/json")


def _unknown() -> Response:
    return JSONResponse({"error": "no such client", "hint": "GET /api/v1/clients"}, 404)
