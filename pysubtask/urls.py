"""Where data go: destination URLs.

==============================  ==========================================================
``sftp://user:pw@host:22/data``   the absolute path ``/data`` (as in OpenSSH's ``sftp://``)
``sftp://host/~/data``            ``data`` below the login folder
``sftp://host``                   the login folder
``ftp://host/data``               ``data`` below the login folder (RFC 1738, 3.2.2)
``ftps://host/data``              the same over TLS; with port 990 from the first byte
``ftp://host/%2Fdata``            the absolute path ``/data`` (the same section)
``dropbox:///data``               the folder ``/data`` of the Dropbox, or of the app's folder
``file:///mnt/share/data``        a local folder, or a network share that is mounted
``shelf://host:7007/data``        what an installed package offers (``docs/transports.md``); host,
                                  port and path may be missing
==============================  ==========================================================

Reserved characters in user, password and path are written as ``%XX``. No error message ever shows
the URL, because it may hold a password.
"""

from __future__ import annotations

import os
import re

import msgspec

from pysubtask.entry_points import is_offered
from pysubtask.errors import SettingsError
from pysubtask.secret import Secret

__all__ = [
    "DEFAULT_PORTS",
    "EXTENSIONS",
    "FTPS_PORT",
    "OWN",
    "READY_SCHEMES",
    "Destination",
    "extension_of",
    "make_destination",
    "parse_url",
]

EXTENSIONS = {
    "sftp": "ftp",
    "ftp": "ftp",
    "ftps": "ftp",
    "dropbox": "dropbox",
    "file": "folder",
}
"""URL scheme to the extension (module of this package, section of a configuration) for it."""

OWN = "own"
"""The extension for schemes that other packages bring."""

READY_SCHEMES = ("sftp", "ftp", "ftps", "dropbox", "file")
"""What this version can deliver to."""

DEFAULT_PORTS = {"sftp": 22, "ftp": 21, "ftps": 21, "dropbox": 443, "file": 0}

FTPS_PORT = 990
"""Where TLS begins with the first byte (IANA: ftps)."""

_CONTROL = r"[\x00-\x1f\x7f]"
_HOST = r"[^\x00-\x20\x7f/@?#\\\[\]%]+(%[0-9A-Za-z_.-]+)?"
_DRIVE = r"/[A-Za-z]:(/|$)"


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed destination."""

    scheme: str
    """``sftp``, ``ftp``, ``ftps``, ``dropbox``, ``file``, or another package's."""
    user: str | None = None
    """Who logs in; None if nothing says so."""
    password: Secret | None = None
    host: str = ""
    """Name or address; an IPv6 address without its brackets."""
    port: int = 0
    """Filled in, with the scheme's usual one if need be; 0 for ``file``, and for another package's
    scheme if the URL says none."""
    path: str = ""
    """Folder, without a slash at its end: ``/data``, ``data``, or ``""`` for the login folder."""
    absolute: bool = False
    """Whether ``path`` starts at the root of the server; else it is below the login folder."""

    def join(self, *parts: str) -> str:
        """The path of something in the folder: ``join("2024", "a.csv")``; empty parts vanish."""
        joined = "/".join(part for part in (self.path.rstrip("/"), *parts) if part)
        return f"/{joined}" if self.path == "/" else joined

    def __str__(self) -> str:
        """As a URL, without the password."""
        if self.scheme == "file":
            return f"file://{_quote(self.path)}"
        user = f"{_quote(self.user, safe='')}@" if self.user else ""
        if self.scheme == "dropbox":
            return f"dropbox://{_quote(self.path)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port != DEFAULT_PORTS.get(self.scheme, 0) else ""
        if self.scheme not in EXTENSIONS:
            path = _quote(self.path)
        elif self.scheme == "sftp":
            below = f"/~/{_quote(self.path)}" if self.path else ""
            path = _quote(self.path) if self.absolute else below
        else:
            path = f"/%2F{_quote(self.path[1:])}" if self.absolute else f"/{_quote(self.path)}"
        return f"{self.scheme}://{user}{host}{port}{path}"


def extension_of(scheme: str) -> str:
    """The extension for a scheme; ``own`` for what another package offers.

    Raises:
        SettingsError: no version and no package knows the scheme, or this one can't do it yet.
    """
    ready = ", ".join(f"{name}://" for name in READY_SCHEMES)
    if scheme not in EXTENSIONS:
        if is_offered(scheme):
            return OWN
        raise _mistake(
            f"{scheme[:20]!r} is no scheme that pysubtask knows",
            f"it can do {ready} and what installed packages offer",
        )
    if scheme not in READY_SCHEMES:
        raise _mistake(f"this version can't deliver to {scheme}:// yet", f"it can do {ready}")
    return EXTENSIONS[scheme]


