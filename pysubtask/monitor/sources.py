"""Which source a setting means."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Mapping

from pysubtask.errors import SettingsError
from pysubtask.monitor.config import Config, read_secret
from pysubtask.monitor.keeper import Source
from pysubtask.monitor.local import LocalFolder

__all__ = ["open_source"]


def open_source(config: Config, environ: Mapping[str, str]) -> Source:
    """The source of the settings; nothing is read or connected yet.

    Raises:
        SettingsError: there is none of this kind.
    """
    given = config.source
    if not given:
        raise SettingsError(
            "no folder was given",
            operation="look for heartbeat files",
            hint="pysubtask-monitor serve /srv/drop",
        )
    scheme = given.partition("://")[0] if "://" in given else ""
    if scheme in ("", "file"):
        path = given
        if scheme:
            path = urllib.request.url2pathname(urllib.parse.urlsplit(given).path)
        return LocalFolder(path, recursive=not config.flat, data=config.data_secs is not None)
    from pysubtask.monitor.remote import RemoteFolder

    return RemoteFolder(
        given,
        recursive=not config.flat,
        key_file=config.key_file,
        known_hosts=config.known_hosts,
        host_key=config.host_key,
        password=read_secret(config.source_password_file, environ, "SOURCE_PASSWORD"),
        dropbox_app_key=config.dropbox_app_key,
        dropbox_refresh_token=read_secret(
            config.dropbox_token_file, environ, "DROPBOX_REFRESH_TOKEN"
        ),
    )
