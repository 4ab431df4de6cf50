"""Names that may be one: which, and whose they are."""

from __future__ import annotations

import pytest

from pysubtask.core.model import Delivered, Entry
from pysubtask.core.names import Parting, are_one_lowered, claims_before, name_key, parting
from pysubtask.subtask.store.nameindex import NameIndex
from tests.unit.core_fakes import make_version

NFC, NFD = "gr\u00f6\u00dfe.csv", "gro\u0308\u00dfe.csv"


@pytest.mark.parametrize(
    ("a", "b", "may_be", "lowered"),
    [
        ("a.csv", "a.csv", True, True),
        ("a.csv", "A.CSV", True, True),
        ("in/a.csv", "In/a.csv", True, True),
        (NFC, NFD, True, True),
        (NFC, NFD.upper().replace("SS", "\u1e9e"), True, True),
        ("straße.csv", "strasse.csv", True, False),
        ("a.csv", "b.csv", False, False),
        ("in/a.csv", "a.csv", False, False),
        ("e.csv", "\u00e9.csv", False, False),
        ("\udcff.bin", "\udcfe.bin", False, False),
    ],
)
def test_which_names_may_be_one(a: str, b: str, may_be: bool, lowered: bool) -> None:
    assert (name_key(a) == name_key(b)) is may_be
    assert are_one_lowered(a, b) is lowered


@pytest.mark.parametrize(
    ("ours", "theirs", "tried"),
    [
        ("a.csv", "A.csv", Parting("", "a", "A")),
        ("site.csv", "sitE.csv", Parting("", "te", "tE")),
        ("in/x/Name.csv", "in/x/name.csv", Parting("in/x", "N", "n")),
        ("in/x/f", "in/X/F", Parting("in", "x", "X")),
        (NFC, NFD, Parting("", "r\u00f6", "ro\u0308")),
        ("\u00e9", "e\u0301", Parting("", "\u00e9", "e\u0301")),
        ("a" * 100, "A" * 100, None),
    ],
)
def test_what_is_tried_is_what_differs(ours: str, theirs: str, tried: Parting | None) -> None:
    assert parting(ours, theirs) == tried
    if tried is not None:
        assert name_key(tried.ours) == name_key(tried.theirs)


def entry(path: str, *, owes: bool = True, sent: bool = False) -> Entry:
    versions = (make_version(),) if owes else ()
    return Entry(path, "x", versions=versions, delivered=Delivered(1, 1) if sent else None)


def test_what_has_been_sent_comes_first_then_what_was_noted_first() -> None:
    first, second, idle = entry("first"), entry("second"), entry("idle", owes=False)
    sent, sent_too = entry("sent", sent=True), entry("sent too", sent=True, owes=False)
    noted = [first, idle, second, sent, sent_too]

    def before(path: str) -> list[str]:
        return [e.path for e in claims_before(noted, path)]

    assert before("first") == ["sent", "sent too"]
    assert before("second") == ["first", "sent", "sent too"]
    assert before("sent") == []
    assert before("sent too") == ["sent"]
    assert before("nobody's") == []


def test_the_index_gives_all_that_may_be_one_in_their_order() -> None:
    index = NameIndex()
    for path, remote in (("1", "a"), ("2", "A"), ("3", "b"), ("2", "A"), ("4", "a")):
        index.note(path, remote)
    assert index.group("A") == ["1", "2", "4"]
    assert index.group("b") == ["3"]
    index.forget("1", "a")
    assert index.group("a") == ["2", "4"]
    index.note("1", "B")
    assert index.group("b") == ["3", "1"]
    index.forget("9", "c")
    assert index.group("c") == []
