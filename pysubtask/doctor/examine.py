"""One check after the other, from the name to the free space."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pysubtask.doctor.checks import TITLES, Check
from pysubtask.doctor.network import check_host_key, check_name, check_port
from pysubtask.errors import HostKeyRefused, LinkError, LoginRefused, SettingsError

if TYPE_CHECKING:
    from pysubtask.settings import Settings
    from pysubtask.transports.conversation import Conversation
    from pysubtask.urls import Destination

__all__ = ["examine"]


def examine(destination: Destination, settings: Settings) -> Iterator[Check]:
    """Examine a destination; gives each check when it is done.

    Nothing is left behind but, at worst, temporary names of ours that may not be deleted.

    Raises:
        SettingsError: this version has no transport for the destination.
    """
    done: set[str] = set()
    for check in _checks(destination, settings):
        done.add(check.name)
        yield check
    for name in TITLES:
        if name not in done and name in _wanted(destination, settings):
            yield Check(name, "skipped", "not reached")


def _wanted(destination: Destination, settings: Settings) -> set[str]:
    """Checks that make sense for this kind of destination."""
    wanted = set(TITLES)
    if destination.scheme == "file":
        wanted -= {"dns", "port", "identity", "login"}
    elif destination.scheme == "dropbox":
        wanted -= {"dns", "port", "identity", "sync"}  # a service, known by its certificate
    elif destination.scheme != "sftp" or settings.ssh_command is not None:
        wanted -= {"identity"}
        if settings.ssh_command is not None:  # names and ports are aliases of ssh's
            wanted -= {"dns", "port"}
    return wanted


def _checks(destination: Destination, settings: Settings) -> Iterator[Check]:
    from pysubtask.doctor.trials import Trials
    from pysubtask.transports.conversation import Conversation

    wanted = _wanted(destination, settings)
    for name, look in (("dns", check_name), ("port", check_port), ("identity", check_host_key)):
        if name in wanted and destination.host:
            check = look(destination, settings)
            yield check
            if check.verdict == "failed":
                return
    with Conversation(destination, settings) as talk:
        check = _login(talk, destination)
        if check.verdict == "failed" or check.name == "login":
            yield check
        if check.verdict == "failed":
            return
        try:
            for check in Trials(talk, destination.path).run():
                if check.name in wanted:
                    yield check
        except LinkError as error:
            yield Check(
                "login",
                "failed",
                f"the connection broke during the trials: {error.message}",
                remedy="again; if it breaks each time, the server's log may say why",
                error=error,
            )


def _login(talk: Conversation, destination: Destination) -> Check:
    name = "folder" if destination.scheme == "file" else "login"
    began = time.monotonic()
    try:
        talk.connect()
    except (LinkError, SettingsError) as error:
        words, remedy = _words(error)
        if isinstance(error, HostKeyRefused):
            name = "identity"
        return Check(
            name, "failed", words, remedy=remedy, error=error, secs=time.monotonic() - began
        )
    secs = time.monotonic() - began
    if name == "folder":
        return Check(name, "ok", f"{destination.path} is there", secs=secs)
    user = destination.user or "the local user"
    who = "" if destination.scheme == "dropbox" else f"as {user}, "
    return Check(name, "ok", f"{who}in {secs:.2f} s", secs=secs)


def _words(error: LinkError | SettingsError) -> tuple[str, str | None]:
    message = error.message.removeprefix("login refused: ")
    if isinstance(error, LoginRefused):
        return message, error.hint or "another user in the URL, another key or password"
    return message, error.hint
