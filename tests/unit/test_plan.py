"""The plan: each row of its table, each of its branches, and what no plan ever does."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.model import Delivered, Version
from pysubtask.core.plan import (
    READ_BACK_BYTES,
    Absent,
    Append,
    Compare,
    Decision,
    Done,
    Look,
    Policy,
    Present,
    Remote,
    Send,
    Unknown,
    plan,
)
from tests.unit.core_fakes import make_version

SFTP = Capabilities(positioned_write=True, sequential=True, atomic_replace=True)
RENAME_ONLY = dataclasses.replace(SFTP, atomic_replace=False)
WHOLE_FILES = dataclasses.replace(SFTP, positioned_write=False)
CACHED = dataclasses.replace(SFTP, fsync=True)
FOLDER = dataclasses.replace(CACHED, synced_every_bytes=1 << 20)
DROP_BOX = dataclasses.replace(SFTP, readable=False)
KEEP = Policy()
REPLACE = Policy(on_first_contact="replace")
CONTINUE = Policy(on_remote_gone="continue")
UNCLEAN = Policy(unclean_boot=True)

GROWN = make_version(1, 100)
ONCE = make_version(1, 100, growing=False)
REWRITTEN = make_version(1, 100, growing=False, may_grow=False)
NEXT = make_version(2, 100, growing=False)
SHOWN = Delivered(1, 60, mtime=5.0)
"""60 bytes of version 1 were confirmed; the server's clock said 5.0."""
TAKEN = Delivered(1, 60, base=40, mtime=5.0)
"""A consumer took the first 40 bytes away: the remote file has 20."""


def _case(
    name: str,
    version: Version,
    delivered: Delivered | None,
    remote: Remote,
    decision: Decision,
    can: Capabilities = SFTP,
    policy: Policy = KEEP,
    *,
    set_aside: bool = False,
) -> object:
    return pytest.param(version, delivered, remote, can, policy, set_aside, decision, id=name)


THE_TABLE = [
    _case("grew", GROWN, SHOWN, Present(60, sure=True), Append(60, 100)),
    _case("grew, whole files only", GROWN, SHOWN, Present(60, sure=True),
          Send(0, 100, "replace"), WHOLE_FILES),
    _case("new", NEXT, None, Absent(), Send(0, 100, "replace")),
    _case("replaced", NEXT, SHOWN, Present(60, sure=True), Send(0, 100, "replace")),
    _case("replaced, nothing there", NEXT, SHOWN, Absent(), Send(0, 100, "replace")),
    _case("new, rename only", NEXT, None, Absent(), Send(0, 100, "swap"), RENAME_ONLY),
    _case("replaced, rename only", NEXT, SHOWN, Present(60), Send(0, 100, "swap"), RENAME_ONLY),
    _case("gone: resend", GROWN, SHOWN, Absent(), Send(0, 100, "replace")),
    _case("gone: continue", GROWN, SHOWN, Absent(), Send(60, 100, "replace"), policy=CONTINUE),
    _case("gone again: continue", GROWN, TAKEN, Absent(), Send(60, 100, "replace"),
          policy=CONTINUE),
    _case("gone, replaced: all of it", NEXT, SHOWN, Absent(), Send(0, 100, "replace"),
          policy=CONTINUE),
    _case("same size, another time, ours not to be had", GROWN, SHOWN,
          Present(60, 6.0, past_telling=True), Send(0, 100, "replace", conflict=True), DROP_BOX),
    _case("same size, another time, a drop box", GROWN, SHOWN, Present(60, 6.0),
          Append(60, 100, longer=60), DROP_BOX),
    _case("contact: a prefix", GROWN, None, Present(30, ours=True), Append(30, 100)),
    _case("contact: a prefix, seen once", ONCE, None, Present(30, ours=True), Append(30, 100)),
    _case("contact: all of it", ONCE, None, Present(100, ours=True), Done(100)),
    _case("contact: not ours", ONCE, None, Present(30, ours=False),
          Send(0, 100, "replace", set_aside=True)),
    _case("contact: replace", ONCE, None, Present(30, ours=False), Send(0, 100, "replace"),
          policy=REPLACE),
    _case("another hand", GROWN, SHOWN, Present(60, ours=False),
          Send(0, 100, "replace", conflict=True)),
    _case("longer after an unclean boot", GROWN, SHOWN, Present(101, 5.0),
          Send(0, 100, "replace", set_aside=True), policy=UNCLEAN),
    _case("another after an unclean boot", GROWN, SHOWN, Present(60, 6.0, ours=False),
          Send(0, 100, "replace", set_aside=True), policy=UNCLEAN),
    _case("another hand since an unclean boot", GROWN, replace(SHOWN, at=9.0),
          Present(60, 6.0, ours=False), Send(0, 100, "replace", conflict=True),
          policy=replace(UNCLEAN, noted_since=8.0)),
    _case("shorter here after an unclean boot", NEXT, SHOWN, Present(60),
          Send(0, 100, "replace", set_aside=True), set_aside=True),
    _case("and nothing there", NEXT, SHOWN, Absent(), Send(0, 100, "replace"), set_aside=True),
    _case("shorter, and nothing was confirmed before", NEXT, None, Present(101),
          Send(0, 100, "replace", set_aside=True), policy=REPLACE, set_aside=True),
    _case("new, of another size than noted, after an unclean boot", NEXT, SHOWN, Present(70),
          Compare(0, 70), policy=UNCLEAN),
    _case("that is a part of it", NEXT, SHOWN, Present(70, ours=True), Append(70, 100),
          policy=UNCLEAN),
    _case("that is more than it", NEXT, SHOWN, Present(101),
          Send(0, 100, "replace", set_aside=True), policy=UNCLEAN),
    _case("it is kept, whatever is to become of strangers' files", NEXT, SHOWN, Present(101),
          Send(0, 100, "replace", set_aside=True),
          policy=replace(UNCLEAN, on_first_contact="replace")),
    _case("new, of the size noted, after an unclean boot", NEXT, SHOWN, Present(60, 6.0),
          Send(0, 100, "replace"), policy=UNCLEAN),
    _case("new, of another size, noted since an unclean boot", NEXT, replace(SHOWN, at=9.0),
          Present(70), Send(0, 100, "replace"), policy=replace(UNCLEAN, noted_since=8.0)),
]  # fmt: skip

