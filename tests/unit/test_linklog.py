"""What the log says of the connection."""

from __future__ import annotations

import logging

import pytest

from pysubtask.subtask.delivery.linklog import LinkLog
from tests.unit.core_fakes import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def says(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> LinkLog:
    caplog.set_level(logging.INFO)
    return LinkLog(clock, logging.getLogger("pysubtask.test"), "sftp://edge@host/in")


def test_to_what_as_whom_and_how_fast(says: LinkLog, caplog: pytest.LogCaptureFixture) -> None:
    says.connected(0.0414, "as edge (OpenSSH_9.2, aes128-gcm@openssh.com, ssh-ed25519)")
    (line,) = caplog.messages
    assert line == (
        "connected to sftp://edge@host/in as edge (OpenSSH_9.2, aes128-gcm@openssh.com, "
        "ssh-ed25519) in 41 ms"
    )


def test_a_night_without_a_link_is_a_handful_of_lines(
    says: LinkLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    says.lost("no acknowledgement for 30 s", 512.0, 3.0)
    for _ in range(960):  # 8 hours
        clock.advance(30)
        says.failed("no answer", 30.0)
    clock.advance(30)
    says.connected(1.0, "")
    first, second, *still, last = caplog.messages
    assert first == (
        "lost sftp://edge@host/in after 512 s: no acknowledgement for 30 s; next try in 3 s"
    )
    assert second == "connect to sftp://edge@host/in: no answer; next try in 30 s"
    assert len(still) == 7
    assert still[0].startswith("still not connected to sftp://edge@host/in, 121 tries in 3630 s: ")
    assert last == (
        "connected to sftp://edge@host/in (after 960 failed tries in 28830 s) in 1000 ms"
    )


def test_another_cause_is_told_at_once(
    says: LinkLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    for why in ("no answer", "no answer", "login refused", "login refused", "no answer"):
        says.failed(why, 3.0)
        clock.advance(3)
    assert [m.split(": ")[1].split(";")[0] for m in caplog.messages] == [
        "no answer", "login refused", "no answer",
    ]  # fmt: skip


def test_what_the_server_lacks_is_told_once(
    says: LinkLog, caplog: pytest.LogCaptureFixture
) -> None:
    for limits in (("no copies",), ("no copies",), (), ("no copies", "no fsync")):
        says.lacks(limits)
    assert [m.removeprefix("sftp://edge@host/in: ") for m in caplog.messages] == [
        "no copies", "no copies", "no fsync",
    ]  # fmt: skip


def test_what_many_servers_lack_is_told_but_no_warning(
    says: LinkLog, caplog: pytest.LogCaptureFixture
) -> None:
    for costs in (("no copies",), ("no copies",), ("no copies", "no fsync")):
        says.lacks(("plain",), costs)
    told = [
        (r.levelname, r.getMessage().removeprefix("sftp://edge@host/in: ")) for r in caplog.records
    ]
    assert told == [
        ("WARNING", "plain"), ("INFO", "no copies"),
        ("WARNING", "plain"), ("INFO", "no copies"), ("INFO", "no fsync"),
    ]  # fmt: skip


def test_idle_ends_are_no_warnings(says: LinkLog, caplog: pytest.LogCaptureFixture) -> None:
    says.resting(180)
    says.lost_idle("closed by the server")
    assert {r.levelname for r in caplog.records} == {"INFO"}
