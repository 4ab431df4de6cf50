"""The table of abilities: complete, and in words that can be read."""

from __future__ import annotations

import dataclasses

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.costs import ABILITIES, costs_of, missing
from pysubtask.doctor.checks import TITLES, Check


def test_every_ability_has_its_row() -> None:
    flags = [f.name for f in dataclasses.fields(Capabilities) if f.type in (bool, "bool")]
    flags.remove("upload_tokens")  # another way to the same end: nothing is missing without
    flags.remove("segments")  # a way out where the first of them is missing
    flags.remove("short_writes")  # a fault, not an ability
    assert sorted(flags) == sorted(ability.name for ability in ABILITIES)
    for ability in ABILITIES:
        assert ability.title
        assert ability.gain
        assert ability.cost
        assert not ability.cost.endswith(".")


def test_missing_tells_what_is_missing() -> None:
    nothing = Capabilities(False, False, False, readable=False)
    assert missing(nothing) == ABILITIES
    everything = Capabilities(True, True, True, server_copy=True, fsync=True)
    assert missing(everything) == ()
    one = dataclasses.replace(everything, fsync=False)
    assert [ability.name for ability in missing(one)] == ["fsync"]


def test_what_is_told_in_other_words_is_not_told_twice() -> None:
    nothing = Capabilities(False, False, False, readable=False)
    assert [words.partition(": ")[2] for words in costs_of(nothing)] == [
        ability.cost for ability in ABILITIES
    ]
    told = dataclasses.replace(nothing, limits=("no sync",), told=frozenset({"fsync"}))
    assert len(costs_of(told)) == len(ABILITIES) - 1
    assert not any("disk" in words for words in costs_of(told))


def test_checks_have_titles() -> None:
    for name in TITLES:
        assert Check(name, "ok", "").title