LOOKING = [
    _case("nobody looked", GROWN, SHOWN, Unknown(), Look()),
    _case("nobody looked, first contact", ONCE, None, Unknown(), Look()),
    _case("nobody looked, replaced", NEXT, SHOWN, Unknown(), Look()),
]

FIRST_CONTACT = [
    _case("nothing there", ONCE, None, Absent(), Send(0, 100, "replace"), policy=REPLACE),
    _case("may be a prefix", GROWN, None, Present(30), Compare(0, 30)),
    _case("empty", GROWN, None, Present(0), Compare(0, 0)),
    _case("may be all of it", REWRITTEN, None, Present(100), Compare(0, 100)),
    _case("a part of a rewritten file is worth nothing", REWRITTEN, None, Present(30),
          Send(0, 100, "replace", set_aside=True)),
    _case("longer", GROWN, None, Present(101), Send(0, 100, "replace", set_aside=True)),
    _case("a prefix that can't be continued?", GROWN, None, Present(30), Compare(0, 30),
          WHOLE_FILES),
    _case("a prefix that can't be continued", GROWN, None, Present(30, ours=True),
          Send(0, 100, "replace"), WHOLE_FILES),
    _case("not ours, whole files only", GROWN, None, Present(30, ours=False),
          Send(0, 100, "replace", set_aside=True), WHOLE_FILES),
    _case("all of it, whole files only", GROWN, None, Present(100, ours=True), Done(100),
          WHOLE_FILES),
    _case("can't be read", GROWN, None, Present(30), Send(0, 100, "replace", set_aside=True),
          DROP_BOX),
    _case("replace, even a prefix", GROWN, None, Present(30, ours=True), Send(0, 100, "replace"),
          policy=REPLACE),
    _case("rename only", ONCE, None, Present(7, ours=False), Send(0, 100, "swap", set_aside=True),
          RENAME_ONLY),
]  # fmt: skip

