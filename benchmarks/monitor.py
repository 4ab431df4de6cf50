"""The monitor with many clients: scan, judge, remember, page, first paint, a flip.

    python -m benchmarks.monitor [--clients N]

A folder of N heartbeat files of 512 bytes; the median of five scans in this process (files in the
page cache). Then the real program, and Debian's Chromium if it is there: from the navigation to the
first contentful paint, to the map with all its tiles, and from a heartbeat's arrival to the page
that shows it, counted from the look that saw it.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from pysubtask.core.liveness import Beat, beat_text
from pysubtask.monitor.documents import fleet_document, metrics
from pysubtask.monitor.fleet import Fleet
from pysubtask.monitor.history import History
from pysubtask.monitor.keeper import Monitor
from pysubtask.monitor.listing import Listing, Query
from pysubtask.monitor.local import LocalFolder
from tests.monitor.processes import Serving


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    count: int = parser.parse_args().clients
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {sys.platform}")
    print(f"{count:,} clients")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        drop = folder / "drop"
        drop.mkdir()
        for number in range(count):
            beat(drop, number)
        here(drop, folder)
        browser(drop, folder, count)
    return 0


def beat(drop: pathlib.Path, number: int) -> None:
    facts = Beat(1, time.time(), 0, None, None, "2.0.0")
    temporary = drop / ".pysubtask-temporary"
    temporary.write_bytes(beat_text(3600, facts))
    temporary.rename(drop / f"site{number % 50:02}-edge{number:06}.heartbeat")


def say(what: str, secs: float) -> None:
    print(f"{what:<58}{secs:>9.3f} s", flush=True)


def here(drop: pathlib.Path, folder: pathlib.Path) -> None:
    source, fleet = LocalFolder(str(drop)), Fleet()
    looks, judged = [], []
    for _ in range(6):
        began = time.perf_counter()
        scan = source.scan()
        looked = time.perf_counter()
        fleet.observe(scan, time.time(), time.monotonic())
        looks.append(looked - began)
        judged.append(time.perf_counter() - looked)
    say("look at all files (stat and read)", statistics.median(looks[1:]))
    say("judge the first time", judged[0])
    say("judge, nothing changed", statistics.median(judged[1:]))
    monitor = Monitor(source, History(folder / "here"))
    began = time.perf_counter()
    monitor.step()
    say("first step: look, judge, remember all", time.perf_counter() - began)
    steps = []
    for _ in range(5):
        began = time.perf_counter()
        snapshot = monitor.step()
        steps.append(time.perf_counter() - began)
    say("step, nothing changed", statistics.median(steps))
    for what, call in (
        ("sort and cut one page of the table", lambda: Listing.of(snapshot.rows.values(), Query())),
        ("the API's document", lambda: fleet_document(snapshot, snapshot.rows.values())),
        ("/metrics", lambda: metrics(snapshot, limit=10**6)),
    ):
        began = time.perf_counter()
        call()
        say(what, time.perf_counter() - began)
    monitor.stop()
    began = time.perf_counter()
    Monitor(source, History(folder / "here")).stop()
    say("remember all at the next start", time.perf_counter() - began)


def browser(drop: pathlib.Path, folder: pathlib.Path, count: int) -> None:
    try:
        from playwright.sync_api import sync_playwright

        from tests.servers.processes import ServerMissing, find_program

        path = find_program("chromium")
    except (ImportError, ServerMissing) as missing:
        print(f"no browser: {missing}")
        return
    with Serving(str(drop), folder / "state") as serving, sync_playwright() as playwright:
        chromium: Any = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            paints, maps = [], []
            for _ in range(4):
                page = chromium.new_context().new_page()
                page.set_default_timeout(60_000)
                page.goto(serving.url)
                page.wait_for_selector("canvas[data-drawn]")
                paints.append(
                    page.evaluate(
                        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                    )
                )
                maps.append(page.evaluate("Number(document.querySelector('canvas').dataset.at)"))
                page.context.close()
            say("Chromium: first contentful paint", statistics.median(paints[1:]) / 1000)
            say("Chromium: map with all tiles", statistics.median(maps[1:]) / 1000)
            page = chromium.new_page()
            page.goto(serving.url)
            page.wait_for_selector("canvas[data-drawn]")
            page.get_by_text("· live").wait_for()
            waits = []
            for number in range(5):
                (drop / f"aaa{number}.heartbeat").write_text("0\n")
                while serving.get(f"/api/v1/clients/aaa{number}")[0] != 200:
                    time.sleep(0.005)
                began = time.perf_counter()  # the look has just seen it
                page.get_by_role("link", name=f"{number + 1} stopped").wait_for(timeout=60_000)
                waits.append(time.perf_counter() - began)
            say("from the look that saw a client to the page", statistics.median(waits))
            say("the same, at most", max(waits))
        finally:
            chromium.close()


if __name__ == "__main__":
    raise SystemExit(main())
