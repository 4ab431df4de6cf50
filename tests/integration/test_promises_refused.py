"""A file that can't be delivered never holds up the others; missing remote folders are made."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable

import pytest

from tests.integration.promises import delivering, wait_until
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer


def user_url(server: OpenSshServer, folder: str) -> str:
    return f"sftp://{server.password_user}@{server.host}:{server.port}{folder}"


def test_a_refused_file_holds_up_nobody(
    tmp_path: pathlib.Path, openssh_with_password: OpenSshServer
) -> None:
    server = openssh_with_password
    name, remote = server.new_folder()
    (remote / "locked").mkdir(mode=0o755)
    (remote / "locked").chmod(0o755)
    watch = [
        {"file": "refused.csv", "remote_dir": "locked"},
        {"file": "fine.csv", "growth": "append"},
        {"dir": "out", "remote_dir": "new/folders/here"},
    ]
    (tmp_path / "data" / "out").mkdir(parents=True)
    with delivering(
        tmp_path, server, watch, to=user_url(server, name), password=server.password
    ) as made:
        made.append("refused.csv", b"nobody wants it\n")
        for number in range(20):
            made.append("fine.csv", b"%d\n" % number)
            (made.data / "out" / f"{number}.bin").write_bytes(b"%d" % number)

        def others_arrived() -> bool:
            fine = (made.data / "fine.csv").read_bytes()
            folder = remote / "new" / "folders" / "here"
            names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            there = (remote / "fine.csv").exists() and (remote / "fine.csv").read_bytes() == fine
            return there and names >= {f"{number}.bin" for number in range(20)}

        wait_until(others_arrived, 20, "the others arrive")
        refused = str(made.data / "refused.csv")
        status = wait_until(
            lambda: next(
                (s for s in [made.master.status()] if s.files[refused].last_error is not None), None
            ),
            10,
            "status() says why",
        )
        assert status is not None
        assert "denies permission" in str(status.files[refused].last_error)
        assert status.link == "connected"
        assert status.files[str(made.data / "fine.csv")].last_error is None
        made.append("fine.csv", b"while it is still refused\n")
        wait_until(others_arrived, 10, "an append, while it is refused")
        assert not made.master.flush(timeout=0.5)
        (remote / "locked").chmod(0o777)
        made.flush()  # which also tries again at once
        assert (remote / "locked" / "refused.csv").read_bytes() == b"nobody wants it\n"
        assert made.master.status().last_error is None


def test_a_visible_file_that_became_read_only(
    tmp_path: pathlib.Path, openssh_with_password: OpenSshServer
) -> None:
    """What can't be appended to is not given up, and loses nothing."""
    server = openssh_with_password
    name, remote = server.new_folder()
    with delivering(
        tmp_path, server, ["a.csv"], to=user_url(server, name), password=server.password
    ) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        made.master.stop()
        (remote / "a.csv").chmod(0o444)
        made.append("a.csv", b"2\n")
        made.master.start()
        wait_until(lambda: made.master.status().last_error, 10, "status() says why")
        assert (remote / "a.csv").read_bytes() == b"1\n"
        (remote / "a.csv").chmod(0o644)
        made.flush()
        assert (remote / "a.csv").read_bytes() == b"1\n2\n"


@pytest.mark.parametrize("kind", ["openssh", "rclone"])
def test_missing_remote_folders_are_made(
    tmp_path: pathlib.Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Those of the destination, of ``remote_dir``, and those that somebody removes meanwhile."""
    server: OpenSshServer | RcloneServer = request.getfixturevalue(kind)
    watch = [{"file": "a.csv", "remote_dir": "x/y"}, {"file": "b.csv"}]
    with delivering(tmp_path, server, watch, below="/deep/er") as made:
        for name in ("a.csv", "b.csv"):
            made.append(name, b"1\n")
        made.flush()
        made.master.stop()
        made.wait_for("deep/er/x/y/a.csv", b"1\n")
        made.wait_for("deep/er/b.csv", b"1\n")
        if kind == "rclone":
            return  # its cache knows better than the folder
        (made.remote / "deep/er/x/y/a.csv").unlink()
        (made.remote / "deep/er/x/y").rmdir()
        made.master.start()
        made.append("a.csv", b"2\n")
        made.flush()
        made.wait_for("deep/er/x/y/a.csv", b"1\n2\n")


def test_an_unreadable_local_file_holds_up_nobody(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    """Here a folder of that name: root may read everything else."""
    with delivering(tmp_path, openssh, ["a.csv", "b.csv"]) as made:
        (made.data / "a.csv").mkdir()
        assert made.master.notify(str(made.data / "a.csv"))
        made.append("b.csv", b"1\n")
        made.wait_for("b.csv", b"1\n")
        (made.data / "a.csv").rmdir()
        made.append("a.csv", b"a file at last\n")
        made.flush()
        assert made.remote_bytes("a.csv") == b"a file at last\n"


def test_a_frozen_link_is_left_and_nothing_is_lost(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Callable[..., TcpProxy]
) -> None:
    """A black hole: nobody is told. notify() goes on, and so does the delivery afterwards."""
    through = link(openssh)
    with delivering(
        tmp_path, openssh, ["a.csv"], link=through, reply_timeout_secs=1.0, login_timeout_secs=1.0
    ) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        through.freeze()
        began = time.monotonic()
        for number in range(500):
            made.append("a.csv", b"%d\n" % number)
        assert time.monotonic() - began < 10
        wait_until(
            lambda: made.master.status().link == "retrying", 20, "it finds the link to be dead"
        )
        assert made.master.status().last_error
        through.thaw()
        made.flush()
        assert made.remote_bytes("a.csv") == (made.data / "a.csv").read_bytes()
        assert made.leftovers() == []


def test_a_server_that_is_away_for_a_while(
    tmp_path: pathlib.Path, open_sshd: Callable[..., OpenSshServer]
) -> None:
    """Files come, grow, rotate and go meanwhile; with its return everything arrives in order."""
    server = open_sshd()
    watch = [{"file": "a.csv", "growth": "append"}, {"file": "b.cfg"}]
    with delivering(tmp_path, server, watch) as made:
        made.append("a.csv", b"1\n")
        made.flush()
        server.stop()
        made.append("a.csv", b"2\n")
        assert made.master.notify(str(made.data / "a.csv"), wait_secs=10)
        (made.data / "a.csv").rename(made.data / "a.csv.1")
        made.append("a.csv", b"rotated\n")
        for number in range(5):
            made.replace("b.cfg", b"version %d\n" % number)
        os.truncate(made.data / "b.cfg", 9)
        assert made.master.notify(str(made.data / "b.cfg"))
        wait_until(lambda: made.master.status().link == "retrying", 20, "it notices")
        server.start()
        made.flush()
        assert made.remote_bytes("a.csv") == b"rotated\n"
        assert made.remote_bytes("b.cfg") == b"version 4"
        assert made.leftovers() == []