GOING_ON = [
    _case("just seen, but of another size", GROWN, SHOWN, Present(50, sure=True),
          Compare(0, 50)),
    _case("same size and time", GROWN, SHOWN, Present(60, 5.0), Append(60, 100)),
    _case("same size and time, unclean boot", GROWN, SHOWN, Present(60, 5.0), Compare(0, 60),
          policy=UNCLEAN),
    _case("same size, other time", GROWN, SHOWN, Present(60, 6.0), Compare(0, 60)),
    _case("same size, no time told", GROWN, replace(SHOWN, mtime=None), Present(60, None),
          Compare(0, 60)),
    _case("unconfirmed bytes arrived", GROWN, SHOWN, Present(80, 6.0), Compare(0, 80)),
    _case("they are ours", GROWN, SHOWN, Present(80, 6.0, ours=True), Append(80, 100)),
    _case("all of them arrived", GROWN, SHOWN, Present(100, 6.0, ours=True), Done(100)),
    _case("they are ours, and may be in a cache", GROWN, SHOWN, Present(80, 6.0, ours=True),
          Append(79, 80), CACHED),
    _case("all of them arrived, and may be in a cache", GROWN, SHOWN,
          Present(100, 6.0, ours=True), Append(99, 100), CACHED),
    _case("they are ours, in a cache that a sync may have failed for", GROWN, SHOWN,
          Present(80, 6.0, ours=True), Append(60, 80, longer=80), FOLDER),
    _case("confirmed ones are in none", GROWN, SHOWN, Present(60, 6.0, ours=True),
          Append(60, 100), CACHED),
    _case("shorter, but ours", GROWN, SHOWN, Present(20, 6.0, ours=True), Append(20, 100)),
    _case("emptied", GROWN, SHOWN, Present(0, 6.0), Send(0, 100, "replace", conflict=True)),
    _case("only its name was shown", GROWN, Delivered(1, 0), Present(0, 6.0), Append(0, 100)),
    _case("a new one begun, nothing in it", GROWN, Delivered(1, 60, 60), Present(0, 6.0),
          Append(60, 100, 60)),
    _case("emptied, can't be read", GROWN, SHOWN, Present(0, 6.0),
          Send(0, 100, "replace", conflict=True), DROP_BOX),
    _case("longer than all of ours", GROWN, SHOWN, Present(101, 6.0),
          Send(0, 100, "replace", conflict=True)),
    _case("can't be read, same size", GROWN, SHOWN, Present(60, 6.0),
          Append(60, 100, longer=60), DROP_BOX),
    _case("can't be read, longer", GROWN, SHOWN, Present(80, 6.0), Append(60, 100, longer=80),
          DROP_BOX),
    _case("can't be read, shorter", GROWN, SHOWN, Present(20, 6.0),
          Send(0, 100, "replace", conflict=True), DROP_BOX),
    _case("rename only", GROWN, SHOWN, Present(60, 6.0, ours=False),
          Send(0, 100, "swap", conflict=True), RENAME_ONLY),
    _case("a new one begun, grew", GROWN, TAKEN, Present(20, sure=True), Append(60, 100, 40)),
    _case("a new one begun, same time", GROWN, TAKEN, Present(20, 5.0), Append(60, 100, 40)),
    _case("a new one begun, unconfirmed", GROWN, TAKEN, Present(33, 6.0), Compare(0, 33, 40)),
    _case("a new one begun, they are ours", GROWN, TAKEN, Present(33, 6.0, ours=True),
          Append(73, 100, 40)),
    _case("a new one begun, all there", GROWN, TAKEN, Present(60, 6.0, ours=True),
          Done(100, 40)),
    _case("a new one begun, longer", GROWN, TAKEN, Present(61, 6.0),
          Send(0, 100, "replace", conflict=True)),
    _case("a new one begun, whole files only", GROWN, TAKEN, Present(20, sure=True),
          Send(40, 100, "replace"), WHOLE_FILES),
]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "delivered", "remote", "can", "policy", "set_aside", "decision"),
    [*THE_TABLE, *LOOKING, *FIRST_CONTACT, *GOING_ON],
)
def test_decision(
    version: Version,
    delivered: Delivered | None,
    remote: Remote,
    can: Capabilities,
    policy: Policy,
    set_aside: bool,
    decision: Decision,
) -> None:
    assert plan(version, delivered, remote, can, policy, set_aside=set_aside) == decision


