"""How many bytes may be unacknowledged: enough to fill the link, and no more.

What is in flight when a link breaks has to be sent again, and whatever waits in a queue delays a
heartbeat. So the window follows the link: twice its delivery rate times its shortest round trip
(the two quantities that BBR measures: Cardwell et al., ACM Queue 14(5), 2016), four times over the
first 4 MiB of a connection, when the rate that is seen still grows with the window; at least
``min_bytes`` or what the link carries in a twentieth of a second, but never more than it carries in
two seconds, nor than ``max_bytes``. The twentieth is for links that are quicker than the two ends
of them: the shortest round trip is a small request's, and says nothing of how long a server, or
this process, may be busy with something else; it is no more than a sixteenth of what the connection
has carried, so that a link that breaks often has little to send again. Pure: time and sizes are
inputs.
"""

from __future__ import annotations

import msgspec

__all__ = ["Sent", "Window"]

_MEMORY_SECS = 10.0
_FIRST_CHUNK_BYTES = 32_768
_FIRST_WINDOW_BYTES = 65_536
_GAIN = 2
_STARTUP_GAIN = 4
"""What is seen of the rate is that of the window, until the window fills the link."""
_STARTUP_BYTES = 4 * 1024 * 1024
_QUEUE_SECS = 2.0
_UNREST_SECS = 0.05
_LEAST_CHUNK_BYTES = 4096
_UNPROVEN_CHUNK_BYTES = 256 * 1024
_CHUNK_SHARE = 32
_UNREST_SHARE = 16


class Sent(msgspec.Struct, frozen=True, gc=False):
    """What was noted when a request left; handed back when its acknowledgement comes."""

    at: float
    size: int
    acked_before: int
    charge: int
    """How much of the window it takes up."""


class Window:
    """The limit for one connection."""

    def __init__(self, min_bytes: int = 256 * 1024, max_bytes: int = 16 * 1024 * 1024) -> None:
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.in_flight_bytes = 0
        self._acked = 0
        self._rate = 0.0
        self._rate_at = 0.0
        self._round_trip: float | None = None
        self._round_trip_at = 0.0
        self._lone = _FIRST_CHUNK_BYTES
        self._latency: float | None = None

    @property
    def acked_bytes(self) -> int:
        """What was acknowledged over the connection's life."""
        return self._acked

    @property
    def limit_bytes(self) -> int:
        """The window as it stands."""
        if self._round_trip is None or not self._rate:
            return min(self.min_bytes, _FIRST_WINDOW_BYTES)
        unrest = min(int(self._rate * _UNREST_SECS), self._acked // _UNREST_SHARE)
        gain = _GAIN if self._acked >= _STARTUP_BYTES else _STARTUP_GAIN
        wanted = max(self.min_bytes, int(gain * self._rate * self._round_trip), unrest)
        most = max(2 * _LEAST_CHUNK_BYTES, int(_QUEUE_SECS * self._rate))
        return min(wanted, most, self.max_bytes)

    def chunk_bytes(self, most: int) -> int:
        """How much one request may move: about a second's worth, at most ``most``.

        So that on a slow link a request is answered, and a heartbeat gets its turn, in time. And
        no more than a quarter of the window: were there room for one request only, each would
        wait for the answer to the last, and the rate that is seen, and with it the window, would
        stay what it is for ever.
        """
        if not self._rate:
            return min(most, _FIRST_CHUNK_BYTES)
        quarter = max(_FIRST_CHUNK_BYTES, self.limit_bytes // 4)
        return min(most, quarter, max(_LEAST_CHUNK_BYTES, int(self._rate)))

    def lone_chunk_bytes(self, most: int) -> int:
        """The same for requests that are sent one by one, each after the answer to the last.

        The time to an answer is then lost to the link, so that a request is long enough for its
        bytes to take about as long, or a second. It is found by doubling and halving. And beyond
        256 KiB it is no more than 1/32 of what the connection has carried: a request that is
        broken off is sent again as a whole, so a link that breaks often gets small ones.
        """
        proven = max(_UNPROVEN_CHUNK_BYTES, self._acked // _CHUNK_SHARE)
        return min(most, proven, self._lone)

    def has_room(self, size: int, trips: int = 1) -> bool:
        """Whether a request of ``size`` bytes may leave. One may always be in flight.

        Args:
            trips: round trips that it takes: its bytes leave with the last one, so they are in
                flight for a part of the time only. (Were they charged as a whole, the rate that is
                seen would be that of a part of the window, and the window would never grow.)
        """
        charge = size // trips
        return not self.in_flight_bytes or self.in_flight_bytes + charge <= self.limit_bytes

    def sent(self, now: float, size: int, trips: int = 1) -> Sent:
        """A request leaves."""
        charge = size // trips
        self.in_flight_bytes += charge
        return Sent(now, size, self._acked, charge)

    def acked(self, now: float, sent: Sent) -> None:
        """Its acknowledgement came."""
        self.in_flight_bytes -= sent.charge
        took = max(now - sent.at, 1e-6)
        if not self.in_flight_bytes and self._acked == sent.acked_before:
            self._learn_from_lone(sent.size, took)
        self._acked += sent.size
        if (
            self._round_trip is None
            or took < self._round_trip
            or now - self._round_trip_at > _MEMORY_SECS
        ):
            self._round_trip, self._round_trip_at = took, now
        rate = (self._acked - sent.acked_before) / took
        if self._acked - sent.acked_before < _LEAST_CHUNK_BYTES:
            return  # too little at once to tell how much the link could carry
        if rate >= self._rate or now - self._rate_at > _MEMORY_SECS:
            self._rate, self._rate_at = rate, now

    def _learn_from_lone(self, size: int, took: float) -> None:
        """Nothing else was on its way: what is more than the latency, the bytes took."""
        if size < _LEAST_CHUNK_BYTES:
            self._latency = took if self._latency is None else min(took, self._latency)
            return
        wait = self._latency or 0.0
        if took - wait > 2 * (1 + wait):
            self._lone = max(_LEAST_CHUNK_BYTES, min(self._lone, size) // 2)
        elif took - wait < 0.5 + wait and size >= self._lone // 2:
            self._lone = min(2 * self._lone, self.max_bytes)
