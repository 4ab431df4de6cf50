"""Delivery to a Dropbox: :class:`DropboxTaskMaster`, its subtask, and :func:`login`.

``python -m pysubtask.dropbox login`` asks for what the settings need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pysubtask.base import BaseTaskMaster
from pysubtask.config import build
from pysubtask.errors import LoginRefused, SettingsError
from pysubtask.master._master import TaskMaster
from pysubtask.settings import Settings
from pysubtask.urls import Destination, make_destination, parse_url

if TYPE_CHECKING:
    from pysubtask.subtask.context import Context
    from pysubtask.subtask.transfer import TransferSubtask

__all__ = ["DropboxTaskMaster", "login"]

SCOPES = ("files.metadata.read", "files.content.write", "files.content.read")
"""What the app must be allowed; the last one only for programs that read back."""
_TIMEOUT_SECS = 30.0


class DropboxTaskMaster(BaseTaskMaster):
    """Delivers the watched files to a folder of a Dropbox, as ``to="dropbox:///folder"`` names it.

    The login is ``dropbox_refresh_token`` with ``dropbox_app_key`` (see :func:`login`), or
    ``dropbox_access_token`` for some hours.
    """

    extension = "dropbox"
    module = "pysubtask.dropbox"

    def _configure(
        self, config: Any, to: str | os.PathLike[str] | None, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        url = None if to is None else parse_url(to)
        if url is not None and (url.scheme != "dropbox" or url.host):
            raise SettingsError(
                f"{type(self).__name__} delivers to a folder of a Dropbox",
                operation="destination",
                path="to",
                hint='with three slashes: to="dropbox:///folder"',
            )
        chosen = build(self.extension, config, url, settings)
        if url is None:
            path = f"/{chosen.host_path.strip('/')}"
            url = make_destination(
                "dropbox", user=None, password=None, host="", port=None, path=path
            )
        check_login(chosen, url)
        _check_sdk()
        return chosen, url

    _user_subtask = TaskMaster._user_subtask


def check_login(chosen: Settings, url: Destination) -> None:
    """Raises:
    SettingsError: there is nothing to log in with.
    """
    if chosen.dropbox_refresh_token and not chosen.dropbox_app_key:
        raise SettingsError(
            "is missing: a refresh token is good only with the key of its app",
            operation="setting",
            path="dropbox_app_key",
        )
    if not (chosen.dropbox_refresh_token or chosen.dropbox_access_token or url.password):
        raise SettingsError(
            "is missing, and there is no dropbox_access_token either",
            operation="setting",
            path="dropbox_refresh_token",
            hint="pysubtask login dropbox (or python -m pysubtask.dropbox login) gives one",
        )


def _check_sdk() -> None:
    from importlib.util import find_spec

    if find_spec("dropbox") is None:  # found, not loaded: that is the child's business
        from pysubtask.extras import dropbox_is_missing

        raise dropbox_is_missing("destination", "dropbox://")


def login(
    app_key: str | None = None,
    *,
    ask: Callable[[str], str] = input,
    say: Callable[[str], None] = print,
    ca_file: str | None = None,
) -> dict[str, str]:
    """Connect an app to a Dropbox, once, by a person with a browser on any machine.

    Prints a URL, reads the code that its page shows, and prints and returns the settings
    ``dropbox_app_key`` and ``dropbox_refresh_token``. OAuth 2 with PKCE (RFC 7636): no app secret
    is needed, and the code alone is of no use to whoever sees it. The refresh token is a secret;
    it is good until it is revoked (https://www.dropbox.com/account/connected_apps).

    Args:
        app_key: as the App Console shows it; asked for if not given.
        ask, say: instead of the terminal.
        ca_file: certificates to trust instead of certifi's.

    Raises:
        LoginRefused: the code is wrong, was used before, or is too old.
        ImportError: Dropbox's SDK is not installed.
    """
    from dropbox import DropboxOAuth2FlowNoRedirect

    key = (app_key or ask("App key (https://www.dropbox.com/developers/apps): ")).strip()
    flow = DropboxOAuth2FlowNoRedirect(
        key,
        use_pkce=True,
        token_access_type="offline",  # noqa: S106 - a refresh token, please; no secret
        timeout=_TIMEOUT_SECS,
        ca_certs=ca_file,
    )
    if ca_file is not None:
        flow.requests_session.trust_env = False
    say(f"1. Open this page, and allow the access:\n{flow.start()}")
    code = ask("2. The code that it shows: ").strip()
    try:
        given = flow.finish(code)
    except Exception as error:
        raise LoginRefused(
            f"Dropbox did not take the code ({type(error).__name__})",
            operation="log in",
            path="dropbox",
            hint="codes are good once, for some minutes; begin again",
        ) from None  # what is behind it may hold the code
    settings = {"dropbox_app_key": key, "dropbox_refresh_token": str(given.refresh_token)}
    say("3. Settings (the token is a secret: whoever has it can use the app's access):")
    for name, value in settings.items():
        say(f"{name} = {value!r}")
    return settings


def _make(context: Context) -> TransferSubtask:
    from pysubtask.subtask.transfer import TransferSubtask

    return TransferSubtask(context)


def main() -> int:
    """Run the subtask: the child process starts here. With the word ``login``: :func:`login`."""
    if sys.argv[1:2] == ["login"]:
        login(*sys.argv[2:3])
        return 0
    from pysubtask.subtask.shell.main import run

    return run(_make)


if __name__ == "__main__":
    raise SystemExit(main())
