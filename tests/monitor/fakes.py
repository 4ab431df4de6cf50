"""A folder of heartbeat files that exists in memory only, and clocks that obey."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pysubtask.monitor.alerts import Alerts, AlertSettings, Notice
from pysubtask.monitor.clients import Client, Settings, Sighting
from pysubtask.monitor.fleet import Changes, Fleet, Scan
from pysubtask.monitor.names import client_id

START = 1_800_000_000.0

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7*7 }}",
    "${7*7}",
    "a\nb",
    "a\rb",
    "esc\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "caf\u00e9",
    "cafe\u0301",
    "\u0430dmin",
    "admin",
    "quote'\"`",
    "back\\slash\\n",
    "percent%2e%2e%0d%0a",
    "=cmd|' C calc'!A0",
    "pipe|perf=1",
    'label"},evil{x="',
    "latin\udce9",
    "nul-ish\x01\x7f",
    "\u2028line\u2029sep",
    "tag\U000e0041",
    "x" * 200,
    "ﬀ",
    " leading and trailing ",
    "日本語",
    "👩‍👩‍👧",
    "-rf",
    "~",
    "con",
]
"""Names that somebody may give to a file over SFTP (without the slash and NUL)."""


@dataclass
class World:
    """Files, clocks, and the fleet that looks at them."""

    settings: Settings = field(default_factory=Settings)
    alert_settings: AlertSettings = field(default_factory=AlertSettings)
    now: float = START
    monotonic: float = 1000.0
    files: dict[str, Sighting] = field(default_factory=dict)
    error: str | None = None
    unread: tuple[str, ...] = ()
    refusing: frozenset[str] = frozenset()
    """Clients whose files can't be opened."""
    root: str = "1:2"
    ctimes: bool = True
    number: int = 0

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.settings)
        self.alerts = Alerts(self.alert_settings)
        self.notices: list[Notice] = []

    def beat(
        self,
        name: str = "edge",
        secs: int | bytes = 60,
        *,
        mtime: float | None = None,
        ctime: float | None = None,
        **facts: Any,
    ) -> None:
        """A client delivers its heartbeat."""
        self.number += 1
        content = secs if isinstance(secs, bytes) else f"{secs}\n{json.dumps(facts)}\n".encode()
        at = self.now if mtime is None else mtime
        changed = self.now if ctime is None else ctime
        self.files[name] = Sighting(
            name,
            round(at * 1e9),
            round(changed * 1e9) if self.ctimes else None,
            self.number,
            len(content),
            content,
        )

    def chmod(self, name: str) -> None:
        """Only the change time moves."""
        self.files[name] = replace(self.files[name], ctime_ns=round(self.now * 1e9))

    def scan(self) -> Scan:
        if self.error:
            return Scan(error=self.error)
        found = [one for one in self.files.values() if not one.name.startswith(self.unread or "\0")]
        found = [self._refuse(one) if one.name in self.refusing else one for one in found]
        return Scan(tuple(found), root=self.root, unread=self.unread)

    def _refuse(self, one: Sighting) -> Sighting:
        why = "it can't be read: Permission denied"
        return replace(one, mtime_ns=0, ctime_ns=0, inode=0, size=0, content=b"", unread=why)

    def look(self, after: float = 0.0) -> Changes:
        """Let time pass, in which a monitor looks as usual, then scan."""
        while after > 25.0:
            self.stall(20.0)
            after -= 20.0
        return self.stall(after)

    def stall(self, after: float) -> Changes:
        """Let time pass without any look, then scan."""
        self.now += after
        self.monotonic += after
        changes = self.fleet.observe(self.scan(), self.now, self.monotonic)
        self.notices += self.alerts.observe(changes, self.fleet)
        return changes

    def run(self, secs: float, step: float = 5.0, beats: Iterable[str] = ()) -> None:
        """Look every ``step`` seconds; ``beats`` beat each time."""
        end = self.now + secs
        names = list(beats)
        while self.now < end - 1e-6:
            for name in names:
                self.beat(name)
            self.look(min(step, end - self.now))

    def client(self, name: str = "edge") -> Client:
        return self.fleet.clients[client_id(name)]

    def state(self, name: str = "edge") -> str:
        return self.client(name).state.value

    def told(self) -> list[str]:
        """Kinds of the notices so far."""
        return [notice.kind for notice in self.notices]


@dataclass
class Answer:
    """What a web application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    form: dict[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """One request to an ASGI application, without a network (ASGI 3, HTTP 2.1)."""
    given = {"host": "127.0.0.1:8642", **(headers or {})}
    if form is not None:
        body = urllib.parse.urlencode(form, errors="surrogateescape").encode()
        given["content-type"] = "application/x-www-form-urlencoded"
    if body:
        given["content-length"] = str(len(body))
    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": urllib.parse.unquote(bare),
        "raw_path": bare.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(key.lower().encode(), one.encode()) for key, one in given.items()],
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 8642),
        "state": {},
    }
    sent: list[dict[str, Any]] = []
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.Event().wait()  # the asker stays
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 30))
    first = sent[0]
    return Answer(
        first["status"],
        {key.decode(): one.decode() for key, one in first["headers"]},
        b"".join(one.get("body", b"") for one in sent[1:]),
    )
