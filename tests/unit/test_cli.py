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
from collections.abc import Callable
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result

import pysubtask
from pysubtask import errors
from pysubtask.cli import convert, demo, exits, messages, output
from pysubtask.cli.app import COMMANDS, app
from pysubtask.cli.options import UrlType
from pysubtask.errors import HostKeyReason
from pysubtask.events import LinkChanged
from pysubtask.status import FileStatus, Status, size_words

ROOT = pathlib.Path(pysubtask.__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "cli-messages.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
URL = "sftp://edge@collector.example/incoming"

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PYSUBTASK_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    def invoke(*args: str) -> Result:
        return CliRunner().invoke(app, list(args))

    return invoke


def leaves() -> list[tuple[str, ...]]:
    """Every command, those of groups one by one."""
    found: list[tuple[str, ...]] = []
    for name, module in COMMANDS.items():
        command = importlib.import_module(module).command
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
        else:
            found.append((name,))
    return found


def lines(result: Result) -> list[dict[str, Any]]:
    """The NDJSON of a result, each line checked against the schema."""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    for line in found:
        VALIDATOR.validate(line)
    return found


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


# --- errors


ERRORS: list[tuple[tuple[str, ...], int, str]] = [
    (("nix",), 2, "no such command 'nix'"),
    (("statu",), 2, "no such command 'statu'. Did you mean 'status'?"),
    (("push",), 2, "missing argument 'FILE...'"),
    (("push", "nix", "--to", URL), 1, "nix: there is no such file or folder"),
    (("push", "a.csv"), 1, "no destination is given"),
    (("push", "empty", "--to", URL), 1, "no files in empty"),
    (("push", "a.csv", "--to", "collector:in"), 2, "the URL is no URL"),
    (("push", "a.csv", "--to", "gopher://h/x"), 2, "is no scheme"),
    (("push", "a.csv", "--to", URL, "--give-up-after", "-1"), 2, "invalid value"),
    (("push", "a.csv", "--to", URL, "--set", "timer"), 2, "--set timer: a value is missing"),
    (("push", "a.csv", "--to", URL, "--set", "timr_interval_secs=1"), 1, "setting timr_interval"),
    (("push", "a.csv", "other/a.csv", "--to", URL), 1, "would have the name 'a.csv'"),
    (("push", "a.csv", "--to", URL, "--set", "timer_interval_secs=fast"), 1, "must be a number"),
    (("push", "a.csv", "--to", URL, "--set", "timer_interval_secs=0"), 1, "must be at least"),
    (("push", "a.csv", "--to", URL, "--key-file", "nix"), 1, "there is no file"),
    (("push", "a.csv", "--to", URL, "--password-file", "nix"), 1, "read the password from nix"),
    (("push", "a.csv", "--to", URL, "--password-env", "NIX"), 1, "variable NIX: it is not set"),
    (("push", "a.csv", "--to", URL, "--password-command", "false"), 1, "exit code 1"),
    (("push", "a.csv", "--to", URL, "--password-command", "nix-nix"), 1, "run the password"),
    (("push", "a.csv", "--to", URL, "--config", "nix.toml"), 1, "there is no such file"),
    (("pull", "file:///no/such/folder/"), 2, "missing argument 'DIR'"),
    (("pull", "collector:in", "inbox"), 2, "the URL is no URL"),
    (("pull", "file:///no/*/x.*", "inbox"), 1, "only the last part may be a pattern"),
    (("pull", "file:///no/x", "a.csv"), 2, "is a file"),
    (("pull", "file:///no/x", "inbox", "--interval", "0"), 2, "invalid value"),
    (("pull", "file:///no/x", "inbox", "--growth", "fast"), 2, "invalid value"),
    (("pull", "file:///no/x", "inbox", "--growth=append", "--delete-remote"), 1, "does not go"),
    (("run", "nix.toml"), 1, "there is no such file"),
    (("run",), 1, "no file is named, and there is no pysubtask.toml here"),
    (("status",), 1, "no delivery keeps its state in ."),
    (("doctor",), 1, "no destination is given"),
    (("doctor", "file:///no/such/folder"), 10, "the folder is not there"),
    (("trust", "file:///tmp"), 1, "there is no host key for pysubtask to check"),
    (("trust", URL, "--set", "ssh_command=ssh"), 1, "with ssh_command there is no host key"),
    (("login", "dropbox"), 2, "missing option '--save'"),
    (("login", "dropbox", "--app-key", "k", "--save", "a.csv"), 1, "a.csv: it exists"),
    (("verify", "nix", "--to", URL), 2, "does not exist"),
    (("residuals",), 1, "no delivery keeps its state in ."),
    (("config", "check", "nix.toml"), 1, "there is no such file"),
    (("config", "show", "nix.toml"), 1, "there is no such file"),
    (("service", "print", "upstart"), 2, "'upstart' is not one of"),
    (("service", "print", "systemd"), 1, "no file is named"),
    (("demo", "--seconds", "0"), 2, "invalid value"),
    (("completion", "tcsh"), 2, "'tcsh' is not one of"),
]


@pytest.mark.parametrize(("args", "code", "words"), ERRORS, ids=lambda part: str(part)[:60])
def test_errors_end_with_what_to_try(
    run: Run, args: tuple[str, ...], code: int, words: str
) -> None:
    pathlib.Path("a.csv").write_text("1\n")
    pathlib.Path("empty").mkdir()
    pathlib.Path("other").mkdir()
    pathlib.Path("other/a.csv").write_text("1\n")
    result = run(*args)
    assert result.exit_code == code
    *_, last = result.stderr.splitlines()
    assert last.startswith("Try: ")
    assert len(last) > len("Try: x")
    assert "Error: " in result.stderr
    assert words in result.stderr
    if args[0] not in ("nix", "statu", "completion", "service"):
        told = run(*args, "--json")
        *_, message = lines(told)
        assert message["message_type"] == "error"
        assert message["exit_code"] == told.exit_code == code
        assert message["try"] == last.removeprefix("Try: ")
        assert told.stderr == ""


def test_every_command_has_an_error_tested_here() -> None:
    tested = {args[:1] for args, *_ in ERRORS} | {args[:2] for args, *_ in ERRORS}
    assert [path for path in leaves() if path not in tested] == []


@pytest.mark.parametrize(
    "url",
    [
        "sftp://edge:hunter2@collector.example/x",
        "sftp://edge:hunt/er2@collector.example/x",
        "sftp://edge:hunter2@collector.example:99999/x",
    ],
)
def test_a_password_in_an_argument_list_is_refused_and_not_repeated(run: Run, url: str) -> None:
    pathlib.Path("a.csv").write_text("1\n")
    for args in (
        ("push", "a.csv", "--to", url),
        ("push", "a.csv", f"--to={url}"),
        ("doctor", url),
        ("trust", url),
        ("pull", url, "inbox"),
        ("verify", "a.csv", "--to", url),
        ("demo", "--to", url),
        ("status", ".", url),
    ):
        for more in ((), ("--json",)):
            result = run(*args, *more)
            assert result.exit_code == 2
            assert "hunter2" not in result.output
            assert "er2" not in result.output
    refused = run("doctor", "sftp://edge:hunter2@collector.example/x")
    assert "can be read by every user of this computer" in refused.stderr
    for way in ("--password-file", "--password-command", "--password-env"):
        assert way in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "reason", "code", "attempt"),
    [
        ("HostKeyRefused", "unknown", 13, "pysubtask trust"),
        ("HostKeyRefused", "revoked", 13, "doctor"),
        ("LoginRefused", None, 12, "--key-file"),
        ("LinkLost", None, 10, "doctor"),
        (None, None, 1, "doctor"),
    ],
)
def test_a_demo_that_does_not_get_through_ends_as_the_other_commands_do(
    kind: str | None, reason: HostKeyReason | None, code: int, attempt: str
) -> None:
    status = Status(
        link="retrying", last_error="no", last_error_kind=kind, last_error_reason=reason
    )
    failure = demo.failure_of(status, URL)
    assert (failure.code, failure.message) == (code, f"deliver to {URL}: no")
    assert attempt in failure.attempt


