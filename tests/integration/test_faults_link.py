"""The link is down, refuses, is mute, or swallows everything."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.faults import Fault, fault, row, rows
from tests.integration.promises import delivering, wait_until
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

__all__ = ["row", "rows"]

Link = Callable[..., TcpProxy]
TRIES = "5 tries 3 s apart, then one every 30 s, for ever (`retry_…`). Snapshots go on"


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@fault(
    "the server is down",
    "connect to …: port …: Connection refused",
    TRIES,
    "nothing: with its return everything is delivered",
)
def test_the_server_is_down(
    tmp_path: pathlib.Path, open_sshd: Callable[..., OpenSshServer], row: Fault
) -> None:
    server = open_sshd()
    server.stop()
    with delivering(tmp_path, server, ["a"]) as made:
        made.append("a", b"1\n")
        row.shown(made.master)
        assert made.master.status().link == "retrying"
        server.start()
        made.wait_for("a", b"1\n")
        wait_until(lambda: made.master.status().last_error is None, 10, "the error goes")
        assert "failed tries in" in made.log()


@fault(
    "the server's name can't be resolved",
    "connect to …: the name can't be resolved: …",
    TRIES,
    "check the URL and the name server",
)
def test_an_unknown_name(tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault) -> None:
    with delivering(tmp_path, openssh, ["a"], to="sftp://edge@no-such-host.invalid/in") as made:
        made.append("a", b"1\n")
        row.shown(made.master)


@fault(
    "no answer at all from the server's address",
    "no answer",
    TRIES + ". A try ends after `connect_timeout_secs` (8)",
    "check the route and the firewall",
)
def test_an_address_that_swallows_everything(
    tmp_path: pathlib.Path, openssh: OpenSshServer, row: Fault
) -> None:
    """A listener whose queue is full lets the kernel drop what asks for more (tcp(7))."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        fillers = []
        try:
            for _ in range(8):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            to = f"sftp://edge@127.0.0.1:{port}/in"
            with delivering(tmp_path, openssh, ["a"], to=to, connect_timeout_secs=1) as made:
                made.append("a", b"1\n")
                row.shown(made.master)
        finally:
            for filler in fillers:
                filler.close()


@fault(
    "the server hangs up at once (it is overloaded, or bans us)",
    "the connection broke (greeting and key exchange): …",
    TRIES,
    "look at the server: `MaxStartups`, fail2ban, its log",
)
def test_refused_at_once(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Link, row: Fault
) -> None:
    proxy = link(openssh)
    proxy.refuse()
    with delivering(tmp_path, openssh, ["a"], link=proxy) as made:
        made.append("a", b"1\n")
        row.shown(made.master)
        proxy.refuse(False)
        made.wait_for("a", b"1\n")


@fault(
    "the server takes the connection and stays mute",
    ("no answer from the server yet", "no answer within … s (greeting and key exchange)"),
    TRIES + ". A try ends after `login_timeout_secs` (30)",
    "look at the server, or whether it is an SSH server at all",
)
def test_a_mute_server(
    tmp_path: pathlib.Path, openssh: OpenSshServer, mute_port: int, row: Fault
) -> None:
    to = f"sftp://edge@127.0.0.1:{mute_port}/in"
    with delivering(
        tmp_path, openssh, ["a"], to=to, login_timeout_secs=2, reply_timeout_secs=1
    ) as made:
        made.append("a", b"1\n")
        text = row.shown(made.master)
        assert "connecting to" in text
        row.shown(made.master, number=1)


@fault(
    "the link swallows everything for 40 s (a black hole: no error, no answer)",
    ("no acknowledgement from the server for more than … s", "next try in … s, not connected to …"),
    "After `reply_timeout_secs` (30) without an acknowledgement the connection counts as dead; a "
    "new one goes on near the byte where the old one stood",
    "nothing",
)
def test_a_black_hole(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Link, row: Fault
) -> None:
    proxy = link(openssh)
    # long enough between the two errors for a busy machine to see the first one
    quick = {"reply_timeout_secs": 2, "login_timeout_secs": 3, "connect_timeout_secs": 3}
    with delivering(tmp_path, openssh, ["a"], link=proxy, **quick) as made:
        made.append("a", b"1\n")
        made.flush()
        proxy.freeze()
        made.append("a", b"2\n")
        assert "connected to" in row.shown(made.master)
        row.shown(made.master, number=1)
        proxy.thaw()
        made.wait_for("a", b"1\n2\n")
        wait_until(lambda: made.master.status().last_error is None, 10, "the error goes")
        assert "lost sftp://" in made.log()


@fault(
    "the server closes the connection, or the link is cut, in the middle of a file",
    None,
    "A new connection at once if the last one got anywhere, else 3 s later; the upload goes on "
    "near the byte where it broke",
    "nothing",
)
def test_cuts(tmp_path: pathlib.Path, openssh: OpenSshServer, link: Link) -> None:
    proxy = link(openssh, cut_after_up=600_000)
    content = os.urandom(2 << 20)  # nothing that compression could shorten
    with delivering(tmp_path, openssh, ["a"], link=proxy) as made:
        (made.data / "a").write_bytes(content)
        assert made.master.notify(str(made.data / "a"))
        made.wait_for("a", content, 30)
        assert proxy.cuts >= 3
        assert proxy.bytes_up < 2 * len(content)
        assert "next try in 0 s" in made.log()


@fault(
    "nothing is notified for a while (no fault)",
    "resting, nothing to deliver to …",
    "After `dead_time_milli` (3 minutes) the connection is closed; the next notify opens it",
    "nothing",
)
def test_dead_time(tmp_path: pathlib.Path, openssh: OpenSshServer, link: Link, row: Fault) -> None:
    proxy = link(openssh)
    with delivering(tmp_path, openssh, ["a"], link=proxy, dead_time_milli=300) as made:
        made.append("a", b"1\n")
        made.wait_for("a", b"1\n")
        row.shown(made.master)
        wait_until(lambda: not openssh_sessions(proxy), 10, "it is closed")
        began = time.monotonic()
        made.append("a", b"2\n")
        made.wait_for("a", b"1\n2\n")
        assert proxy.connections == 2
        told = re.compile(r"delivered .*/a: 2 bytes in .* s after the snapshot")
        wait_until(lambda: len(told.findall(made.log())) == 2, 10, "both are in the log")
        log = made.log()
        assert re.search(rf"connected to sftp://.* as {openssh.user} \(OpenSSH.*\) in \d+ ms", log)
        assert "closing the connection" in log
        assert time.monotonic() - began < 10


def openssh_sessions(proxy: TcpProxy) -> int:
    """Connections that are open now."""
    return len(proxy._pairs)
