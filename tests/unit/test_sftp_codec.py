"""The SFTP codec: what it sends, what it takes, and what it refuses to believe."""

from __future__ import annotations

import os
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.errors import LinkLost
from pysubtask.transports.sftp import codec
from pysubtask.transports.sftp.codec import Attributes, Entry, Reply, ReplyDecoder, VersionReply
from tests.servers import scripted

ids = st.integers(0, 2**32 - 1)
short = st.binary(max_size=40)


def number(value: int) -> bytes:
    return pack(">I", value)


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Reply]:
    """A packet as a server may send it, and what it means."""
    request_id = draw(ids)
    kind = draw(st.sampled_from(["status", "handle", "data", "attrs", "names", "extended"]))
    if kind == "status":
        code, text = draw(st.integers(0, 31)), draw(short)
        shown = text if code else b""
        return scripted.status(request_id, code, text), Reply(request_id, 101, code, shown)
    if kind == "handle":
        name = draw(st.binary(min_size=1, max_size=256))
        return scripted.handle(request_id, name), Reply(request_id, 102, 0, name)
    if kind == "data":
        content = draw(st.binary(max_size=3000))
        return scripted.data(request_id, content), Reply(request_id, 103, 0, content)
    if kind == "extended":
        body = draw(short)
        return scripted.packet(201, request_id, body), Reply(request_id, 201, 0, body)
    optional = st.none() | st.integers(0, 2**32 - 1)
    size, mode, mtime = draw(st.none() | st.integers(0, 2**64 - 1)), draw(optional), draw(optional)
    raw, meant = scripted.attributes(size, mode, mtime), Attributes(size, mode, mtime)
    if kind == "attrs":
        return scripted.packet(105, request_id, raw), Reply(request_id, 105, 0, meant)
    found = draw(st.lists(st.tuples(short, short), max_size=20))
    body = b"".join(scripted.string(a) + scripted.string(b) + raw for a, b in found)
    entries = [Entry(a, b, meant) for a, b in found]
    whole = scripted.packet(104, request_id, number(len(found)) + body)
    return whole, Reply(request_id, 104, 0, entries)


@given(st.lists(replies(), max_size=8), st.data())
def test_any_cut_of_the_stream_gives_the_same_replies(
    stream: list[tuple[bytes, Reply]], data: st.DataObject
) -> None:
    raw = b"".join(packet for packet, _ in stream)
    places = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    decoder = ReplyDecoder()
    got: list[Reply] = []
    for start, stop in zip([0, *places], [*places, len(raw)], strict=True):
        got += decoder.feed(raw[start:stop])
    assert got == [reply for _, reply in stream]
    assert decoder.broken is None


def test_one_byte_at_a_time() -> None:
    content = os.urandom(5000)
    raw = scripted.data(7, content) + scripted.status(8)
    decoder = ReplyDecoder()
    got = [reply for byte in raw for reply in decoder.feed(bytes([byte]))]
    assert got == [Reply(7, 103, 0, content), Reply(8, 101, 0, b"")]


@given(st.binary(max_size=600))
def test_nonsense_is_an_error_or_waits_for_more(noise: bytes) -> None:
    decoder = ReplyDecoder()
    for reply in decoder.feed(noise):
        assert isinstance(reply, Reply)
    if decoder.broken is not None:
        assert "broke the SFTP protocol" in str(decoder.broken)
        assert decoder.feed(scripted.status(1)) == []


