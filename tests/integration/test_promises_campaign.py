"""Random kills, the short form of ``python -m tests.campaign``; and that its judges can judge."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable

import pytest

from tests.campaign.campaign import run
from tests.campaign.content import Contents
from tests.campaign.reader import DiskReader
from tests.integration.promises import wait_until

CI_KILLS = 30


@pytest.mark.timeout(200)
def test_thirty_kills(tmp_path: pathlib.Path) -> None:
    if shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        pytest.skip("server not installed: sshd")
    report = run(CI_KILLS, "openssh", keep=tmp_path)
    assert report.clean, (report.lost, report.torn, report.orphans, str(report))
    assert report.kills.total() >= CI_KILLS - 3
    assert report.files > 8
    assert report.looks > 100


@pytest.mark.timeout(200)
@pytest.mark.usefixtures("vsftpd")  # or else it is skipped
def test_twenty_kills_over_ftp(tmp_path: pathlib.Path) -> None:
    report = run(20, "vsftpd", keep=tmp_path)
    assert report.clean, (report.lost, report.torn, report.orphans, str(report))
    assert report.kills.total() >= 17
    assert report.files > 8
    assert report.looks > 100


@pytest.fixture
def contents() -> Contents:
    return Contents(7)


def test_a_prefix_of_a_stream_is_right(contents: Contents) -> None:
    whole = contents.stream("stream-a", 3, 0, 200_000)
    for size in (0, 1, 5, 15, 16, 17, 65_535, 65_536, 65_537, 200_000):
        assert contents.judge("stream-a", whole[:size]).wrong is None, size
    assert contents.judge("stream-a", whole).number == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100] + b"\0" * 50 + data[150:],  # a hole
        lambda data: data[:100] + data[101:],
        lambda data: data + b"x",
        lambda data: data[50:],
        lambda data: data[:60] + data[:60],  # twice
        lambda data: b"stream 00000004\n" + data[16:],  # a mix of generations
        lambda data: b"\0" + data[1:],
    ],
)
def test_a_damaged_stream_is_wrong(contents: Contents, damage: Callable[[bytes], bytes]) -> None:
    data = damage(contents.stream("stream-a", 3, 0, 300))
    assert contents.judge("stream-a", data).wrong is not None


def test_half_a_version_is_wrong(contents: Contents) -> None:
    for number in range(20):
        whole = contents.version("whole-a", number)
        assert contents.judge("whole-a", whole).wrong is None
        assert contents.judge("whole-a", whole[:-1]).wrong is not None
        assert contents.judge("whole-a", b"").wrong is not None
        other = contents.version("whole-a", number + 1)
        mix = other[: len(whole) // 2] + whole[len(whole) // 2 :]
        assert contents.judge("whole-a", mix).wrong is not None


def test_the_reader_sees_what_is_wrong(tmp_path: pathlib.Path, contents: Contents) -> None:
    """A file that is written in place, one that goes back, one that vanishes, one that is replaced
    before it was complete."""
    with DiskReader(contents, [tmp_path]) as reader:
        assert isinstance(reader, DiskReader)
        half = tmp_path / "whole-half"
        half.write_bytes(contents.version("whole-half", 1)[:20])
        wait_until(lambda: any("whole-half" in text for text in reader.torn), 10)
        back = tmp_path / "stream-back"
        back.write_bytes(contents.stream("stream-back", 0, 0, 500))
        wait_until(lambda: reader.complete["stream-back"][0] == 500, 10)
        os.truncate(back, 400)
        wait_until(lambda: any("stream-back: went back" in text for text in reader.torn), 10)
        back.unlink()
        wait_until(lambda: any("stream-back: was not there" in text for text in reader.torn), 10)
        rotated = tmp_path / "rotated-x"
        rotated.write_bytes(contents.stream("rotated-x", 1, 0, 700))
        wait_until(lambda: reader.complete["rotated-x"][1] == 700, 10)
        new = tmp_path / ".pysubtask-0123456789abcdef"
        new.write_bytes(contents.stream("rotated-x", 2, 0, 50))
        new.rename(rotated)
        wait_until(lambda: reader.replaced["rotated-x"] == {1: 700}, 10)
        fine = tmp_path / "whole-fine"
        new.write_bytes(contents.version("whole-fine", 1))
        new.rename(fine)
        wait_until(lambda: "whole-fine" in reader.complete, 10)
    assert not any("fine" in text or "rotated" in text for text in reader.torn)
