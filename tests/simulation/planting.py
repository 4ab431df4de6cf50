"""How a bug is planted: a small change to the real code that the simulator must find.

A bug is written as the replacement of a piece of source text in one function, so that it stays what
it says: when the function changes and the text is no longer there, planting fails loudly.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

__all__ = ["Edit", "Plant", "StalePlant", "one"]


class StalePlant(Exception):
    """The text that a plant replaces is not in the function (once)."""


@dataclass(frozen=True, slots=True)
class Edit:
    """In ``function`` of ``module`` the text ``old`` becomes ``new``."""

    module: str
    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug, and the way to put it in."""

    about: str
    edits: tuple[Edit, ...]

    @contextmanager
    def patch(self) -> Iterator[None]:
        """The bug is in the code for as long as this is entered."""
        edits: dict[tuple[str, str], list[Edit]] = {}
        for edit in self.edits:
            edits.setdefault((edit.module, edit.function), []).append(edit)
        with ExitStack() as stack:
            for group in edits.values():
                stack.enter_context(_edited(group))
            yield


@contextmanager
def _edited(edits: list[Edit]) -> Iterator[None]:
    """All changes to one function."""
    where = edits[0]
    module = importlib.import_module(f"pysubtask.{where.module}")
    found: Any = module
    for name in where.function.split("."):
        found = getattr(found, name)
    assert isinstance(found, FunctionType)
    changed = textwrap.dedent(inspect.getsource(found))
    for edit in edits:
        if changed.count(edit.old) != 1:
            raise StalePlant(f"{edit.module}.{edit.function} has no (single) {edit.old!r}")
        changed = changed.replace(edit.old, edit.new)
    before = found.__code__
    # Inside a function that has the same free variables (__class__, where super() is used).
    maker = f"def make({', '.join(before.co_freevars)}):\n{textwrap.indent(changed, '    ')}"
    maker += f"\n    return {found.__name__}\n"
    scope = dict(vars(module))
    exec(compile(f"from __future__ import annotations\n{maker}", where.module, "exec"), scope)
    made = scope["make"](*before.co_freevars)
    # In place, since other modules have imported the function by name.
    found.__code__ = made.__code__
    try:
        yield
    finally:
        found.__code__ = before


def one(about: str, module: str, function: str, old: str, new: str) -> Plant:
    return Plant(about, (Edit(module, function, old, new),))
