"""``pysubtask login``: connect this computer to a service whose login needs a browser, once."""

from __future__ import annotations

import os
import shlex
import sys

import click

from pysubtask.cli.exits import Code, Failure
from pysubtask.cli.messages import LoginMessage
from pysubtask.cli.options import json_option
from pysubtask.cli.output import Output, plain
from pysubtask.extras import dropbox_is_missing

__all__ = ["command"]


@click.group("login", short_help="Connect to a Dropbox, once.")
def command() -> None:
    """Log in to a service whose login needs a browser, which may be on another machine."""


@command.command("dropbox", short_help="Get the token that deliveries to a Dropbox need.")
@click.option("--app-key", metavar="KEY", help="The app's key; asked for if not given.")
@click.option(
    "--save",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False),
    help="New TOML file for the settings, which only you may read; for --config.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Certificates to trust instead of the usual ones.",
)
@json_option
def dropbox(app_key: str | None, save: str, ca_file: str | None, as_json: bool) -> int:
    """Shows a page to open in any browser, and asks for the code that it shows.

    The settings go to a file, not to the terminal: the refresh token is a secret, good until it is
    revoked at https://www.dropbox.com/account/connected_apps.
    """
    output = Output(as_json=as_json)
    handle = _create(save)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            settings = _log_in(app_key, ca_file, save)
            file.write("[settings]\n")
            for name, value in settings.items():
                file.write(f'{name} = "{_toml(value)}"\n')
    except BaseException:
        os.unlink(save)
        raise
    output.emit(
        LoginMessage(service="dropbox", file=os.path.abspath(save)),
        f"saved in {plain(os.path.abspath(save))}; "
        f"try: pysubtask doctor dropbox:///folder --config {shlex.quote(save)}",
    )
    return Code.OK


def _create(path: str) -> int:
    """A new file that only its owner may read."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failure(f"{path}: it exists", Code.ERROR, "--save FILE, a new one") from None


def _log_in(app_key: str | None, ca_file: str | None, save: str) -> dict[str, str]:
    from pysubtask.dropbox import login

    def say(text: str) -> None:
        if text.startswith("1."):  # what follows step 2 are the settings themselves
            click.echo(text, err=True)

    def ask(text: str) -> str:
        try:
            return str(click.prompt(text.rstrip(": "), err=True, prompt_suffix=": "))
        except click.Abort:  # Ctrl-C, or there is nobody to answer
            if sys.stdin.isatty():
                raise
            click.echo(err=True)
            raise Failure(
                "standard input ended before the answer",
                Code.ERROR,
                f"the same in a terminal: pysubtask login dropbox --save {shlex.quote(save)}",
            ) from None

    try:
        return login(app_key, ask=ask, say=say, ca_file=ca_file)
    except ImportError:
        raise dropbox_is_missing("log in to", "dropbox") from None


def _toml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
