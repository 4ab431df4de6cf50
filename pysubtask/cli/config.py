"""``pysubtask config``: is a TOML file in order, and which settings are in force, and why?"""

from __future__ import annotations

import os
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from pysubtask.cli.exits import Code
from pysubtask.cli.messages import ConfigMessage, SettingMessage
from pysubtask.cli.options import (
    ORIGIN,
    default_config,
    json_option,
    read_assignments,
    set_option,
    user_layer,
)
from pysubtask.cli.output import Output, plain
from pysubtask.config import destination_from
from pysubtask.errors import SettingsError
from pysubtask.layers import Given, is_secret, unknown_variables
from pysubtask.passwords import SOURCES, check_private, secret_of
from pysubtask.settings import Secret, Settings, describe
from pysubtask.status import printable
from pysubtask.tomlfile import Delivery, Project, load, read_layer
from pysubtask.tomlsources import is_source, source_words
from pysubtask.urls import extension_of, parse_url

__all__ = ["command", "config_argument", "config_path"]


@click.group("config", short_help="Check a TOML file; show settings and their origin.")
def command() -> None:
    """Check a TOML file, or show the settings in force and where each comes from."""


config_argument = click.argument(
    "config", required=False, metavar="[CONFIG.toml]", type=click.Path(dir_okay=False)
)


def config_path(config: str | None) -> str:
    """The file that is meant: the one named, ``PYSUBTASK_CONFIG``, ``./pysubtask.toml``, or the
    user's ``config.toml``."""
    if config is not None:
        return config
    if not os.environ.get("PYSUBTASK_CONFIG") and os.path.exists("pysubtask.toml"):
        return os.path.abspath("pysubtask.toml")
    return default_config()


@command.command("check", short_help="Is all of a TOML file in order?")
@config_argument
@set_option
@json_option
def check(config: str | None, assignments: tuple[str, ...], as_json: bool) -> int:
    """Read a TOML file and check all of it. Nothing is connected to, no password fetched."""
    output = Output(as_json=as_json)
    project = load_project(config, assignments)
    for delivery in project.deliveries:
        warnings = _warnings(delivery)
        master = delivery.without_passwords().make_master()
        watches = [_path_of(entry) for entry in delivery.watches if not is_source(entry)]
        to = delivery.merged.to if not delivery.only_fetches else None
        destination = str(parse_url(to.value)) if to is not None else None
        what = delivery.name or ("one destination" if destination else "no destination")
        shown = Text.assemble(("ok", "green"), f"  {what}  {destination or ''}".rstrip())
        for path in watches:
            shown.append(f"\n    {plain(path)}")
        for pull in master.sources:
            shown.append(f"\n    {plain(pull.to)} ← {printable(str(pull.source) + pull.suffix)}")
        shown.append(f"\n    state: {plain(master.state_dir)}", style="dim")
        for warning in warnings:
            shown.append(f"\n    {printable(warning)}", style="yellow")
        output.emit(
            ConfigMessage(
                file=project.path,
                delivery=delivery.name,
                destination=destination,
                watches=watches,
                sources=[str(pull.source) + pull.suffix for pull in master.sources],
                state_dir=master.state_dir,
                warnings=warnings,
            ),
            shown,
        )
    for variable in unknown_variables(os.environ):
        output.note(f"the environment variable {variable} means nothing to pysubtask")
    return Code.OK


