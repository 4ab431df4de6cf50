"""A TCP link that can be slow, long, cut or frozen: a user-space relay on loopback."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import cast

__all__ = ["TcpProxy", "Way"]

_PIECE_BYTES = 65536
_MOST_QUEUED_BYTES = 4 * 1024 * 1024


@dataclass
class Way:
    """One direction of one connection."""

    source: socket.socket
    sink: socket.socket
    up: bool
    target: tuple[str, int] = ("", 0)
    queue: list[tuple[float, int, bytes]] = field(default_factory=list)
    queued_bytes: int = 0
    busy_until: float = 0.0
    last_due: float = 0.0
    """Nothing overtakes what came before it, though delays change."""
    ended: bool = False
    shut: bool = False
    shut_at: float | None = None


class TcpProxy:
    """``with TcpProxy("127.0.0.1", port) as link:`` and connect to :attr:`host`, :attr:`port`.

    The settings may be changed while it runs. Up is from the client to the server.

    Args:
        target_host, target_port: where connections are relayed to.
        delay_secs: time that each byte takes, per direction: half a round trip.
        bytes_per_sec: rate, per direction and connection; ``None``: no limit.
        cut_after_up, cut_after_down: a connection is cut (RST) when so many of its payload bytes
            have passed; the rest of the piece is lost. ``None``: never.

    What toxiproxy (https://github.com/Shopify/toxiproxy) calls toxics is here, too: *latency*
    (``delay_secs``, ``jitter_secs``), *bandwidth* (``bytes_per_sec``), *slow_close*
    (``slow_close_secs``), *slicer* (``slice_bytes``, ``slice_gap_secs``), *limit_data*
    (``end_after_bytes``), *timeout* (:meth:`swallow`), *reset_peer* (:meth:`reset_in`) and *down*
    (:meth:`go_down`).

    Attributes:
        jitter_secs: up to so much more time, at random, for each piece.
        slow_close_secs: the other side hears so much later that one side has ended.
        slice_bytes: pieces have about so many bytes; ``None``: as they come.
        slice_gap_secs: time between two slices.
        end_after_bytes: a connection is ended in order (FIN), on both sides, when so many bytes
            have passed, whichever way; the rest is lost. ``None``: never.
        bytes_up, bytes_down: payload bytes passed on, over all connections.
        connections: accepted so far.
        cuts: connections cut so far.
    """

    THREAD_NAME = "tcp proxy"

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        delay_secs: float = 0.0,
        bytes_per_sec: float | None = None,
        cut_after_up: int | None = None,
        cut_after_down: int | None = None,
    ) -> None:
        self._target = target_host, target_port
        self.delay_secs = delay_secs
        self.bytes_per_sec = bytes_per_sec
        self.cut_after_up = cut_after_up
        self.cut_after_down = cut_after_down
        self.jitter_secs = self.slow_close_secs = self.slice_gap_secs = 0.0
        self.slice_bytes: int | None = None
        self.end_after_bytes: int | None = None
        self._swallow_until: float | None = None
        self._reset_at: float | None = None
        self.bytes_up = self.bytes_down = 0
        self.connections = self.cuts = 0
        self.host = "127.0.0.1"
        self.port = 0
        self._frozen = threading.Event()
        self._refusing = False
        self._stopping = False
        self._numbers = itertools.count()
        self._rng = random.Random()
        self._passed: dict[int, list[int]] = {}
        self._pairs: list[tuple[Way, Way]] = []
        self._listeners: dict[socket.socket, tuple[str, int]] = {}
        """Further ones, each for one connection to its target."""
        self._lock = threading.Lock()

    def __enter__(self) -> TcpProxy:
        self._listener = socket.create_server((self.host, 0), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=self.THREAD_NAME, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake()
        self._thread.join(5)
        self._bell.close()
        self._ring.close()
        assert not self._thread.is_alive()

    def freeze(self) -> None:
        """Nothing passes any more, in either direction, and nobody is told."""
        self._frozen.set()
        self._wake()

    def thaw(self) -> None:
        self._frozen.clear()
        self._wake()

    def refuse(self, refusing: bool = True) -> None:
        """Reset new connections at once (the server is down), or take them again."""
        self._refusing = refusing

    def go_down(self) -> None:
        """End all connections and refuse new ones, until :meth:`refuse` is told otherwise."""
        self.refuse()
        self.cut(reset=False)

    def swallow(self, secs: float) -> None:
        """Nothing that comes from now on arrives; after ``secs`` all connections are ended."""
        self._swallow_until = time.monotonic() + secs
        self._wake()

    def reset_in(self, secs: float) -> None:
        """Reset all connections in ``secs`` from now."""
        self._reset_at = time.monotonic() + secs
        self._wake()

    def calm_down(self) -> None:
        """No trouble any more; rate and delay stay as they are."""
        self.jitter_secs = self.slow_close_secs = self.slice_gap_secs = 0.0
        self.slice_bytes = self.end_after_bytes = self.cut_after_up = self.cut_after_down = None
        self._reset_at = None
        if self._swallow_until is not None:  # what was swallowed is missing: it can't go on
            self._swallow_until = 0.0
        self.refuse(False)
        self.thaw()

    def cut(self, *, reset: bool = True) -> int:
        """End all connections now, by RST or by FIN; how many there were."""
        with self._lock:
            pairs = list(self._pairs)
            for pair in pairs:
                self._end(pair, reset)
        self._wake()
        return len(pairs)

    def reset_counters(self) -> None:
        with self._lock:
            self.bytes_up = self.bytes_down = 0

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._ring.send(b"x")

    def _end(self, pair: tuple[Way, Way], reset: bool) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
            self.cuts += 1
            for way in pair:
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    with contextlib.suppress(OSError):
                        way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                way.source.close()

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            with self._lock:
                for pair in list(self._pairs):
                    self._end(pair, True)
            self._listener.close()
            for listener in self._listeners:
                listener.close()

    def _turn(self) -> None:
        with self._lock:
            ways = [way for pair in self._pairs for way in pair]
        frozen = self._frozen.is_set()
        now = time.monotonic()
        readers = [self._listener, *self._listeners, self._bell]
        writers = []
        timeout = self._run_timers(now)
        if not frozen:
            for way in ways:
                if not way.ended and way.queued_bytes < _MOST_QUEUED_BYTES:
                    readers.append(way.source)
                if way.queue:
                    due = way.queue[0][0]
                    if due <= now:
                        writers.append(way.sink)
                    else:
                        timeout = min(timeout, due - now)
                elif way.shut_at is not None and not way.shut:
                    timeout = min(timeout, max(0.0, way.shut_at - now))
        try:
            readable, writable = _wait(readers, writers, timeout)
        except (OSError, ValueError):  # a socket was closed by cut()
            return
        if self._bell in readable:
            with contextlib.suppress(BlockingIOError):
                self._bell.recv(4096)
        if self._listener in readable:
            self._accept(self._listener, self._target)
        for listener in [one for one in self._listeners if one in readable]:
            self._accept(listener, self._listeners.pop(listener))
            listener.close()
        if frozen:
            return
        with self._lock:
            for pair in list(self._pairs):
                for way in pair:
                    if pair not in self._pairs:
                        break
                    try:
                        if way.source in readable:
                            self._take(way)
                        self._give(way, pair, way.sink in writable)
                    except OSError:
                        self._end(pair, True)

    def _run_timers(self, now: float) -> float:
        """End what is to be ended by now; how long to wait for the next of them, at most."""
        reset_at, until = self._reset_at, self._swallow_until
        if reset_at is not None and now >= reset_at:
            self._reset_at = reset_at = None
            self.cut()
        if until is not None and now >= until:
            self._swallow_until = until = None
            self.cut(reset=False)
        due = [at - now for at in (reset_at, until) if at is not None]
        return min([1.0, *due])

    def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        self.connections += 1
        try:
            if self._refusing:
                raise OSError
            server = socket.create_connection(target, 5)
        except OSError:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            pair = Way(client, server, True, target), Way(server, client, False, target)
            self._passed[id(pair[0])] = self._passed[id(pair[1])] = [0, 0]
            self._pairs.append(pair)

    def _take(self, way: Way) -> None:
        try:
            data = way.source.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        if not data:
            way.ended = True
            return
        if self._swallow_until is not None:
            return
        data = self._translate(way, data)
        start = time.monotonic()
        for piece in self._slices(data):
            if self.bytes_per_sec is not None:
                took = len(piece) / self.bytes_per_sec
                start = way.busy_until = max(start, way.busy_until) + took
            due = start + self.delay_secs + self._rng.uniform(0.0, self.jitter_secs)
            way.last_due = due = max(due, way.last_due)
            heapq.heappush(way.queue, (due, next(self._numbers), piece))
            way.queued_bytes += len(piece)
            start += self.slice_gap_secs

    def _slices(self, data: bytes) -> list[bytes]:
        if self.slice_bytes is None:
            return [data]
        pieces = []
        while data:
            size = self._rng.randint(1, 2 * self.slice_bytes - 1)
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    def _translate(self, way: Way, data: bytes) -> bytes:
        """For protocols that speak of further connections."""
        return data

    def _give(self, way: Way, pair: tuple[Way, Way], writable: bool) -> None:
        while writable and way.queue and way.queue[0][0] <= time.monotonic():
            due, number, data = way.queue[0]
            passed = self._passed[id(way)]
            index = 0 if way.up else 1
            limit = self.cut_after_up if way.up else self.cut_after_down
            allowed = data if limit is None else data[: max(0, limit - passed[index])]
            if self.end_after_bytes is not None:
                allowed = allowed[: max(0, self.end_after_bytes - sum(passed))]
            try:
                sent = way.sink.send(allowed) if allowed else 0
            except BlockingIOError:
                return
            passed[index] += sent
            if way.up:
                self.bytes_up += sent
            else:
                self.bytes_down += sent
            if limit is not None and passed[index] >= limit:
                self._end(pair, True)
                return
            if self.end_after_bytes is not None and sum(passed) >= self.end_after_bytes:
                self._end(pair, False)
                return
            way.queued_bytes -= sent
            if sent < len(data):
                heapq.heapreplace(way.queue, (due, number, data[sent:]))
                return
            heapq.heappop(way.queue)
        if way.ended and not way.queue and not way.shut:
            now = time.monotonic()
            if way.shut_at is None:
                way.shut_at = now + self.slow_close_secs
            if now < way.shut_at:
                return
            way.shut = True
            with contextlib.suppress(OSError):
                way.sink.shutdown(socket.SHUT_WR)
            if all(other.shut for other in pair):
                self._pairs.remove(pair)
                for other in pair:
                    other.source.close()


def _wait(
    readers: list[socket.socket], writers: list[socket.socket], timeout_secs: float
) -> tuple[list[socket.socket], list[socket.socket]]:
    """What ``select.select`` does, for any number of open files."""
    with selectors.DefaultSelector() as selector:
        for sock in {*readers, *writers}:
            wanted = selectors.EVENT_READ if sock in readers else 0
            wanted |= selectors.EVENT_WRITE if sock in writers else 0
            selector.register(sock, wanted)
        ready = selector.select(timeout_secs)
    readable = [key.fileobj for key, events in ready if events & selectors.EVENT_READ]
    writable = [key.fileobj for key, events in ready if events & selectors.EVENT_WRITE]
    return cast("list[socket.socket]", readable), cast("list[socket.socket]", writable)