def parse_url(url: str | os.PathLike[str]) -> Destination:
    """Read a destination URL.

    Raises:
        SettingsError: it is no URL, or has a part that can't be right. The message does not
            repeat the URL.
    """
    text = os.fspath(url)
    if not isinstance(text, str) or not text:
        raise _mistake(
            "is empty" if text == "" else "must be a URL", "a URL such as sftp://user@host/folder"
        )
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise _mistake("is no URL", _hint_for(text))
    if re.search(_CONTROL, text):
        raise _mistake("holds a control character")
    if scheme not in EXTENSIONS:
        extension_of(scheme)
    authority, slash, path = rest.partition("/")
    path = slash + path
    if scheme == "file":
        return _file_destination(authority, path)
    login, at, _ = authority.rpartition("@")
    if "@" in path and ":" in (login if at else authority):
        # most likely a password with a / in it, of which half would end up in the path
        raise _mistake(
            "can be read in two ways",
            "in a user name or password write / as %2F; in a path write @ as %40",
        )
    user, password, host, port = _split_authority(authority)
    if not host and scheme in EXTENSIONS and scheme != "dropbox":
        raise _mistake("names no host", f"such as {scheme}://user@host/folder")
    if "?" in path or "#" in path:
        raise _mistake("has a ? or # in its path", "write them as %3F and %23")
    decoded, absolute = _split_path(scheme, path)
    return make_destination(
        scheme, user=user, password=password, host=host, port=port, path=decoded, absolute=absolute
    )


def make_destination(
    scheme: str,
    *,
    user: str | None,
    password: Secret | None,
    host: str,
    port: int | None,
    path: str,
    absolute: bool | None = None,
) -> Destination:
    """A destination from its parts; ``absolute=None``: a leading ``/`` tells.

    Raises:
        SettingsError: a part can't be right.
    """
    for name, value in (("host", host), ("username", user), ("host_path", path)):
        if value and re.search(_CONTROL, value):
            raise SettingsError("holds a control character", operation="setting", path=name)
    if password is not None and re.search(r"[\x00\r\n]", password.reveal()):
        raise SettingsError("holds a line end or NUL", operation="setting", path="password")
    if host and not re.fullmatch(_HOST, host):
        raise SettingsError(
            "is no host name or address",
            operation="setting",
            path="host",
            hint="a @ : / # ? % in a user name or password is written as %40 %3A %2F %23 %3F %25",
        )
    is_absolute = path.startswith("/") if absolute is None else absolute
    parts = [part for part in path.split("/") if part not in ("", ".")]
    tidy = "/".join(parts)
    return Destination(
        scheme=scheme,
        user=user or None,
        password=password,
        host=host,
        port=DEFAULT_PORTS.get(scheme, 0) if port is None else port,
        path=f"/{tidy}" if is_absolute else tidy,
        absolute=is_absolute,
    )


def _split_authority(authority: str) -> tuple[str | None, Secret | None, str, int | None]:
    login, at, place = authority.rpartition("@")
    user: str | None = None
    password: Secret | None = None
    if at:
        name, colon, secret = login.partition(":")
        user = _unquote(name) or None
        password = Secret(_unquote(secret)) if colon else None
    if place.startswith("["):
        host, bracket, after = place[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise _mistake("has an address whose [ ] do not match")
        port_text = after[1:]
    else:
        host, _, port_text = place.partition(":")
    if not port_text:
        return user, password, _unquote(host), None
    # isdecimal() alone would accept digits of other scripts
    if not (port_text.isascii() and port_text.isdecimal() and 0 < int(port_text[:6]) < 65_536):
        raise _mistake(
            "has a port that is no number from 1 to 65535",
            "a / in a password is written as %2F, an IPv6 address in [ ]",
        )
    return user, password, _unquote(host), int(port_text)


def _split_path(scheme: str, path: str) -> tuple[str, bool]:
    """The decoded path, and whether it is absolute."""
    if scheme == "sftp":
        if path == "/~" or path.startswith("/~/"):
            return _unquote(path[3:]), False
        if path.startswith("/~"):
            raise _mistake(
                "names another user's folder, which SFTP can't look up",
                "write its whole path, or %7E for a folder whose name starts with ~",
            )
        return _unquote(path), bool(path)
    if scheme == "dropbox":
        return _unquote(path), True
    if scheme not in EXTENSIONS:
        return _unquote(path), bool(path)
    below = _unquote(path[1:])
    return below, below.startswith("/")


def _file_destination(authority: str, path: str) -> Destination:
    local = _unquote(path)
    if os.name == "nt":
        if authority and authority.lower() != "localhost":
            local = f"//{_unquote(authority)}{local}"
        elif re.match(_DRIVE, local):
            local = local[1:]
    elif authority and authority.lower() != "localhost":
        raise _mistake(
            "names a host, but file:// reaches only local folders",
            "three slashes for an absolute path: file:///mnt/share",
        )
    if not local:
        raise _mistake("names no folder", "such as file:///mnt/share")
    return Destination(scheme="file", path=os.path.abspath(local), absolute=True)


def _hint_for(text: str) -> str:
    if re.match(r"[^/\s:@]+@[^/\s:@]+:", text):
        return "write user@host:folder as sftp://user@host/~/folder"
    if text.startswith(("/", ".", "\\")) or re.match(r"[A-Za-z]:[\\/]", text):
        return "a local folder is written file:///mnt/share"
    return "such as sftp://user@host/folder"


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # late: 8 ms that most programs never need

    decoded = unquote(text, errors="surrogateescape")
    if re.search(_CONTROL, decoded):
        raise _mistake("holds a control character")
    return decoded


def _quote(text: str, safe: str = "/~") -> str:
    if re.fullmatch(r"[\w.~/-]*", text, re.ASCII):
        return text
    from urllib.parse import quote

    return quote(text, safe=safe, errors="surrogateescape")


def _mistake(message: str, hint: str | None = None) -> SettingsError:
    return SettingsError(message, operation="destination", path="to", hint=hint)
