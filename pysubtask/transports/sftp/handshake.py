"""The SFTP handshake: ``INIT``, ``VERSION``, and the server's limits where it tells them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from pysubtask.errors import LinkError, LinkLost
from pysubtask.seams.clock import Clock
from pysubtask.transports.contract import Capabilities
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.channel import HUNG_UP, Channel
from pysubtask.transports.sftp.codec import Reply, ReplyDecoder, VersionReply, broken_protocol
from pysubtask.transports.sftp.dialect import is_openssh

__all__ = ["Server", "shake_hands"]

SAFE_BYTES = 32_768
"""The draft, section 4: every server takes packets of 34,000 bytes, so 32 KiB of data fit."""

SAFE_HANDLES = 100
"""A server that tells no limit: OpenSSH allowed 100 open handles before release 5.0."""

LEAST_BYTES = 1_024
"""No server has a smaller limit; one that says so would have us pay for heads, not for data."""

MOST_FILES = 2_048
_UNSAID_HANDLES = 2_056
"""Of a server that does not say how many files may be open: 1,024 at a time."""
MOST_READ_BYTES = 261_120
"""What fits into the largest reply that the decoder takes."""


_OLD_RCLONE = (
    "this rclone (before 1.75) replaces what stands before a continued write by zeros, once it "
    "writes its cache back: nothing is continued there, each version is sent as a whole"
)


@dataclass(frozen=True, slots=True)
class Server:
    """What the handshake told."""

    capabilities: Capabilities
    extensions: tuple[tuple[bytes, bytes], ...]
    """Name and value, in the server's order."""
    max_handles: int
    """Open at once, folders included."""
    statvfs: bool
    """Free space can be asked for."""
    careful_rename: bool
    """The draft's ``RENAME`` is known to refuse an existing target."""


def shake_hands(
    channel: Channel, clock: Clock, timeout_secs: float, max_write_bytes: int
) -> tuple[Server, ReplyDecoder]:
    """Greet the server and learn what it can do.

    Raises:
        LinkError: the server does not answer in time, does not speak SFTP 3, or the channel broke.
    """
    decoder = ReplyDecoder()
    deadline = clock.monotonic() + timeout_secs
    channel.send(codec.encode_init())
    reply = _await_reply(channel, clock, decoder, deadline, timeout_secs)
    greeting = reply.value
    if not isinstance(greeting, VersionReply):
        raise broken_protocol("it did not answer the greeting")
    if greeting.version != codec.PROTOCOL_VERSION:
        raise LinkError(
            f"the server speaks SFTP version {greeting.version}, not 3", operation="greet"
        )
    limits = None
    if codec.extension_value(greeting.extensions, b"limits@openssh.com") == b"1":
        channel.send(codec.encode_limits(0))
        reply = _await_reply(channel, clock, decoder, deadline, timeout_secs)
        if reply.request_id != 0:
            raise broken_protocol("it answered a request that nobody had made")
        if reply.kind == codec.EXTENDED_REPLY and isinstance(reply.value, bytes):
            limits = codec.decode_limits(reply.value)
    server = _describe(greeting, limits, max_write_bytes)
    software = str(getattr(channel, "software", ""))
    if not (is_openssh(greeting.extensions) or _tells_of_short_writes(software)):
        can = replace(server.capabilities, short_writes=True)
        if software.startswith("mod_sftp"):  # one process, one request after the other
            can = replace(can, sequential=True)
        server = replace(server, capabilities=can)
    if _zeroes_what_it_continues(software):
        can = server.capabilities
        can = replace(
            can,
            positioned_write=False,
            limits=(*can.limits, _OLD_RCLONE),
            told=can.told | {"positioned_write"},
        )
        server = replace(server, capabilities=can)
    return server, decoder


def _await_reply(
    channel: Channel, clock: Clock, decoder: ReplyDecoder, deadline: float, timeout_secs: float
) -> Reply:
    while True:
        try:
            replies = decoder.feed(channel.receive())
        except LinkLost as error:
            if "closed the connection" in error.message:
                error.hint = error.hint or HUNG_UP
            raise
        if replies:
            if len(replies) > 1:
                raise broken_protocol("it answered a request that nobody had made")
            return replies[0]
        if decoder.broken is not None:
            decoder.broken.hint = (
                "a start-up file of the account that prints something, or no SFTP server"
            )
            raise decoder.broken
        remaining = deadline - clock.monotonic()
        if remaining <= 0:
            raise LinkLost(
                f"the server did not answer the SFTP greeting within {timeout_secs:.0f} s",
                operation="greet",
            )
        channel.wait(remaining)


def _describe(greeting: VersionReply, limits: codec.Limits | None, max_write_bytes: int) -> Server:
    openssh = is_openssh(greeting.extensions)
    offered: Callable[[bytes, bytes], bool] = lambda name, value: (  # noqa: E731
        codec.extension_value(greeting.extensions, name) == value
    )
    write = read = SAFE_BYTES
    handles = SAFE_HANDLES
    if limits is not None:
        # A limit of 0 is none; a packet holds 1 KiB of other things in OpenSSH's reckoning.
        packet = limits.packet - 1024 if limits.packet > 2048 else SAFE_BYTES
        write = min(limits.write or packet, packet)
        read = min(limits.read or packet, packet)
        handles = min(limits.open_handles or _UNSAID_HANDLES, 1 << 20)
    replaces = offered(b"posix-rename@openssh.com", b"1")
    copies = offered(b"copy-data", b"1")
    syncs = offered(b"fsync@openssh.com", b"1")
    capabilities = Capabilities(
        positioned_write=True,
        sequential=openssh,
        atomic_replace=replaces,
        server_copy=copies,
        fsync=syncs,
        limits=_lacks(replaces=replaces, copies=copies, syncs=syncs),
        told=frozenset({"atomic_replace", "server_copy", "fsync"}),
        max_write_bytes=min(max(LEAST_BYTES, write), max_write_bytes),
        max_read_bytes=min(max(LEAST_BYTES, read), MOST_READ_BYTES),
        # A copy needs two handles, a listing one more.
        max_files=max(1, min((handles - 8) // 2, MOST_FILES)),
    )
    return Server(
        capabilities=capabilities,
        extensions=greeting.extensions,
        max_handles=max(2, handles),
        statvfs=offered(b"statvfs@openssh.com", b"2"),
        careful_rename=openssh,
    )


def _lacks(*, replaces: bool, copies: bool, syncs: bool) -> tuple[str, ...]:
    """What the server does not offer, and what that costs."""
    limits = []
    if not replaces:
        limits.append(
            "the server can't replace a file in one step (posix-rename): a new version is complete "
            "before the old one is removed, but for a moment there is no file"
        )
    if not copies:
        limits.append(
            "the server can't copy (copy-data): a file that changed inside is sent as a whole"
        )
    if not syncs:
        limits.append(
            "the server does not say when data are on its disk (fsync): if its power fails, it may "
            "lose what it acknowledged last"
        )
    return tuple(limits)


def _zeroes_what_it_continues(software: str) -> bool:
    """``rclone serve sftp`` from 1.65 to 1.74 was seen to do so (``docs/destinations.md``)."""
    found = re.match(r"rclone/v?(\d+)\.(\d+)", software)
    return found is not None and (int(found[1]), int(found[2])) < (1, 75)


def _tells_of_short_writes(software: str) -> bool:
    """Servers in Go refuse a write that they could only take a part of (``io.Writer`` has to say
    why it is short), as OpenSSH does. ProFTPD's mod_sftp was seen not to."""
    return software.startswith(("rclone/", "SFTPGo", "Go"))
