"""Errors say what, to what, why and what to do, and cross a process boundary (design §5)."""

from __future__ import annotations

import copy
import pickle

import pytest

from pysubtask import errors
from pysubtask.errors import PysubtaskError
from pysubtask.subtask.delivery import (
    allowance,
    courier,
    delivery,  # noqa: F401  (they have errors of their own)
    names,
)


def _all_kinds(kind: type[PysubtaskError] = PysubtaskError) -> list[type[PysubtaskError]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += _all_kinds(below)
    return found


def _make(kind: type[PysubtaskError]) -> PysubtaskError:
    if kind is courier.FileHeld:
        return courier.FileHeld("waits", until=5.0)
    if kind is allowance.BudgetSpent:
        return allowance.BudgetSpent("waits", until=5.0)
    if kind is names.NameTaken:
        return names.NameTaken("why", "a/b", "do this", 5.0)
    if kind is errors.AskedToWait:
        return errors.AskedToWait("why", wait_secs=7.5, operation="send", path="a/b")
    return kind("why", operation="rename", path="a/b", hint="do this", retryable=True)


@pytest.mark.parametrize("kind", _all_kinds(), ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying(kind: type[PysubtaskError]) -> None:
    error = _make(kind)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "why"),
        ({"operation": "rename"}, "rename: why"),
        ({"path": "a/b"}, "a/b: why"),
        ({"operation": "rename", "path": "a/b"}, "rename a/b: why"),
        ({"operation": "rename", "path": "a/b", "hint": "do this"}, "rename a/b: why (do this)"),
        ({"hint": "do this"}, "why (do this)"),
    ],
)
def test_the_text_says_what_to_what_why_and_what_to_do(fields: dict[str, str], text: str) -> None:
    assert str(PysubtaskError("why", **fields)) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (errors.SettingsError, False),
        (errors.StateError, False),
        (errors.LinkLost, True),
        (errors.LoginRefused, True),
        (errors.RemoteFull, True),
        (errors.RemoteDenied, False),
        (errors.RemoteUnsupported, False),
    ],
)
def test_whether_trying_again_helps(kind: type[PysubtaskError], retryable: bool) -> None:
    assert kind("why").retryable is retryable
    assert kind("why", retryable=not retryable).retryable is not retryable


def test_every_error_is_listed_and_has_the_base() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), PysubtaskError)
    public = {k for k in _all_kinds() if k.__module__ == errors.__name__}
    assert {k.__name__ for k in public} == set(errors.__all__)
