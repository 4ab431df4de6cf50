"""Signatures on the disk: gone on with, never believed where they are damaged, cheap to lose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysubtask.core.delta import DeltaRule, Signature
from pysubtask.core.model import Delivered, Entry, Print, PrintKind
from pysubtask.subtask.store import signatures as signatures_module
from pysubtask.subtask.store.signatures import Signatures
from tests.unit.core_fakes import HookedDisk, disk_full, fail_with, make_version, nothing
from tests.unit.test_delta import BIG, sign

PATH = "/data/größe \udcff.csv"
RULE = DeltaRule(block_bytes=16, from_bytes=1000, changed_from_bytes=100)


class Bench:
    """A folder of signatures, opened anew as often as needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "signatures"
        self.disk = HookedDisk()
        self.open(delivered=())

    def open(self, delivered: tuple[int, ...] = (1,)) -> None:
        self.signatures = Signatures(self.disk, str(self.folder), RULE)
        entries = [Entry(PATH, "r", delivered=Delivered(number, 1)) for number in delivered]
        self.signatures.open(entries)

    def write(self, content: bytes, number: int = 1, piece: int = 100) -> None:
        self.signatures.begin(PATH, number, len(content))
        for at in range(0, len(content), piece):
            self.signatures.add(PATH, number, at, content[at : at + piece])
        self.signatures.finish(PATH)

    def load(self, number: int = 1) -> Signature | None:
        return self.signatures.load(PATH, number)

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("size", [16, 1000, 100_000])
def test_what_is_written_is_found_again(bench: Bench, size: int) -> None:
    bench.write(BIG[:size])
    bench.open()
    assert bench.load() == sign(BIG[:size], 16)
    assert bench.load(2) is None, "another version's"
    assert bench.signatures.load("/data/other.csv", 1) is None
    assert os.stat(bench.files()[0]).st_mode & 0o077 == 0


def test_large_records_are_split(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures_module, "_MAX_RECORD_BLOCKS", 20)
    bench.write(BIG[:10_000], piece=5000)
    assert bench.load() == sign(BIG[:10_000], 16)


def test_it_is_read_while_it_is_being_made(bench: Bench) -> None:
    bench.signatures.begin(PATH, 1, 1000)
    bench.signatures.add(PATH, 1, 0, BIG[:100])
    assert bench.load() == sign(BIG[:96], 16)


def test_bytes_come_in_order_or_not_at_all(bench: Bench) -> None:
    bench.signatures.begin(PATH, 1, 1000)
    bench.signatures.add(PATH, 1, 0, BIG[:100])
    bench.signatures.add(PATH, 1, 150, BIG[150:200])  # a gap
    assert bench.signatures.position(PATH, 1) == 100
    bench.signatures.add(PATH, 1, 50, BIG[50:200])  # sent again after a break
    bench.signatures.add(PATH, 2, 200, BIG[200:300])  # another version's
    assert bench.signatures.position(PATH, 1) == 200
    assert bench.load() == sign(BIG[:192], 16)


def test_an_earlier_process_signature_is_gone_on_with(bench: Bench) -> None:
    bench.write(BIG[:1000])
    bench.open()
    at = bench.signatures.position(PATH, 1)
    assert at == 992, "whole blocks only: what is missing is read once more"
    bench.signatures.add(PATH, 1, at, BIG[at:3000])
    assert bench.load() == sign(BIG[:3000], 16)


@pytest.mark.parametrize("damage", ["torn", "flipped", "rubbish behind it"])
def test_what_is_damaged_is_not_believed(bench: Bench, damage: str) -> None:
    bench.write(BIG[:4096], piece=1024)
    (file,) = bench.files()
    data = bytearray(file.read_bytes())
    if damage == "torn":
        del data[-5:]
    elif damage == "flipped":
        data[-100] ^= 1
    else:
        data += b"rubbish" * 3
    file.write_bytes(data)
    bench.open()
    left = bench.load()
    assert left is not None
    assert left == sign(BIG[:4096], 16).shortened(len(left) * 16)
    assert (len(left) == 256) == (damage == "rubbish behind it")
    at = bench.signatures.position(PATH, 1)
    assert at == len(left) * 16
    bench.signatures.add(PATH, 1, at, BIG[at:8192])
    assert bench.load() == sign(BIG[:8192], 16)


@pytest.mark.parametrize("junk", [b"", b"junk", b"{}\n", b'{"path": 1, "version": "x"}\n'])
def test_a_file_that_is_none(bench: Bench, junk: bytes) -> None:
    bench.write(BIG[:1000])
    bench.files()[0].write_bytes(junk)
    bench.open()
    assert bench.load() is None
    assert bench.signatures.position(PATH, 1) is None


def test_what_belongs_to_no_file_goes_at_the_start(bench: Bench) -> None:
    bench.write(BIG[:1000], number=1)
    bench.write(BIG[:1000], number=2)
    bench.open(delivered=(2,))
    assert len(bench.files()) == 1
    assert bench.load(2) is not None
    bench.open(delivered=())
    assert bench.files() == []


def test_dropped_is_gone(bench: Bench) -> None:
    bench.write(BIG[:1000])
    bench.signatures.drop(PATH, 2)
    assert bench.load() is not None
    bench.signatures.drop(PATH, 1)
    assert bench.load() is None
    bench.signatures.drop(PATH, 1)


@pytest.mark.parametrize("call", ["write_whole", "open_append", "append"])
def test_a_full_disk_means_no_signature_and_nothing_else(bench: Bench, call: str) -> None:
    bench.disk.before = fail_with(disk_full, call)
    bench.open()
    bench.write(BIG[:4096])
    bench.disk.before = nothing
    left = bench.load()
    assert left is None or left == sign(BIG[:4096], 16)


@pytest.mark.parametrize(
    ("number", "size", "kind", "wanted"),
    [
        (1, 1000, "whole", True),
        (1, 999, "whole", False),
        (2, 100, "samples", True),
        (2, 99, "whole", False),
        (1, 10_000, "ends", False),
    ],
)
def test_which_get_one(bench: Bench, number: int, size: int, kind: PrintKind, wanted: bool) -> None:
    """Not what is only ever appended to, and of small files only those that are rewritten."""
    version = make_version(number, size, print=Print(kind, size, "00"))
    assert bench.signatures.wants(version) == wanted


def test_many_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures_module, "_MAX_OPEN", 2)
    names = [f"/data/{n}" for n in range(5)]
    for name in names:
        bench.signatures.begin(name, 1, 1000)
        bench.signatures.add(name, 1, 0, BIG[:500])
    for name in names:
        assert bench.signatures.position(name, 1) is not None
        assert bench.signatures.load(name, 1) == sign(BIG[:496], 16)
