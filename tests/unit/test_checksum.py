"""Dropbox's content hash, beside the official hasher."""

from __future__ import annotations

import hashlib

import pytest

from pysubtask.core.checksum import DROPBOX, hasher

MIB4 = 4 * 1024 * 1024


def test_of_nothing_and_of_a_byte() -> None:
    assert hasher(DROPBOX).hexdigest() == hashlib.sha256(b"").hexdigest()
    one = hasher(DROPBOX)
    one.update(b"x")
    assert one.hexdigest() == hashlib.sha256(hashlib.sha256(b"x").digest()).hexdigest()


@pytest.mark.parametrize("size", [MIB4 - 1, MIB4, MIB4 + 1, 2 * MIB4, 2 * MIB4 + 12_345])
@pytest.mark.parametrize("step", [1_000_003, MIB4, 9 * 1024 * 1024])
def test_it_is_the_official_one(size: int, step: int) -> None:
    official = pytest.importorskip("dropbox.content_hash").DropboxContentHasher()
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    ours = hasher(DROPBOX)
    for at in range(0, size, step):
        ours.update(data[at : at + step])
        ours.hexdigest()  # asking on the way changes nothing
    official.update(data)
    assert ours.hexdigest() == official.hexdigest()


def test_there_is_no_other_kind() -> None:
    with pytest.raises(ValueError, match="md5"):
        hasher("md5")
