"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from pysubtask.config import build, destination_from
from pysubtask.errors import SettingsError
from pysubtask.layers import (
    ENV_PREFIX,
    Layer,
    Merged,
    canonical,
    environment_layer,
    is_secret,
    is_secret_variable,
    merge,
    parse_text,
    without_password,
)
from pysubtask.passwords import PASSWORD_SOURCES, SOURCES
from pysubtask.settings import Settings
from pysubtask.tomlfile import read_layer
from pysubtask.urls import Destination, extension_of, parse_url

__all__ = [
    "ORIGIN",
    "Connection",
    "Target",
    "UrlType",
    "connection_options",
    "default_config",
    "forget_secrets",
    "give_up_option",
    "json_option",
    "read_assignments",
    "set_option",
    "user_layer",
]

ORIGIN = "command line"

_Command = TypeVar("_Command", bound=Callable[..., Any])

_REFUSED_HERE = (
    "a password in an argument list can be read by every user of this computer\n"
    "(ps, shell history); it is not used"
)
_OTHER_WAYS = (
    "--password-file FILE, --password-command COMMAND, --password-env NAME, "
    "--password-keyring SERVICE/USER or --password-credential NAME"
)


class UrlType(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A destination URL without a password."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            found = parse_url(text)
            extension_of(found.scheme)
        except SettingsError as error:
            if "@" in text and ":" in text.rpartition("@")[0].partition("://")[2]:
                raise _usage(
                    "the URL can't be read, and it seems to hold a password", ctx
                ) from None
            raise _usage(f"the URL {error.message}", ctx, error.hint) from None
        if found.password is not None:
            raise _usage(_REFUSED_HERE, ctx, _OTHER_WAYS)
        return text


def _usage(message: str, ctx: click.Context | None, attempt: str | None = None) -> click.UsageError:
    error = click.UsageError(message, ctx)
    error.attempt = attempt  # type: ignore[attr-defined]  # shown behind "Try:"
    return error


@dataclass(slots=True)
class Connection:
    """What the connection options of a command line say."""

    flags: dict[str, Any] = field(default_factory=dict)
    config: str | None = None

    def layers(self, to: str | None) -> list[Layer]:
        """The user's file, the environment, the flags: lowest first."""
        found = []
        path = self.config or default_config()
        if self.config is not None or os.path.exists(path):
            found.append(read_layer(path))
        return [*found, environment_layer(os.environ), Layer(ORIGIN, to, self.flags)]

    def merged(self, to: str | None) -> Merged:
        """All layers as one."""
        return merge(self.layers(to))

    def target(self, to: str | None, how: str = "--to URL") -> Target:
        """The destination and all settings for it; the password is fetched.

        Args:
            to: as typed.
            how: it is typed.

        Raises:
            SettingsError: no destination is given, or a setting can't be right.
        """
        merged = self.merged(to)
        if merged.to is None:
            raise SettingsError(
                "no destination is given",
                operation="destination",
                hint=f"{how}, such as sftp://user@host/folder",
            )
        destination = parse_url(merged.to.value)
        extension = extension_of(destination.scheme)
        keywords = merged.keywords()
        forget_secrets(merged)
        settings = build(extension, None, destination, keywords)
        if extension == "ftp":
            destination = destination_from(destination.scheme, settings)
        elif extension == "dropbox":
            from pysubtask.dropbox import check_login

            check_login(settings, destination)
        return Target(str(merged.to.value), destination, settings, keywords)


@dataclass(frozen=True, slots=True)
class Target:
    """A destination, ready to be connected to."""

    to: str
    destination: Destination
    settings: Settings
    keywords: dict[str, Any]
    """For a master beside ``to``."""


def forget_secrets(*merged: Merged) -> None:
    """Take secrets out of this process's environment, which a subtask would inherit."""
    for name, value in list(os.environ.items()):
        if is_secret_variable(name):
            del os.environ[name]
        elif name.startswith(ENV_PREFIX) and without_password(value) != value:
            os.environ[name] = without_password(value)
    for layers in merged:
        for name, given in layers.settings.items():
            if name in SOURCES and name.endswith("_env"):
                os.environ.pop(str(given.value), None)


def default_config() -> str:
    """``PYSUBTASK_CONFIG``, or ``config.toml`` in the user's configuration folder."""
    given = os.environ.get("PYSUBTASK_CONFIG")
    if given:
        return os.path.abspath(os.path.expanduser(given))
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("pysubtask", False), "config.toml")


