"""Planted bugs: each is a small change to the real code that the simulator must find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

__all__ = ["PLANTS", "Plant"]


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug, and the way to put it in."""

    about: str
    patch: Callable[[], AbstractContextManager[None]]


PLANTS: dict[str, Plant] = {}
