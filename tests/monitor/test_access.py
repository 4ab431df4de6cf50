"""Who may ask what, from where: hosts, origins, passwords, keys, the policy."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pysubtask.monitor.names import client_id
from pysubtask.monitor.web.access import Access, Scope, settle_password
from pysubtask.monitor.web.app import make_app
from tests.monitor.bench import Site
from tests.monitor.fakes import ask

MakeSite = Callable[..., Site]


def test_only_pages_of_our_own_may_change_anything(site: MakeSite) -> None:
    one = site()
    one.world.beat("edge")
    one.look()
    path = f"/clients/{client_id('edge')}/pause"
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8642"},
    ):
        assert one.ask(path, method="POST", form={"until": "hand"}, headers=headers).status == 403
        assert one.monitor.snapshot.rows[client_id("edge")].state == "up"
    for headers in ({"origin": "http://127.0.0.1:8642"}, {"sec-fetch-site": "same-origin"}, {}):
        assert one.ask(path, method="POST", form={"until": "hand"}, headers=headers).status == 303
    assert one.ask(path).status == 405


def test_only_our_own_names_are_answered(site: MakeSite) -> None:
    one = site()
    for host in ("evil.example", "evil.example:8642", "", "127.0.0.1.evil.example", "[::2]:1"):
        assert one.ask("/", headers={"host": host}).status == 421
    for host in ("localhost", "127.0.0.1:1", "[::1]:8642", "LOCALHOST:8642"):
        assert one.ask("/", headers={"host": host}).status == 200


def test_who_listens_on_all_addresses_is_called_by_each_but_by_no_strange_name(
    site: MakeSite,
) -> None:
    one = site(password="x")
    app = make_app(one.monitor, one.access, any_address=True)
    for host, status in (
        ("192.0.2.7:8642", 200),
        ("[2001:db8::1]:8642", 200),
        ("evil.example", 421),
        ("192.0.2.7.evil.example", 421),
        ("0x7f.1", 421),
    ):
        assert ask(app, "/login", headers={"host": host}).status == status


def test_every_answer_carries_the_policy(site: MakeSite) -> None:
    one = site()
    for path in ("/", "/api/v1/clients", "/static/app.js", "/nowhere", "/metrics", "/healthz"):
        headers = one.ask(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert one.ask("/", headers={"host": "evil"}).headers["x-frame-options"] == "DENY"


def test_no_file_is_served_but_our_own(site: MakeSite) -> None:
    one = site()
    for path in (
        "/static/../web/app.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/",
    ):
        assert one.ask(path).status == 404
    assert one.ask("/", method="POST", body=b"x" * 70_000).status == 413


def test_a_password(site: MakeSite) -> None:
    one = site(password="correct horse")
    one.world.beat("edge")
    one.look()
    assert (one.ask("/").status, one.ask("/").headers["location"]) == (303, "/login")
    assert one.ask("/api/v1/clients").status == 401
    assert one.ask("/metrics").status == 401
    assert one.ask("/badges/fleet.svg").status == 401
    assert one.ask("/events").status == 303
    assert one.ask("/map.json").status == 303
    assert one.ask("/", headers={"hx-request": "true"}).headers["hx-redirect"] == "/login"
    assert one.ask("/healthz").status == 200
    login = one.ask("/login")
    assert "/srv/drop" not in login.text  # a stranger learns nothing
    assert one.ask("/login", method="POST", form={"password": "wrong"}).status == 403
    answer = one.ask("/login", method="POST", form={"password": "correct horse"})
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    mine = {"cookie": cookie.partition(";")[0]}
    assert one.ask("/", headers=mine).status == 200
    stored = one.monitor.history.query("SELECT hash FROM sessions")
    assert stored[0][0] not in cookie
    assert one.ask("/logout", method="POST", headers=mine).status == 303
    assert one.ask("/", headers=mine).status == 303
    for odd in ("pysubtask_monitor=", "pysubtask_monitor=\udcff", "=;=", "x" * 5000):
        assert (
            one.ask("/", headers={"cookie": odd.encode("utf-8", "replace").decode()}).status == 303
        )


def test_a_login_lives_beside_another_programs_cookie(site: MakeSite) -> None:
    """A browser sends cookies to all ports of a host. Without: the login page again for ever."""
    one = site(password="open sesame")
    one.look()
    answer = one.ask("/login", method="POST", form={"password": "open sesame"})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    for others in ("", 'prefs={"theme":"dark"}; ', "a b=c; ", "=; ", "x; "):
        assert one.ask("/", headers={"cookie": others + cookie}).status == 200, others
    assert one.ask("/", headers={"cookie": 'prefs={"theme":"dark"}'}).status == 303


def test_another_password_ends_the_sessions(site: MakeSite) -> None:
    one = site(password="correct horse")
    history = one.monitor.history
    first = settle_password(history, "correct horse")
    cookie = one.ask("/login", method="POST", form={"password": "correct horse"}).headers
    mine = cookie["set-cookie"].partition(";")[0].partition("=")[2]
    assert settle_password(history, "correct horse") == first
    assert Access(history, one.monitor.lock, first).of_session(mine) is Scope.WRITE
    second = settle_password(history, "battery staple")
    assert Access(history, one.monitor.lock, second).of_session(mine) is Scope.NOTHING


def test_more_fields_than_a_form_has_are_no_form(site: MakeSite) -> None:
    one = site(password="correct horse")
    form = {"password": "correct horse", **{f"f{n}": "" for n in range(60)}}
    assert one.ask("/login", method="POST", form=form).status == 403


@pytest.mark.parametrize(("last", "status"), [("http.request", 413), ("http.disconnect", None)])
def test_a_body_without_end_is_refused_quietly(
    site: MakeSite, last: str, status: int | None
) -> None:
    """From anybody, and in pieces. Without: some sixty lines of traceback in the log for each."""
    one = site(password="x" * 10)
    sent: list[Any] = []
    pieces = 0

    async def receive() -> dict[str, object]:
        nonlocal pieces
        pieces += 1
        kind = "http.request" if pieces == 1 else last
        body = b"a" * 40_000 if kind == "http.request" else b""
        return {"type": kind, "body": body, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/login", "raw_path": b"/login", "root_path": "",
        "query_string": b"", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
        "headers": [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")], "state": {},
    }  # fmt: skip
    asyncio.run(one.app(scope, receive, send))  # type: ignore[arg-type]
    assert [one["status"] for one in sent if "status" in one] == ([status] if status else [])


def test_guessing_is_slowed_down(site: MakeSite) -> None:
    one = site(password="correct horse")
    for _ in range(10):
        assert one.ask("/login", method="POST", form={"password": "no"}).status == 403
    answer = one.ask("/login", method="POST", form={"password": "correct horse"})
    assert (answer.status, "wait a minute" in answer.text) == (403, True)
    one.world.now += 61
    assert one.ask("/login", method="POST", form={"password": "correct horse"}).status == 303


def test_who_guesses_locks_nobody_else_out(site: MakeSite) -> None:
    one = site(password="correct horse")
    guesser = "2001:db8::1"
    for number in range(10):
        assert one.access.log_in("no", f"2001:db8::{number}") is None
    for address in (guesser, "2001:db8::ffff:1"):  # one line has very many of them
        with pytest.raises(PermissionError, match="wait a minute"):
            one.access.log_in("correct horse", address)
    assert one.access.log_in("correct horse", "2001:db8:0:1::1")
    assert one.access.log_in("correct horse", "192.0.2.7")
    with pytest.raises(PermissionError):
        one.access.log_in("correct horse", guesser)
    one.world.now += 61
    assert one.access.log_in("correct horse", guesser)


def test_all_together_are_slowed_down_too(site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pysubtask.monitor.web.access._MAX_TRIES_OF_ALL", 12)
    one = site(password="correct horse")
    for number in range(12):
        assert one.access.log_in("no", f"192.0.2.{number}") is None
    with pytest.raises(PermissionError, match="wait a minute"):
        one.access.log_in("correct horse", "198.51.100.1")


def test_few_passwords_are_hashed_at_once(site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 16 MiB. Without: forty logins at once take 640."""
    one = site(password="x" * 10)
    running, most, enter = [0], [0], threading.Lock()

    def slow(password: str, salt: bytes | None = None) -> str:
        with enter:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with enter:
            running[0] -= 1
        return "wrong"

    monkeypatch.setattr("pysubtask.monitor.web.access.hash_password", slow)
    threads = [
        threading.Thread(target=one.access.log_in, args=("y", f"10.0.0.{number}"))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most[0] <= 2


def test_sessions_and_keys_end_though_they_are_remembered(site: MakeSite) -> None:
    one = site(password="correct horse")
    one.look()
    answer = one.ask("/login", method="POST", form={"password": "correct horse"})
    mine = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    key = {"authorization": f"Bearer {one.access.make_key('x', Scope.READ)}"}
    for _ in range(2):
        assert one.ask("/", headers=mine).status == 200
        assert one.ask("/api/v1/clients", headers=key).status == 200
    one.monitor.history.query("DELETE FROM keys")  # by another process
    one.world.now += 11
    assert one.ask("/api/v1/clients", headers=key).status == 401
    one.world.now += 15 * 86_400
    assert one.ask("/", headers=mine).status == 303


def test_keys(site: MakeSite) -> None:
    one = site(password="correct horse")
    one.world.beat("edge")
    one.look()
    keys = {scope: one.access.make_key(scope.name, scope) for scope in list(Scope)[1:]}

    def status(scope: Scope, path: str, method: str = "GET") -> int:
        return one.ask(
            path, method=method, headers={"authorization": f"Bearer {keys[scope]}"}
        ).status

    pause = "/api/v1/clients/edge/pause"
    assert [status(scope, "/metrics") for scope in keys] == [200, 200, 200]
    assert [status(scope, "/api/v1/clients") for scope in keys] == [403, 200, 200]
    assert [status(scope, pause, "POST") for scope in keys] == [403, 403, 200]
    wrong = one.ask("/metrics", headers={"authorization": "Bearer psm_x"})
    assert (wrong.status, wrong.headers["www-authenticate"]) == (401, "Bearer")
    stored = json.dumps(one.monitor.history.query("SELECT * FROM keys"))
    assert not any(key.partition("_")[2].partition("_")[2] in stored for key in keys.values())
    first = next(key_id for key_id, name, *_ in one.access.all_keys() if name == "METRICS")
    assert one.access.drop_key(first)
    assert not one.access.drop_key(first)
    assert status(Scope.METRICS, "/metrics") == 401
