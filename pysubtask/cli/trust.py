"""``pysubtask trust``: show a server's host key, and pin it."""

from __future__ import annotations

import hmac
import os
import sys
from typing import Literal

import click
import msgspec
from rich.text import Text

from pysubtask.cli.exits import Code, Failure
from pysubtask.cli.messages import HostKeyMessage
from pysubtask.cli.options import Connection, UrlType, connection_options, json_option
from pysubtask.cli.output import Output, plain
from pysubtask.trust import Judgement, judge, known_hosts_file, look, pin

__all__ = ["command"]


@click.command("trust", short_help="Show a server's host key, and pin it.")
@click.argument("url", type=UrlType(), required=False)
@click.option(
    "--fingerprint",
    metavar="SHA256:…",
    help="Pin without asking, but only a key with this fingerprint.",
)
@click.option("--replace", is_flag=True, help="Take out the key that was known so far.")
@click.option("--show", is_flag=True, help="Only show the key; pin nothing.")
@connection_options
@json_option
def command(
    url: str | None,
    fingerprint: str | None,
    replace: bool,
    show: bool,
    connection: Connection,
    as_json: bool,
) -> int:
    """Show a server's host key, and add it to known_hosts once you said that it is the right one.

    Compare the fingerprint with what the server's own people tell you, or with what this prints on
    the server: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    output = Output(as_json=as_json)
    wanted = connection.flags.pop("known_hosts", None)  # it need not be there yet
    target = connection.target(url, "pysubtask trust URL")
    settings = target.settings
    if wanted is not None:
        wanted = os.path.abspath(os.path.expanduser(wanted))
        settings = msgspec.structs.replace(settings, known_hosts=wanted)
    key = look(target.destination, settings)
    judgement, refusal = judge(key, settings)
    known_hosts = known_hosts_file(settings)
    name = key.host if key.port == 22 else f"{key.host} port {key.port}"
    output.say(f"{name} shows")
    output.say(Text(f"  {key.fingerprint}", style="bold") + Text(f"  ({key.key_type})"))

    def message(state: Literal[Judgement, "pinned"]) -> HostKeyMessage:
        return HostKeyMessage(
            host=key.host,
            port=key.port,
            key_type=key.key_type,
            fingerprint=key.fingerprint,
            state=state,
            known_hosts=known_hosts,
        )

    if fingerprint is not None and not hmac.compare_digest(
        fingerprint.strip().rstrip("=").encode(), key.fingerprint.encode()
    ):
        output.emit(message("refused"))
        raise Failure(
            f"the server shows {key.fingerprint}, not the fingerprint that you gave",
            Code.IDENTITY,
            "ask who runs the server; do not connect before this is explained",
        )
    if judgement == "known":
        output.emit(message("known"), "it is known already")
        return Code.OK
    if show:
        output.emit(message(judgement), f"it is {judgement}")
        return Code.OK
    if judgement == "refused" or (judgement == "changed" and not replace):
        assert refusal is not None
        output.emit(message(judgement))
        raise refusal
    if settings.host_key:
        raise Failure(
            "a pinned host_key is set, which wins over known_hosts",
            Code.IDENTITY,
            "change or remove the setting host_key (pysubtask config show --origin)",
        )
    if fingerprint is None and not _agreed(output):
        output.emit(message(judgement))
        raise Failure(
            "the key was not pinned", Code.IDENTITY, "--fingerprint SHA256:…, from the server"
        )
    pin(key, known_hosts, replace=replace)
    output.emit(message("pinned"), f"pinned in {plain(known_hosts)}")
    return Code.OK


def _agreed(output: Output) -> bool:
    """Whether a person says yes; without a terminal nobody does."""
    if output.as_json or sys.stdin is None or not sys.stdin.isatty():
        return False
    return click.confirm("Is that the fingerprint of your server?", default=False, err=True)
