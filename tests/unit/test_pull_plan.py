"""What is done with a file that a server shows: the table of :mod:`pysubtask.core.pull`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysubtask.core.pull import (
    HEAD_BYTES,
    Check,
    Drop,
    Fetch,
    Growth,
    Local,
    Mark,
    Passage,
    Pulled,
    Rest,
    Seen,
    Settle,
    SettleRule,
    Told,
    plan,
    pulled_from_json,
    pulled_to_json,
)

RULE = SettleRule(settle_secs=3.0, settle_max_secs=12.0)
BIG = 5 * HEAD_BYTES


def known(size: int, mtime: float = 100.0, passage: Passage | None = None) -> Pulled:
    return Pulled("/in/a", "/a", "/in/a", size, source=Mark(size, mtime), passage=passage)


def decide(
    entry: Pulled | None,
    remote: Mark,
    *,
    growth: Growth = "auto",
    steady: float = 0.0,
    restless: float = 0.0,
    grew: bool | None = None,
) -> object:
    """``steady``: seconds that it has looked the same; ``restless``: that it has been growing."""
    seen = Seen(remote, 1000 - steady, 1000 - max(steady, restless))
    return plan(entry, remote, seen, 1000.0, growth, RULE, grew=grew)


@pytest.mark.parametrize("growth", ["auto", "append", "rewrite"])
def test_what_was_fetched_is_left_alone(growth: Growth) -> None:
    assert decide(known(BIG), Mark(BIG, 100.0), growth=growth) == Rest()
    assert decide(known(0), Mark(0, 100.0), growth=growth, steady=99) == Rest()


@pytest.mark.parametrize("entry", [None, known(BIG)], ids=["never seen", "another version"])
@pytest.mark.parametrize("growth", ["auto", "rewrite"])
def test_another_content_has_to_hold_still(entry: Pulled | None, growth: Growth) -> None:
    remote = Mark(BIG - 1, 200.0)
    assert decide(entry, remote, growth=growth) == Settle(1003.0)
    assert decide(entry, remote, growth=growth, steady=2.9) == Settle(pytest.approx(1000.1))
    assert decide(entry, remote, growth=growth, steady=3.0) == Fetch()


def test_what_never_holds_still_is_taken_for_growing_but_never_with_rewrite() -> None:
    remote = Mark(BIG, 200.0)
    assert decide(None, remote, restless=12.0) == Fetch(growing=True)
    assert decide(None, remote, restless=10.0) == Settle(1002.0)
    assert decide(None, remote, growth="rewrite", restless=99.0) == Settle(1003.0)


def test_with_append_any_beginning_is_worth_having() -> None:
    assert decide(None, Mark(1, 5.0), growth="append") == Fetch(growing=True)
    assert decide(known(10), Mark(11, 5.0), growth="append") == Check()
    assert decide(known(10), Mark(10, 5.0), growth="append") == Check()  # renamed to that size?
    assert decide(known(10), Mark(9, 5.0), growth="append") == Fetch(growing=True)


def test_a_longer_file_is_compared_before_it_counts_as_grown() -> None:
    longer = Mark(BIG + 1, 200.0)
    assert decide(known(BIG), longer) == Check()
    assert decide(known(BIG), longer, grew=False) == Settle(1003.0)
    assert decide(known(BIG), longer, growth="rewrite") == Settle(1003.0)


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES - 1])
def test_any_version_may_begin_with_a_few_bytes(size: int) -> None:
    """An empty file is the beginning of every other one: it tells nothing of growth."""
    assert decide(known(size), Mark(BIG, 200.0)) == Settle(1003.0)


def test_a_fetch_goes_on_while_the_file_is_the_same() -> None:
    entry = known(BIG, passage=Passage("0" * 16, Mark(10, 200.0)))
    assert decide(entry, Mark(10, 200.0)) == Fetch()
    assert decide(entry, Mark(10, 201.0)) == Settle(1003.0)


def test_what_has_come_of_a_version_that_is_no_more_is_dropped() -> None:
    """The one that is here is back; what stays half fetched would keep it from being removed."""
    entry = known(BIG, passage=Passage("ab" * 8, Mark(10, 300.0)))
    assert decide(entry, Mark(BIG, 100.0)) == Drop()
    assert decide(entry, Mark(10, 300.0)) == Fetch()


def test_a_digest_tells_more_than_a_time() -> None:
    entry = Pulled("/in/a", "/a", "/in/a", 10, source=Mark(10, 100.0, "aa"))
    assert decide(entry, Mark(10, 200.0, "aa")) == Rest()
    assert decide(entry, Mark(10, 100.0, "bb"), steady=9) == Fetch()


def test_seen_again() -> None:
    seen = Seen.first(Mark(10, 1.0), 0.0)
    assert seen.again(Mark(10, 1.0), 2.0, RULE) is seen
    grown = seen.again(Mark(11, 2.0), 2.0, RULE)
    assert grown == Seen(Mark(11, 2.0), 2.0, 0.0)
    assert grown.again(Mark(5, 3.0), 3.0, RULE).restless_since == 3.0  # begun anew
    assert grown.again(Mark(12, 3.0), 9.0, RULE).restless_since == 9.0  # it had held still


names = st.sampled_from(["a", "/in/grüße.txt", "/in/\udcff.bin"])
sizes = st.integers(0, 1 << 50)
marks = st.builds(Mark, sizes, st.none() | st.just(1.5e9), st.none() | st.just("d" * 8))
locals_ = st.builds(Local, sizes, sizes, sizes)
passages = st.builds(Passage, names, marks, sizes) | st.builds(
    Passage, names, marks, sizes, names, st.just("new"), locals_, names, names
)


@settings(max_examples=30)
@given(
    st.builds(
        Pulled,
        path=names,
        remote=names,
        place=names,
        size=sizes,
        reach=sizes.filter(bool),
        reach_print=names,
        source=marks,
        head=names,
        tail=names,
        local=st.none() | locals_,
        passage=st.none() | passages,
        told=st.none() | st.builds(Told, names, sizes),
    )
)
def test_records_survive_their_json(entry: Pulled) -> None:
    assert pulled_from_json(json.loads(json.dumps(pulled_to_json(entry)))) == entry


def test_records_of_what_was_never_fetched() -> None:
    entry = Pulled("/in/a", "/a")
    assert pulled_from_json(pulled_to_json(entry)) == entry


@pytest.mark.parametrize("record", [{}, {"p": 1, "r": "a"}, {"p": "a", "r": "b", "s": [1]}])
def test_what_is_no_record(record: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        pulled_from_json(record)
