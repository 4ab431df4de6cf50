"""Settings from several places, one above the other, each with its origin.

Precedence: keyword or flag > ``PYSUBTASK_*`` > file > default. A destination URL belongs to the
place that gives it, just below that place's own settings; a URL from a higher place also drops
what lower *files* say of the old destination (user, password, host key …), so that one server's
password never goes to another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import msgspec

from pysubtask.config import section_values, url_values
from pysubtask.errors import SettingsError
from pysubtask.passwords import PASSWORD_SOURCES, SOURCES, fetch, lay, secret_of
from pysubtask.settings import Secret, Settings
from pysubtask.urls import parse_url

__all__ = [
    "ENV_PREFIX",
    "Given",
    "Layer",
    "Merged",
    "canonical",
    "environment_layer",
    "is_secret",
    "is_secret_variable",
    "merge",
    "parse_text",
    "unknown_variables",
    "without_password",
]

ENV_PREFIX = "PYSUBTASK_"
_LOGIN = re.compile(r"(://[^/\s:@]*):[^/\s@]*@")
_OTHER_VARIABLES = ("TO", "CONFIG", "REQUIRE_SERVERS")

_OF_DESTINATION = (
    "host",
    "host_port",
    "host_path",
    "use_sftp",
    "username",
    "password",
    "key_passphrase",
    "host_key",
    *PASSWORD_SOURCES,
    *(name for name in SOURCES if name.startswith("key_passphrase_")),
)
_HINTS = get_type_hints(Settings)


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it comes from, in words."""

    value: Any
    origin: str
    of_url: bool = False
    """It is a part of the destination's URL."""
    of_file: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place says."""

    origin: str
    """``file /etc/x.toml``, ``environment``, ``command line``, ``keyword``"""
    to: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """By the names of :class:`pysubtask.settings.Settings`, and those of secrets' sources."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """More exact origins of single settings."""
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """The layers as one."""

    to: Given | None
    settings: dict[str, Given]

    def keywords(self, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What to pass to a master beside the URL; secrets are fetched now.

        Raises:
            SettingsError: a secret can't be had.
        """
        values: dict[str, Any] = {}
        for name, given in self.settings.items():
            if name in SOURCES:
                values[str(secret_of(name))] = fetch(name, str(given.value), environ)
            elif not given.of_url:
                values[name] = given.value
        return values


def merge(layers: list[Layer]) -> Merged:
    """Lay them one above the other, the lowest first.

    Raises:
        SettingsError: a URL that can't be read.
    """
    to: Given | None = None
    merged: dict[str, Given] = {}
    for layer in layers:
        if layer.to is not None:
            for name in _OF_DESTINATION:
                held = merged.get(name)
                if held is not None and (held.of_url or held.of_file):
                    del merged[name]
            to = Given(layer.to, layer.origin)
            for name, value in url_values(parse_url(layer.to)).items():
                merged[name] = Given(value, f"{layer.origin}, in the URL", of_url=True)
        for name, value in layer.settings.items():
            origin = layer.origins.get(name, layer.origin)
            lay(merged, {name: Given(value, origin, of_file=layer.is_file)})
    return Merged(to, merged)


def canonical(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their own names; ``password_file`` and its kind are let through.

    Raises:
        SettingsError: there is no such setting.
    """
    sources = {name: table[name] for name in SOURCES if name in table}
    for name, value in sources.items():
        if not isinstance(value, str) or not value:
            raise SettingsError("must be text", operation="setting", path=name)
    rest = {name: value for name, value in table.items() if name not in sources}
    try:
        return {**section_values({"base": rest}, "base", "base"), **sources}
    except SettingsError as error:  # there are no sections here
        error.path = (error.path or "").removeprefix("base.")
        raise


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """What ``PYSUBTASK_*`` variables say. Unknown ones are passed over.

    Raises:
        SettingsError: a value that its setting can't have.
    """
    settings: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name in SOURCES:
            settings[name] = text
        elif name in _HINTS:
            settings[name] = parse_text(name, text, variable)
        else:
            continue
        origins[name] = f"environment {variable}"
    return Layer("environment", environ.get(f"{ENV_PREFIX}TO") or None, settings, origins)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """``PYSUBTASK_*`` variables that mean nothing: mistyped, most likely."""
    known = {*_HINTS, *SOURCES, *(name.lower() for name in _OTHER_VARIABLES)}
    return sorted(
        name
        for name in environ
        if name.startswith(ENV_PREFIX)
        and name.removeprefix(ENV_PREFIX).lower() not in known
        and not name.startswith(f"{ENV_PREFIX}COMPLETE")
    )


def parse_text(name: str, text: str, where: str) -> Any:
    """A setting's value from text: a variable, or ``--set NAME=VALUE``. Empty: the default.

    Raises:
        SettingsError: no such value. A secret is never shown.
    """
    hint = _HINTS[name]
    if is_secret(name):
        return Secret(text) if text else None
    if name == "host_key":
        return tuple(text.replace(",", " ").split())
    if not text or (text.lower() == "none" and type(None) in get_args(hint)):
        return None
    if hint is str or str in get_args(hint):
        return text
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        shown = getattr(hint, "__name__", "")
        words = {
            "bool": "true or false",
            "int": "a whole number",
            "float": "a number",
        }.get(shown, "another value")
        if not shown or words == "another value":
            return text  # a choice, a limit: the check of all settings says it better
        raise SettingsError(
            f"must be {words}, not {text[:40]!r}", operation="setting", path=where
        ) from None


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable gives a setting whose value must not be shown."""
    return name.startswith(ENV_PREFIX) and is_secret(name.removeprefix(ENV_PREFIX).lower())


def without_password(text: str) -> str:
    """A text with URLs in it, such as the value of ``PYSUBTASK_TO``, without their passwords."""
    return _LOGIN.sub(r"\1@", text)


def is_secret(name: str) -> bool:
    """Whether the setting's value must not be shown."""
    hint = _HINTS.get(name)
    return hint is Secret or Secret in get_args(hint)
