"""Hostile names: shown as one harmless line, told apart, and likenesses found."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.monitor.names import client_id, client_name, shown, skeleton
from tests.monitor.fakes import HOSTILE


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("edge.heartbeat", "edge"),
        ("site/edge.heartbeat", "site/edge"),
        (".pysubtask-0123456789abcdef.heartbeat", None),
        ("site/.edge.heartbeat.x1", None),
        (".heartbeat", None),
        ("site/.heartbeat", None),
        ("edge.heartbeat.tmp", None),
        ("edge.heartbeat~20260101T000000Z", None),
        ("edge.csv", None),
        ("EDGE.HEARTBEAT", None),
        ("a.heartbeat.heartbeat", "a.heartbeat"),
    ],
)
def test_which_files_are_heartbeats(path: str, name: str | None) -> None:
    assert client_name(path) == name


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_shown_as_one_harmless_line(name: str) -> None:
    text = shown(name)
    assert text
    assert len(text.splitlines()) == 1
    assert len(text) < 2000
    text.encode("utf-8")  # no lone surrogate is left
    for char in text:
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_names_that_differ_are_shown_differently() -> None:
    everything = [shown(name) for name in HOSTILE]
    assert len(set(everything)) == len(HOSTILE)
    assert shown("a\\u{001b}") != shown("a\x1b")
    assert shown("a\\xe9") != shown(os.fsdecode(b"a\xe9"))
    assert shown("plain-name_1.2") == "plain-name_1.2"
    assert shown("日本語") == "日本語"
    assert shown("\x1b") == "\\u{001b}"
    assert shown(os.fsdecode(b"\xe9")) == "\\xe9"


@given(st.text(max_size=300))
def test_nothing_invisible_is_ever_shown(text: str) -> None:
    shown_text = shown(text)
    assert all(
        unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in shown_text
    )
    assert len(shown_text) <= 10 * 200 + 1


@given(st.binary(min_size=1, max_size=60), st.binary(min_size=1, max_size=60))
def test_ids_are_of_the_bytes(one: bytes, other: bytes) -> None:
    ids = client_id(os.fsdecode(one)), client_id(os.fsdecode(other))
    assert (ids[0] == ids[1]) == (one == other)
    assert len(ids[0]) == 16
    int(ids[0], 16)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("admin", "\u0430dmin"),
        ("Edge", "edge"),
        ("edge", "ed\u200bge"),
        ("edge", "\uff45dge"),
        ("pos", "роѕ"),
    ],
)
def test_likenesses(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


def test_names_that_do_not_look_alike() -> None:
    names = ["edge1", "edge2", "site/edge1", "日本", "日本語", "café", "cafe"]
    assert len({skeleton(name) for name in names}) == len(names)
