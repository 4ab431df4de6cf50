"""The wire between the child and the server: latency, rate, cuts, silence.

Each direction carries its bytes in order. A cut may fall anywhere: bytes that are on their way are
lost (of the first packet some may still arrive), or they arrive and the answers are lost. After
silence (``mute``) nobody is told: only a limit of the client's own helps.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from pysubtask.errors import LinkError, LinkLost, LoginRefused
from pysubtask.transports.contract import Wake
from tests.simulation.clock import Killed, SimClock
from tests.simulation.server import Session, SimServer

__all__ = ["SimChannel", "SimConnector", "SimNetwork"]

_SEND_BUFFER_BYTES = 262_144
_CONNECT_LIMIT_SECS = 10.0
_LONG_WAIT_NS = 2_000_000_000
_CALL_LIMIT_SECS = 5.0


class _Direction:
    """Bytes on their way to one end."""

    def __init__(self, network: SimNetwork, arrive: Callable[[bytes], None]) -> None:
        self._network = network
        self._arrive = arrive
        self._flight: deque[tuple[int, bytes]] = deque()
        self._free_ns = 0
        self._last_ns = 0
        self.open = True
        self.sent_bytes = 0

    def queued_until_ns(self) -> int:
        """When the sender's own buffer will have been emptied."""
        return self._free_ns

    def send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        if not self.open:
            return
        network = self._network
        now_ns = network.clock.now_ns
        self._free_ns = max(self._free_ns, now_ns)
        if network.bytes_per_sec:
            self._free_ns += len(data) * 1_000_000_000 // network.bytes_per_sec
        arrival_ns = self._free_ns + network.latency_ns
        if network.jitter_ns:
            arrival_ns += network.rng.randrange(network.jitter_ns)
        arrival_ns = max(arrival_ns, self._last_ns)
        self._last_ns = arrival_ns
        self._flight.append((arrival_ns, bytes(data)))
        network.clock.at(arrival_ns, self._land)

    def _land(self) -> None:
        if self.open and self._flight and self._flight[0][0] <= self._network.clock.now_ns:
            self._arrive(self._flight.popleft()[1])

    def cut(self, rng: random.Random) -> None:
        """Nothing more arrives, but perhaps a part of what would have come next."""
        if not self.open:
            return
        if self._flight and rng.random() < 0.5:
            _, data = self._flight[0]
            self.open = False
            part = data[: rng.randrange(len(data) + 1)]
            if part:
                self._arrive(part)
        self.open = False
        self._flight.clear()


class _Link:
    """One connection."""

    def __init__(self, network: SimNetwork, wake: Wake) -> None:
        self.network = network
        self.wake = wake
        self.inbox = bytearray()
        self.ended = False
        """The client's system knows that the connection is gone."""
        self.session: Session = network.server.session(self._from_server)
        self.up = _Direction(network, self.session.feed)
        self.down = _Direction(network, self._to_client)

    def _from_server(self, data: bytes) -> None:
        self.down.send(data)

    def _to_client(self, data: bytes) -> None:
        self.inbox += data
        self.wake()

    def cut(self, rng: random.Random, how: str) -> None:
        """``up``: requests on their way are lost; ``down``: answers are; ``both``."""
        if how != "down":
            self.up.cut(rng)
        if how != "up":
            self.down.cut(rng)
        delay_ns = self.network.latency_ns * 2 + 1_000_000
        self.network.clock.after(delay_ns, self._end)

    def mute(self, rng: random.Random) -> None:
        """Nothing passes any more, and nobody is told."""
        self.up.cut(rng)
        self.down.cut(rng)
        self.network.clock.after(30_000_000_000, lambda: self.session.lose(rng))

    def _end(self) -> None:
        self.up.open = self.down.open = False
        self.session.lose(self.network.rng)
        if not self.ended:
            self.ended = True
            self.wake()

    def client_gone(self) -> None:
        """The client closed or died: what its system has already taken still arrives."""
        self.ended = True
        self.wake = lambda: None
        self.down.open = False
        last_ns = max(self.up._last_ns, self.network.clock.now_ns)
        self.network.clock.at(last_ns + 1, lambda: self.session.lose(self.network.rng))


