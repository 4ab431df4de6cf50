"""While a look of the monitor's own hangs: what pages, programs and streams are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from pysubtask.monitor.names import client_id
from pysubtask.monitor.web.stream import Hub
from pysubtask.monitor.web.view import View
from tests.monitor.bench import Site

MakeSite = Callable[..., Site]


def test_while_a_look_hangs_nobody_is_called_up(site: MakeSite) -> None:
    """A dead NFS mount holds the scanning thread. Without: everybody is online for ever."""
    one = site()
    for name in ("edge", "paused"):
        one.world.beat(name)
    one.look()
    one.monitor.pause(client_id("paused"), "hand")
    one.world.now += 7200
    one.world.monotonic += 7200
    document = one.ask("/api/v1/clients").json()
    states = {row["name"]: (row["state"], row["online"]) for row in document["clients"]}
    assert states == {"edge": ("unknown", None), "paused": ("paused", None)}
    assert document["source"]["readable"] is False
    assert document["counts"]["up"] == 0
    assert one.ask(f"/api/v1/clients/{client_id('edge')}").json()["online"] is None
    assert one.ask("/badges/fleet.json").json()["message"] == "unknown"
    assert one.ask(f"/badges/{client_id('edge')}.json").json()["message"] == "unknown"
    assert "pysubtask_monitor_source_readable 0" in one.ask("/metrics").text
    assert "The monitor can't see:" in one.ask("/").text
    page = one.ask(f"/clients/{client_id('edge')}").text
    assert "Not known: the monitor has not looked" in page
    assert "The monitor can't see:" in page
    one.world.beat("edge")
    one.look()
    assert one.ask("/badges/fleet.json").json()["message"] == "1 up"


def test_looks_that_all_take_long_are_no_look_that_hangs(site: MakeSite) -> None:
    """Of a slow server. The pause between two such looks is four times as long as they are.
    Without:
    everybody is unknown for a part of each pause."""
    one = site()
    one.world.beat("edge", 3600)
    one.look()
    monitor = one.monitor
    for took in (25.0, 100.0):
        pause = monitor._pause_secs(took, took)
        monitor._usual_secs = took + pause
        one.world.monotonic += took + pause
        assert monitor.stalled_secs is None
        one.world.monotonic += 2 * (took + pause)
        assert monitor.stalled_secs is not None
        one.look()


def test_the_stream_tells_of_a_look_that_hangs(site: MakeSite) -> None:
    """And gives the time of sending: a page sets its clock by it. Without, one that was hidden for
    two hours of that would show ages that are two hours too small."""
    one = site()
    one.world.beat("edge")
    one.look()
    one.world.now += 7200
    one.world.monotonic += 7200
    hub = Hub(clock=one.monitor.clock)
    hub.view = View(one.monitor)
    hub.publish(one.monitor.snapshot)

    async def listen(known: int) -> list[dict[str, object]]:
        hub.begin()
        events = hub.events(known, None)
        assert await anext(events) == "retry: 3000\n\n"
        heard = [await asyncio.wait_for(anext(events), 5) for _ in range(1 + (known == 0))]
        await events.aclose()  # type: ignore[attr-defined]
        return [json.loads(text.partition("data: ")[2]) for text in heard]

    for known in (0, one.monitor.snapshot.number):
        last = asyncio.run(listen(known))[-1]
        assert "hang" in str(last["blind"])
        assert (last["at"], last["all"]) == (one.world.now, True)
        assert last["counts"] == {**last["counts"], "up": 0, "unknown": 1}  # type: ignore[dict-item]