@command.command("show", short_help="Which settings are in force?")
@config_argument
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--all", "everything", is_flag=True, help="Also what is as by default.")
@set_option
@json_option
def show(
    config: str | None,
    origin: bool,
    everything: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show the settings in force: flags > PYSUBTASK_* > file > default.

    Without a file: what your configuration folder and the environment say for every command.
    """
    output = Output(as_json=as_json)
    path = config_path(config)
    if config is None and not os.path.exists(path):
        merged = user_layer(None, assignments)
        deliveries = [Delivery(None, (), merged)]
        output.note(f"there is no {path}: every setting not shown has its default (--all)")
    else:
        project = load_project(config, assignments, needs_watches=config is not None)
        deliveries = list(project.deliveries)
    for delivery in deliveries:
        rows = _rows(delivery, everything)
        for name, value, where in rows:
            output.emit(
                SettingMessage(name=name, value=_plain(value), origin=where, delivery=delivery.name)
            )
        if not as_json:
            if delivery.name:
                output.say(Text(f"[{delivery.name}]", style="bold"))
            if rows:
                output.say(_table(rows, origin))
    return Code.OK


def load_project(
    config: str | None, assignments: tuple[str, ...] = (), *, needs_watches: bool = True
) -> Project:
    """The file that is meant, with the user's own file below it.

    Raises:
        SettingsError: there is none, or it has a mistake.
    """
    path = os.path.abspath(os.path.expanduser(config_path(config)))
    if config is None and not os.path.exists(path):
        raise SettingsError(
            "no file is named, and there is no pysubtask.toml here",
            operation="read the configuration",
            hint=f'name one, or write pysubtask.toml or {path}: to = "URL", watch = ["FILE"]',
        )
    own = os.path.abspath(default_config())
    below = read_layer(own) if own != path and os.path.exists(own) else None
    try:
        return load(path, below=below, keywords=read_assignments(assignments), origin=ORIGIN)
    except SettingsError as error:
        if needs_watches or "watches nothing" not in error.message:
            raise
        return Project(path, (Delivery(None, (), user_layer(path, assignments)),))


def _warnings(delivery: Delivery) -> list[str]:
    """What is in order and yet most likely not meant."""
    found = []
    for name, given in delivery.merged.settings.items():
        secret = secret_of(name)
        if name not in SOURCES or secret is None:
            continue
        if name.endswith("_file"):
            check_private(os.path.expanduser(str(given.value)), f"read the {secret} from")
        if name.endswith("_env") and not os.environ.get(str(given.value)):
            found.append(f"the variable {given.value} with the {secret} is not set here")
    for entry in delivery.watches:
        if is_source(entry):
            continue  # its folder is made
        path = _path_of(entry)
        folder = path if isinstance(entry, dict) and "dir" in entry else os.path.dirname(path)
        if not os.path.isdir(folder):
            found.append(f"there is no folder {folder}")
    return found


def _path_of(entry: Any) -> str:
    return str(entry.get("file") or entry.get("dir")) if isinstance(entry, dict) else str(entry)


def _rows(delivery: Delivery, everything: bool) -> list[tuple[str, Any, str]]:
    rows: list[tuple[str, Any, str]] = []
    merged = delivery.merged
    if merged.to is not None and not delivery.only_fetches:
        rows.append(("to", str(parse_url(merged.to.value)), merged.to.origin))
    for entry in delivery.watches:
        if is_source(entry):
            rows.append(("pull", source_words(entry["pull"]), delivery.origin))
    given = {name: held for name, held in merged.settings.items() if not held.of_url}
    _check(delivery, given)
    for name in SOURCES:
        if name in given:
            rows.append((name, given[name].value, given[name].origin))
    for name, _, default, _ in describe():
        if name in given:
            value = "•••" if is_secret(name) else given[name].value
            rows.append((name, value, given[name].origin))
        elif everything:
            url = merged.settings.get(name)
            if url is not None:
                rows.append((name, "•••" if is_secret(name) else url.value, url.origin))
            else:
                rows.append((name, default, "default"))
    return rows


def _check(delivery: Delivery, given: dict[str, Given]) -> None:
    """All settings together, as a master would check them."""
    from pysubtask.config import build

    values = {name: held.value for name, held in given.items() if name not in SOURCES}
    to = delivery.merged.to
    destination = parse_url(to.value) if to is not None else None
    extension = extension_of(destination.scheme) if destination is not None else "ftp"
    settings: Settings = build(extension, None, destination, values)
    if destination is not None and extension == "ftp":
        destination_from(destination.scheme, settings)


def _plain(value: Any) -> bool | int | float | str | list[str] | None:
    if isinstance(value, Secret):
        return "•••"
    if isinstance(value, tuple):
        return [str(item) for item in value]
    plain: bool | int | float | str | None = value
    return plain


def _table(rows: list[tuple[str, Any, str]], origin: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for name, value, where in rows:
        shown = _plain(value)
        text = "–" if shown is None or shown == [] else str(shown)
        style = "dim" if where == "default" else ""
        row = [Text(name, style=style or "bold"), Text(printable(text), style=style)]
        table.add_row(*row, *([Text(f"# {where}", style="dim")] if origin else []))
    return table
