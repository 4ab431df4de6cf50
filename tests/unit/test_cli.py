"""The command line without a server: help, errors, messages, exit codes."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pathlib
import plistlib
import shutil
import subprocess
import sys
import tomllib
from typing import Any, get_args

import click
import jsonschema
import msgspec
import pytest

import pysubtask
from pysubtask.cli import messages, output
from pysubtask.cli.app import COMMANDS
from pysubtask.status import size_words
from tests.unit.cli_bench import ROOT, SCHEMA, URL, VALIDATOR, Run, elsewhere, leaves, lines, run

__all__ = ["elsewhere", "run"]  # fixtures


# --- help


def test_a_bad_destination_in_the_environment_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.csv").write_text("1\n")
    monkeypatch.setenv("PYSUBTASK_TO", "sftp://host:port/folder")
    result = run("push", str(tmp_path / "a.csv"))
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert "port" in result.stderr


def test_the_group_shows_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"  {name} " in result.stdout
    assert "13 host key" in result.stdout


def test_no_command_is_a_usage_error(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr
    assert result.stderr.splitlines()[-1] == "Try: pysubtask COMMAND --help"
    inner = run("config")
    assert inner.exit_code == 2
    assert inner.stderr.splitlines()[-1] == "Try: pysubtask config COMMAND --help"


@pytest.mark.parametrize("path", leaves(), ids=" ".join)
def test_every_command_has_help_and_refuses_nonsense(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0, result.output
    command: Any = importlib.import_module(COMMANDS[path[0]]).command
    command = command.commands[path[1]] if len(path) > 1 else command
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[-1] in result.stdout
    refused = run(*path, "--no-such-option")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1].startswith(f"Try: pysubtask {' '.join(path)} --help")


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"pysubtask, version {pysubtask.__version__}\n"


# --- messages


def test_the_schema_in_the_docs_is_that_of_the_messages() -> None:
    assert json.loads(json.dumps(messages.schema())) == SCHEMA, (
        "run python -m pysubtask.cli.messages > docs/cli-messages.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def sample(kind: msgspec.inspect.Type) -> Any:
    """A value of a field's type."""
    match kind:
        case msgspec.inspect.UnionType(types):
            return sample(next(one for one in types if one != msgspec.inspect.NoneType()))
        case msgspec.inspect.LiteralType(values):
            return values[0]
        case msgspec.inspect.ListType(item):
            return [sample(item)]
        case msgspec.inspect.VarTupleType(item):
            return (sample(item),)
        case msgspec.inspect.DictType():
            return {"a": "b"}
    return {
        msgspec.inspect.StrType: "x",
        msgspec.inspect.IntType: 1,
        msgspec.inspect.FloatType: 0.5,
        msgspec.inspect.BoolType: True,
    }[type(kind)]


@pytest.mark.parametrize("kind", get_args(messages.Message), ids=lambda kind: kind.__name__)
def test_each_message_is_printed_as_the_schema_says(kind: type[msgspec.Struct]) -> None:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    values = {field.name: sample(field.type) for field in info.fields}
    least = {field.name: values[field.name] for field in info.fields if field.required}
    for given in (values, least):
        line = json.loads(output.to_line(kind(**given)))
        VALIDATOR.validate(line)
        assert line["message_type"] == info.tag
        for name in line:  # each of them is looked at
            with pytest.raises(jsonschema.ValidationError):
                VALIDATOR.validate({**line, name: b"no JSON"})


def test_the_schema_refuses_what_is_no_message() -> None:
    for wrong in (
        {"message_type": "nix"},
        {"message_type": "error", "message": "x", "exit_code": "1", "try": "y"},
        {"message_type": "note"},
        {},
    ):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(wrong)


def test_paths_that_are_no_utf8_are_printed() -> None:
    line = output.to_line(messages.NoteMessage(text="a\udcff\n"))
    assert line == '{"message_type":"note","text":"a\\udcff\\n"}'