@pytest.mark.parametrize(
    ("remote_size", "start"),
    [(100_000, 100_000 - READ_BACK_BYTES), (120_000, 100_000 - READ_BACK_BYTES), (50_000, 0)],
)
def test_only_the_end_of_what_was_confirmed_is_read_back(remote_size: int, start: int) -> None:
    """Bytes sent follow what changed, and so do those compared (promise 4)."""
    version = make_version(1, 200_000)
    decision = plan(version, Delivered(1, 100_000), Present(remote_size), SFTP, KEEP)
    assert decision == Compare(start, remote_size)


@pytest.mark.parametrize(("mtime", "start"), [(6.0, 3_222_784), (None, 19_967_232)])
def test_more_is_read_back_where_the_time_is_not_what_it_was(
    mtime: float | None, start: int
) -> None:
    """A server that put an older version back may have one of the same size."""
    version = make_version(1, 30_000_000)
    remote = Present(20_000_000, mtime)
    decision = plan(version, Delivered(1, 20_000_000, mtime=5.0), remote, SFTP, KEEP)
    assert decision == Compare(start, 20_000_000)


def test_a_prefix_that_first_contact_continues_goes_on_after_a_break() -> None:
    assert plan(ONCE, None, Present(30, ours=True), SFTP, KEEP) == Append(30, 100)
    shown = Delivered(1, 60, mtime=5.0)
    assert plan(ONCE, shown, Present(60, 5.0), SFTP, KEEP) == Append(60, 100)


# -- whatever is asked -------------------------------------------------------------------------

sizes = st.integers(0, 6)
capabilities = st.builds(
    Capabilities, st.booleans(), st.booleans(), st.booleans(), readable=st.booleans()
)
policies = st.builds(
    Policy, st.sampled_from(["resend", "continue"]), st.sampled_from(["keep", "replace"]),
    st.booleans(),
)  # fmt: skip
mtimes = st.sampled_from([None, 1.0, 2.0])
remotes = (
    st.just(Unknown())
    | st.just(Absent())
    | st.builds(Present, st.integers(0, 9), mtimes, st.booleans(), st.none() | st.booleans())
)


@st.composite
def owed(draw: st.DrawFn) -> tuple[Version, Delivered | None]:
    """A version, and what was confirmed of it or of an older one, so that something is owed."""
    growing = draw(st.booleans())
    version = make_version(
        draw(st.integers(1, 2)),
        draw(sizes),
        growing=growing,
        may_grow=growing or draw(st.booleans()),
    )
    delivered = None
    if draw(st.booleans()):
        size = draw(sizes)
        delivered = Delivered(draw(st.integers(1, version.number)), size,
                              draw(st.integers(0, size)), draw(mtimes))  # fmt: skip
        assume(delivered.version < version.number or delivered.size < version.size)
    return version, delivered


@given(owed(), remotes, capabilities, policies, st.booleans())
def test_what_no_plan_ever_does(
    case: tuple[Version, Delivered | None],
    remote: Remote,
    can: Capabilities,
    policy: Policy,
    set_aside: bool,
) -> None:
    version, delivered = case
    decision = plan(version, delivered, remote, can, policy, set_aside=set_aside)
    shown = delivered.size if delivered and delivered.version == version.number else 0
    assert isinstance(decision, Look) == isinstance(remote, Unknown)
    if isinstance(decision, Append):
        assert isinstance(remote, Present), "into a file whose size it does not know"
        assert can.positioned_write
        assert version.may_grow, "a part of a rewritten file would show"
        assert 0 <= decision.start - decision.base <= remote.size, "a hole"
        assert decision.base + remote.size <= version.size, "what is there would stick out"
        assert decision.start < decision.end == version.size
        assert decision.start <= shown or remote.ours, "bytes that nobody saw there are left out"
    elif isinstance(decision, Send):
        assert decision.end == version.size, "less than what is owed"
        assert decision.base <= shown, "less than what is owed"
        assert decision.base == 0 or delivered is not None
        assert (decision.place == "replace") == can.atomic_replace
        if decision.set_aside or decision.conflict:
            assert isinstance(remote, Present), "there is nothing to set aside"
        elif set_aside and (delivered is None or delivered.version != version.number):
            is_kept = not isinstance(remote, Present) or remote.ours  # our own beginning
            assert is_kept, "what is to be kept is replaced"
        assert not (decision.set_aside and decision.conflict)
    elif isinstance(decision, Done):
        assert isinstance(remote, Present)
        assert remote.ours
        assert decision.size == version.size == decision.base + remote.size
    elif isinstance(decision, Compare):
        assert isinstance(remote, Present)
        assert can.readable
        assert remote.ours is None, "it would be asked for ever"
        assert 0 <= decision.start <= decision.end == remote.size
        assert decision.base + decision.end <= version.size, "what is compared must be ours"


