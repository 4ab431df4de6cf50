"""Promise 1: notify() is never in the way, whatever state the child, the link, the server or the
disk is in; and what it notes arrives. Speeds: ``python -m benchmarks.latency`` and
``python -m benchmarks.conditions``."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.integration.promises import Delivery, delivering, wait_until
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

MANY = 1000
GENEROUS_SECS = 10.0
"""For :data:`MANY` calls: a thousand times what they take, far less than any network time-out."""


@pytest.mark.parametrize("growth", ["auto", "append", "rewrite"])
def test_what_is_notified_is_soon_visible(
    tmp_path: pathlib.Path, openssh: OpenSshServer, growth: str
) -> None:
    """Without flush() and without the timer: events and nothing else bring it forward."""
    watch = [{"file": "a.csv", "growth": growth}]
    with delivering(tmp_path, openssh, watch, timer_interval_secs=600.0) as made:
        made.append("a.csv", b"first\n")
        made.wait_for("a.csv", b"first\n", 20)
        for number in range(20):
            made.append("a.csv", b"%d\n" % number)
            expected = (made.data / "a.csv").read_bytes()
            made.wait_for("a.csv", expected, 2.0)


def notify_often(made: Delivery) -> None:
    path = str(made.data / "a.csv")
    began = time.monotonic()
    with (made.data / "a.csv").open("ab", buffering=0) as file:
        for number in range(MANY):
            file.write(b"%d\n" % number)
            assert made.master.notify(path)
    assert time.monotonic() - began < GENEROUS_SECS


def assert_arrives(made: Delivery) -> None:
    made.flush(60)
    assert made.remote_bytes("a.csv") == (made.data / "a.csv").read_bytes()
    assert made.leftovers() == []


def test_the_link_is_frozen(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Callable[..., TcpProxy]
) -> None:
    through = link(openssh)
    with delivering(tmp_path, openssh, ["a.csv"], link=through, reply_timeout_secs=2.0) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        through.freeze()
        notify_often(made)
        assert not made.master.flush(timeout=0.3)
        through.thaw()
        assert_arrives(made)


def test_the_subtask_is_stopped(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    with delivering(tmp_path, openssh, ["a.csv"]) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        pid = made.master.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            notify_often(made)
            assert not made.master.flush(timeout=0.3)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert_arrives(made)
        assert made.master.status().pid == pid


def test_the_subtask_is_killed_and_comes_back(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    with delivering(tmp_path, openssh, ["a.csv"]) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        pid = made.master.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        notify_often(made)
        wait_until(lambda: made.master.status().pid not in (None, pid), 10, "started again")
        assert_arrives(made)
        assert made.master.status().restarts == 1


def test_the_server_is_gone(
    tmp_path: pathlib.Path, open_sshd: Callable[..., OpenSshServer]
) -> None:
    server = open_sshd()
    with delivering(tmp_path, server, ["a.csv"]) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        server.stop()
        notify_often(made)
        assert not made.master.flush(timeout=0.3)
        server.start()
        assert_arrives(made)


def test_notified_before_start_and_after_stop(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    """The debt stands while nothing runs."""
    with delivering(tmp_path, openssh, ["a.csv"], start=False) as made:
        made.append("a.csv", b"before\n")
        made.master.start()
        made.wait_for("a.csv", b"before\n", 20)
        made.master.stop()
        made.append("a.csv", b"after\n")
        made.master.start()
        made.wait_for("a.csv", b"before\nafter\n", 20)


def test_many_threads(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    names = [f"{number}.csv" for number in range(8)]
    with delivering(tmp_path, openssh, names) as made:
        failed: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for number in range(100):
                    made.append(name, b"%d\n" % number)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in names for _ in "12"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        made.flush()
        for name in names:
            assert made.remote_bytes(name) == (made.data / name).read_bytes()


def test_a_forked_worker(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    """It appends and notifies; the subtask belongs to the program that forked it."""
    with delivering(tmp_path, openssh, ["a.csv"]) as made:
        made.append("a.csv", b"from the program\n")
        made.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                made.append("a.csv", b"from the worker\n")
                made.master.stop()  # not its subtask
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        expected = b"from the program\nfrom the worker\n"
        made.wait_for("a.csv", expected, 20)
        assert made.master.status().pid is not None


def test_a_snapshot_can_be_waited_for(tmp_path: pathlib.Path, openssh: OpenSshServer) -> None:
    """For programs that truncate next: nothing of what the file held before is lost, in the
    journal's order, even while the server is not there."""
    with delivering(tmp_path, openssh, [{"file": "a.csv", "growth": "append"}]) as made:
        made.append("a.csv", b"one\n")
        made.flush()
        assert made.master.notify(0, wait_secs=20)
        openssh_sees = made.remote / "a.csv"
        with openssh_sees.open("rb") as held:
            made.append("a.csv", b"two\n", notify=False)
            assert made.master.notify(0, wait_secs=20)
            os.truncate(made.data / "a.csv", 0)
            made.append("a.csv", b"new\n")
            made.flush()
            assert held.read() == b"one\ntwo\n"  # complete before another took its place
        assert made.remote_bytes("a.csv") == b"new\n"
