"""``rotated_as`` through real files, a real subtask and real servers."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.integration.promises import Delivery, delivering, wait_until
from tests.servers.openssh import OpenSshServer

OLD = b"".join(b"%06d;the old file\n" % number for number in range(2000))
NEW = b"the new file\n"


def files(made: Delivery) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in made.remote.iterdir()}


def begin(made: Delivery, data: bytes = OLD) -> pathlib.Path:
    made.append("app.log", data)
    made.flush()
    return made.data / "app.log"


@pytest.mark.parametrize("fixture", ["openssh", "rclone", "vsftpd"])
def test_rotated_files_are_kept_and_not_sent_again(
    tmp_path: pathlib.Path, request: pytest.FixtureRequest, fixture: str
) -> None:
    server = request.getfixturevalue(fixture)
    watch = {"file": "app.log", "growth": "append", "rotated_as": "{local}"}
    with delivering(tmp_path, server, [watch]) as made:
        log = begin(made)
        made.append("app.log", b"its end\n", notify=False)
        log.rename(log.with_name("app.log-20261126"))
        made.append("app.log", NEW)
        made.flush()
        wanted = {"app.log-20261126": OLD + b"its end\n", "app.log": NEW}
        wait_until(lambda: files(made) == wanted)  # rclone has a cache
        assert "app.log was rotated; what was delivered is" in made.log()
        sent = re.findall(r"delivered \S*app\.log: ([\d,]+) bytes", made.log())
        assert sum(int(size.replace(",", "")) for size in sent) == sum(map(len, wanted.values()))


def test_numbers_that_shift_overwrite_nothing(
    tmp_path: pathlib.Path, openssh: OpenSshServer
) -> None:
    with delivering(tmp_path, openssh, ["app.log"], rotated_as="{stem}-{time}{ext}") as made:
        log = begin(made, b"0\n")
        for number in range(1, 5):
            for older in range(number - 1, 0, -1):
                log.with_name(f"app.log.{older}").rename(log.with_name(f"app.log.{older + 1}"))
            log.rename(log.with_name("app.log.1"))
            made.append("app.log", b"%d\n" % number)
            made.flush()
        found = files(made)
        assert found.pop("app.log") == b"4\n"
        assert all(re.fullmatch(r"app-\d{8}T\d{6}Z(_\d)?\.log", name) for name in found)
        assert sorted(found.values()) == [b"0\n", b"1\n", b"2\n", b"3\n"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_rotation_while_the_subtask_is_down(
    tmp_path: pathlib.Path, openssh: OpenSshServer, killed: bool
) -> None:
    watch = {"file": "app.log", "growth": "append", "rotated_as": "{local}"}
    with delivering(tmp_path, openssh, [watch]) as made:
        log = begin(made)
        made.master.stop(forcekill=killed)
        made.append("app.log", b"its end\n")
        log.rename(log.with_name("app.log.2026-11-26"))
        made.append("app.log", NEW)
        made.master.start()
        made.flush()
        assert files(made) == {"app.log.2026-11-26": OLD + b"its end\n", "app.log": NEW}
        assert not made.leftovers()
