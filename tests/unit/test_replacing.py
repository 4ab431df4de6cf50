"""``replace`` is that of the dataclasses, for records with slots."""

from __future__ import annotations

import dataclasses

import pytest

from pysubtask.core.model import Entry, Upload
from pysubtask.core.replacing import replace


def test_it_gives_what_dataclasses_give() -> None:
    entry = Entry("/a", "a", upload=Upload(1, 10, "temp"), litter=("x",))
    changes = {"upload": None, "litter": ("x", "y"), "notified_at": 1.5}
    made = replace(entry, **changes)  # type: ignore[arg-type]
    assert made == dataclasses.replace(entry, **changes)  # type: ignore[arg-type]
    assert hash(made) == hash(dataclasses.replace(entry, **changes))  # type: ignore[arg-type]
    assert entry.upload == Upload(1, 10, "temp")  # as it was
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.path = "/b"  # type: ignore[misc]


def test_a_field_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="no field 'stages'"):
        replace(Upload(1, 10, "temp"), stages="sent")  # type: ignore[call-arg]
