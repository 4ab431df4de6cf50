"""Files on their way over FTP, broken at every command: nothing torn, nothing lost.

At every one on vsftpd; on servers with other ways at each so-many-th, since each break costs a
login or two.

The real delivery, with a clock that the test moves, to real servers; a reader looks at the server's
folder before and after every command.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pysubtask.errors import LinkLost
from pysubtask.settings import Secret
from pysubtask.transports.ftp.client import FtpTransport, Memory
from pysubtask.transports.ftp.control import Control
from pysubtask.transports.ftp.login import FtpConnector
from tests.servers.ftp import FtpServer
from tests.unit.core_fakes import HookedDisk, ManualClock
from tests.unit.core_local import Local
from tests.unit.core_remote import Remote, WatchedServer, numbered

A, B, C = numbered(5000, 1), numbered(200_000, 2), numbered(6000, 3)


def _rotate(local: Local) -> None:
    os.rename(local.path, local.path + ".1")
    local.write(C[:500])


STORIES: dict[str, tuple[list[Callable[[Local], None]], str]] = {
    "grows and is rotated": (
        [
            lambda lo: lo.write(A[:100]),
            lambda lo: lo.write(A[100:], "ab"),
            _rotate,
            lambda lo: lo.write(C[500:], "ab"),
        ],
        "auto",
    ),
    "is rewritten": ([lambda lo: lo.write(A), lambda lo: lo.write(B)], "rewrite"),
}
PREFIXES_OF = {"grows and is rotated": [A, C], "is rewritten": []}
WHOLES = {"grows and is rotated": [], "is rewritten": [A, B]}
FINAL = {"grows and is rotated": C, "is rewritten": B}


class Watch:
    """Counts commands, breaks the connection at the ``n``-th, and looks at the file each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: Path, story: str) -> None:
        self.left = 0
        self.after = False
        self.file = file
        self.torn: list[bytes] = []
        self.missing = 0
        self._story = story
        self._was_there = False
        send, reply = Control.send, Control.reply

        def send_or_cut(control: Control, *commands: bytes) -> None:
            self._look()
            self.left -= 1
            if self.left == 0:
                if self.after:
                    send(control, *commands)
                control._sock.close()
                raise LinkLost("cut by the test")
            send(control, *commands)

        def reply_and_look(control: Control, *given: Any, **more: Any) -> Any:
            found = reply(control, *given, **more)
            self._look()
            return found

        monkeypatch.setattr(Control, "send", send_or_cut)
        monkeypatch.setattr(Control, "reply", reply_and_look)

    def _look(self) -> None:
        try:
            content = self.file.read_bytes()
        except FileNotFoundError:
            self.missing += self._was_there
            return
        self._was_there = True
        if content not in WHOLES[self._story] and not any(
            whole.startswith(content) for whole in PREFIXES_OF[self._story]
        ):
            self.torn.append(content)


@pytest.mark.parametrize(
    ("fixture", "step"),
    [("vsftpd", 1), ("proftpd_tls", 17), ("proftpd_whole", 9), ("pyftpd_bare", 9)],
)
@pytest.mark.parametrize("story", list(STORIES))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_at_every_command(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fixture: str,
    step: int,
    story: str,
    after: bool,
) -> None:
    server: FtpServer = request.getfixturevalue(fixture)
    changes, growth = STORIES[story]
    for n in range(1, 400, step):
        remote_name, folder = server.new_folder()
        (tmp_path / str(n)).mkdir()
        local = Local(tmp_path / str(n), ManualClock(), HookedDisk())
        memory = Memory(greeting=server.memory.greeting, learned=server.memory.learned)
        remote = Remote(
            local,
            WatchedServer(),
            root=remote_name,
            make_transport=_factory(server, local, remote_name, memory),
        )
        with monkeypatch.context() as patch:
            watch = Watch(patch, folder / "a.csv", story)
            watch.left, watch.after = n, after
            for change in changes:
                change(local)
                local.clock.advance(10)
                local.take(growth)
                remote.settle()
            remote.delivery.close()
        server.memory.greeting, server.memory.learned = memory.greeting, memory.learned
        assert (folder / "a.csv").read_bytes() == FINAL[story], n
        assert os.listdir(folder) == ["a.csv"], n
        assert watch.torn == [], n
        if memory.learned.atomic_replace:
            assert watch.missing == 0, n
        if watch.left > 0:
            assert n > max(20, step)
            return
    pytest.fail("it never ends")


def _factory(
    server: FtpServer, local: Local, folder: str, memory: Memory
) -> Callable[[], FtpTransport]:
    connector = FtpConnector(
        server.host,
        server.port,
        local.clock,
        user=server.user,
        password=Secret(server.password),
        tls=server.tls,
        ca_file=server.ca_file or None,
    )
    return lambda: FtpTransport(
        connector, local.clock, folder=folder, client_id="c0ffee00", memory=memory
    )
