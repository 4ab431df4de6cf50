"""From what a program gives (keywords, a URL, a configuration) to checked :class:`Settings`.

Precedence: keyword > URL > the extension's section > ``burst_mode`` and ``base`` > default.

A configuration is any object with sections as attributes (a module, a class, a namespace) or a
``dict`` of them; a section likewise. A single section may stand in place of a configuration. Names
may be spelled as here (``dead_time_milli``) or as in version 1 (``DeadTimeMilli``, ``UseSFTP``,
``Master_Log_FileName``): underscores and case are not looked at.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import msgspec

from pysubtask.errors import SettingsError
from pysubtask.passwords import SECRETS, SOURCES, check_private, fetch, lay, secret_of
from pysubtask.patterns import complaint_of
from pysubtask.settings import SECTIONS, Secret, Settings, from_wire
from pysubtask.urls import DEFAULT_PORTS, FTPS_PORT, Destination, make_destination

__all__ = ["build", "camel_case", "destination_from", "section_values", "url_values"]

_FIELDS = Settings.__struct_fields__
_BY_KEY = {name.replace("_", ""): name for name in (*_FIELDS, *SOURCES)}
_FILES = ("key_file", "known_hosts", "ca_file")
_OTHER_NAMES = {
    "user": "username",
    "port": "host_port",
    "path": "host_path",
    "accesstoken": "dropbox_access_token",
    "refreshtoken": "dropbox_refresh_token",
    "appkey": "dropbox_app_key",
}
"""Short names, and those of early version 1 configurations."""
_ONE_OF_TWO = {"hostsftppath": True, "hostftppath": False}
"""Version 1's demo named a folder for either protocol; ``use_sftp`` chooses."""
_SWITCHES = ("useftp", "usedropbox")
"""Version 1's demo chose its extension by them; no settings."""
_UPPER = {"sftp": "SFTP", "ca": "CA"}
_MAX_BEATS_BYTES = 255 - len(".heartbeat")  # file systems take names of 255 bytes
_MISSING: Any = object()


def camel_case(name: str) -> str:
    """Version 1's spelling: ``dead_time_milli`` → ``DeadTimeMilli``, ``use_sftp`` → ``UseSFTP``."""
    return "".join(_UPPER.get(word, word.capitalize()) for word in name.split("_"))


def build(
    extension: str,
    config: Any = None,
    destination: Destination | None = None,
    keywords: Mapping[str, Any] | None = None,
) -> Settings:
    """All settings for a master of ``extension``.

    Raises:
        SettingsError: an unknown name (with the one that was probably meant), a wrong type, a
            value outside its limits. It never shows a secret.
    """
    if isinstance(config, Mapping) and _has_sections(config):
        for name in config:
            if name not in SECTIONS:
                raise SettingsError(
                    "there is no such section",
                    operation="configuration",
                    path=str(name),
                    hint=f"there are {', '.join(SECTIONS)}",
                )
    values: dict[str, Any] = {"bak_to_folder": f"upload/{extension}"}
    for section in ("base", "burst_mode", extension):
        lay(values, section_values(config, section, extension))
    if destination is not None:
        lay(values, url_values(destination))
    lay(values, _canonical((keywords or {}).items(), "", values))
    return _checked(_fetched(values))


