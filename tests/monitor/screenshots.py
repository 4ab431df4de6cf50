"""Makes the pictures in docs/ from a fleet with a past.

python -m tests.monitor.screenshots
"""

from __future__ import annotations

import os
import pathlib
import random
import tempfile
import time
from typing import Any

import pysubtask
from pysubtask.core.liveness import Beat, beat_text
from pysubtask.monitor.clients import Client
from pysubtask.monitor.fleet import Flip
from pysubtask.monitor.history import History
from pysubtask.monitor.names import client_id
from pysubtask.monitor.rule import State
from tests.monitor.browsers import chromium
from tests.monitor.processes import Serving

DOCS = pathlib.Path(pysubtask.__file__).parent.parent / "docs"
DAY = 86_400.0
SITES = ("aller", "brenn", "corte", "dunes", "eider")
STAR = "corte/weather-11"


def main() -> None:
    """Make them."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        drop = folder / "drop"
        make_fleet(drop)
        make_past(folder / "state")
        with (
            chromium() as browser,
            Serving(str(drop), folder / "state", "--grace-secs", "0.1") as serving,
        ):
            serving.wait(
                lambda clients: [one["state"] for one in clients.values()].count("down") == 4
            )
            (drop / "brenn" / "gauge-97.heartbeat").write_bytes(b"1\n")
            time.sleep(1)
            for file, path, options in (
                ("monitor-fleet", "/", {"viewport": {"width": 1000, "height": 720}}),
                (
                    "monitor-client",
                    f"/clients/{client_id(STAR)}",
                    {"viewport": {"width": 1000, "height": 720}, "color_scheme": "dark"},
                ),
                ("monitor-phone", "/", {"viewport": {"width": 390, "height": 720}}),
            ):
                picture(browser, serving.url + path, DOCS / f"{file}.png", options)


def picture(browser: Any, url: str, path: pathlib.Path, options: dict[str, Any]) -> None:
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(url)
    page.get_by_text("· live").wait_for()
    if page.locator("canvas").count():
        page.wait_for_selector("canvas[data-drawn]")
    # the folder is a temporary one; say what a reader's would be called
    page.evaluate("document.querySelector('.source').textContent = '/srv/drop'")
    page.screenshot(path=path)
    context.close()
    print(path, path.stat().st_size)


def make_fleet(drop: pathlib.Path) -> None:
    """Names, promises, backlogs; some are late, down, have said goodbye, or lie."""
    chance = random.Random(7)
    now = time.time()
    for site in SITES:
        (drop / site).mkdir(parents=True)
        for number in range(50):
            odd = chance.random()
            backlog = chance.choice([0, 0, 0, 900, 150_000]) if odd > 0.1 else 48_000_000
            error = "login refused: wrong password for edge" if 0.955 < odd < 0.97 else None
            kind = chance.choice(["weather", "gauge", "camera"])
            promise = 0 if 0.05 < odd < 0.08 else 3600
            path = drop / site / f"{kind}-{number:02}.heartbeat"
            path.write_bytes(
                beat_text(promise, Beat(900 + number, now, backlog, now - 90, error, "2.0.0"))
            )
            if odd > 0.97:
                os.utime(path, (4e9, 4e9))
    for number in range(4):
        facts = Beat(77, now, 5_600_000, now - 900, "the server's disk is full", "2.0.0")
        (drop / SITES[number] / "gauge-99.heartbeat").write_bytes(
            b"1" + beat_text(3600, facts)[4:] if number else b"1\n"
        )
    (drop / "eider" / "camera-98.heartbeat").write_bytes(b"<html>\n")
    (drop / f"{STAR}.heartbeat").write_bytes(
        beat_text(3600, Beat(11_204, now, 1_240_000, now - 40, None, "2.0.0"))
    )


def make_past(state: pathlib.Path) -> None:
    """Ninety days of one client, and a night in which nobody looked."""
    chance = random.Random(3)
    now = time.time()
    history = History(state)
    client = Client(STAR, first_seen=now - 85 * DAY)
    client.state, client.online = State.UP, True
    client.beat_at, client.interval_secs = now - 60, 3600
    history.add_flips([Flip(client, now - 85 * DAY, None, State.UP)])
    at = now - 84 * DAY
    while (at := at + chance.uniform(1, 9) * DAY) < now - DAY:
        lasted = chance.choice([600, 1800, 7000, 30_000])
        history.add_flips(
            [
                Flip(client, at, State.UP, State.DOWN),
                Flip(client, at + lasted, State.DOWN, State.UP),
            ]
        )
        client.state_since = at + lasted
    for since, hours in ((61, 30), (40, 14), (12, 20)):
        history.begin_blind(now - since * DAY, "the monitor did not run")
        history.end_blind(now - since * DAY + hours * 3600)
    samples = []
    for step in range(7 * 24):
        owed = abs(int(chance.gauss(200_000, 150_000))) * (6 if 90 < step < 110 else 1)
        samples.append((client.id, now - (7 * 24 - step) * 3600, owed, None))
    history.add_samples(samples)
    client.tags = ("roof", "modem")
    history.save_clients([client])
    history.put("last_look", now)
    history.close()


if __name__ == "__main__":
    main()