@given(replies(), st.data())
def test_a_damaged_packet_never_raises_anything_else(
    sample: tuple[bytes, Reply], data: st.DataObject
) -> None:
    raw = bytearray(sample[0])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    decoder = ReplyDecoder()
    decoder.feed(bytes(raw))
    assert decoder.broken is None or isinstance(decoder.broken, LinkLost)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (number(codec.MAX_REPLY_BYTES + 1) + b"e" * 10, "announced a packet"),
        (number(4) + b"\x65" * 4, "announced a packet of 4 bytes"),
        (b"Welcome to the machine!\r\nLast login:", "sent text: 'Welcome to the machine!"),
        (scripted.packet(99, 1, b""), "unknown type 99"),
        (scripted.packet(102, 1, number(300) + b"h" * 300), "handle of 300 bytes"),
        (scripted.packet(102, 1, number(0)), "handle of 0 bytes"),
        (scripted.packet(103, 1, number(2**32 - 1) + b"x"), "string of 4294967295 bytes"),
        (scripted.packet(104, 1, number(2**32 - 1)), "4294967295 names"),
        (scripted.packet(104, 1, number(2) + b"\0" * 23), "2 names in a packet of 23"),
        (scripted.packet(105, 1, number(0x8000_0000) + number(2**31)), "extended attributes"),
        (scripted.packet(105, 1, number(1) + b"\0" * 3), "ends too early"),
        (scripted.packet(101, 1, b"\0"), "ends too early"),
    ],
)
def test_hostile_packets(raw: bytes, words: str) -> None:
    decoder = ReplyDecoder()
    assert decoder.feed(scripted.status(5, 4, b"no") + raw) == [Reply(5, 101, 4, b"no")]
    assert decoder.broken is not None
    assert words in str(decoder.broken)


def test_lengths_are_bounded_by_their_packet_not_by_what_follows_it() -> None:
    liar = scripted.packet(103, 1, number(12))
    decoder = ReplyDecoder()
    assert decoder.feed(liar + scripted.data(2, b"x" * 100)) == []
    assert decoder.broken is not None


@pytest.mark.parametrize(
    ("liar", "words"),
    [
        (scripted.packet(101, 1, b"\0\0"), "a status without a code"),
        (scripted.packet(105, 1, number(2)), "attributes that end too early"),
        (scripted.packet(105, 1, number(8) + b"\0\0\0\0"), "attributes that end too early"),
    ],
)
def test_what_follows_a_packet_is_not_taken_for_its_end(liar: bytes, words: str) -> None:
    decoder = ReplyDecoder()
    assert decoder.feed(liar + scripted.data(2, b"x" * 100)) == []
    assert words in str(decoder.broken)


def test_attributes_of_every_kind() -> None:
    """The owner and extended attributes are passed over; what follows them is not misread."""
    flags = number(0x8000_000F)
    raw = flags + pack(">Q", 5) + pack(">II", 1, 2) + number(0o100600) + pack(">II", 8, 9)
    raw += number(2) + (scripted.string(b"name@x") + scripted.string(b"value")) * 2
    meant = Attributes(5, 0o100600, 9)
    assert ReplyDecoder().feed(scripted.packet(105, 1, raw)) == [Reply(1, 105, 0, meant)]
    entry = scripted.string(b"a") + scripted.string(b"-a") + raw
    both = scripted.packet(104, 1, number(2) + entry * 2)
    assert ReplyDecoder().feed(both) == [Reply(1, 104, 0, [Entry(b"a", b"-a", meant)] * 2)]


def test_a_partial_packet_holds_no_more_than_it_announced() -> None:
    decoder = ReplyDecoder()
    size = codec.MAX_REPLY_BYTES
    decoder.feed(number(size) + b"\x67" + number(1) + number(size - 9))
    for _ in range(0, size - 9, 1000):
        decoder.feed(b"z" * 1000)
    decoder.feed(b"z" * 2000)
    assert decoder.broken is not None  # the surplus is no packet
    assert decoder.feed(b"z" * 1000) == []


def test_status_without_text() -> None:
    assert ReplyDecoder().feed(scripted.packet(101, 3, number(4))) == [Reply(3, 101, 4, b"")]


def test_version_with_extensions() -> None:
    pairs = ((b"a@b", b"1"), (b"c", b"\xff"))
    assert ReplyDecoder().feed(scripted.version(pairs)) == [Reply(0, 2, 0, VersionReply(3, pairs))]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_text_names_round_trip(text: str) -> None:
    assert codec.decode_name(codec.encode_path(text)) == text


