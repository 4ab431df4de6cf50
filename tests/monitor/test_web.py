"""Pages and API, asked without a network."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import html.parser
import json
import pathlib
import re
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

import pysubtask.monitor.web as web
from pysubtask.monitor.listing import PAGE_ROWS
from pysubtask.monitor.names import client_id, shown
from pysubtask.monitor.web.stream import Hub
from tests.monitor.bench import Site
from tests.monitor.fakes import HOSTILE, START, World

MakeSite = Callable[..., Site]
STATIC = pathlib.Path(web.__file__).parent / "static"


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text, and complains about what the policy forbids."""

    VOID = frozenset("meta link input img br hr rect line path polyline".split())

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]
        self.tags.append(tag)
        if tag == "script":
            assert (given.get("src") or "").startswith("/static/")
        if tag == "a":
            self.links.append(given.get("href") or "")
        if given.get("id"):
            self.ids.append(given["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            while self.open.pop() != tag:
                pass

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_pages(site: MakeSite) -> None:
    one = site()
    assert "No heartbeat files yet" in one.ask("/").text
    one.world.beat("edge1", backlog_bytes=2048, version="2.0.0", last_error="disk full")
    one.world.beat("site/edge2", secs=1)
    one.look()
    one.look(70)
    page = one.ask("/")
    assert page.status == 200
    reader = Reader(page.text)
    assert len(set(reader.ids)) == len(reader.ids)
    assert page.text.index("site/edge2") < page.text.index("edge1")  # failed first
    for words in ("2.0 KiB", "disk full", "✖", "down", "1 m 11 s"):
        assert words in page.text
    detail = one.ask(f"/clients/{client_id('edge1')}")
    Reader(detail.text)
    assert "Late 11 s. Last beat " in detail.text
    assert "Promised 60 s." in detail.text
    assert "2.0.0" in detail.text
    for path in ("/alerts", "/clients/none", "/nowhere", "/login"):
        answer = one.ask(path)
        assert answer.status == {"/alerts": 200, "/login": 303}.get(path, 404)
        Reader(answer.text)


def test_fragments_are_parts_of_the_page(site: MakeSite) -> None:
    one = site()
    one.world.beat("edge")
    one.look()
    part = one.ask("/", headers={"hx-request": "true"})
    assert "<html" not in part.text
    assert part.text.strip() in one.ask("/").text
    part = one.ask(f"/clients/{client_id('edge')}", headers={"hx-request": "true"})
    assert "<html" not in part.text
    assert "Up for" in part.text


def test_filters_live_in_the_url(site: MakeSite) -> None:
    one = site()
    for number in range(3):
        one.world.beat(f"north{number}", secs=3600)
        one.world.beat(f"south{number}", secs=1)
    one.look()
    one.look(100)
    one.monitor.tag(client_id("north0"), ["roof"])

    def shown_by(query: str) -> set[str]:
        return set(re.findall(r"<bdi>((?:north|south)\d)</bdi>", one.ask(f"/{query}").text))

    assert len(shown_by("")) == 6
    assert shown_by("?state=down") == {"south0", "south1", "south2"}
    assert shown_by("?q=SOUTH1") == {"south1"}
    assert shown_by("?tag=roof") == {"north0"}
    assert shown_by("?q=roof") == {"north0"}
    assert shown_by("?state=up,down&q=1") == {"north1", "south1"}
    for odd in (
        "?page=0",
        "?page=-1",
        "?page=99999",
        "?page=٣",
        "?state=x",
        "?order='--",
        "?q=%00",
    ):
        assert one.ask(f"/{odd}").status == 200
    assert "No client is like that" in one.ask("/?q=zzz").text


def test_200_rows_a_page(site: MakeSite) -> None:
    one = site()
    for number in range(PAGE_ROWS + 5):
        one.world.beat(f"c{number:04}", secs=3600)
    one.look()
    first, second = one.ask("/"), one.ask("/?page=2")
    assert (first.text.count("<tr>"), second.text.count("<tr>")) == (PAGE_ROWS + 1, 6)
    assert 'rel="next" href="/?page=2"' in first.text
    assert 'rel="prev"' in second.text


PLAIN: list[list[str]] = []
"""The tags of the same pages for a client with a harmless name."""


def hostile_pages(make: MakeSite, name: str, said: str) -> tuple[Site, list[Reader]]:
    """All pages of a monitor with one client that went down, and was tagged with its name."""
    one = make()
    one.world.beat(name, secs=9, last_error=said, version=said)
    one.look()
    one.look(100)
    one.look(20)
    one.look(1)
    identity = client_id(name)
    one.ask(
        f"/clients/{identity}/tags",
        method="POST",
        form={"tags": "".join(name.replace(",", "").split())},
    )
    search = urllib.parse.quote(name, errors="surrogateescape")
    readers = []
    for path in ("/", f"/clients/{identity}", "/alerts", f"/?q={search}"):
        page = one.ask(path)
        assert page.status == 200
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u2028\u202e]", page.text)
        readers.append(Reader(page.text))
    return one, readers


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_everywhere(site: MakeSite, name: str) -> None:
    one, readers = hostile_pages(site, name, "<b>\x1b[31m\u202e{{7*7}}")
    if not PLAIN:
        PLAIN.extend(reader.tags for reader in hostile_pages(site, "plain", "words")[1])
    assert [reader.tags for reader in readers] == PLAIN
    for reader in readers[:3]:
        assert shown(name)[:30].strip() in "".join(reader.words)
    identity = client_id(name)
    found = one.ask("/api/v1/clients").json()["clients"]
    assert [(row["name"], row["id"]) for row in found] == [(shown(name), identity)]
    for key in (identity, urllib.parse.quote(shown(name), safe="")):
        answer = one.ask(f"/api/v1/clients/{key}")
        assert (answer.status, answer.json()["id"]) == (200, identity)
    (header, line) = csv.reader(one.ask("/api/v1/clients.csv").text.splitlines())
    assert header[:3] == ["name", "id", "state"]
    assert line[0].removeprefix("'") == shown(name)
    assert not line[0].startswith(("=", "+", "-", "@"))
    badge = one.ask(f"/badges/{identity}.svg")
    ET.fromstring(badge.text)
    assert one.ask(f"/badges/{identity}.json").json()["message"].startswith("down")
    for line in one.ask("/metrics").text.splitlines():
        assert re.fullmatch(r"# .*|[a-z_]+(\{.*\})? \S+", line), line


def test_the_api(site: MakeSite) -> None:
    one = site()
    one.world.beat("site/edge", secs=60, backlog_bytes=7)
    one.look(0)
    answer = one.ask("/api/v1/clients")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    (row,) = document["clients"]
    expected = {
        "name": "site/edge",
        "state": "up",
        "online": True,
        "interval_secs": 60,
        "last_seen": START,
        "deadline": START + 60,
        "flags": [],
        "backlog_bytes": 7,
    }
    assert {key: row[key] for key in expected} == expected
    assert document["source"]["name"] == "/srv/drop"
    assert document["source"]["readable"] is True
    assert document["counts"]["up"] == 1
    assert one.ask("/api/v1/clients/site/edge").json() == row
    assert one.ask("/api/v1/clients/none").status == 404
    assert one.ask("/api/v1/clients?state=down").json()["clients"] == []
    one.world.error = "Input/output error"
    one.look()
    document = one.ask("/api/v1/clients").json()
    assert document["source"]["readable"] is False
    assert (document["clients"][0]["state"], document["clients"][0]["online"]) == ("unknown", None)


def test_pausing_by_the_api(site: MakeSite) -> None:
    one = site()
    one.world.beat("edge")
    one.look()
    path = "/api/v1/clients/edge/pause"
    assert one.ask(path, method="POST").json()["state"] == "paused"
    assert one.ask("/api/v1/clients/edge/resume", method="POST").json()["state"] == "up"
    answer = one.ask(path, method="POST", body=b'{"secs": 60}').json()
    assert answer["paused_until"] == one.world.now + 60
    for wrong in (b"{", b'{"secs": -1}', b'{"secs": "x"}', b'{"until": "xmas"}', b"[" * 5000):
        assert one.ask(path, method="POST", body=wrong).status in (200, 400)
        if wrong != b"[" * 5000:
            assert one.ask(path, method="POST", body=wrong).status == 400
    assert one.ask("/api/v1/clients/none/pause", method="POST").status == 404


def test_what_the_buttons_do(site: MakeSite) -> None:
    one = site()
    one.world.beat("edge")
    one.look()
    key = client_id("edge")

    def press(act: str, **form: str) -> int:
        return one.ask(f"/clients/{key}/{act}", method="POST", form={"x": "", **form}).status

    assert press("pause", until="1h") == 303
    row = one.monitor.snapshot.rows[key]
    assert (row.state, row.pause_until) == ("paused", one.world.now + 3600)
    assert press("resume") == 303
    assert press("pause", until="beat") == 303
    assert one.monitor.snapshot.rows[key].pause == "beat"
    assert press("tags", tags="a, b  a <x>") == 303
    assert one.monitor.snapshot.rows[key].tags == ("a", "b", "<x>")
    assert press("forget") == 404  # its file is there
    assert press("explode") == 404
    assert one.ask("/alerts/test", method="POST").status == 303
    assert "Somebody pressed the test button" in one.ask("/alerts").text
    assert one.ask("/source/accept", method="POST").status == 303


def test_health(site: MakeSite) -> None:
    one = site()
    assert one.ask("/healthz").status == 503
    one.look()
    assert one.ask("/healthz").status == 200
    one.world.monotonic += 1000  # the scanning thread hangs
    assert one.ask("/healthz").status == 503
    one.look()
    one.world.error = "gone"
    one.look()
    assert one.ask("/healthz").status == 503


def test_shards_share_the_clients(site: MakeSite) -> None:
    one = site()
    for number in range(40):
        one.world.beat(f"c{number}")
    one.look()
    found: list[str] = []
    for shard in (1, 2, 3):
        text = one.ask(f"/metrics?shard={shard}/3").text
        found += re.findall(r'client_deadline_timestamp_seconds\{client="(\w+)"', text)
    assert sorted(found) == sorted(f"c{number}" for number in range(40))
    for wrong in ("0/3", "4/3", "x", "1/0", "1/٣"):
        assert one.ask(f"/metrics?shard={urllib.parse.quote(wrong)}").status == 400
    targets = one.ask("/api/v1/http_sd?shards=3").json()
    assert [one["labels"]["__param_shard"] for one in targets] == ["1/3", "2/3", "3/3"]


def test_who_is_not_waited_for_has_no_deadline(site: MakeSite) -> None:
    one = site()
    for name in ("up", "bye", "paused"):
        one.world.beat(name, secs=0 if name == "bye" else 60)
    one.look()
    one.monitor.pause(client_id("paused"), "hand")
    text = one.ask("/metrics").text
    assert re.findall(r'deadline_timestamp_seconds\{client="(\w+)"', text) == ["up"]
    assert f" {START + 60!r}\n" in text
    assert 'pysubtask_monitor_clients{state="paused"} 1' in text


def test_large_answers_are_packed_if_wanted(site: MakeSite) -> None:
    import gzip

    one = site()
    for number in range(200):
        one.world.beat(f"c{number}")
    one.look()
    plain = one.ask("/map.json")
    packed = one.ask("/map.json", headers={"accept-encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 2
    assert gzip.decompress(packed.body) == plain.body
    assert len(plain.json()["ids"]) == 200


def test_the_stream_tells_what_changed_and_when_to_start_over(site: MakeSite) -> None:
    one = site()
    one.world.beat("edge", secs=1)
    one.look()
    hub = Hub()
    one.monitor.on_change = hub.publish

    async def listen() -> list[dict[str, object]]:
        hub.begin()
        events = hub.events(one.monitor.snapshot.number, client_id("edge"))
        assert await anext(events) == "retry: 3000\n\n"
        heard = []
        waiting = asyncio.create_task(anext(events))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.to_thread(one.look, 10)
        heard.append(await asyncio.wait_for(waiting, 5))
        await asyncio.to_thread(one.look, 1)
        await asyncio.to_thread(one.look, 1)
        heard.append(await asyncio.wait_for(anext(events), 5))
        hub.close()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(events), 5)
        return [json.loads(text.partition("data: ")[2]) for text in heard]

    first, second = asyncio.run(listen())
    assert first["rows"] == [[client_id("edge"), 1, 0]]
    assert (first["all"], first["mine"], second["all"]) == (False, True, True)
    assert first["counts"] == {**first["counts"], "late": 1}  # type: ignore[dict-item]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="another zone")
@pytest.mark.parametrize(
    ("zone", "now"),
    [("Europe/Berlin", "2026-03-30 00:10"), ("America/Asuncion", "2024-11-10 12:00")],
)
def test_each_day_has_a_name_of_its_own(
    site: MakeSite, monkeypatch: pytest.MonkeyPatch, zone: str, now: str
) -> None:
    """Without: after a day of 23 hours both that one and this are called today."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        world = World()
        world.now = time.mktime(time.strptime(now, "%Y-%m-%d %H:%M"))
        one = site(world)
        world.beat("edge")
        one.look()
        page = one.ask(f"/clients/{client_id('edge')}").text
        names = re.findall(r"<title>([^<:]+): [^<]* up", page)
        assert (len(names), len(set(names)), names[-1]) == (90, 90, "today")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_prometheus_knows_of_patience(site: MakeSite) -> None:
    """After blindness all deadlines are past, but the monitor grants an interval more. Without,
    Prometheus' rules alarm for the whole fleet each time."""
    one = site()
    for name in "abc":
        one.world.beat(name, secs=300)
    one.look()
    one.world.error = "no"
    for _ in range(30):
        one.look(30)
    one.world.error = None
    one.look()
    one.look(40)
    assert {row.state.value for row in one.monitor.snapshot.rows.values()} == {"late"}
    assert all(deadline > one.world.now for deadline in deadlines(one))
    one.look(600)
    assert all(deadline < one.world.now for deadline in deadlines(one))
    one.world.beat("a", secs=300)
    one.look()
    assert max(deadlines(one)) == pytest.approx(one.world.now + 300, abs=2)


def deadlines(one: Site) -> list[float]:
    text = one.ask("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("pysubtask_client_deadline")]
    assert lines
    return [float(line.split()[-1]) for line in lines]


def test_what_is_vendored_is_what_npm_gave() -> None:
    said = (STATIC / "vendor" / "README.md").read_text("utf-8")
    for name, digest in re.findall(r"sha256 ([0-9a-f]{64})  (\S+)", said):
        found = hashlib.sha256((STATIC / "vendor" / digest).read_bytes()).hexdigest()
        assert found == name
    assert len(re.findall("sha256", said)) == len(list((STATIC / "vendor").glob("*.js"))) == 1


def test_nothing_comes_from_elsewhere() -> None:
    for path in [*STATIC.glob("app.*"), *(STATIC.parent / "templates").glob("*.html")]:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|eval\(|innerHTML", text), path.name


def test_many_clients_one_page(site: MakeSite) -> None:
    world = World()
    one = site(world)
    for number in range(3000):
        world.beat(f"c{number:04}")
    one.look()
    assert len(one.ask("/").body) < 150_000


def test_those_that_cannot_be_seen_while_others_can(site: MakeSite) -> None:
    """The page says it; a deadline in the metrics would have Prometheus call them offline."""
    world = World()
    for name in "abcd":
        world.beat(name)
    one = site(world)
    one.look()
    for name in "ab":
        del world.files[name]
    one.look()
    assert "2 of 4 heartbeat files vanished at once" in one.ask("/").text
    assert "These files are meant to be gone" in one.ask("/").text
    source = one.ask("/api/v1/clients").json()["source"]
    assert (source["readable"], len(source["warnings"])) == (True, 1)
    text = one.ask("/metrics").text
    assert "pysubtask_monitor_source_readable 1" in text
    assert text.count("\npysubtask_client_deadline_timestamp_seconds{") == 2
    assert 'pysubtask_monitor_clients{state="unknown"} 2' in text
    assert one.ask("/healthz").status == 503
