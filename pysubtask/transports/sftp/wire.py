"""Many SFTP requests in flight over one channel, each with a deadline.

The wire numbers requests, gathers their bytes, sends them in few large pieces, and gives each
reply to the function that waits for it. What the requests mean is not its business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pysubtask.errors import LinkLost
from pysubtask.seams.clock import Clock
from pysubtask.transports.contract import SLOWEST_BYTES_PER_SEC
from pysubtask.transports.sftp.channel import Channel
from pysubtask.transports.sftp.codec import VERSION, Reply, ReplyDecoder, broken_protocol

__all__ = ["Done", "Wire"]

Done: TypeAlias = Callable[[Reply], None]

FLUSH_BYTES = 256 * 1024
"""Queued bytes beyond which :meth:`Wire.put` sends at once instead of waiting for more."""

NAP_SECS = 5.0
"""Nobody looked for longer than this: perhaps this process was stopped or the machine slept."""


class _Call:
    """One request that is not answered yet."""

    __slots__ = ("done", "due", "patience_secs", "sent_at", "size")

    def __init__(
        self, done: Done, size: int, sent_at: float, patience_secs: float, due: float
    ) -> None:
        self.done = done
        self.size = size
        self.sent_at = sent_at
        self.patience_secs = patience_secs
        self.due = due


class Wire:
    """The requests in flight on one channel. Used by one thread.

    Args:
        channel: connected, with the SFTP handshake done.
        clock: for deadlines.
        decoder: the one that the handshake used, so that no byte is lost between them.
        ack_timeout_secs: see :meth:`check`.
    """

    def __init__(
        self, channel: Channel, clock: Clock, decoder: ReplyDecoder, ack_timeout_secs: float
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._decoder = decoder
        self._ack_timeout_secs = ack_timeout_secs
        self._pending: dict[int, _Call] = {}
        self._next_id = 0
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._queued_calls: list[_Call] = []
        self._unanswered_bytes = 0
        self._last_reply_at = self._last_look_at = clock.monotonic()
        self._suspect_since: float | None = None

    @property
    def overdue_at(self) -> float | None:
        """The monotonic time at which :meth:`check` gives up; ``None`` if nothing is awaited."""
        oldest = next(iter(self._pending.values()), None)
        if oldest is None:
            return None
        return min(max(oldest.sent_at, self._last_reply_at) + oldest.patience_secs, oldest.due)

    def ask(self, done: Done, size: int = 0, extra_secs: float = 0.0) -> int:
        """Register a request and give its id; its bytes follow by :meth:`put`.

        Args:
            done: gets the reply.
            size: bytes of data that the request sends or asks for: they earn it more time.
            extra_secs: further time, for what the server has to do.
        """
        request_id = self._next_id
        self._next_id = (request_id + 1) & 0xFFFF_FFFF
        now = self._clock.monotonic()
        patience = self._ack_timeout_secs + extra_secs
        self._unanswered_bytes += size
        call = _Call(
            done,
            size,
            now,
            patience + size / SLOWEST_BYTES_PER_SEC,
            now + patience + self._unanswered_bytes / SLOWEST_BYTES_PER_SEC,
        )
        self._pending[request_id] = call
        self._queued_calls.append(call)
        return request_id

    def put(self, *parts: bytes) -> None:
        """Queue the bytes of a request, and send what is queued if it has become much.

        Raises:
            LinkError: the channel broke.
        """
        for part in parts:
            self._queue.append(part)
            self._queued_bytes += len(part)
        if self._queued_bytes > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send everything that is queued, together.

        Raises:
            LinkError: the channel broke.
        """
        if self._queue:
            parts, self._queue = self._queue, []
            self._queued_bytes = 0
            # They share SSH packets, of which nothing is seen before the last byte has come: a
            # small request in front waits for the data behind it.
            together_bytes = sum(call.size for call in self._queued_calls)
            for call in self._queued_calls:
                others_secs = (together_bytes - call.size) / SLOWEST_BYTES_PER_SEC
                call.patience_secs += others_secs
                call.due += others_secs
            self._queued_calls.clear()
            self._channel.send(*parts)

    def receive(self) -> bool:
        """Hand out all replies that have arrived; whether there were any.

        Raises:
            LinkError: the channel broke, or the server does not speak SFTP. Replies that came
                before were handed out.
        """
        any_reply = False
        while data := self._channel.receive():
            for reply in self._decoder.feed(data):
                call = self._pending.pop(reply.request_id, None)
                if call is None or reply.kind == VERSION:
                    raise broken_protocol("it answered a request that nobody had made")
                self._unanswered_bytes -= call.size
                any_reply = True
                call.done(reply)
            if self._decoder.broken is not None:
                raise self._decoder.broken
        if any_reply:
            self._last_reply_at = self._clock.monotonic()
            self._suspect_since = None
        return any_reply

    def check(self) -> None:
        """Give up if the oldest request has waited too long.

        Too long is ``ack_timeout_secs`` without any reply, or ``ack_timeout_secs`` for this one
        even if others were answered; in both cases plus the time that its bytes (in the second
        case all bytes before it, too) take at ``SLOWEST_BYTES_PER_SEC``. If this process has
        not looked for a while, the answer gets half a second more: it may have been here that time
        was lost.

        Raises:
            LinkLost: the oldest request is overdue.
        """
        now = self._clock.monotonic()
        napped = now - self._last_look_at > NAP_SECS
        self._last_look_at = now
        overdue_at = self.overdue_at
        if overdue_at is None or now <= overdue_at:
            self._suspect_since = None
            return
        if self._suspect_since is None:
            self._suspect_since = now
            if napped:
                return
        elif now - self._suspect_since < 0.5:
            return
        oldest = next(iter(self._pending.values()))
        raise LinkLost(
            f"the server has not answered for {now - oldest.sent_at:.0f} s",
            hint="the link or the server is frozen, or slower than it should be",
        )
