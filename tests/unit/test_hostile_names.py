"""Names that a server gives to files that are fetched: none leads out of the folder."""

from __future__ import annotations

import ntpath
import os
import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.subtask.pull import places
from pysubtask.subtask.pull.places import why_unsafe

alphabet = st.sampled_from([*"./\\:aC \x00\n\x1b\x7f\udcff\u202e~-", "..", "CON", ".pysubtask-"])
names = st.lists(alphabet, max_size=8).map("".join) | st.text(max_size=20)


@given(names)
def test_a_name_that_is_taken_is_one_name_in_its_folder(name: str) -> None:
    if why_unsafe(name) is not None:
        return
    assert posixpath.dirname(posixpath.normpath(f"/in/{name}")) == "/in"
    assert posixpath.basename(f"/in/{name}") == name
    assert not re.search(r"[\x00-\x1f\x7f]", name)
    assert len(os.fsencode(name)) < 256


@given(names)
def test_on_windows_too(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places.sys, "platform", "win32")
        if why_unsafe(name) is not None:
            return
    whole = ntpath.normpath(ntpath.join("X:\\in", name))
    assert ntpath.dirname(whole) == "X:\\in"
    assert ntpath.basename(whole) == name
    assert ntpath.splitdrive(name)[0] == ""


@pytest.mark.parametrize(
    "name", ["CON", "con.txt", "NUL", "aux.tar.gz", "COM1", "LPT9.log", "a:b", "x.", "x ", "a?b"]
)
def test_names_that_windows_keeps_for_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places.sys, "platform", "win32")
    assert why_unsafe(name) is not None


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "/etc/passwd", "..\\x", "a\0b", "a\nb", "\x1b[2J", "x.notify"]
)
def test_names_that_are_taken_nowhere(name: str) -> None:
    assert why_unsafe(name) is not None
