"""Alerts on their way: webhook, mail, retries, the ping outward. Real servers on loopback."""

from __future__ import annotations

import contextlib
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import socket
import socketserver
import sqlite3
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest

from pysubtask.errors import LinkError, LinkLost, PysubtaskError, SettingsError
from pysubtask.monitor import channels
from pysubtask.monitor.alerts import Notice, trial_notice
from pysubtask.monitor.channels import Apprise, Mail, Webhook, ping
from pysubtask.monitor.cutting import Cut
from pysubtask.monitor.dispatch import Dispatch, store_notices
from pysubtask.monitor.history import History
from pysubtask.monitor.names import shown
from tests.monitor.fakes import HOSTILE, START

FACTS = trial_notice(START).facts()


class Hook(http.server.BaseHTTPRequestHandler):
    """Takes what is posted; answers what it was told to."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.heard.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        answers = self.server.answers  # type: ignore[attr-defined]
        status = answers.pop(0) if answers else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


class MailHandler(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as ``smtplib`` needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.strip().upper()[:4]
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    text += part.removeprefix(b".") if part.startswith(b"..") else part
                self.server.mails.append(text)  # type: ignore[attr-defined]
                self.wfile.write(b"250 taken\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            elif word == b"RCPT" and b"nobody" in line:
                self.wfile.write(b"550 no such user\r\n")
            else:
                self.wfile.write(b"250 fine\r\n")


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def hook() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    server.heard, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hook?token=sesame"
    with serving(server):
        yield server


@pytest.fixture
def post_office() -> Iterator[Any]:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailHandler)
    server.daemon_threads = True
    server.mails = []
    server.url = f"smtp://127.0.0.1:{server.server_address[1]}?tls=off&to=ops@example.com"
    with serving(server):
        yield server


def test_a_webhook_gets_json_signed_if_wanted(hook: Any) -> None:
    Webhook(hook.url, "s3cret").send(FACTS)
    ((path, headers, body),) = hook.heard
    assert path == "/hook?token=sesame"
    assert json.loads(body) == json.loads(json.dumps(FACTS))
    digest = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Pysubtask-Signature"] == f"sha256={digest}"


@pytest.mark.parametrize(
    ("status", "again"), [(500, True), (429, True), (404, False), (302, False)]
)
def test_what_a_webhook_refuses(hook: Any, status: int, again: bool) -> None:
    hook.answers = [status]
    with pytest.raises(LinkError, match=str(status)) as caught:
        Webhook(hook.url).send(FACTS)
    assert caught.value.retryable is again
    assert "sesame" not in str(caught.value)
    assert len(hook.heard) == 1  # a redirect is not followed


def test_a_webhook_that_is_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(LinkError, match="refused") as caught:
        Webhook(f"http://127.0.0.1:{port}/?key=sesame").send(FACTS)
    assert caught.value.retryable
    assert "sesame" not in str(caught.value)


@contextlib.contextmanager
def dripping(first: bytes, drop: bytes = b"x") -> Iterator[int]:
    """A server that says this, and then a byte now and then, for ever; gives its port."""
    over = threading.Event()

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(first)
                while not over.wait(0.05):
                    self.request.sendall(drop)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip)
    server.daemon_threads = True
    with serving(server):
        yield server.server_address[1]
        over.set()


@pytest.mark.parametrize("first", [b"HTTP/1.0 503 no\r\nX: ", b""], ids=["head", "status"])
def test_a_webhook_that_drips_is_cut(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte begins the timeout anew. Without: the channel tells nothing for hours."""
    monkeypatch.setattr(channels, "_TRY_SECS", 0.5)
    with dripping(first) as port:
        began = time.monotonic()
        with pytest.raises(LinkError):
            Webhook(f"http://127.0.0.1:{port}/").send(FACTS)
        assert time.monotonic() - began < 5