def _fetched(values: dict[str, Any]) -> dict[str, Any]:
    """With secrets instead of where they come from."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in SOURCES:
            found[name] = value
        elif not isinstance(value, str) or not value:
            raise _mistake(name, "must be text")
        else:
            found[str(secret_of(name))] = fetch(name, value)
    return found


def section_values(config: Any, section: str, extension: str) -> dict[str, Any]:
    """What ``config`` says in ``section``, under the names of :class:`Settings`.

    Raises:
        SettingsError: a name that no setting has.
    """
    if config is None:
        return {}
    given = _get(config, section)
    if given is _MISSING or given is None:
        if section != extension or _has_sections(config):
            return {}
        given = config  # a single section stands for the extension's
    return _canonical(_items(given), section, {})


def url_values(destination: Destination) -> dict[str, Any]:
    """A URL as settings; only what the URL says."""
    values: dict[str, Any] = {"host_path": destination.path}
    if destination.scheme in ("sftp", "ftp", "ftps"):
        values["use_sftp"] = destination.scheme == "sftp"
    if destination.scheme == "ftps":
        values["ftp_tls"] = "implicit" if destination.port == FTPS_PORT else "explicit"
    elif destination.scheme == "ftp":
        values["ftp_tls"] = "off"
    if destination.host:
        values["host"] = destination.host
        values["host_port"] = destination.port or None
    if destination.user is not None:
        values["username"] = destination.user
    if destination.password is not None:
        values["password"] = destination.password
    return values


def destination_from(scheme: str, settings: Settings) -> Destination:
    """The destination that the settings describe.

    Raises:
        SettingsError: no host, or a part that can't be right.
    """
    if not settings.host:
        raise SettingsError(
            "says no destination",
            operation="setting",
            path="host",
            hint='such as to="sftp://user@host/folder", or host="…"',
        )
    port = settings.host_port
    if scheme == "ftps" and settings.ftp_tls == "implicit" and port in (None, DEFAULT_PORTS["ftp"]):
        port = FTPS_PORT
    return make_destination(
        scheme,
        user=settings.username,
        password=settings.password,
        host=settings.host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        path=settings.host_path,
    )


def _get(config: Any, name: str) -> Any:
    if isinstance(config, Mapping):
        return config.get(name, _MISSING)
    return getattr(config, name, _MISSING)


def _has_sections(config: Any) -> bool:
    if isinstance(config, ModuleType):
        return True  # a module without sections has none, but many names that are no settings
    return any(_get(config, name) is not _MISSING for name in SECTIONS)


def _items(section: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(section, Mapping):
        yield from section.items()
        return
    if isinstance(section, str | bytes | int | float | list | tuple):
        raise SettingsError(
            f"must be an object with attributes or a dict, not {type(section).__name__}",
            operation="section",
        )
    for name in dir(section):
        if not name.startswith("_"):
            value = getattr(section, name)
            if not callable(value) and not isinstance(value, ModuleType):
                yield name, value


def _canonical(items: Any, section: str, known: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    either: dict[bool, Any] = {}
    for given, value in items:
        key = str(given).replace("_", "").lower()
        if key in _SWITCHES:
            continue
        if key in _ONE_OF_TWO:
            either[_ONE_OF_TWO[key]] = value
            continue
        name = _BY_KEY.get(key) or _OTHER_NAMES.get(key)
        if name is None and section == "burst_mode":
            name = _BY_KEY.get(f"burst{key}")
        if name is None:
            raise _unknown(str(given), section)
        values[name] = _plain(name, value)
    chosen = either.get(bool(values.get("use_sftp", known.get("use_sftp", True))))
    if chosen is not None:
        values.setdefault("host_path", chosen)
    # None where None is no value means "as by default"
    return {name: value for name, value in values.items() if value is not None or _takes_none(name)}


def _takes_none(name: str) -> bool:
    return _DEFAULTS.get(name, name) is None or name in ("archive_to_folder", "log_to_folder")


_DEFAULTS = dict(zip(reversed(_FIELDS), reversed(Settings.__struct_defaults__), strict=True))


def _plain(name: str, value: Any) -> Any:
    """Friendly forms of a value: paths, a single fingerprint, a port of -1, level names."""
    if isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    if name in SECRETS and isinstance(value, str):
        return Secret(value) if value else None
    if name == "host_key":
        return (value,) if isinstance(value, str) else () if value is None else value
    if name == "host_port" and value in (-1, 0) and not isinstance(value, bool):
        return None
    if name == "log_level" and isinstance(value, int) and not isinstance(value, bool):
        return {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR"}.get(value, value)
    if name == "log_level" and isinstance(value, str):
        return value.upper()
    return value


def _checked(values: dict[str, Any]) -> Settings:
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _mistake(name, "must be a finite number")
        if isinstance(value, str) and "\0" in value:
            raise _mistake(name, "holds a NUL character")
        if name in _FILES and isinstance(value, str):
            path = os.path.abspath(os.path.expanduser(value))
            if not (os.path.exists(path) and not os.path.isdir(path)):
                raise _mistake(name, f"there is no file {path}")
            if name == "key_file":
                _check_key(path)
            values = {**values, name: path}
    try:
        settings = from_wire(values)
    except msgspec.ValidationError as error:
        raise _in_words(str(error), values) from None
    _check_texts(settings)
    return settings


def _check_key(path: str) -> None:
    """As ssh does (``authfile.c``): a private key of ours that others may read is refused."""
    if sys.platform != "win32" and os.stat(path).st_uid == os.getuid():
        check_private(path, "use the private key")


def _check_texts(settings: Settings) -> None:
    for fingerprint in settings.host_key:
        if not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", fingerprint):
            raise _mistake(
                "host_key",
                "is no fingerprint",
                "SHA256: and 43 characters, as printed by: ssh-keygen -lf key.pub",
            )
    if settings.ssh_command is not None:
        import shlex

        try:
            empty = not shlex.split(settings.ssh_command)
        except ValueError as error:
            raise _mistake("ssh_command", f"can't be split into words: {error}") from None
        if empty:
            raise _mistake("ssh_command", "is empty")
    for name in ("heartbeat_name", "master_log_file_name", "subtask_log_file_name"):
        text = getattr(settings, name)
        if text is not None and (
            not text or (name == "heartbeat_name" and re.search(r"[/\\]", text))
        ):
            raise _mistake(name, "is no file name")
    beats = settings.heartbeat_name
    if beats is not None and beats.startswith("."):
        raise _mistake("heartbeat_name", "begins with a dot: monitors leave hidden files alone")
    if beats is not None and len(os.fsencode(beats)) > _MAX_BEATS_BYTES:
        raise _mistake("heartbeat_name", f"is longer than {_MAX_BEATS_BYTES} bytes")
    if settings.rotated_as:
        complaint = complaint_of(settings.rotated_as)
        if complaint is not None:
            raise _mistake("rotated_as", complaint)
    if not settings.bak_to_folder:
        raise _mistake("bak_to_folder", "is no folder")


def _unknown(given: str, section: str) -> SettingsError:
    import difflib

    spelled = {name: name for name in _FIELDS}
    spelled.update({camel_case(name): camel_case(name) for name in _FIELDS})
    if section == "burst_mode":
        spelled.update({name[6:]: name[6:] for name in _FIELDS if name.startswith("burst_")})
    near = difflib.get_close_matches(given, spelled, 1, 0.6)
    if not near:
        folded = {name.replace("_", "").lower(): name for name in spelled}
        close = difflib.get_close_matches(given.replace("_", "").lower(), folded, 1, 0.6)
        near = [folded[close[0]]] if close else []
    where = f"{section}.{given}" if section else given
    return SettingsError(
        "there is no such setting",
        operation="setting",
        path=where,
        hint=f"did you mean {near[0]}?" if near else "pysubtask.defaults_config shows them all",
    )


_UNITS = {"_secs": " seconds", "_milli": " milliseconds", "_bytes": " bytes", "_old": " days"}


def _in_words(error: str, values: Mapping[str, Any]) -> SettingsError:
    """msgspec's message in the words of somebody who wrote a setting."""
    what, _, where = error.partition(" - at `$.")
    name = re.split(r"[`.\[]", where)[0]
    value = values.get(name, _MISSING)
    unit = next((text for end, text in _UNITS.items() if name.endswith(end)), "")
    limit = re.match(r"Expected `\w+(?: \| null)?` (>=|<=|>|<) ([\d.]+)", what)
    if limit:
        words = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
        what = f"must be {words[limit[1]]} {limit[2]}{unit}"
    elif what.startswith("Expected"):
        kinds = {
            "float": "a number",
            "int": "a whole number",
            "str": "text",
            "bool": "True or False",
        }
        kind = re.match(r"Expected `(\w+)", what)
        wanted = kinds.get(kind[1], "of another type") if kind else "of another type"
        what = f"must be {wanted}{' of' + unit if unit else ''}"
    elif what.startswith("Invalid enum value"):
        allowed = _allowed(name)
        what = f"must be one of {', '.join(allowed)}" if allowed else "is none of the values"
    if name not in SECRETS and value is not _MISSING and len(repr(value)) <= 60:
        what += f", not {value!r}"
    return _mistake(name, what)


def _allowed(name: str) -> tuple[str, ...]:
    from typing import get_args, get_type_hints

    hint = get_type_hints(Settings).get(name)
    return tuple(arg for arg in get_args(hint) if isinstance(arg, str))


def _mistake(name: str, message: str, hint: str | None = None) -> SettingsError:
    return SettingsError(message, operation="setting", path=name, hint=hint)