def test_sizes_and_ages() -> None:
    assert [size_words(n) for n in (0, 1023, 1536, 5 << 20, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 TiB",
    ]  # fmt: skip
    assert [output.age(n) for n in (-1, 5, 300, 7200, 172_800)] == [
        "0 s", "5 s", "5 min", "2 h", "2 d",
    ]  # fmt: skip
    assert output.crop("abcdef", 4) == "…def"
    assert output.crop("abcd", 4) == "abcd"


# --- config


def write_config(text: str) -> None:
    pathlib.Path("logs").mkdir(exist_ok=True)
    pathlib.Path("pysubtask.toml").write_text(text)


GOOD = f"""
[settings]
dead_time_milli = 500
username = "nobody"

[[deliver]]
name = "collector"
to = "{URL}"
watch = ["logs/test1.csv"]

[[deliver]]
name = "share"
to = "file:///mnt/share"
watch = [{{dir = "logs"}}]
settings = {{dead_time_milli = 700}}
"""


def test_config_check(run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(GOOD)
    monkeypatch.setenv("PYSUBTASK_DEAD_TYME_MILLI", "5")
    result = run("config", "check")
    assert result.exit_code == 0, result.output
    assert "ok  collector  sftp://edge@collector.example/incoming" in result.stdout
    assert "PYSUBTASK_DEAD_TYME_MILLI means nothing" in result.stderr
    found = lines(run("config", "check", "pysubtask.toml", "--json"))
    assert [line.get("delivery") for line in found[:2]] == ["collector", "share"]
    assert found[0]["state_dir"] == str(tmp_path / "logs" / "upload" / "collector")


def test_config_show_tells_origins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(GOOD)
    monkeypatch.setenv("PYSUBTASK_RETRY_TRIES", "9")
    monkeypatch.setenv("PYSUBTASK_PASSWORD", "hunter2")
    found = lines(run("config", "show", "--all", "--json"))
    rows = {(row["delivery"], row["name"]): row for row in found}
    file = f"file {pathlib.Path('pysubtask.toml').absolute()}"

    def row(delivery: str, name: str) -> tuple[Any, str]:
        held = rows[delivery, name]
        return held["value"], held["origin"]

    assert row("collector", "dead_time_milli") == (500, file)
    assert row("share", "dead_time_milli") == (700, file)
    assert row("collector", "retry_tries") == (9, "environment PYSUBTASK_RETRY_TRIES")
    assert row("collector", "retry_jitter") == (0.0, "default")
    assert row("collector", "host") == ("collector.example", f"{file}, in the URL")
    assert row("collector", "password") == ("•••", "environment PYSUBTASK_PASSWORD")
    assert row("collector", "username") == ("nobody", file)  # a setting wins over the file's URL
    shown = run("config", "show", "--origin")
    assert f"# {file}" in shown.stdout
    assert "hunter2" not in shown.output


def test_flags_win_over_variables(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(GOOD)
    monkeypatch.setenv("PYSUBTASK_RETRY_TRIES", "9")
    monkeypatch.setenv("PYSUBTASK_RETRY_JITTER", "0.5")
    found = lines(run("config", "show", "--json", "--set", "RetryTries=8"))
    rows = {row["name"]: row for row in found if row["delivery"] == "share"}
    assert (rows["retry_tries"]["value"], rows["retry_tries"]["origin"]) == (8, "command line")
    assert rows["retry_jitter"]["value"] == 0.5
    assert run("config", "check", "--set", "retry_tries=0").exit_code == 1


def test_config_show_without_a_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSUBTASK_RETRY_TRIES", "9")
    result = run("config", "show", "--origin")
    assert result.exit_code == 0
    assert "retry_tries" in result.stdout
    assert "there is no " in result.stderr
    monkeypatch.delenv("PYSUBTASK_RETRY_TRIES")
    bare = run("config", "show")
    assert bare.stdout == ""
    assert "has its default (--all)" in bare.stderr


def test_the_users_own_file_lies_below_the_others(run: Run) -> None:
    own = pathlib.Path(os.environ["XDG_CONFIG_HOME"]) / "pysubtask" / "config.toml"
    if sys.platform != "linux":
        pytest.skip("where it lies is told by XDG_CONFIG_HOME on Linux")
    own.parent.mkdir(parents=True)
    own.write_text("[settings]\nretry_tries = 7\ndead_time_milli = 1\n")
    write_config(GOOD)
    found = lines(run("config", "show", "--json"))
    rows = {row["name"]: row for row in found if row["delivery"] == "collector"}
    assert rows["retry_tries"]["value"] == 7
    assert rows["retry_tries"]["origin"] == f"file {own}"
    assert rows["dead_time_milli"]["value"] == 500


# --- service, completion


def test_service_systemd(run: Run, tmp_path: pathlib.Path) -> None:
    write_config(GOOD)
    shutil.copy("pysubtask.toml", "a b%.toml")
    result = run("service", "print", "systemd", "a b%.toml")
    assert result.exit_code == 0
    assert f'pysubtask run "{tmp_path}/a b%%.toml"' in result.stdout
    assert "TimeoutStopSec=20" in result.stdout
    assert "systemctl enable --now pysubtask" in result.stderr
    assert "WantedBy=default.target" in run("service", "print", "systemd", "--user").stdout
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "pysubtask.service"
    unit.write_text(result.stdout)
    done = subprocess.run(
        [verify, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:  # before systemd 250
        pytest.skip("systemd-analyze is too old")
    assert (done.returncode, done.stderr) == (0, "")


def test_service_launchd(run: Run) -> None:
    write_config(GOOD)
    found = plistlib.loads(run("service", "print", "launchd").stdout.encode())
    assert found["ProgramArguments"][-2:] == ["run", str(pathlib.Path("pysubtask.toml").absolute())]
    assert found["ExitTimeOut"] == 20


def test_service_windows(run: Run) -> None:
    write_config(GOOD)
    result = run("service", "print", "windows")
    assert "Register-ScheduledTask" in result.stdout
    (line,) = lines(run("service", "print", "windows", "--json"))
    assert line["text"] == result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_PYSUBTASK_COMPLETE" in result.stdout
    assert "pysubtask" in result.stderr


# --- the way in


def test_without_click_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from pysubtask.__main__ import main\nsys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr.endswith("Try: python -m pip install 'pysubtask[cli]'\n")


def test_the_extra_and_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"]["pysubtask"] == "pysubtask.__main__:main"
    names = {
        requirement.partition(">")[0] for requirement in project["optional-dependencies"]["cli"]
    }
    assert names == {"click", "rich"}
    assert names <= {item.partition(">")[0] for item in project["optional-dependencies"]["test"]}


def test_the_library_needs_neither_click_nor_rich() -> None:
    outside = [
        path
        for path in (ROOT / "pysubtask").rglob("*.py")
        if "cli" not in path.relative_to(ROOT).parts and path.name != "__main__.py"
    ]
    for path in outside:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] not in ("click", "rich"), path
                assert not name.startswith("pysubtask.cli"), path