def test_no_password_of_a_url_gets_into_a_message() -> None:
    words = "deliver to sftp://edge:hunter2@collector.example/in: no"
    told = (
        convert.file_message("state", "a.csv", FileStatus(last_error=words)),
        convert.link_message(LinkChanged("retrying", words, "LinkLost")),
    )
    assert "hunter2" not in str(told)
    assert all("collector.example" in str(message) for message in told)


@pytest.mark.parametrize("name", ["password", "Password", "key_passphrase", "password_file"])
def test_secrets_are_not_set_by_set(run: Run, name: str) -> None:
    result = run("doctor", URL, "--set", f"{name}=hunter2")
    assert result.exit_code != 0
    assert "hunter2" not in result.output


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_password_file_that_others_may_read_is_refused(run: Run) -> None:
    secret = pathlib.Path("pw")
    secret.write_text("hunter2\n")
    secret.chmod(0o640)
    result = run("doctor", URL, "--password-file", "pw")
    assert result.exit_code == 1
    assert "others than its owner may read it (mode 0640)" in result.stderr
    assert result.stderr.splitlines()[-1] == "Try: chmod 600 pw"


def test_codes_and_remedies() -> None:
    cases = [
        (errors.HostKeyRefused("no", reason="unknown"), 13, f"pysubtask trust {URL}"),
        (errors.HostKeyRefused("no", reason="changed"), 13, "trust --replace"),
        (errors.HostKeyRefused("of unknown.changed.example", reason="revoked"), 13, "doctor"),
        (errors.LoginRefused("no", hint="the server takes: publickey"), 12, "--key-file"),
        (errors.LinkLost("gone"), 10, f"pysubtask doctor {URL}"),
        (errors.LinkError("gone", hint="switch it on"), 10, "switch it on"),
        (errors.RemoteDenied("no"), 1, "doctor"),
        (errors.RemoteNotFound("no"), 1, "another folder"),
        (errors.RemoteFull("no"), 1, "make room"),
        (errors.RemoteError("no"), 1, "doctor"),
        (errors.SettingsError("no"), 1, "pysubtask push --help"),
        (errors.SettingsError("no", path="known_hosts"), 1, "pysubtask trust --known-hosts"),
        (errors.StateError("no"), 1, "bak_to_folder"),
        (PermissionError(13, "no"), 1, "permissions"),
        (OSError(5, "no"), 1, "pysubtask push --help"),
    ]
    for error, code, words in cases:
        assert exits.code_of(error) == code
        assert words in exits.what_to_try(error, URL, "pysubtask push")
        assert exits.what_to_try(error, None, "pysubtask push")
    again = exits.what_to_try(errors.LinkLost("gone"), URL, "pysubtask doctor")
    assert "pysubtask doctor" not in again  # it was just that
    assert "server's log" in again
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.LinkError):
            assert exits.code_of_kind(kind.__name__) == exits.code_of(kind("x"))
    assert exits.code_of_kind(None) == 1


def test_the_exit_codes_are_what_they_are() -> None:
    assert {code.name: code.value for code in exits.Code} == {
        "OK": 0, "ERROR": 1, "USAGE": 2, "PARTIAL": 3, "UNREACHABLE": 10, "RUNNING": 11,
        "LOGIN": 12, "IDENTITY": 13, "INTERRUPTED": 130,
    }  # fmt: skip


def test_a_url_type_lets_good_urls_through() -> None:
    assert UrlType().convert(URL, None, None) == URL


# --- messages


def test_the_schema_in_the_docs_is_that_of_the_messages() -> None:
    assert json.loads(json.dumps(messages.schema())) == SCHEMA, (
        "run python -m pysubtask.cli.messages > docs/cli-messages.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


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
