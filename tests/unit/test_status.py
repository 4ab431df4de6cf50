"""Status: as data and in words."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from pysubtask.status import FileStatus, Status, printable


def test_survives_json_with_any_file_name() -> None:
    status = Status(
        pid=5,
        link="retrying",
        next_try=1.5,
        last_error="login refused: wrong password for edge",
        files={"logs/\udcff.csv": FileStatus(size_bytes=3, pending_bytes=3)},
        notes=("state is elsewhere",),
    )
    plain = json.loads(json.dumps(status.to_plain()))
    assert Status.from_plain(plain) == status
    assert Status.from_plain({**plain, "of a newer version": 1}) == status
    with pytest.raises(msgspec.ValidationError):
        Status.from_plain({"pid": "x"})


def test_words() -> None:
    status = Status(
        pid=77,
        link="retrying",
        destination="sftp://edge@collector/in",
        next_try=time.time() + 29.6,
        last_error="login refused: wrong password for edge",
        pending_bytes=3 << 20,
        restarts=2,
        notify_failures=1,
        last_notify_error="a.notify: No space left on device",
        taken_over=True,
        notes=("a note",),
        files={
            "a.csv": FileStatus(size_bytes=2048, delivered_bytes=1024, pending_bytes=1024),
            "b\n.csv": FileStatus(last_error="no permission"),
            "c.csv": FileStatus(),
        },
        files_left_out=4,
    )
    text = str(status)
    for words in (
        "next try in 30 s, not connected to sftp://edge@collector/in (subtask 77)",
        "last error: login refused: wrong password for edge",
        "pending: 3.0 MiB",
        "restarted 2 times",
        "1 failed notifies: a.notify: No space left on device",
        "taken over",
        "a note",
        "a.csv: 2.0 KiB, 1.0 KiB delivered, 1.0 KiB pending",
        "b\\x0a.csv: not there, 0 B delivered; no permission",
        "c.csv: not notified yet",
        "and 4 more",
    ):
        assert words in text
    text.encode("utf-8")


@pytest.mark.parametrize(
    "link", ["connecting", "connected", "resting", "retrying", "conflict", "gone"]
)
def test_every_link_state_has_words(link: str) -> None:
    bare = str(Status.from_plain({"link": link}))
    assert bare
    assert not bare.endswith((" to", " for", " at"))
    assert "sftp://h" in str(Status.from_plain({"link": link, "destination": "sftp://h"}))


def test_printable() -> None:
    assert printable("a\udcffb\n\x1b[31mü") == "a\\udcffb\\x0a\\x1b[31mü"
