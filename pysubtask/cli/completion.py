"""``pysubtask completion``: a shell completes commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pysubtask.cli.exits import Code

__all__ = ["command"]

_PLACES = {
    "bash": "~/.local/share/bash-completion/completions/pysubtask",
    "zsh": "_pysubtask in a folder of $fpath",
    "fish": "~/.config/fish/completions/pysubtask.fish",
}


@click.command("completion", short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(list(_PLACES)), metavar="{bash|zsh|fish}")
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell; write it where the last line says."""
    made = get_completion_class(shell)
    assert made is not None
    root = ctx.find_root().command
    click.echo(made(root, {}, "pysubtask", "_PYSUBTASK_COMPLETE").source())
    click.echo(f"write it to {_PLACES[shell]}", err=True)
    return Code.OK
