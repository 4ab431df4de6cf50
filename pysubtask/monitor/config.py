"""The command's settings: one definition each, from flags, environment and file.

A flag goes before ``PYSUBTASK_MONITOR_<NAME>`` in the environment, which goes before the TOML file
of ``--config``, which goes before the default.
"""

from __future__ import annotations

import pathlib
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from pysubtask.errors import SettingsError
from pysubtask.passwords import check_private

__all__ = ["PREFIX", "Config", "descriptions", "load_config", "read_secret"]

PREFIX = "PYSUBTASK_MONITOR_"
_Secs = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400.0)]


def _about(text: str, **limits: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **limits)


class Config(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What ``serve`` is told. Descriptions are what ``--help`` shows."""

    source: Annotated[
        str, _about("the folder, or sftp:// or dropbox:// URL, that heartbeat files land in")
    ] = ""
    state: Annotated[str | None, _about("folder for history and keys, on a local disk")] = None
    listen: Annotated[str, _about("address and port of the pages")] = "127.0.0.1:8642"
    allow_host: Annotated[
        tuple[str, ...], _about("a name that browsers may call it by (repeat)")
    ] = ()
    password_file: Annotated[
        str | None, _about("file with the password for the pages; needed beyond loopback")
    ] = None
    tls_cert: Annotated[str | None, _about("certificate chain (PEM) for HTTPS")] = None
    tls_key: Annotated[str | None, _about("its private key (PEM)")] = None
    behind_tls: Annotated[bool, _about("a proxy in front speaks HTTPS: cookies need it")] = False
    flat: Annotated[bool, _about("do not look into folders below")] = False
    until_eof: Annotated[
        bool, _about("end when standard input ends (for programs that start it)")
    ] = False
    scan_secs: Annotated[_Secs, _about("seconds between two looks")] = 5.0
    grace_secs: Annotated[float, _about("overdue for so long is late, not yet down", ge=0)] = 30.0
    archive_days: Annotated[float, _about("a file gone for so long: no longer shown", gt=0)] = 30.0
    accept_loss_secs: Annotated[
        _Secs, _about("half the files vanished at once: believed after this")
    ] = 3600.0
    data_secs: Annotated[
        _Secs | None, _about("one folder a client: its data should change within this")
    ] = None
    webhook: Annotated[tuple[str, ...], _about("POST alerts as JSON to this URL (repeat)")] = ()
    webhook_secret_file: Annotated[
        str | None, _about("file with the secret that signs webhook bodies")
    ] = None
    smtp: Annotated[
        str | None, _about("mail alerts: smtp://user@host:587?to=a@example.com&from=b@example.com")
    ] = None
    smtp_password_file: Annotated[str | None, _about("file with the mail user's password")] = None
    apprise: Annotated[tuple[str, ...], _about("an apprise URL for alerts (repeat)")] = ()
    ping: Annotated[str | None, _about("GET this URL while all is well (dead man's switch)")] = None
    ping_secs: Annotated[_Secs, _about("how often")] = 60.0
    reminder_secs: Annotated[float, _about("tell again of what is still down; 0: never", ge=0)] = (
        86_400.0
    )
    gather_secs: Annotated[float, _about("those who go down within this share an alert", ge=0)] = (
        10.0
    )
    mass_count: Annotated[int, _about("from so many on, one alert for all", ge=2)] = 5
    key_file: Annotated[str | None, _about("sftp: private key for the login")] = None
    known_hosts: Annotated[str | None, _about("sftp: known_hosts file")] = None
    host_key: Annotated[str | None, _about("sftp: the server's key as SHA256:…")] = None
    source_password_file: Annotated[str | None, _about("sftp: file with the password")] = None
    dropbox_app_key: Annotated[str | None, _about("dropbox: the app's key")] = None
    dropbox_token_file: Annotated[
        str | None,
        _about("dropbox: file with the refresh token that pysubtask.dropbox.login() gives"),
    ] = None


def descriptions() -> list[tuple[str, Any, Any, str]]:
    """Name, type, default and description of each setting, in order."""
    found = []
    for field in msgspec.structs.fields(Config):
        kind: Any = msgspec.inspect.type_info(field.type)
        text = ""
        if isinstance(kind, msgspec.inspect.Metadata):
            text = (kind.extra_json_schema or {}).get("description", "")
            kind = kind.type
        found.append((field.name, kind, field.default, text))
    return found


def load_config(
    flags: Mapping[str, Any], environ: Mapping[str, str], file: str | None = None
) -> Config:
    """Put the settings together and check them.

    Raises:
        SettingsError: one is unknown, or out of its limits.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        try:
            merged.update(tomllib.loads(pathlib.Path(file).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise SettingsError(str(error), operation="read --config", path=file) from error
    for name, kind, _, _ in descriptions():
        value = environ.get(PREFIX + name.upper())
        if value is not None:
            many = isinstance(kind, msgspec.inspect.VarTupleType)
            merged[name] = value.split() if many else value
    merged.update({name: value for name, value in flags.items() if value is not None})
    try:
        return msgspec.convert(merged, Config, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            str(error), operation="check the settings", hint="pysubtask-monitor serve --help"
        ) from error


def read_secret(path: str | None, environ: Mapping[str, str], name: str) -> str | None:
    """A secret from the environment or a file; its last newline is not part of it.

    Raises:
        SettingsError: the file can't be read, is empty, or others than its owner may read it.
    """
    value = environ.get(PREFIX + name)
    if value:
        return value
    if path is None:
        return None
    try:
        text = pathlib.Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise SettingsError(str(error), operation="read the secret in", path=path) from error
    if not text:
        raise SettingsError("it is empty", operation="read the secret in", path=path)
    check_private(path, "read the secret in")
    return text
