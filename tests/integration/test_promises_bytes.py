"""Promise 4, pay for the change: what goes over the wire for an append, and for a broken link."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

from tests.integration.promises import Delivery, delivering
from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy
from tests.servers.rclone import RcloneServer

MIB = 1 << 20
CUT_AFTER_BYTES = 4_000_000
AGAIN_PER_CUT_BYTES = 256 * 1024
TRIES = 3
"""The window follows the round trips, and those of a machine that is busy for a moment are long."""


def up_per_append(made: Delivery, link: TcpProxy, name: str, size: int, count: int) -> float:
    """TCP payload that an append of ``size`` bytes sends up, mean over ``count``; each one is
    waited for, so that none shares a journey with another."""
    made.append(name, os.urandom(size))
    made.flush()
    link.reset_counters()
    for _ in range(count):
        made.append(name, os.urandom(size))
        made.wait_for_size(name, (made.data / name).stat().st_size)
    made.flush()
    return link.bytes_up / count


def sparse(path: pathlib.Path, size: int) -> None:
    """A file of that size that takes no space, with a few bytes at both ends."""
    with path.open("wb") as file:
        file.write(b"first line\n")
        file.truncate(size - 10)
        file.seek(size - 10)
        file.write(b"last line\n")


@pytest.mark.parametrize(
    ("file_bytes", "growth"),
    [(100 * MIB, "append"), (1024 * MIB, "append"), (100 * MIB, "auto")],
    ids=["100 MiB, append", "1 GiB, append", "100 MiB, auto"],
)
def test_an_append_costs_little_more_than_its_bytes(
    tmp_path: pathlib.Path,
    openssh: OpenSshServer,
    link: Callable[..., TcpProxy],
    file_bytes: int,
    growth: str,
) -> None:
    through = link(openssh)
    watch = [{"file": "big.dat", "growth": growth}]
    with delivering(tmp_path, openssh, watch, link=through, start=False) as made:
        # the server has it already: a prefix of ours is continued
        sparse(made.data / "big.dat", file_bytes)
        sparse(made.remote / "big.dat", file_bytes)
        made.master.start()
        assert up_per_append(made, through, "big.dat", 1024, 12) <= 1.35 * 1024
        assert up_per_append(made, through, "big.dat", 8192, 6) <= 1.1 * 8192
        assert through.connections == 1
        assert (made.remote / "big.dat").stat().st_size == (made.data / "big.dat").stat().st_size
        with (made.data / "big.dat").open("rb") as ours, (made.remote / "big.dat").open("rb") as it:
            for file in (ours, it):
                file.seek(file_bytes - 10)
            assert ours.read() == it.read()


def test_a_change_inside_costs_little_more_than_its_bytes(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Callable[..., TcpProxy]
) -> None:
    """Three blocks of 4 KiB overwritten, and then 1 KiB inserted at the front.

    The whole 100 MB, beside the peers: ``python -m benchmarks bytes``.
    """
    through = link(openssh)
    content = bytearray(os.urandom(20 * MIB))
    watch = [{"file": "big.dat", "growth": "rewrite"}]
    with delivering(tmp_path, openssh, watch, link=through) as made:

        def send() -> int:
            new = made.data / "big.new"
            new.write_bytes(content)
            new.replace(made.data / "big.dat")
            through.reset_counters()
            made.master.notify(0)
            made.flush()
            assert (made.remote / "big.dat").read_bytes() == content
            return through.bytes_up

        assert send() >= len(content)
        for at in (1_000_001, 9_999_999, 20_000_000):
            content[at : at + 4096] = os.urandom(4096)
        assert send() <= 1.25 * 3 * 4096 + 2048
        content[:0] = os.urandom(1024)
        assert send() <= 5 * 1024
        assert [path.name for path in made.remote.iterdir()] == ["big.dat"]


@pytest.mark.parametrize("via", ["paramiko", "ssh"])
def test_compression_makes_rows_of_text_smaller(
    tmp_path: pathlib.Path, openssh: OpenSshServer, link: Callable[..., TcpProxy], via: str
) -> None:
    through = link(openssh)
    rows = b"".join(b"2026-11-26T12:00:%02d,%d.%03d,ok\n" % (n % 60, n, n) for n in range(50_000))
    more = {}
    if via == "ssh":
        options = f"-i {openssh.key_file} -o UserKnownHostsFile={openssh.known_hosts}"
        more["ssh_command"] = (
            f"ssh -F none -o IdentitiesOnly=yes -o NoHostAuthenticationForLocalhost=yes {options}"
        )
    with delivering(tmp_path, openssh, ["rows.csv"], link=through, compress=True, **more) as made:
        made.append("rows.csv", rows)
        made.flush()
        assert made.remote_bytes("rows.csv") == rows
        assert through.bytes_up < 0.4 * len(rows)


@pytest.mark.parametrize("kind", ["openssh", "rclone"])
def test_a_link_that_dies_again_and_again(
    tmp_path: pathlib.Path,
    request: pytest.FixtureRequest,
    link: Callable[..., TcpProxy],
    kind: str,
) -> None:
    """The whole 100 MB: ``python -m benchmarks.cuts``."""
    server: OpenSshServer | RcloneServer = request.getfixturevalue(kind)
    measured: list[float] = []
    while not measured or (min(measured) > AGAIN_PER_CUT_BYTES and len(measured) < TRIES):
        folder = tmp_path / str(len(measured))
        folder.mkdir()
        through = link(server, cut_after_up=CUT_AFTER_BYTES)
        with delivering(folder, server, ["big.dat"], link=through) as made:
            content = os.urandom(20_000_000)
            made.append("big.dat", content)
            made.flush(60)
            assert through.cuts >= 4
            measured.append((through.bytes_up - len(content)) / through.cuts)
            made.master.stop()  # rclone puts a file into its folder when it is closed
            made.wait_for("big.dat", content)
            assert made.leftovers() == []
    assert min(measured) <= AGAIN_PER_CUT_BYTES, measured
