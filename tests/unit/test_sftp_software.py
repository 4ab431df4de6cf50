"""Servers that are told by their greeting."""

from __future__ import annotations

import pytest

from pysubtask.transports.sftp.handshake import (
    _tells_of_short_writes,
    _zeroes_what_it_continues,
)


@pytest.mark.parametrize("software", ["rclone/v1.60.1-DEV", "rclone/v1.74.0", "rclone/1.65"])
def test_rclone_that_may_not_be_continued(software: str) -> None:
    assert _zeroes_what_it_continues(software)


@pytest.mark.parametrize(
    "software", ["", "rclone/v1.75.2", "rclone/v2.0", "OpenSSH_9.2p1", "mod_sftp", "rclone"]
)
def test_all_others_may(software: str) -> None:
    assert not _zeroes_what_it_continues(software)


@pytest.mark.parametrize(
    ("software", "tells"),
    [
        ("rclone/v1.75.2", True),
        ("SFTPGo_2.6", True),
        ("Go", True),
        ("mod_sftp", False),
        ("", False),
    ],
)
def test_who_says_that_a_write_was_short(software: str, tells: bool) -> None:
    assert _tells_of_short_writes(software) == tells