@given(st.binary().filter(lambda raw: b"\0" not in raw))
def test_names_of_any_bytes_round_trip(raw: bytes) -> None:
    assert codec.encode_path(codec.decode_name(raw)) == raw


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_impossible_names(text: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|surrogates"):
        codec.encode_path(text)


PATH, TARGET, HANDLE = b"/p/q", b"/t", b"\0\0\0\5"
EXTENDED = b"\xc8" + number(9)
ENCODED = [
    (codec.encode_init(), b"\1" + number(3)),
    (
        codec.encode_open(9, PATH, 0x0A),
        b"\3" + number(9) + number(4) + PATH + number(10) + number(0),
    ),
    (codec.encode_close(9, HANDLE), b"\4" + number(9) + number(4) + HANDLE),
    (
        codec.encode_read(9, HANDLE, 2**40, 77),
        b"\5" + number(9) + number(4) + HANDLE + pack(">QI", 2**40, 77),
    ),
    (
        codec.encode_write_head(9, HANDLE, 2**40, 3) + b"abc",
        b"\6" + number(9) + number(4) + HANDLE + pack(">QI", 2**40, 3) + b"abc",
    ),
    (codec.encode_fstat(9, HANDLE), b"\x08" + number(9) + number(4) + HANDLE),
    (codec.encode_opendir(9, PATH), b"\x0b" + number(9) + number(4) + PATH),
    (codec.encode_readdir(9, HANDLE), b"\x0c" + number(9) + number(4) + HANDLE),
    (codec.encode_remove(9, PATH), b"\x0d" + number(9) + number(4) + PATH),
    (codec.encode_mkdir(9, PATH), b"\x0e" + number(9) + number(4) + PATH + number(0)),
    (codec.encode_stat(9, PATH), b"\x11" + number(9) + number(4) + PATH),
    (
        codec.encode_rename(9, PATH, TARGET),
        b"\x12" + number(9) + number(4) + PATH + number(2) + TARGET,
    ),
    (
        codec.encode_posix_rename(9, PATH, TARGET),
        EXTENDED + number(24) + b"posix-rename@openssh.com" + number(4) + PATH + number(2) + TARGET,
    ),
    (
        codec.encode_fsync(9, HANDLE),
        EXTENDED + number(17) + b"fsync@openssh.com" + number(4) + HANDLE,
    ),
    (codec.encode_limits(9), EXTENDED + number(18) + b"limits@openssh.com"),
    (
        codec.encode_statvfs(9, PATH),
        EXTENDED + number(19) + b"statvfs@openssh.com" + number(4) + PATH,
    ),
    (
        codec.encode_copy_data(9, HANDLE, 1, 2, b"\0\0\0\6", 3),
        EXTENDED + number(9) + b"copy-data" + number(4) + HANDLE + pack(">QQ", 1, 2)
        + number(4) + b"\0\0\0\6" + pack(">Q", 3),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("got", "body"), ENCODED)
def test_requests_are_what_the_draft_says(got: bytes, body: bytes) -> None:
    assert got == number(len(body)) + body


def test_limits_and_free_space() -> None:
    assert codec.decode_limits(pack(">4Q", 1, 2, 3, 4)) == (1, 2, 3, 4)
    statvfs = pack(">11Q", 4096, 512, 0, 0, 10, 0, 0, 7, 0, 0, 255)
    assert codec.decode_statvfs(statvfs) == (5120, 7, False)
    uncounted = pack(">11Q", 4096, 512, 0, 0, 10, 0, 0, 0, 0, 0x3, 255)
    assert codec.decode_statvfs(uncounted) == (5120, None, True)
    for decode in (codec.decode_limits, codec.decode_statvfs):
        with pytest.raises(LinkLost):
            decode(b"\0" * 31)


def test_extensions_by_name() -> None:
    pairs = ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert codec.extension_value(pairs, b"a") == b"1"
    assert codec.extension_value(pairs, b"c") is None
