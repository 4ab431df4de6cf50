"""The group of commands, and what becomes of their errors."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from pysubtask.cli.exits import Code, Failure, code_of, what_to_try
from pysubtask.cli.output import Output
from pysubtask.errors import PysubtaskError
from pysubtask.systems.streams import print_anything
from pysubtask.version import __version__

__all__ = ["COMMANDS", "app"]

COMMANDS = {
    "push": "pysubtask.cli.push",
    "pull": "pysubtask.cli.pull",
    "run": "pysubtask.cli.run",
    "status": "pysubtask.cli.status",
    "doctor": "pysubtask.cli.doctor",
    "trust": "pysubtask.cli.trust",
    "login": "pysubtask.cli.login",
    "verify": "pysubtask.cli.verify",
    "residuals": "pysubtask.cli.residuals",
    "config": "pysubtask.cli.config",
    "service": "pysubtask.cli.service",
    "demo": "pysubtask.cli.demo",
    "completion": "pysubtask.cli.completion",
}
"""Each command's module, whose ``command`` it is. Loaded when it is asked for."""


class _App(click.Group):
    """Loads commands late, and turns every error into words, a remedy and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            meant = difflib.get_close_matches(args[0].lower(), COMMANDS, n=1)
            if meant and "Did you mean" not in error.message:
                words = f"{error.message.rstrip('.')}. Did you mean '{meant[0]}'?"
                raise click.UsageError(words, ctx) from None
            raise

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        """Run and end the process with the command's exit code."""
        given = list(sys.argv[1:] if args is None else args)
        extra.pop("standalone_mode", None)
        _open_streams()
        before = _end_as_ctrl_c_does()
        try:
            code = super().main(
                args=given, prog_name=prog_name or "pysubtask", standalone_mode=False, **extra
            )
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has gone: nobody to tell
            _close_stdout()
            code = Code.ERROR
        except BaseException as error:
            code = _report(error, given)
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
        sys.exit(int(code) if isinstance(code, int) else Code.OK)


def _report(error: BaseException, given: list[str]) -> Code:
    """Tell it; on standard error, if standard output takes nothing any more."""
    as_json = "--json" in given
    try:
        return _tell(error, given, Output(as_json=as_json))
    except OSError as trouble:
        gone = isinstance(trouble, BrokenPipeError)  # the reader has: nobody to tell
        if not as_json and not gone:
            raise
        _close_stdout()
        return _tell(error, given, Output(as_json=gone))


def _tell(error: BaseException, given: list[str], output: Output) -> Code:
    kind = type(error).__name__
    command = _command_path(given)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.err.print(error.format_message())
        output.err.print(f"\nTry: {_path_of(error, command)} COMMAND --help")
        return Code.USAGE
    if isinstance(error, click.UsageError):
        attempt = getattr(error, "attempt", None) or f"{_path_of(error, command)} --help"
        output.fail(_sentence(error), attempt, Code.USAGE, "UsageError")
        return Code.USAGE
    if isinstance(error, click.Abort | KeyboardInterrupt):
        output.fail("interrupted", "the same command again", Code.INTERRUPTED, "Interrupted")
        return Code.INTERRUPTED
    if isinstance(error, click.ClickException):
        output.fail(error.format_message(), f"{command} --help", Code.ERROR, kind)
        return Code.ERROR
    if isinstance(error, Failure | PysubtaskError | OSError):
        code = code_of(error)
        output.fail(_words(error), what_to_try(error, _url(given), command), code, kind)
        return code
    raise error


def _words(error: Failure | PysubtaskError | OSError) -> str:
    if isinstance(error, Failure):
        return error.message
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    where = " ".join(part for part in (error.operation, error.path) if part)
    return f"{where}: {error.message}" if where else error.message


def _sentence(error: click.UsageError) -> str:
    text = re.sub(r"\s*\n\t", " ", error.format_message()).rstrip(".")
    return text[:1].lower() + text[1:] if text[:2] != text[:2].upper() else text


def _path_of(error: click.UsageError, otherwise: str) -> str:
    return error.ctx.command_path if error.ctx is not None else otherwise


def _command_path(given: list[str]) -> str:
    name, inner = (*(word for word in given if not word.startswith("-")), "", "")[:2]
    if name not in COMMANDS:
        return "pysubtask"
    command = importlib.import_module(COMMANDS[name]).command
    is_group = isinstance(command, click.Group) and inner in command.commands
    return f"pysubtask {name} {inner}" if is_group else f"pysubtask {name}"


def _url(given: list[str]) -> str | None:
    """The destination that was typed, for the line ``Try:``; it holds no password."""
    from pysubtask.errors import SettingsError
    from pysubtask.urls import parse_url

    for word in (*given, os.environ.get("PYSUBTASK_TO", "")):
        if "://" in word:
            try:
                return str(parse_url(word.removeprefix("--to=")))
            except SettingsError:
                break
    return None


def _end_as_ctrl_c_does() -> Any:
    """SIGTERM ends a command as Ctrl-C does: gracefully. Gives what it did before."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        return None  # not the main thread: somebody else's program


def _open_streams() -> None:
    """Where a stream is closed, as ``>&-`` does, what goes there goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    print_anything()


def _close_stdout() -> None:
    """So that the interpreter does not complain at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


@click.group(
    "pysubtask",
    cls=_App,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 partial, 10 unreachable, 11 already running, "
    "12 login, 13 host key or certificate, 130 interrupted.",
)
@click.version_option(__version__, prog_name="pysubtask")
def app() -> None:
    """Your program appends; the bytes get there.

    Delivers growing and rewritten files by SFTP or FTP, to a Dropbox or a folder, and fetches them
    from there, from a process that nothing can disturb. Each command has its own --help.
    """