def test_a_webhook_whose_answer_drips_has_answered() -> None:
    with dripping(b"HTTP/1.0 200 OK\r\n\r\n") as port:
        began = time.monotonic()
        Webhook(f"http://127.0.0.1:{port}/").send(FACTS)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_mail_server_that_drips_is_cut(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_TRY_SECS", 0.5)
    first = b"220 " if scheme == "smtp" else b"\x16\x03\x03\x3f\xff"  # a record that is long
    with dripping(first) as port:
        began = time.monotonic()
        with pytest.raises(LinkError):
            Mail(f"{scheme}://127.0.0.1:{port}?tls=off&to=ops@example.com").send(FACTS)
        assert time.monotonic() - began < 5


def test_names_of_channels_hold_no_secret() -> None:
    hook = Webhook("https://user:pw@hooks.example/T0/sesame")
    assert hook.name.startswith("webhook https://hooks.example #")
    assert hook.name == Webhook("https://user:pw@hooks.example/T0/sesame").name
    assert hook.name != Webhook("https://hooks.example/T0/other").name
    for wrong in (
        "ftp://x/sesame",
        "sesame",
        "https://",
        "http://[sesame",
        "http://h:sesame/",
        "http://h/a sesame",
    ):
        with pytest.raises(SettingsError) as caught:
            Webhook(wrong)
        assert "sesame" not in str(caught.value)


def test_a_mail(post_office: Any) -> None:
    Mail(post_office.url + "&from=monitor@example.com&to=boss@example.com").send(FACTS)
    mail = email.message_from_bytes(post_office.mails[0], policy=email.policy.default)
    assert mail["Subject"] == "[pysubtask] Test of the alerts"
    assert mail["To"] == "ops@example.com, boss@example.com"
    assert mail["From"] == "monitor@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "All is well" in mail.get_content()


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_in_mails(name: str) -> None:
    notice = Notice(START, "down", f"{shown(name)} is down"[:150], f"{shown(name)}: Down 5 s.")
    raw = Mail("smtp://h?to=ops@example.com").message(notice.facts()).as_bytes()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert sorted(mail.keys()) == sorted(
        "Subject From To Date Auto-Submitted Content-Type Content-Transfer-Encoding "
        "MIME-Version".split()
    )
    assert shown(name)[:20].strip() in mail["Subject"]


def test_mails_that_are_refused(post_office: Any) -> None:
    with pytest.raises(PysubtaskError, match="no such user"):
        Mail(post_office.url.replace("ops@", "nobody@")).send(FACTS)
    with pytest.raises(PysubtaskError, match="STARTTLS"):  # never in the clear unless told so
        Mail(post_office.url.replace("tls=off&", "")).send(FACTS)


@pytest.mark.parametrize(
    "url",
    ["smtp://h", "smtp://u:pw@h?to=a@b.example", "http://h?to=a@b.example", "smtp://h?to=a%0Ab"],
)
def test_mail_settings_that_are_wrong(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Mail(url)
    assert "pw" not in str(caught.value)


def test_apprise_is_optional() -> None:
    try:
        import apprise  # noqa: F401
    except ImportError:
        with pytest.raises(SettingsError, match="pip install apprise"):
            Apprise("json://127.0.0.1")
    else:
        assert Apprise("json://user:sesame@127.0.0.1").name.startswith("apprise json")
        assert "sesame" not in Apprise("json://user:sesame@127.0.0.1").name


def test_two_apprise_urls_that_look_alike_without_their_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without: they are one channel, and the first of them gets nothing."""

    class Stand:
        def add(self, url: str) -> bool:
            return True

        def __iter__(self) -> Iterator[Any]:
            return iter([self])

        def url(self, privacy: bool) -> str:
            return "discord://1...9/a...z/"

    monkeypatch.setitem(sys.modules, "apprise", types.SimpleNamespace(Apprise=Stand))  # type: ignore[arg-type]
    both = [Apprise("discord://1119/axxz"), Apprise("discord://1229/ayyz")]
    history = History(None)
    assert len(Dispatch(history, threading.RLock(), both).channels) == 2
    assert both[0].name == Apprise("discord://1119/axxz").name
    history.close()


def test_a_notice_is_tried_again_until_it_is_delivered(hook: Any) -> None:
    history, lock = History(None), threading.RLock()
    channel = Webhook(hook.url)
    store_notices(history, [trial_notice(START)], [channel])
    dispatch = Dispatch(history, lock, [channel])
    hook.answers = [503, 503]
    assert [dispatch.deliver_due(START + after) for after in (0, 5, 11, 35, 43, 1000)] == [
        0, 0, 0, 0, 1, 0
    ]  # fmt: skip
    assert len(hook.heard) == 3
    ((tries, error),) = history.query("SELECT tries, error FROM deliveries")
    assert (tries, error) == (3, None)
    history.close()


def test_a_notice_is_given_up_when_it_is_hopeless_or_old(hook: Any) -> None:
    history, lock = History(None), threading.RLock()
    channel = Webhook(hook.url)
    store_notices(history, [trial_notice(START)], [channel])
    dispatch = Dispatch(history, lock, [channel])
    hook.answers = [404]
    dispatch.deliver_due(START)
    store_notices(history, [trial_notice(START)], [channel])
    hook.answers = [500]
    dispatch.deliver_due(START + 90_000)
    store_notices(history, [trial_notice(START)], [channel])
    Dispatch(history, lock, []).deliver_due(START)
    rows = history.query("SELECT done_at, error FROM deliveries ORDER BY notice")
    assert all(done is not None for done, _ in rows)
    assert [error.split(": ")[-1][:20] for _, error in rows] == [
        "the server answered ", "the server answered ", "this channel is no l"
    ]  # fmt: skip
    history.close()


def test_a_notice_is_not_sent_again_and_again_while_the_disk_is_full(
    hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without: that it has gone could not be noted, so it goes again every 2 s."""
    history = History(None)
    channel = Webhook(hook.url)
    store_notices(history, [trial_notice(START)], [channel])
    dispatch = Dispatch(history, threading.RLock(), [channel])
    query = history.query

    def full(sql: str, *values: Any) -> Any:
        if sql.startswith("UPDATE"):
            raise sqlite3.OperationalError("database or disk is full")
        return query(sql, *values)

    monkeypatch.setattr(history, "query", full)
    for after in range(0, 60, 2):
        dispatch.deliver_due(START + after)
    assert len(hook.heard) == 1
    monkeypatch.setattr(history, "query", query)
    dispatch.deliver_due(START + 60)
    assert len(hook.heard) == 1
    ((tries, done_at),) = history.query("SELECT tries, done_at FROM deliveries")
    assert (tries, done_at is None) == (1, False)
    history.close()


def test_a_connection_that_is_made_after_the_time_is_over_is_cut_at_once() -> None:
    """Finding the address may take all of it. Without: it may drip for ever."""
    near, far = socket.socketpair()
    with near, far, Cut(0.0) as cut:
        near.settimeout(20)
        cut._timer.join(20)
        cut.watch(near)
        assert near.recv(1) == b""


class Dead:
    """A mail server that swallows packets: each try takes 15 s, here by the test's clock."""

    name = "mail"

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.tries = clock, 0

    def send(self, facts: dict[str, Any]) -> None:
        self.tries += 1
        self.clock[0] += 15.0
        raise LinkLost("timed out", operation="send", path="x")


class Good:
    """A webhook that works; when it got what."""

    name = "webhook"

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.got: dict[str, float] = {}

    def send(self, facts: dict[str, Any]) -> None:
        self.got[facts["title"]] = self.clock[0]


@pytest.mark.parametrize(("count", "every_secs"), [(12, 300), (60, 300), (40, 60), (60, 0)])
def test_a_dead_channel_delays_no_other(count: int, every_secs: int) -> None:
    """Even in one thread. Without: of 60 notices in five hours the good channel gets each minutes
    late, and of 240 in eight hours the last one after 16 hours."""
    clock = [START]
    dead, good = Dead(clock), Good(clock)
    history = History(None)
    dispatch = Dispatch(history, threading.RLock(), [dead, good])
    said: dict[str, float] = {}
    for number in range(count):
        said[f"n{number}"] = clock[0]
        store_notices(history, [Notice(clock[0], "down", f"n{number}", "")], [dead, good])
        until = clock[0] + every_secs
        while clock[0] < until:
            dispatch.deliver_due(clock[0])
            clock[0] += 2
    for _ in range(20):
        dispatch.deliver_due(clock[0])
        clock[0] += 2
    assert max(good.got[title] - at for title, at in said.items()) < 60
    hours = (clock[0] - START) / 3600
    assert dead.tries < 10 + 60 * hours  # nor is the dead one knocked at all the time
    history.close()


def test_each_channel_has_a_thread() -> None:
    """A try that hangs holds up its own channel, not another one, nor the ping."""
    hangs, sent, pinged = threading.Event(), threading.Event(), threading.Event()

    class Hanging:
        name = "mail"

        def send(self, facts: dict[str, Any]) -> None:
            assert hangs.wait(30)

    class Quick:
        name = "webhook"

        def send(self, facts: dict[str, Any]) -> None:
            sent.set()

    def healthy() -> bool:
        pinged.set()
        return False

    history, lock = History(None), threading.RLock()
    both = [Hanging(), Quick()]
    dispatch = Dispatch(history, lock, both, ping_url="http://x/", healthy=healthy)
    with lock:
        store_notices(history, [trial_notice(time.time())], both)
    dispatch.start()
    try:
        assert sent.wait(10)
        assert pinged.wait(10)
    finally:
        hangs.set()
        dispatch.stop()
    assert history.query("SELECT COUNT(*) FROM deliveries WHERE error IS NULL") == [(2,)]
    history.close()


def test_a_notice_waits_for_no_clock_that_was_set_back() -> None:
    """Without: who sets the clock back by a year hears of nothing for a year."""
    clock = [START]
    good, history = Good(clock), History(None)
    store_notices(history, [trial_notice(START)], [good])
    assert Dispatch(history, threading.RLock(), [good]).deliver_due(START - 3e7) == 1
    history.close()


def test_the_outside_is_pinged_only_while_all_is_well(hook: Any) -> None:
    ping(hook.url)
    assert hook.heard.pop()[0].startswith("/hook")
    history = History(None)
    for healthy in (False, True):
        dispatch = Dispatch(
            history,
            threading.RLock(),
            [],
            ping_url=hook.url,
            ping_secs=0.01,
            healthy=lambda healthy=healthy: healthy,  # type: ignore[misc]
        )
        dispatch.start()
        try:
            limit = time.monotonic() + 10
            while healthy and not hook.heard and time.monotonic() < limit:
                time.sleep(0.01)
        finally:
            dispatch.stop()
        assert bool(hook.heard) is healthy
    history.close()
