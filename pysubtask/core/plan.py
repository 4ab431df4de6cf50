"""What to send, given both sides: a pure function.

:func:`plan` is asked with what is owed, what was confirmed, what the destination shows and what it
can do; it answers with one :data:`Decision`. Where it has to know more first it answers
:class:`Look` or :class:`Compare`, and is asked again with the answer.

====================================  ====================  =======================================
local change since the last delivery  the destination       decision
====================================  ====================  =======================================
grew, prefix unchanged                positioned writes     :class:`Append`
grew, prefix unchanged                no positioned writes  :class:`Send` the whole file
new, changed or replaced              atomic replace        :class:`Send`, placed by ``replace``
new, changed or replaced              rename only           :class:`Send`, placed by ``swap``
changed inside                        server-side copy      :class:`Send`, see :func:`may_reuse`
remote gone                           "resend"              :class:`Send` from byte 0
remote gone                           "continue"            :class:`Send` from the first byte owed
first contact, ours is a prefix       positioned writes     :class:`Append` from the remote's end
first contact, ours is a prefix       no positioned writes  :class:`Send` the whole file
first contact, anything else          "keep"                :class:`Send`, the old one set aside
first contact, anything else          "replace"             :class:`Send`
remote changed by another hand                              :class:`Send` from byte 0, a conflict
remote longer, after an unclean boot                        :class:`Send`, the old one set aside
new, another size than noted, after such                    as at first contact, "keep"
in segments: grew                                           :class:`Send` of the new bytes only
in segments: new version                                    the same, the old folder set aside
====================================  ====================  =======================================
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.model import Delivered, Upload, Version

__all__ = [
    "Absent",
    "Append",
    "Compare",
    "Decision",
    "Done",
    "Look",
    "Place",
    "Policy",
    "Present",
    "Remote",
    "Send",
    "Unknown",
    "may_reuse",
    "plan",
]

READ_BACK_BYTES = 32_768
"""How much of the remote file's end is compared before it is continued after a break."""
ODD_READ_BACK_BYTES = 16 * 1024 * 1024
"""The same where there is less than was left there, or its time is another: somebody was there, or
a server has put an older version back."""


class Policy(msgspec.Struct, frozen=True, gc=False):
    """The settings that a plan depends on."""

    on_remote_gone: Literal["resend", "continue"] = "resend"
    on_first_contact: Literal["keep", "replace"] = "keep"
    unclean_boot: bool = False
    """The machine went down: the server may hold more of ours than the journal knows."""
    noted_since: float = math.inf
    """After an unclean boot: what was noted as delivered since then (Unix seconds) is certain."""

    def doubts(self, delivered: Delivered) -> bool:
        """Whether what the journal says of the destination may be out of date."""
        return self.unclean_boot and delivered.at < self.noted_since

    segments: bool = False
    """This file goes piece by piece: each delivery is a file of its own in one folder, which is
    what the remote side of a plan is then about. What was delivered is not looked at again."""


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """Nobody has looked since the connection was made."""


class Absent(msgspec.Struct, frozen=True, gc=False):
    """No file of that name is at the destination."""


class Present(msgspec.Struct, frozen=True, gc=False):
    """A file is there.

    ``sure``: this connection itself saw it at that size after our last write to it. ``ours`` is
    the answer to :class:`Compare`: True if the compared bytes are those of the version, False if
    not, None if nobody compared. ``untold``: that was tried, and told nothing; ``past_telling``:
    nor will it, for of ours none are left.
    """

    size: int
    mtime: float | None = None
    sure: bool = False
    ours: bool | None = None
    untold: bool = False
    past_telling: bool = False


Remote: TypeAlias = Unknown | Absent | Present
Place: TypeAlias = Literal["replace", "swap"]


class Done(msgspec.Struct, frozen=True, gc=False):
    """The destination already shows all of the version up to ``size``."""

    size: int
    base: int = 0


class Look(msgspec.Struct, frozen=True, gc=False):
    """Stat the remote file and ask again."""


class Compare(msgspec.Struct, frozen=True, gc=False):
    """Compare the remote bytes ``[start, end)`` with the version's and ask again.

    Remote offset 0 is local offset ``base``.
    """

    start: int
    end: int
    base: int = 0


class Append(msgspec.Struct, frozen=True, gc=False):
    """Write the local bytes ``[start, end)`` at ``start - base`` of the visible file.

    ``longer``: the remote file has that many bytes already, which can't be compared with ours, or
    may be in a cache only; writing ours over them changes nothing where they are the same.
    """

    start: int
    end: int
    base: int = 0
    longer: int = 0


class Send(msgspec.Struct, frozen=True, gc=False):
    """Upload the local bytes ``[base, end)`` under a temporary name, then put it in place.

    ``set_aside``: what is there is renamed first. ``conflict``: what is there was changed by
    another hand; say so, and do it no more than once an hour. ``segment``: it becomes a file of
    its own in the folder of segments; ``set_aside`` is about the folder then.
    """

    base: int
    end: int
    place: Place
    set_aside: bool = False
    conflict: bool = False
    segment: bool = False


Decision: TypeAlias = Done | Look | Compare | Append | Send


