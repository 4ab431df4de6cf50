"""docs/cli.md says what the commands say; ``python -m tests.unit.test_cli_docs`` prints its
reference anew."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import re
import tomllib

import click

import pysubtask
from pysubtask.cli.app import COMMANDS
from pysubtask.cli.exits import Code
from pysubtask.cli.messages import schema
from pysubtask.doctor.checks import TITLES
from pysubtask.tomlfile import load

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
PAGE = ROOT / "docs" / "cli.md"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def shared() -> dict[str, click.Parameter]:
    """Options that several commands have, as ``push`` has them."""
    command = importlib.import_module(COMMANDS["push"]).command
    own = {"files", "to", "follow", "follow_secs", "give_up_after"}  # pull has its own words
    return {p.name or "": p for p in command.params if p.name not in own}


def rows(parameters: list[click.Parameter]) -> list[str]:
    found = []
    for parameter in parameters:
        if not isinstance(parameter, click.Option):
            continue
        value = "" if parameter.is_flag else f" {parameter.metavar}"
        names = ", ".join(parameter.opts)
        default = ""
        if parameter.show_default and not parameter.is_flag:
            default = f" Default: {parameter.default:g}."
        found.append(f"| `{names}{value}` | {cell((parameter.help or '') + default)} |")
    return found


def section(path: str, command: click.Command, common: dict[str, click.Parameter]) -> list[str]:
    words = [
        p.metavar or p.human_readable_name for p in command.params if isinstance(p, click.Argument)
    ]
    usage = " ".join(["pysubtask", path, "[OPTIONS]", *words])
    lines = ["", f"### pysubtask {path}", "", f"`{usage}`"]
    lines += ["", *inspect.cleandoc(command.help or "").splitlines()]
    own = [p for p in command.params if p.name not in common]
    table = rows(own)
    if table:
        lines += ["", "| option | meaning |", "| --- | --- |", *table]
    options = [p for p in command.params if isinstance(p, click.Option) and p.name in common]
    if any(p.name == "known_hosts" for p in options):
        lines += ["", "And the [options of a connection](#options-of-a-connection), and `--json`."]
    elif options:
        shown = ", ".join(f"`{p.opts[0]}`" for p in options)
        lines += ["", f"And {shown} as [there](#options-of-a-connection)."]
    return lines


def reference() -> str:
    common = shared()
    lines: list[str] = []
    for name, module in COMMANDS.items():
        command = importlib.import_module(module).command
        if isinstance(command, click.Group):
            for inner, held in command.commands.items():
                lines += section(f"{name} {inner}", held, common)
        else:
            lines += section(name, command, common)
    lines += ["", "### Options of a connection", "", "| option | meaning |", "| --- | --- |"]
    lines += rows(list(common.values()))
    return "\n".join(lines).strip()


def test_the_reference_is_that_of_the_commands() -> None:
    found = re.search(r"<!-- reference:.*?-->\n(.*?)<!-- end of reference -->",
                      PAGE.read_text("utf-8"), re.DOTALL)  # fmt: skip
    assert found is not None
    assert found[1].strip() == reference(), "run python -m tests.unit.test_cli_docs"


def test_the_page_tells_every_exit_code_message_and_check() -> None:
    text = PAGE.read_text("utf-8")
    for code in Code:
        assert re.search(rf"^\| `{code.value}` \|", text, re.MULTILINE), code
    for name in schema()["$defs"]:
        tag = schema()["$defs"][name]["properties"]["message_type"]["enum"][0]
        assert f"`{tag}`" in text, tag
    for title in TITLES.values():
        assert title in text, title


def test_the_example_file_is_in_order(tmp_path: pathlib.Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        assert tomllib.loads(block)
        path = tmp_path / f"{number}.toml"
        path.write_text(block, "utf-8")
        for delivery in load(path, environ={}).deliveries:
            assert delivery.watches


if __name__ == "__main__":
    print(reference())