class SimNetwork:
    """All that lies between the two machines."""

    def __init__(
        self,
        clock: SimClock,
        rng: random.Random,
        server: SimServer,
        *,
        latency_ns: int = 1_000_000,
        jitter_ns: int = 0,
        bytes_per_sec: int = 0,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.server = server
        self.latency_ns = latency_ns
        self.jitter_ns = jitter_ns
        self.bytes_per_sec = bytes_per_sec
        self.refusing = ""
        """``""``, ``"refuse"``, ``"silent"`` (until the client's limit) or ``"login"``."""
        self.links: list[_Link] = []
        self.connects = 0
        self.up_bytes = 0
        server.cut = self._server_cuts

    def open_link(self, wake: Wake) -> _Link:
        link = _Link(self, wake)
        self.links.append(link)
        self.connects += 1
        return link

    @property
    def current(self) -> _Link | None:
        """The connection that a client is using now."""
        return self.links[-1] if self.links and not self.links[-1].ended else None

    def cut(self, how: str) -> bool:
        """Cut the connection in use. False if there is none."""
        link = self.current
        if link is None:
            return False
        if how == "mute":
            link.mute(self.rng)
        else:
            link.cut(self.rng, how)
        return True

    def lose_client(self) -> None:
        """The client's machine has lost its power: nothing of it arrives, or is received, any
        more, and the server is not told."""
        for link in self.links:
            link.up.cut(self.rng)
            link.session.orphaned = True
            link.ended = True
            link.wake = lambda: None

    def _server_cuts(self, session: Session) -> None:
        for link in self.links:
            if link.session is session:
                self.clock.after(0, lambda link=link: link.cut(self.rng, "both"))  # type: ignore[misc]

    def heal(self) -> None:
        """No more faults: connections are possible, silent ones are told that they ended."""
        self.refusing = ""
        for link in self.links:
            if not link.up.open or not link.down.open:
                link._end()


class SimChannel:
    """The client's end of a connection: the ``Channel`` seam."""

    def __init__(
        self,
        link: _Link,
        before_call: Callable[[str, str], None],
        pause: Callable[[int], None] | None = None,
    ) -> None:
        self._link = link
        self.software = link.network.server.kind.software
        self._before_call = before_call
        self._pause = pause or link.network.clock.advance
        self._closed = False

    def send(self, *parts: bytes) -> None:
        data = b"".join(parts)
        link = self._link
        try:
            self._before_call("send", "")
        except Killed as killed:
            if killed.args and not self._closed and not link.ended:
                link.up.send(bytes(data[: int(len(data) * float(killed.args[0]))]))
            raise
        if self._closed or link.ended:
            raise LinkLost("the connection is gone", operation="send")
        network = link.network
        network.up_bytes += len(data)
        link.up.send(bytes(data))
        if network.bytes_per_sec:
            buffered_ns = _SEND_BUFFER_BYTES * 1_000_000_000 // network.bytes_per_sec
            wait_ns = link.up.queued_until_ns() - network.clock.now_ns - buffered_ns
            if wait_ns > 0:
                self._pause(wait_ns)

    def receive(self) -> bytes:
        self._before_call("receive", "")
        link = self._link
        if link.inbox:
            data = bytes(link.inbox)
            link.inbox.clear()
            return data
        if link.ended or self._closed:
            raise LinkLost("the server closed the connection", operation="receive")
        return b""

    def wait(self, timeout_secs: float) -> None:
        self._before_call("wait", "")
        link = self._link
        clock = link.network.clock
        until_ns = clock.now_ns + max(0, int(timeout_secs * 1e9))
        long_ns = clock.now_ns + _LONG_WAIT_NS  # from then on, the main loop is let look on
        while not link.inbox and not link.ended:
            next_ns = clock.next_event_ns()
            if next_ns is None or next_ns > until_ns:
                self._let_pass(until_ns, long_ns)
                return
            if next_ns < long_ns:
                clock.run_next()
            else:
                self._let_pass(next_ns, long_ns)

    def _let_pass(self, until_ns: int, long_ns: int) -> None:
        clock = self._link.network.clock
        clock.advance_to(max(clock.now_ns, min(until_ns, long_ns)))
        if clock.now_ns < until_ns:
            self._pause(until_ns - clock.now_ns)

    def travel(self, size: int, *, back: bool = False) -> None:
        """For who makes calls instead of sending bytes: a message of that size goes one way.

        Raises:
            LinkLost: it did not get through.
        """
        self._before_call("call", "")
        link = self._link
        network = link.network
        took_ns = network.latency_ns
        if network.jitter_ns:
            took_ns += network.rng.randrange(network.jitter_ns)
        if network.bytes_per_sec:
            took_ns += size * 1_000_000_000 // network.bytes_per_sec
        if not back:
            network.up_bytes += size
        self._pause(took_ns)
        way = link.down if back else link.up
        if not way.open and not link.ended:  # nobody was told: the client's limit
            self._pause(int(_CALL_LIMIT_SECS * 1e9))
        down = link.session.broken and not back  # the server's machine stopped meanwhile
        if link.ended or self._closed or not way.open or down:
            raise LinkLost("the connection is gone", operation="call")

    def stall(self, duration_ns: int) -> None:
        """For who makes calls: the server takes its time to answer.

        Raises:
            LinkLost: too much of it; what comes then reaches nobody.
        """
        limit_ns = int(_CALL_LIMIT_SECS * 1e9)
        self._pause(min(duration_ns, limit_ns))
        if duration_ns > limit_ns:
            self.break_off()

    def break_off(self) -> None:
        """The connection ends here.

        Raises:
            LinkLost: always.
        """
        self._link.cut(self._link.network.rng, "both")
        self._link.ended = True
        raise LinkLost("the connection is gone", operation="call")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._link.client_gone()


class SimConnector:
    """Makes connections for one child process: the ``Connector`` seam.

    ``pause(duration_ns)`` lets time pass while the caller waits.
    """

    def __init__(
        self,
        network: SimNetwork,
        before_call: Callable[[str, str], None],
        pause: Callable[[int], None] | None = None,
    ) -> None:
        self.network = self._network = network
        self._before_call = before_call
        self._pause = pause or network.clock.advance
        self.channels: list[SimChannel] = []

    def __call__(self, wake: Wake) -> SimChannel:
        self._before_call("connect", "")
        network = self._network
        # TCP, key exchange and login: some six round trips
        self._pause(12 * network.latency_ns + 1_000_000)
        if network.refusing == "silent":
            self._pause(int(_CONNECT_LIMIT_SECS * 1e9))
            raise LinkError("no answer", operation="connect")
        if network.refusing == "login":
            raise LoginRefused("wrong password", operation="log in")
        if network.refusing:
            raise LinkError("connection refused", operation="connect")
        channel = SimChannel(network.open_link(wake), self._before_call, self._pause)
        self.channels.append(channel)
        return channel

    def abandon(self) -> None:
        """The process died: its system closes what it held."""
        for channel in self.channels:
            channel.close()
