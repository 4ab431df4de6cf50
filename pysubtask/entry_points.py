"""Transports that other packages bring: the entry-point group ``pysubtask.transports``.

A package says in its ``pyproject.toml`` what its URLs begin with, and what makes a transport::

    [project.entry-points."pysubtask.transports"]
    shelf = "pysubtask_shelf:make"

Here they are only looked up by name: the program that has a master never loads them, its subtask
does (:mod:`pysubtask.transports.own`). Both look only when a URL has a scheme that is not ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "is_offered", "offers"]

GROUP = "pysubtask.transports"


def offers(scheme: str) -> list[EntryPoint]:
    """What installed packages offer for a scheme, in no order."""
    from importlib.metadata import entry_points  # late: 20 ms that few programs need

    return list(entry_points(group=GROUP, name=scheme))


def is_offered(scheme: str) -> bool:
    """Whether an installed package has a transport for ``scheme://``."""
    return bool(offers(scheme))
