"""Every page and flow in a real browser: Debian's Chromium. One browser and one monitor for all."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pysubtask.monitor.names import client_id
from tests.monitor.browsers import axe_source, chromium
from tests.monitor.fakes import HOSTILE
from tests.monitor.processes import Serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Debian's Chromium")
WAIT_MILLI = 15_000


class Stand:
    """A folder, the monitor that watches it, and a browser."""

    def __init__(self, browser: Any, drop: pathlib.Path, serving: Serving) -> None:
        self.browser, self.drop, self.serving = browser, drop, serving
        self.complaints: list[str] = []

    def beat(self, name: str, secs: int = 3600, more: str = "{}") -> None:
        temporary = self.drop / ".pysubtask-temporary"
        temporary.write_text(f"{secs}\n{more}\n")
        temporary.rename(self.drop / f"{name}.heartbeat")

    def page(self, path: str = "/", **options: Any) -> Any:
        """A page in a context of its own; what it complains about is collected."""
        context = self.browser.new_context(**options)
        context.set_default_timeout(WAIT_MILLI)
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.goto(self.serving.url + path)
        return page

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")


@pytest.fixture(scope="module")
def _stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("browser")
    drop = folder / "drop"
    drop.mkdir()
    with (
        chromium() as browser,
        Serving(str(drop), folder / "state", "--grace-secs", "0.2") as serving,
    ):
        yield Stand(browser, drop, serving)


@pytest.fixture
def stand(_stand: Stand) -> Iterator[Stand]:
    """Empty of contexts; nothing may complain."""
    _stand.complaints.clear()
    yield _stand
    for context in _stand.browser.contexts:
        context.close()
    assert _stand.complaints == []


def until(page: Any, happened: Callable[[], bool]) -> None:
    """Wait for what the page's own policy lets nobody wait for inside it."""
    for _ in range(WAIT_MILLI // 20):
        if happened():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it has not happened")


def row(page: Any, name: str) -> Any:
    return page.locator("tbody tr", has=page.get_by_role("link", name=name, exact=True))


def test_a_flip_shows_by_itself(stand: Stand) -> None:
    stand.beat("quick")
    page = stand.page()
    row(page, "quick").locator("td.s-up").wait_for()
    page.get_by_text("· live").wait_for()
    stand.beat("quick", 1)
    row(page, "quick").locator("td.s-down").wait_for()
    stand.beat("newcomer")
    row(page, "newcomer").locator("td.s-up").wait_for()
    stand.beat("quick")
    row(page, "quick").locator("td.s-up").wait_for()


def test_a_stream_that_falls_silent_is_opened_again(stand: Stand) -> None:
    """The machine slept, or a router forgot the connection. Without: "live", and nothing moves."""
    stand.beat("edge")
    page = stand.page()
    until(page, lambda: "live" in page.text_content("#live-state"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    # a minute later, before anything else is heard
    page.evaluate("() => { const real = Date.now; Date.now = () => real() + 60000; tick(); }")
    until(page, lambda: any("/events?" in url for url in asked))
    until(page, lambda: "live" in page.text_content("#live-state"))


def test_search_filters_and_saved_views(stand: Stand) -> None:
    for name in ("north1", "north2", "south1"):
        stand.beat(name)
    stand.serving.wait(lambda clients: "south1" in clients)
    page = stand.page()
    page.keyboard.press("/")
    page.keyboard.type("north")
    row(page, "north1").wait_for()
    row(page, "south1").wait_for(state="detached")
    page.wait_for_url("**/?q=north**")
    page.reload()
    assert page.locator("#q").input_value() == "north"
    row(page, "north2").wait_for()
    page.get_by_role("link", name="down").first.click()
    page.wait_for_url("**state=down**")
    page.get_by_text("No client is like that").wait_for()
    page.go_back()
    row(page, "north1").wait_for()


def test_the_map_by_keyboard_and_mouse(stand: Stand) -> None:
    stand.beat("aaa-first")
    stand.serving.wait(lambda clients: "aaa-first" in clients)
    page = stand.page()
    page.wait_for_selector("canvas[data-drawn]")
    assert int(page.get_attribute("canvas", "data-drawn") or 0) >= 1
    page.focus("canvas")
    page.keyboard.press("End")
    page.keyboard.press("Home")
    note = page.locator("#map-note")
    note.get_by_text(": up").or_(note.get_by_text(": down")).wait_for()
    first = note.inner_text().partition(":")[0]
    page.keyboard.press("Enter")
    page.wait_for_url("**/clients/*")
    assert first in page.locator("h1").inner_text()
    page.go_back()
    page.wait_for_selector("canvas[data-drawn]")
    page.locator("canvas").click(position={"x": 5, "y": 5})
    page.wait_for_url("**/clients/*")


def test_an_older_map_does_not_hide_what_was_heard_since(stand: Stand) -> None:
    """The whole map was asked for; before its answer comes, the stream tells of a change."""
    stand.beat("flips")
    stand.serving.wait(lambda clients: "flips" in clients)
    page = stand.page()
    page.wait_for_selector("canvas[data-drawn]")
    page.get_by_text("· live").wait_for()
    held: list[tuple[Any, Any]] = []
    page.route("**/map.json", lambda route: held.append((route, route.fetch())))
    with page.expect_request("**/map.json"):
        page.evaluate("void map.load()")
    until(page, lambda: bool(held))
    drawn_at = page.get_attribute("canvas", "data-at")
    state = f"STATES[map.states[map.place.get('{client_id('flips')}')]]"
    stand.beat("flips", 1)
    until(page, lambda: page.evaluate(state) == "down")
    route, answer = held.pop()
    route.fulfill(response=answer)
    until(page, lambda: page.get_attribute("canvas", "data-at") != drawn_at)
    assert page.evaluate(state) == "down"


def test_a_clients_page_pausing_tagging(stand: Stand) -> None:
    stand.beat("edge7", 3600, '{"version":"2.0.0","backlog_bytes":4096,"sequence":12}')
    stand.serving.wait(lambda clients: "edge7" in clients)
    page = stand.page(f"/clients/{client_id('edge7')}")
    page.get_by_text("Promised 3600 s.").wait_for()
    assert "4.0 KiB" in page.inner_text("dl")
    page.get_by_label("Pause alerts").select_option("1h")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused until").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("Up for").wait_for()
    page.get_by_label("Tags").fill("roof north")
    page.get_by_role("button", name="Save tags").click()
    page.goto(stand.serving.url + "/?tag=roof")
    row(page, "edge7").wait_for()
    page.goto(stand.serving.url + f"/clients/{client_id('edge7')}")
    page.get_by_text("· live").wait_for()
    stand.beat("edge7", 0)
    page.get_by_text("it said goodbye").wait_for()
    page.get_by_text("The days as a table").click()
    page.get_by_role("cell", name="today").or_(
        page.get_by_role("rowheader", name="today")
    ).wait_for()


def test_alerts_and_their_test_button(stand: Stand) -> None:
    page = stand.page("/alerts")
    page.get_by_role("button", name="Send a test").click()
    page.get_by_text("Somebody pressed the test button").first.wait_for()


def test_hostile_names_do_nothing(stand: Stand) -> None:
    for name in HOSTILE:
        stand.beat(name, 3600, '{"last_error": "<img src=x onerror=alert(2)>"}')
    stand.serving.wait(lambda clients: len(clients) >= len(HOSTILE))
    page = stand.page()
    page.wait_for_selector("canvas[data-drawn]")
    page.get_by_text("<img src=x onerror=alert(1)>", exact=True).first.wait_for()
    assert page.locator("main img, main script, main svg").count() == 0
    for name in HOSTILE[:6]:
        page.goto(f"{stand.serving.url}/clients/{client_id(name)}")
        page.get_by_text("Promised 3600 s.").wait_for()


def test_without_scripts(stand: Stand) -> None:
    stand.beat("plain")
    stand.serving.wait(lambda clients: "plain" in clients)
    page = stand.page("/", java_script_enabled=False)
    page.fill("#q", "plain")
    page.get_by_role("button", name="Show").click()
    row(page, "plain").wait_for()
    page.get_by_role("link", name="plain", exact=True).click()
    page.get_by_text("Promised 3600 s.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(stand: Stand, scheme: str) -> None:
    axe = axe_source()
    for name, secs in (("axe-up", 3600), ("axe-down", 1), ("axe-bye", 0)):
        stand.beat(name, secs, '{"last_error":"login refused","backlog_bytes":5}')
    stand.serving.wait(lambda clients: clients.get("axe-down", {}).get("state") == "down")
    page = stand.page(color_scheme=scheme)
    paths = ["/", f"/clients/{client_id('axe-down')}", "/alerts", "/nowhere"]
    for path in paths if scheme == "light" else paths[:1]:
        page.goto(stand.serving.url + path)
        page.evaluate(axe)  # by the debugger, which the page's policy does not bind
        found = page.evaluate("async () => (await axe.run()).violations")
        serious = [
            (path, one["id"], [node["html"][:200] for node in one["nodes"][:3]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
    stand.complaints[:] = [one for one in stand.complaints if "404" not in one]


def test_on_a_phone_nothing_sticks_out(stand: Stand) -> None:
    stand.beat("x" * 120)
    stand.serving.wait(lambda clients: "x" * 120 in clients)
    page = stand.page(viewport={"width": 360, "height": 740})
    page.wait_for_selector("canvas[data-drawn]")
    for path in ("/", f"/clients/{client_id('x' * 120)}", "/alerts"):
        page.goto(stand.serving.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_files_that_vanish_together_until_somebody_says_that_it_is_meant(
    stand: Stand, tmp_path: pathlib.Path
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    for number in range(6):
        (drop / f"edge{number}.heartbeat").write_text("3600\n")
    with Serving(str(drop), tmp_path / "state") as serving:
        serving.wait(lambda clients: len(clients) == 6)
        page = stand.page("/alerts")
        page.goto(serving.url)
        page.get_by_text("· live").wait_for()
        for number in range(4):
            (drop / f"edge{number}.heartbeat").unlink()
        page.get_by_role("link", name="4 unknown").wait_for()
        page.get_by_role("button", name="meant to be gone").click()
        page.get_by_role("link", name="4 gone").click()
        page.locator("tbody th a").first.click()
        page.get_by_role("button", name="Forget").click()
        page.get_by_role("link", name="3 gone").wait_for()
        page.context.close()
    # its own page may have asked for it once more
    stand.complaints[:] = [one for one in stand.complaints if "404" not in one]


def test_logging_in_and_losing_the_monitor(stand: Stand, tmp_path: pathlib.Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    with Serving(str(stand.drop), tmp_path / "state", "--password-file", str(password)) as serving:
        page = stand.page("/login")
        page.goto(serving.url + "/")
        page.wait_for_url("**/login")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("That is not the password").wait_for()
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Clients").wait_for()
        page.get_by_text("· live").wait_for()
        serving.process.kill()
        page.get_by_text("no connection to the monitor").wait_for()
    stand.complaints.clear()  # 403 and the lost connection
