"""Watch lists."""

from __future__ import annotations

import ntpath
import os
import pathlib
import posixpath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.errors import SettingsError
from pysubtask.watch import home_folder, leads_out, parse_watches


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "logs" / "out").mkdir(parents=True)
    (tmp_path / "logs" / "there.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_ways_to_write_an_entry(folder: pathlib.Path) -> None:
    found = parse_watches(
        [
            "logs/a.csv",
            pathlib.Path("logs/b.csv"),
            b"logs/\xff.csv",
            {"file": "logs/c.csv", "as": "site.csv", "remote_dir": "/".join(["x", "y"]) + "/",
             "burstmode": True, "growth": "append", "records": "bytes"},
            {"dir": "logs/out", "remote_dir": "pictures"},
            "logs",
            "later/",
        ]
    )  # fmt: skip
    assert [watch.path for watch in found] == [
        str(folder / name)
        for name in ("logs/a.csv", "logs/b.csv", "logs/\udcff.csv", "logs/c.csv", "logs/out",
                     "logs", "later")
    ]  # fmt: skip
    assert [watch.is_dir for watch in found] == [False] * 4 + [True] * 3
    assert [watch.remote_name for watch in found] == [
        "a.csv", "b.csv", "\udcff.csv", "site.csv", None, None, None,
    ]  # fmt: skip
    assert found[3].remote_dir == "x/y"
    assert (found[3].burstmode, found[3].growth, found[3].records) == (True, "append", "bytes")
    assert (found[0].burstmode, found[0].growth, found[0].records) == (False, "auto", "bytes")
    assert found[0].declared == "logs/a.csv"
    assert found[1].declared == os.path.join("logs", "b.csv")


def test_one_entry_needs_no_list(folder: pathlib.Path) -> None:
    for entry in ("logs/a.csv", {"file": "logs/a.csv"}, pathlib.Path("logs/a.csv")):
        assert [watch.path for watch in parse_watches(entry)] == [str(folder / "logs/a.csv")]


def test_home_is_the_folder_of_the_first(folder: pathlib.Path) -> None:
    assert home_folder(parse_watches(["logs/a.csv", "b.csv"])) == str(folder / "logs")
    assert home_folder(parse_watches(["logs", "b.csv"])) == str(folder / "logs")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "nothing is watched"),
        (5, "list of paths"),
        ([5], "must be a path"),
        ([""], "no path"),
        (["a\0b"], "no path"),
        ([{}], "either"),
        ([{"file": "a", "dir": "b"}], "either"),
        ([{"file": "a", "burst_mode": True}], "burstmode"),
        ([{"file": "a", "burstmode": 1}], "True or False"),
        ([{"file": "a", "growth": "grow"}], "auto, append, rewrite"),
        ([{"file": "a", "records": []}], "bytes, lines"),
        ([{"file": "a", "records": "lines", "growth": "rewrite"}], "is for files that grow"),
        ([{"file": "logs"}], "is a folder"),
        ([{"dir": "logs/there.csv"}], "is a file"),
        ([{"dir": "logs", "as": "x"}], "remote_dir"),
        ([{"file": "a", "as": "b/c"}], "remote_dir"),
        ([{"file": "a", "as": ".."}], "no file name"),
        ([{"file": "a", "as": 5}], "must be text"),
        ([{"file": "a", "remote_dir": "/b"}], "leading /"),
        ([{"file": "a", "remote_dir": "b/../.."}], "leads out"),
        ([{"file": "a", "remote_dir": "b\\..\\.."}], "leads out"),
        ([{"file": "a", "remote_dir": "\\b"}], "leads out"),
        ([{"file": "a", "remote_dir": "C:\\b"}], "leads out"),
        ([{"file": "a", "as": "C:\\b"}], "remote_dir"),
        (["a", "./a"], "twice"),
        (["a.csv", "logs/a.csv"], '"as"'),
        ([{"file": "a", "as": "x"}, {"file": "b", "as": "x"}], "as a has"),
        (["a.csv.notify"], "keeps for itself"),
        ([".pysubtask-0011223344556677"], "keeps for itself"),
    ],
)
def test_mistakes(entries: Any, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_watches(entries)
    assert words in str(caught.value)


def test_one_name_in_two_remote_folders_is_fine() -> None:
    found = parse_watches(["a.csv", {"file": "logs/a.csv", "remote_dir": "b"}])
    assert len(found) == 2


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("a.csv", False),
        ("pictures/a.csv", False),
        ("a\\b.csv", False),
        ("..a", False),
        ("a..", False),
        ("C:", False),
        ("12:30.csv", False),
        ("T:1.csv", False),
        ("..", True),
        ("a/../b", True),
        ("a\\..\\..\\b", True),
        ("pictures/..\\..\\b", True),
        ("\\windows\\x", True),
        ("\\\\host\\share\\x", True),
        ("/etc/passwd", True),
        ("C:\\x", True),
        ("c:/x", True),
        ("", True),
    ],
)
def test_names_that_lead_out_of_the_destination(name: str, out: bool) -> None:
    assert leads_out(name) == out


@given(st.text(st.sampled_from("./\\:aC ")))
def test_what_stays_in_the_destination_stays_there_on_windows_and_elsewhere(name: str) -> None:
    if not leads_out(name):
        assert posixpath.normpath(f"/in/{name}").startswith("/in")
        whole = ntpath.normpath(ntpath.join("X:\\in", name))
        assert whole.startswith("X:\\in") or name[1:2] == ":"
