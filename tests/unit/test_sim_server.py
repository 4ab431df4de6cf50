"""The simulated SFTP server, spoken to in raw packets and by the real client's codec."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from pysubtask.errors import LinkError, LinkLost, LoginRefused
from pysubtask.transports.sftp import codec
from tests.simulation.clock import SimClock
from tests.simulation.network import SimChannel, SimConnector, SimNetwork
from tests.simulation.remote import RemoteDisk, RemoteFile
from tests.simulation.server import GO_EXTENSIONS, ServerKind, Session, SimServer

READ, WRITE, CREAT, TRUNC, EXCL = 1, 2, 8, 16, 32
OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, UNSUPPORTED = 0, 1, 2, 3, 4, 8
PARALLEL = ServerKind(parallel=True, service_ns=1_000_000)


class Talk:
    """A session and what it has answered."""

    def __init__(self, kind: ServerKind | None = None, seed: int = 1) -> None:
        self.clock = SimClock()
        self.disk = RemoteDisk(lambda: 1_700_000_000 + self.clock.now_ns // 10**9)
        self.server = SimServer(self.clock, random.Random(seed), self.disk, kind or ServerKind())
        self.bytes = bytearray()
        self.session: Session = self.server.session(self._received)
        self._decoder = codec.ReplyDecoder()
        self._id = 0
        self.replies: dict[int, codec.Reply] = {}
        self.order: list[int] = []

    def _received(self, data: bytes) -> None:
        self.bytes += data
        for reply in self._decoder.feed(data):
            self.replies[reply.request_id] = reply
            self.order.append(reply.request_id)

    def next_id(self) -> int:
        self._id += 1
        return self._id

    def run(self) -> None:
        self.clock.advance(10**9)

    def ask(self, encode: Callable[..., bytes], *args: object, tail: bytes = b"") -> codec.Reply:
        """One request and its reply."""
        request_id = self.next_id()
        self.session.feed(encode(request_id, *args) + tail)
        self.run()
        return self.replies[request_id]

    def open(self, path: bytes, flags: int) -> bytes:
        reply = self.ask(codec.encode_open, path, flags)
        assert isinstance(reply.value, bytes)
        return reply.value

    def write(self, handle: bytes, offset: int, data: bytes) -> codec.Reply:
        return self.ask(codec.encode_write_head, handle, offset, len(data), tail=data)


def test_init_tells_version_and_extensions() -> None:
    talk = Talk(ServerKind(extensions=GO_EXTENSIONS))
    talk.session.feed(codec.encode_init())
    assert talk.replies[0].value == codec.VersionReply(3, GO_EXTENSIONS)


@pytest.mark.parametrize("kind", [ServerKind(), PARALLEL])
def test_write_read_stat_rename_remove(kind: ServerKind) -> None:
    talk = Talk(kind)
    handle = talk.open(b"/a", WRITE | READ | CREAT)
    assert talk.write(handle, 0, b"hello").code == OK
    assert talk.write(handle, 7, b"!").code == OK
    assert talk.ask(codec.encode_read, handle, 1, 100).value == b"ello\0\0!"
    assert talk.ask(codec.encode_read, handle, 8, 1).code == EOF
    assert talk.ask(codec.encode_stat, b"/a").value == codec.Attributes(8, 0o100644, 1_700_000_002)
    assert talk.ask(codec.encode_rename, b"/a", b"/b").code == OK
    assert talk.write(handle, 8, b"more").code == OK, "a handle follows its file"
    assert bytes(talk.disk.files["/b"].content) == b"hello\0\0!more"
    assert talk.ask(codec.encode_close, handle).code == OK
    assert talk.ask(codec.encode_close, handle).code == FAILURE
    assert talk.ask(codec.encode_remove, b"/b").code == OK
    assert talk.ask(codec.encode_remove, b"/b").code == NO_SUCH_FILE


def test_plain_rename_refuses_a_taken_name_and_posix_rename_replaces() -> None:
    talk = Talk()
    for name, content in ((b"/a", b"new"), (b"/b", b"old")):
        talk.write(talk.open(name, WRITE | CREAT), 0, content)
    assert talk.ask(codec.encode_rename, b"/a", b"/b").code == FAILURE
    assert talk.ask(codec.encode_posix_rename, b"/a", b"/b").code == OK
    assert {p: bytes(f.content) for p, f in talk.disk.files.items()} == {"/b": b"new"}
    without = Talk(ServerKind(extensions=()))
    assert without.ask(codec.encode_posix_rename, b"/a", b"/b").code == UNSUPPORTED


def test_open_flags() -> None:
    talk = Talk()
    assert talk.ask(codec.encode_open, b"/a", WRITE).code == NO_SUCH_FILE
    assert talk.ask(codec.encode_open, b"/no/a", WRITE | CREAT).code == NO_SUCH_FILE
    talk.write(talk.open(b"/a", WRITE | CREAT), 0, b"content")
    assert talk.ask(codec.encode_open, b"/a", WRITE | CREAT | EXCL).code == FAILURE
    talk.open(b"/a", WRITE | CREAT)
    assert talk.disk.files["/a"].content == b"content"
    talk.open(b"/a", WRITE | CREAT | TRUNC)
    assert talk.disk.files["/a"].content == b""
    read_only = talk.open(b"/a", READ)
    assert talk.write(read_only, 0, b"x").code == FAILURE


def test_folders() -> None:
    talk = Talk()
    assert talk.ask(codec.encode_mkdir, b"/d").code == OK
    assert talk.ask(codec.encode_mkdir, b"/d").code == FAILURE
    assert talk.ask(codec.encode_mkdir, b"/no/d").code == NO_SUCH_FILE
    for number in range(150):
        talk.open(b"/d/%d" % number, WRITE | CREAT)
    handle = talk.ask(codec.encode_opendir, b"/d").value
    names: list[bytes] = []
    while (reply := talk.ask(codec.encode_readdir, handle)).kind == codec.NAME:
        assert isinstance(reply.value, list)
        names += [entry.name for entry in reply.value]
    assert reply.code == EOF
    assert sorted(names) == sorted(b"%d" % n for n in range(150))


def test_names_keep_their_bytes() -> None:
    talk = Talk()
    talk.open(b"/\xff\x80", WRITE | CREAT)
    assert list(talk.disk.files) == ["/\udcff\udc80"]
    assert talk.ask(codec.encode_stat, b"/\xff\x80").kind == codec.ATTRS


def test_extensions_copy_fsync_limits_statvfs() -> None:
    talk = Talk()
    source = talk.open(b"/a", READ | WRITE | CREAT)
    talk.write(source, 0, b"0123456789")
    target = talk.open(b"/b", WRITE | CREAT)
    assert talk.ask(codec.encode_copy_data, source, 2, 3, target, 1).code == OK
    assert talk.disk.files["/b"].content == b"\x00234"
    assert talk.ask(codec.encode_fsync, target).code == OK
    limits = talk.ask(codec.encode_limits).value
    assert isinstance(limits, bytes)
    assert codec.decode_limits(limits) == codec.Limits(262_144, 261_120, 261_120, 19_995)
    talk.disk.capacity_bytes = 20
    free = talk.ask(codec.encode_statvfs, b"/").value
    assert isinstance(free, bytes)
    assert codec.decode_statvfs(free).free_bytes == 6


def test_a_full_disk_takes_what_fits_and_fails() -> None:
    talk = Talk()
    handle = talk.open(b"/a", WRITE | CREAT)
    talk.disk.capacity_bytes = 3
    assert talk.write(handle, 0, b"12345").code == FAILURE
    assert talk.disk.files["/a"].content == b"123"


def test_denials_handle_limit_and_write_only() -> None:
    talk = Talk(ServerKind(max_handles=1, readable=False))
    talk.disk.refuse = lambda operation, path: 3 if path == "/secret" else None
    assert talk.ask(codec.encode_open, b"/secret", WRITE | CREAT).code == DENIED
    talk.open(b"/a", WRITE | CREAT)
    assert talk.ask(codec.encode_open, b"/a", WRITE).code == FAILURE
    assert Talk(ServerKind(readable=False)).ask(codec.encode_open, b"/a", READ).code == DENIED


def test_broken_packets() -> None:
    talk = Talk()
    talk.session.feed((300_000).to_bytes(4, "big") + b"\x01")
    assert talk.session.broken
    talk = Talk()
    talk.session.feed(b"\0\0\0\x09\x06\0\0\0\x07\0\0\0\x50")
    assert talk.replies[7].code in (FAILURE, 5)


def _writes(talk: Talk, handle: bytes, count: int) -> list[int]:
    ids = []
    packets = b""
    for number in range(count):
        ids.append(talk.next_id())
        packets += codec.encode_write_head(ids[-1], handle, number, 1) + b"%d" % (number % 10)
    talk.session.feed(packets)
    return ids


def test_a_sequential_server_keeps_the_order_even_when_it_is_slow() -> None:
    talk = Talk(ServerKind(service_ns=1_000_000))
    ids = _writes(talk, talk.open(b"/a", WRITE | CREAT), 20)
    talk.run()
    assert talk.order[-20:] == ids


def test_a_parallel_server_reorders_writes_and_close_waits_for_them() -> None:
    orders = set()
    for seed in range(20):
        talk = Talk(PARALLEL, seed)
        handle = talk.open(b"/a", WRITE | CREAT)
        ids = _writes(talk, handle, 6)
        close = talk.next_id()
        talk.session.feed(codec.encode_close(close, handle))
        talk.run()
        assert talk.order[-1] == close
        assert sorted(talk.order[-7:-1]) == ids
        assert talk.disk.files["/a"].content == b"012345"
        orders.add(tuple(talk.order))
    assert len(orders) > 5


def test_replies_may_keep_the_order_though_the_work_does_not() -> None:
    made: list[int] = []
    talk = Talk(ServerKind(parallel=True, ordered_replies=True, service_ns=1_000_000), 3)
    handle = talk.open(b"/a", WRITE | CREAT)

    class Watcher:
        def wrote(self, file: RemoteFile, offset: int, data: bytes) -> None:
            made.append(offset)

        def named(self, path: str, file: RemoteFile, replaced: RemoteFile | None) -> None:
            pass

        def unnamed(self, path: str, file: RemoteFile) -> None:
            pass

    talk.disk.observers.append(Watcher())
    ids = _writes(talk, handle, 12)
    talk.run()
    assert made != sorted(made)
    assert talk.order[-12:] == ids


@pytest.mark.parametrize("ordered", [True, False])
def test_other_requests_keep_their_order_only_if_told(ordered: bool) -> None:
    swapped = 0
    for seed in range(30):
        kind = ServerKind(parallel=True, ordered_commands=ordered, service_ns=1_000_000)
        talk = Talk(kind, seed)
        first, second = talk.next_id(), talk.next_id()
        talk.session.feed(codec.encode_mkdir(first, b"/d") + codec.encode_mkdir(second, b"/d/e"))
        talk.run()
        swapped += talk.replies[second].code == NO_SUCH_FILE
    assert (swapped == 0) == ordered


@pytest.mark.parametrize("kind", [ServerKind(service_ns=1_000_000), PARALLEL])
def test_after_a_cut_a_part_of_what_arrived_is_done(kind: ServerKind) -> None:
    prefixes = others = 0
    sizes = set()
    for seed in range(60):
        talk = Talk(kind, seed)
        handle = talk.open(b"/a", WRITE | CREAT)
        _writes(talk, handle, 6)
        close = talk.next_id()
        talk.session.feed(codec.encode_close(close, handle))
        answered = len(talk.order)
        talk.session.lose(random.Random(seed))
        talk.run()
        assert len(talk.order) == answered, "nobody hears of it"
        content = bytes(talk.disk.files["/a"].content)
        sizes.add(len(content.replace(b"\0", b"")))
        prefixes += b"012345".startswith(content)
        others += not b"012345".startswith(content)
    assert prefixes
    assert (others > 0) == kind.parallel
    assert {0, 6} <= sizes


# -- the wire ----------------------------------------------------------------------------------


def _nothing(operation: str, path: str) -> None:
    pass


def _wired(latency_ns: int = 1_000_000) -> tuple[SimNetwork, SimConnector, list[int]]:
    clock = SimClock()
    disk = RemoteDisk(lambda: 0)
    server = SimServer(clock, random.Random(1), disk, ServerKind())
    network = SimNetwork(clock, random.Random(1), server, latency_ns=latency_ns)
    return network, SimConnector(network, _nothing), []


def _drain(channel: SimChannel) -> Iterable[codec.Reply]:
    decoder = codec.ReplyDecoder()
    while data := channel.receive():
        yield from decoder.feed(data)


def test_bytes_take_their_time_and_wake() -> None:
    network, connector, woken = _wired()
    channel = connector(lambda: woken.append(network.clock.now_ns))
    began = network.clock.now_ns
    channel.send(codec.encode_init())
    assert channel.receive() == b""
    channel.wait(1.0)
    assert network.clock.now_ns - began == 2_000_000
    assert woken == [began + 2_000_000]
    assert [reply.kind for reply in _drain(channel)] == [codec.VERSION]
    channel.wait(0.5)
    assert network.clock.now_ns - began == 502_000_000


@pytest.mark.parametrize("how", ["up", "both"])
def test_a_cut_before_the_server_acts(how: str) -> None:
    network, connector, _ = _wired()
    channel = connector(lambda: None)
    channel.send(codec.encode_mkdir(1, b"/d"))
    network.cut(how)
    channel.wait(1.0)
    with pytest.raises(LinkLost):
        channel.receive()
    with pytest.raises(LinkLost):
        channel.send(b"x")
    assert "/d" not in network.server.disk.folders


def test_a_cut_after_the_server_acted_and_before_it_answered() -> None:
    network, connector, _ = _wired()
    channel = connector(lambda: None)
    network.server.cut_at = 1
    channel.send(codec.encode_mkdir(1, b"/d"))
    channel.wait(1.0)
    with pytest.raises(LinkLost):
        channel.receive()
    assert "/d" in network.server.disk.folders


def test_silence_is_told_to_nobody() -> None:
    network, connector, _ = _wired()
    channel = connector(lambda: None)
    network.cut("mute")
    channel.send(codec.encode_mkdir(1, b"/d"))
    channel.wait(20.0)
    assert channel.receive() == b""
    assert "/d" not in network.server.disk.folders


def test_what_the_dead_had_sent_still_arrives() -> None:
    network, connector, _ = _wired()
    channel = connector(lambda: None)
    channel.send(codec.encode_mkdir(1, b"/d"))
    connector.abandon()
    network.clock.advance(10**9)
    assert "/d" in network.server.disk.folders
    with pytest.raises(LinkLost):
        channel.send(b"")


def test_a_slow_link_holds_the_sender_up() -> None:
    network, connector, _ = _wired()
    network.bytes_per_sec = 100_000
    channel = connector(lambda: None)
    began = network.clock.now_ns
    handle = b"h1"
    channel.send(codec.encode_open(1, b"/a", WRITE | CREAT))
    for number in range(10):
        data = bytes(100_000)
        channel.send(codec.encode_write_head(number + 2, handle, number * 100_000, 100_000) + data)
    assert network.clock.now_ns - began > 7 * 10**9
    network.clock.advance(10 * 10**9)
    assert len(network.server.disk.files["/a"].content) == 1_000_000


def test_refusals() -> None:
    network, connector, _ = _wired()
    network.refusing = "refuse"
    with pytest.raises(LinkError):
        connector(lambda: None)
    network.refusing = "login"
    with pytest.raises(LoginRefused):
        connector(lambda: None)
    network.refusing = "silent"
    began = network.clock.now_ns
    with pytest.raises(LinkError):
        connector(lambda: None)
    assert network.clock.now_ns - began >= 10 * 10**9
    network.heal()
    connector(lambda: None)