def plan(
    version: Version,
    delivered: Delivered | None,
    remote: Remote,
    can: Capabilities,
    policy: Policy,
    *,
    set_aside: bool = False,
) -> Decision:
    """Decide the next step for the oldest version that is owed.

    Args:
        version: what is owed, up to ``version.size``.
        delivered: what was confirmed at the destination, of this or an older version.
        remote: what the destination shows.
        can: what it can do.
        policy: what the user wants in the cases that are a matter of taste.
        set_aside: what is there of an older version is to be kept (:meth:`Entry.sets_aside`).
    """
    if policy.segments and delivered is not None:
        return _next_segment(version, delivered, can)
    if isinstance(remote, Unknown):
        return Look()
    if policy.segments:
        aside = isinstance(remote, Present)
        return replace(_send(version, can, set_aside=aside), segment=True)
    keep = replace(policy, on_first_contact="keep")
    if delivered is None:
        return _first_contact(version, remote, can, keep if set_aside else policy)
    if delivered.version != version.number:
        if isinstance(remote, Present) and _is_in_doubt(delivered, remote, policy):
            # A part of this version, or more than that, may have come before the power failed.
            return _first_contact(version, remote, can, keep)
        return _send(version, can, set_aside=set_aside and isinstance(remote, Present))
    if isinstance(remote, Absent):
        if policy.on_remote_gone == "continue":
            return _send(version, can, base=delivered.size)
        return _send(version, can)
    return _continue(version, delivered, remote, can, policy)


def _is_in_doubt(delivered: Delivered, remote: Present, policy: Policy) -> bool:
    """Whether there is more, or less, than was noted before an unclean boot."""
    another_size = not remote.sure and remote.size != delivered.remote_size
    return another_size and policy.doubts(delivered)


def _first_contact(
    version: Version, remote: Absent | Present, can: Capabilities, policy: Policy
) -> Decision:
    if isinstance(remote, Absent):
        return _send(version, can)
    if policy.on_first_contact == "replace":
        return _send(version, can)
    may_be_prefix = remote.size == version.size or (version.may_grow and remote.size < version.size)
    if may_be_prefix and can.readable and remote.ours is None:
        return Compare(0, remote.size)
    if may_be_prefix and remote.ours:
        return _append(version, remote.size, 0, can)
    return _send(version, can, set_aside=True)


def _continue(
    version: Version, delivered: Delivered, remote: Present, can: Capabilities, policy: Policy
) -> Decision:
    """The destination was left with a part of this very version."""
    base = delivered.base
    expected = delivered.remote_size
    owed = version.size - base
    doubtful = policy.doubts(delivered)
    if remote.sure and remote.size == expected:
        return _append(version, delivered.size, base, can)
    known = remote.mtime is not None and remote.mtime == delivered.mtime
    unchanged = known and not doubtful
    if remote.size == expected and unchanged:
        return _append(version, delivered.size, base, can)
    if remote.size > owed:
        return _send(version, can, conflict=not doubtful, set_aside=doubtful)
    if remote.ours is False:
        return _send(version, can, conflict=not doubtful, set_aside=doubtful)
    touched = remote.mtime is not None and delivered.mtime is not None and not known
    if remote.ours is None and can.readable and remote.size:
        # a byte of ours may have arrived unconfirmed; a byte of somebody else's may have, too
        is_odd = remote.size < expected or (touched and remote.size == expected)
        back_bytes = ODD_READ_BACK_BYTES if is_odd else READ_BACK_BYTES
        return Compare(max(0, min(expected, remote.size) - back_bytes), remote.size, base)
    if remote.ours is None and doubtful and remote.size:
        return _send(version, can, base=base)  # nobody can tell what is there: send it again
    if remote.past_telling and remote.size == expected and touched:
        # No byte of ours has come since, but something has, or the server lost what it had: what
        # is owed must not be written behind another content.
        return _send(version, can, base=base, conflict=not doubtful)
    if remote.size < expected and not remote.ours:
        return _send(version, can, conflict=not doubtful, set_aside=doubtful)
    if remote.ours or not remote.size:
        start = base + remote.size
        if remote.size > expected and can.fsync and can.positioned_write and version.may_grow:
            # What came unconfirmed may be in a cache only: its last byte once more, and it is
            # synced. Alone: a server whose disk is full may take it, and what is behind it not.
            # Where the cache is this machine's, all of it: what a sync has refused is still shown.
            if can.synced_every_bytes:
                return Append(base + expected, start, base, longer=remote.size)
            return Append(start - 1, start, base)
        return _append(version, start, base, can)
    return _append(version, delivered.size, base, can, longer=remote.size)


def _next_segment(version: Version, delivered: Delivered, can: Capabilities) -> Decision:
    if delivered.version != version.number:
        return replace(_send(version, can, set_aside=True), segment=True)
    if delivered.size >= version.size:
        return Done(version.size, delivered.base)
    return replace(_send(version, can, base=delivered.size), segment=True)


def _append(
    version: Version, start: int, base: int, can: Capabilities, longer: int = 0
) -> Decision:
    if start >= version.size:
        return Done(version.size, base)
    if not can.positioned_write or not version.may_grow:
        return _send(version, can, base=base)
    return Append(start, version.size, base, longer)


def _send(
    version: Version,
    can: Capabilities,
    *,
    base: int = 0,
    set_aside: bool = False,
    conflict: bool = False,
) -> Send:
    place: Place = "replace" if can.atomic_replace else "swap"
    return Send(base, version.size, place, set_aside, conflict)


def may_reuse(
    version: Version, delivered: Delivered, upload: Upload, can: Capabilities, policy: Policy
) -> bool:
    """Whether what stands at the destination may give some of what is uploaded to take its place.

    Not what somebody else may have changed, nor, after an unclean boot, what nobody knows.
    """
    return (
        can.server_copy
        and can.readable
        and delivered.version != version.number
        and not delivered.base
        and not upload.base
        and not (upload.set_aside or upload.conflict or policy.doubts(delivered))
    )
