"""Transports of other packages: loaded by their entry point, and kept on the contract.

``docs/transports.md`` says how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pysubtask.core.capabilities import Capabilities
from pysubtask.entry_points import GROUP, offers
from pysubtask.errors import LinkError, LinkLost, PysubtaskError, SettingsError
from pysubtask.transports.contract import Request, Result, Transport, Wake
from pysubtask.transports.notes import Notes
from pysubtask.transports.said import said

if TYPE_CHECKING:
    from pysubtask.seams.clock import Clock
    from pysubtask.settings import Settings
    from pysubtask.urls import Destination

__all__ = ["Setup", "own_factory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a transport is made of. An entry point is a function ``make(setup) -> Transport``; it is
    called once for each connection, and must not connect yet."""

    destination: Destination
    """The URL: ``scheme``, ``user``, ``password`` (a ``Secret``: ``.reveal()``), ``host``, ``port``
    (0: none was given), ``path``."""
    settings: Settings
    """All settings: time limits, ``ca_file``, ``key_file`` …"""
    clock: Clock
    wake: Wake
    """To be called, from any thread, when ``collect()`` may have something new."""
    client_id: Callable[[], str]
    """8 hex digits that tell our temporary names at the destination from others'."""
    notes: Notes
    """A small JSON object that survives restarts."""


def own_factory(setup: Setup) -> Callable[[], Transport]:
    """A function that makes a new, unconnected transport.

    Raises:
        SettingsError: no package offers the scheme here, several do, or it can't be loaded.
    """
    scheme = setup.destination.scheme
    found = offers(scheme)
    if not found:
        raise _mistake(
            scheme,
            f"no installed package offers it (entry-point group {GROUP})",
            "is it installed for the interpreter that runs the subtask?",
        )
    if len(found) > 1:
        names = ", ".join(sorted(_package(point) for point in found))
        raise _mistake(scheme, f"several packages offer it: {names}", "uninstall all but one")
    (point,) = found
    try:
        make = point.load()
    except Exception as error:
        raise _mistake(
            scheme,
            f"{point.value} of {_package(point)} can't be loaded: {type(error).__name__}: {error}",
            "a transport that is broken, or lacks a package that it needs",
        ) from error
    if not callable(make):
        raise _mistake(scheme, f"{point.value} of {_package(point)} is no function", None)
    return lambda: _Guarded(make(setup), scheme)


def _package(point: Any) -> str:
    return str(point.dist.name if point.dist is not None else point.module)


def _mistake(scheme: str, message: str, hint: str | None) -> SettingsError:
    return SettingsError(message, operation="load the transport", path=f"{scheme}://", hint=hint)


class _Guarded:
    """Takes an ``OSError`` or ``EOFError`` that a transport lets through for what it is in nearly
    all cases: the connection broke. Other exceptions are mistakes in it: they end the process, with
    a traceback in the log, and the master starts another."""

    def __init__(self, inner: Transport, scheme: str) -> None:
        self._inner = inner
        self._scheme = scheme
        self.described = ""

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def connect(self) -> None:
        try:
            self._inner.connect()
        except PysubtaskError:
            raise
        except (OSError, EOFError) as error:
            raise LinkError(
                _words(error), operation="connect", path=f"{self._scheme}://"
            ) from error
        self.described = str(getattr(self._inner, "described", ""))

    def submit(self, ticket: int, request: Request) -> None:
        try:
            self._inner.submit(ticket, request)
        except (OSError, EOFError) as error:
            raise self._broken(error) from error

    def collect(self) -> Iterator[tuple[int, Result]]:
        try:
            yield from self._inner.collect()
        except (OSError, EOFError) as error:
            raise self._broken(error) from error

    def relax(self) -> None:
        relax = getattr(self._inner, "relax", None)
        if relax is not None:
            relax()

    def close(self) -> None:
        try:
            self._inner.close()
        except Exception:
            pass  # the contract: never raises

    def _broken(self, error: OSError | EOFError) -> LinkLost:
        return LinkLost(_words(error), operation="deliver to", path=f"{self._scheme}://")


def _words(error: OSError | EOFError) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return said(strerror or str(error)) or type(error).__name__
