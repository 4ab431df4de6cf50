"""The web application: what answers which address."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pysubtask.monitor.web.access import Access
from pysubtask.monitor.web.api import Api
from pysubtask.monitor.web.guard import Guard
from pysubtask.monitor.web.pages import Pages
from pysubtask.monitor.web.stream import Hub
from pysubtask.monitor.web.view import View

if TYPE_CHECKING:
    from pysubtask.monitor.keeper import Monitor

__all__ = ["make_app"]

_HERE = pathlib.Path(__file__).parent
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def make_app(
    monitor: Monitor,
    access: Access,
    *,
    hosts: Iterable[str] = LOOPBACK,
    any_address: bool = False,
    hub: Hub | None = None,
    secure: bool = False,
) -> Starlette:
    """The application; it neither starts nor stops the monitor.

    Args:
        hosts: names that requests may come for, without port.
        any_address: they may come for any IP address, too.
        secure: it is reached by HTTPS only, so cookies are never sent in the clear.
    """
    streams = hub or Hub()
    streams.view, streams.clock = View(monitor), monitor.clock
    monitor.on_change = streams.publish
    streams.publish(monitor.snapshot)
    api = Api(monitor, streams.view)
    pages = Pages(monitor, access, streams, streams.view, secure=secure)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        streams.begin()
        yield
        streams.close()

    async def healthz(_: Request) -> Response:
        good = monitor.healthy
        return PlainTextResponse("ok\n" if good else "not well\n", 200 if good else 503)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
            *api.routes(),
            *pages.routes(),
        ],
        middleware=[Middleware(Guard, access=access, hosts=tuple(hosts), any_address=any_address)],
        lifespan=lifespan,
        exception_handlers={404: pages.not_found},
    )
