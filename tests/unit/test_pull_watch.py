"""Sources in a watch list, and the names that a server may give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pysubtask import TaskMaster
from pysubtask.errors import SettingsError
from pysubtask.ftp import FTPTaskMaster
from pysubtask.handover import Handover
from pysubtask.seams.clock import RealClock
from pysubtask.seams.disk import RealDisk
from pysubtask.subtask.pull.places import Places, why_unsafe


def made(entry: dict[str, Any], **settings: Any) -> TaskMaster:
    return TaskMaster([entry], **settings)


@pytest.mark.parametrize(
    ("url", "folder", "pattern"),
    [
        ("sftp://host/in/*.cfg", "/in", "*.cfg"),
        ("sftp://host/*.cfg", "/", "*.cfg"),
        ("sftp://host/~/*.cfg", "", "*.cfg"),
        ("sftp://host/in/", "/in", "*"),
        ("sftp://host/in", "/in", None),
        ("sftp://host", "", "*"),
        ("sftp://host/in/a%3F.cfg", "/in", "a?.cfg"),
        ("ftp://host/in/[ab].cfg", "in", "[ab].cfg"),
        ("dropbox:///orders/", "/orders", "*"),
    ],
)
def test_what_a_url_names(tmp_path: Path, url: str, folder: str, pattern: str | None) -> None:
    tokens = {"dropbox_access_token": "x"} if url.startswith("dropbox") else {}
    master = made({"pull": url, "to": str(tmp_path / "inbox")}, **tokens)
    (source,) = master._sources
    assert (source.pull.source.path, source.pull.pattern) == (folder, pattern)
    assert source.pull.to == str(tmp_path / "inbox")


def test_a_master_may_only_fetch(tmp_path: Path) -> None:
    master = made({"pull": "sftp://edge@host/in/", "to": str(tmp_path)})
    assert isinstance(master, FTPTaskMaster)
    assert master.watches == []
    assert master._destination is None
    assert master.state_dir.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"pull": "sftp://host/in/"}, "names no local folder"),
        ({"pull": 5, "to": "inbox"}, "must be a URL"),
        ({"pull": "sftp://host/*/a", "to": "inbox"}, "only the last part may be a pattern"),
        ({"pull": "sftp://host/a", "to": "inbox", "grow": "auto"}, "did you mean 'growth'"),
        ({"pull": "sftp://host/a", "to": "inbox", "growth": "fast"}, "one of auto, append"),
        ({"pull": "sftp://host/a", "to": "inbox", "delete_remote": "yes"}, "True or False"),
        (
            {"pull": "sftp://host/a", "to": "inbox", "delete_remote": True, "growth": "append"},
            "would be lost",
        ),
        ({"pull": "gopher://host/a", "to": "inbox"}, "no scheme"),
        ({"pull": "sftp://host/a", "to": "inbox", "interval_secs": 0}, "at least 0.05"),
    ],
)
def test_mistakes_are_told_at_once(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        TaskMaster([entry, "a.csv"], to="sftp://host/out")
    assert words in str(caught.value)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        made({"pull": "sftp://host/in/", "to": str(tmp_path / "inbox")})


def test_a_source_that_is_there_twice(tmp_path: Path) -> None:
    entry = {"pull": "sftp://host/in/", "to": str(tmp_path)}
    with pytest.raises(SettingsError, match="declared twice"):
        TaskMaster([entry, dict(entry)])


def test_a_subtask_of_ones_own_fetches_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a master that delivers"):
        made({"pull": "sftp://host/in/", "to": str(tmp_path)}, subtask="examples.count_lines")


def test_a_password_goes_to_its_own_server_only(tmp_path: Path) -> None:
    entries = [
        {"pull": "sftp://host/in/", "to": str(tmp_path / "a")},
        {"pull": "sftp://other/in/", "to": str(tmp_path / "b")},
        {"pull": "sftp://me:own@third/in/", "to": str(tmp_path / "c")},
        {"pull": "sftp://fourth/in/", "to": str(tmp_path / "d"), "password": "given"},
    ]
    master = TaskMaster([*entries, "x.csv"], to="sftp://edge@host/out", password="secret")
    passwords = [source.settings.password for source in master._sources]
    assert [p.reveal() if p is not None else None for p in passwords] == [
        "secret",
        None,
        "own",
        "given",
    ]
    assert master._sources[0].settings.username == "edge"
    assert master._sources[1].settings.username is None


def test_sources_survive_the_hand_over(tmp_path: Path) -> None:
    master = made({"pull": "sftp://me:pw@host/in/*.cfg", "to": str(tmp_path)}, settle_secs=0.5)
    given = Handover(
        extension="ftp",
        settings=master._settings,
        watches=[],
        sources=master._sources,
        destination=None,
        state_dir="/s",
        log_dir=None,
        log_name="x",
        work_dir="/",
        precleanup_old_files=False,
        parent_pid=1,
        token="t",
        sys_path=[],
        subtask=None,
    )
    read = Handover.from_line(given.to_line())
    assert read == given
    assert read.sources[0].settings.password is not None
    assert read.sources[0].settings.password.reveal() == "pw"
    assert "pw" not in repr(read)


@pytest.mark.parametrize(
    "name", ["a.cfg", ".hidden", "grüße.txt", "a b", "-rf", "a~1", "\udcff.bin"]
)
def test_names_that_are_taken(name: str) -> None:
    assert why_unsafe(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        "/etc/passwd",
        "a\\b",
        "a\0b",
        "a\nb",
        "\x1b[2J",
        ".pysubtask-0123456789abcdef",
        "a.notify",
        "a.heartbeat",
        "a.arrived",
        "x" * 248,
    ],
)
def test_names_that_are_not(name: str) -> None:
    """No server chooses what is written outside the folder, or over what is ours."""
    assert why_unsafe(name) is not None


@pytest.mark.parametrize("name", ["con", "NUL.txt", "com1", "a:b", "a?", "a.", "a "])
def test_names_that_windows_gives_a_meaning(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unsafe(name) is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert why_unsafe(name) is not None


def test_no_source_fills_the_disk(tmp_path: Path) -> None:
    places = Places(RealDisk(), RealClock(), str(tmp_path / "new"), keep_free_bytes=1 << 20)
    places.need_room(1000)
    with pytest.raises(OSError, match="No space left"):
        places.need_room(1 << 60)
