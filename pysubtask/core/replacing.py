"""``replace``, as in :mod:`dataclasses`, in half the time: for records that have slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["replace"]

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import replace  # so that names and types are checked
else:
    _set = object.__setattr__

    def replace(record: T, /, **changes: Any) -> T:
        """A copy of a dataclass with slots, some of its fields changed.

        Its ``__init__`` and ``__post_init__`` are not called, which is what takes the time.

        Raises:
            TypeError: it has no field of such a name.
        """
        kind = record.__class__
        names = kind.__slots__
        new = kind.__new__(kind)
        for name in names:
            _set(new, name, changes.pop(name) if name in changes else getattr(record, name))
        if changes:
            raise TypeError(f"{kind.__name__} has no field {next(iter(changes))!r}")
        return new