contents = st.binary(max_size=8).map(lambda b: bytes(x % 2 + 97 for x in b))


def _carry_out(
    content: bytes, there: bytes | None, version: Version, done: Delivered | None, policy: Policy
) -> tuple[bytes | None, list[bytes], bool]:
    """Ask until it is delivered; gives the remote file, what was set aside, whether conflict."""
    remote: Remote = Unknown()
    aside: list[bytes] = []
    for _ in range(4):
        decision = plan(version, done, remote, SFTP, policy)
        if isinstance(decision, Look):
            remote = Absent() if there is None else Present(len(there))
        elif isinstance(decision, Compare):
            assert there is not None
            assert isinstance(remote, Present)
            ours = content[decision.base :][decision.start : decision.end]
            remote = replace(remote, ours=there[decision.start : decision.end] == ours)
        elif isinstance(decision, Append):
            assert there is not None
            at = decision.start - decision.base
            return there[:at] + content[decision.start : decision.end], aside, False
        elif isinstance(decision, Send):
            if decision.set_aside:
                assert there is not None
                aside.append(there)
            return content[decision.base : decision.end], aside, decision.conflict
        else:
            return there, aside, False
    raise AssertionError("it asks for ever")


@given(contents, st.none() | contents, st.booleans(), st.booleans(), st.data())
def test_whatever_is_there_afterwards_all_of_it_is_there(
    content: bytes, there: bytes | None, growing: bool, known: bool, data: st.DataObject
) -> None:
    """Nothing is torn, and of what another hand put there first nothing is lost."""
    version = make_version(1, len(content), growing=growing)
    done = None
    if known:
        assume(content)
        done = Delivered(1, data.draw(st.integers(0, len(content) - 1)))
    final, aside, conflict = _carry_out(content, there, version, done, KEEP)
    assert final == content
    if there is not None and done is None and not content.startswith(there):
        assert aside == [there]
    else:
        assert not aside
    if conflict:
        assert there is not None
        assert not there or not content.startswith(there)


@given(contents, st.data())
def test_what_consumers_take_and_what_they_find_joined_is_the_file(
    content: bytes, data: st.DataObject
) -> None:
    assume(content)
    shown = data.draw(st.integers(0, len(content) - 1))
    base = data.draw(st.integers(0, shown))
    there = data.draw(st.none() | st.just(content[base:shown]))
    version = make_version(1, len(content))
    final, aside, conflict = _carry_out(
        content, there, version, Delivered(1, shown, base), CONTINUE
    )
    taken = content[:shown] if there is None else content[:base]
    assert final is not None
    assert taken + final == content
    assert not aside
    assert not conflict


@pytest.mark.parametrize(
    ("delivered", "remote", "decision"),
    [
        (None, Unknown(), Look()),
        (None, Absent(), Send(0, 100, "replace", segment=True)),
        (None, Present(0), Send(0, 100, "replace", set_aside=True, segment=True)),
        (SHOWN, Unknown(), Send(60, 100, "replace", segment=True)),
        (SHOWN, Absent(), Send(60, 100, "replace", segment=True)),
        (Delivered(1, 100), Unknown(), Done(100)),
        (Delivered(0, 100), Unknown(), Send(0, 100, "replace", set_aside=True, segment=True)),
    ],
)
def test_in_segments(delivered: Delivered | None, remote: Remote, decision: Decision) -> None:
    """What was delivered is never looked at again; consumers may have taken it."""
    policy = Policy(segments=True)
    assert plan(GROWN, delivered, remote, WHOLE_FILES, policy) == decision