def json_option(command: _Command) -> _Command:
    """``--json``"""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print NDJSON, one message a line, to stdout."
    )(command)


def give_up_option(command: _Command) -> _Command:
    """``--give-up-after``"""
    return click.option(
        "--give-up-after",
        type=click.FloatRange(0, 86_400 * 30),
        default=30.0,
        show_default=True,
        metavar="SECS",
        help="Seconds without any progress after which to give up (not with --follow).",
    )(command)


def set_option(command: _Command) -> _Command:
    """``--set``; the command gets it as ``assignments``."""
    return click.option(
        "--set",
        "assignments",
        metavar="NAME=VALUE",
        multiple=True,
        help="Any setting, such as --set reply_timeout_secs=10.",
    )(command)


def connection_options(command: _Command) -> _Command:
    """The options that say how to connect; the command gets them as ``connection``."""
    from functools import wraps

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        return command(connection=_connection(given), **given)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


_FILE = click.Path(dir_okay=False)
_OPTIONS = [
    click.option("--known-hosts", type=_FILE, metavar="FILE", help="File of known host keys."),
    click.option("--key-file", type=_FILE, metavar="FILE", help="Private key to log in with."),
    click.option(
        "--host-key",
        metavar="SHA256:…",
        multiple=True,
        help="The server's host key; known_hosts is not asked then.",
    ),
    click.option(
        "--password-file",
        type=_FILE,
        metavar="FILE",
        help="Password in the first line of a file that only you may read (chmod 600).",
    ),
    click.option(
        "--password-command",
        metavar="COMMAND",
        help="Program that prints the password, such as 'pass show collector'.",
    ),
    click.option(
        "--password-env", metavar="NAME", help="Environment variable that holds the password."
    ),
    click.option(
        "--password-keyring",
        metavar="SERVICE/USER",
        help="Entry of the system's keyring that holds the password.",
    ),
    click.option(
        "--password-credential",
        metavar="NAME",
        help="systemd credential that holds the password (LoadCredential=NAME:FILE).",
    ),
    set_option,
    click.option(
        "--config",
        type=_FILE,
        metavar="FILE",
        help="TOML file with [settings]; default: config.toml in your configuration folder.",
    ),
]


def _connection(given: dict[str, Any]) -> Connection:
    """Take the options out of ``given``."""
    flags = read_assignments(given.pop("assignments"))
    for name in ("known_hosts", "key_file", *PASSWORD_SOURCES):
        value = given.pop(name)
        if value is not None:
            flags[name] = value
    host_keys = given.pop("host_key")
    if host_keys:
        flags["host_key"] = tuple(host_keys)
    return Connection(flags, given.pop("config"))


def read_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Settings from ``--set NAME=VALUE``.

    Raises:
        click.UsageError: no value, or a secret.
        SettingsError: there is no such setting, or it can't have that value.
    """
    flags: dict[str, Any] = {}
    for assignment in assignments:
        name, mark, text = assignment.partition("=")
        if not mark:
            raise _usage(f"--set {name}: a value is missing", None, f"--set {name}=VALUE")
        known = next(iter(canonical({name.strip(): "x"})))
        if known in SOURCES:
            raise _usage(f"--set {known}: not here", None, _ways(known))
        if is_secret(known) and known != "password":
            raise _usage(_REFUSED_HERE, None, _ways(f"{known}_file"))
        if is_secret(known):
            raise _usage(_REFUSED_HERE, None, _OTHER_WAYS)
        flags[known] = parse_text(known, text, f"--set {name}")
    return flags


def _ways(source: str) -> str:
    """How to give a source of a secret, if there is no option for it."""
    if source in PASSWORD_SOURCES:
        return _OTHER_WAYS
    return f"{ENV_PREFIX}{source.upper()}=… in the environment, or in a TOML file (--config)"


def user_layer(config: str | None, assignments: tuple[str, ...] = ()) -> Merged:
    """What the user's file (or ``config``) and the environment say for every command."""
    return Connection(read_assignments(assignments), config).merged(None)
