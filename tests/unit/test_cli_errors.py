"""Errors of the command line: words, what to try, exit codes; no secret is repeated."""

from __future__ import annotations

import os
import pathlib

import pytest

from pysubtask import errors
from pysubtask.cli import convert, demo, exits
from pysubtask.cli.options import UrlType
from pysubtask.errors import HostKeyReason
from pysubtask.events import LinkChanged
from pysubtask.signals import StateLayout, write_json
from pysubtask.status import FileStatus, Status
from pysubtask.subtask.shell.lock import process_start
from tests.unit.cli_bench import URL, Run, elsewhere, leaves, lines, run

__all__ = ["elsewhere", "run"]  # fixtures


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
    (("push", "a.csv", "--to", ""), 2, "the URL is empty"),
    (("push", "a.csv", "--to", URL, "--follow-secs", "0"), 2, "not in the range"),
    (("push", "a.csv", "--to", URL, "--known-hosts", "nix"), 1, "known_hosts: there is no file"),
    (("push", "a.csv", "--to", URL, "--host-key", "SHA256:ab"), 1, "host_key: is no fingerprint"),
    (("push", "a.csv", "--to", URL, "--password-keyring", "nix"), 1, "must be SERVICE/USER"),
    (("push", "a.csv", "--to", URL, "--password-credential", "nix"), 1, "there are none"),
    (("push", "a.csv", "--to", URL, "--password-file", "empty"), 2, "is a directory"),
    (("push", "a.csv", "--to", URL, "--config", "bad.toml"), 1, "is no TOML"),
    (("push", "a.csv", "--to", URL, "--config", "typo.toml"), 1, "pasword: there is no such"),
    (("push", "a.csv", "--to", "file:///no/such", "--give-up-after", "0"), 10, "is not there"),
    (("pull", "file:///no/such/folder/"), 2, "missing argument 'DIR'"),
    (("pull", "collector:in", "inbox"), 2, "the URL is no URL"),
    (("pull", "file:///no/*/x.*", "inbox"), 1, "only the last part may be a pattern"),
    (("pull", "file:///no/x", "a.csv"), 2, "is a file"),
    (("pull", "file:///no/x", "inbox", "--interval", "0"), 2, "invalid value"),
    (("pull", "file:///no/x", "inbox", "--growth", "fast"), 2, "invalid value"),
    (("pull", "file:///no/x", "inbox", "--growth=append", "--delete-remote"), 1, "does not go"),
    (("run", "nix.toml"), 1, "there is no such file"),
    (("run", "bad.toml"), 1, "is no TOML"),
    (("run", "typo.toml"), 1, "pasword: there is no such setting"),
    (("run", "a.csv", "--set", "timer"), 2, "--set timer: a value is missing"),
    (("run",), 1, "no file is named, and there is no pysubtask.toml here"),
    (("status",), 1, "no delivery keeps its state in ."),
    (("status", "--every", "0"), 2, "not in the range"),
    (("status", "bad.toml"), 1, "is no TOML"),
    (("doctor",), 1, "no destination is given"),
    (("doctor", "file:///no/such/folder"), 10, "the folder is not there"),
    (("doctor", "sftp://edge@127.0.0.1:1/in"), 10, "port 1: nobody listens there"),
    (("doctor", "ftp://edge@127.0.0.1:1/in"), 10, "port 1: nobody listens there"),
    (("doctor", "dropbox:///x"), 1, "dropbox_refresh_token: is missing"),
    (("trust",), 1, "no destination is given"),
    (("trust", "sftp://edge@127.0.0.1:1/in"), 10, "port 1: Connection refused"),
    (("trust", "file:///tmp"), 1, "there is no host key for pysubtask to check"),
    (("trust", URL, "--set", "ssh_command=ssh"), 1, "with ssh_command there is no host key"),
    (("login", "dropbox"), 2, "missing option '--save'"),
    (("login", "dropbox", "--app-key", "k", "--save", "a.csv"), 1, "a.csv: it exists"),
    (("login", "dropbox", "--save", "x", "--ca-file", "nix"), 2, "does not exist"),
    (("login", "dropbox", "--save", "no/such/x", "--app-key", "k"), 1, "No such file"),
    (("verify", "nix", "--to", URL), 2, "does not exist"),
    (("verify", "a.csv"), 1, "no destination is given"),
    (("verify", "a.csv", "--to", "file:///no/such"), 10, "the folder is not there"),
    (("verify", "a.csv", "--to", "sftp://edge@127.0.0.1:1/in"), 10, "Connection refused"),
    (("verify", "a.csv", "--to", "dropbox:///x"), 1, "dropbox_refresh_token: is missing"),
    (("residuals", "bad.toml"), 1, "is no TOML"),
    (("residuals",), 1, "no delivery keeps its state in ."),
    (("config", "check", "nix.toml"), 1, "there is no such file"),
    (("config", "check", "typo.toml"), 1, "pasword: there is no such setting"),
    (("config", "show", "nix.toml"), 1, "there is no such file"),
    (("config", "show", "bad.toml"), 1, "is no TOML"),
    (("service", "print"), 2, "Choose from: systemd, launchd, windows"),
    (("service", "print", "upstart"), 2, "'upstart' is not one of"),
    (("service", "print", "systemd"), 1, "no file is named"),
    (("demo", "--seconds", "0"), 2, "invalid value"),
    (("demo", "--to", "dropbox:///x"), 1, "dropbox_refresh_token: is missing"),
    (("completion",), 2, "Choose from: bash, zsh, fish"),
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
    pathlib.Path("bad.toml").write_text("to = [")
    pathlib.Path("typo.toml").write_text(
        'to = "file:///x"\nwatch = ["a"]\nsettings.pasword = "x"\n'
    )
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


def test_a_subtask_that_says_nothing_of_its_program_may_have_one(tmp_path: pathlib.Path) -> None:
    """A former version's, that an upgrade has not ended."""
    me = os.getpid()
    holder = {"pid": me, "start": process_start(me), "token": "t", "since": 0.0}
    write_json(StateLayout(str(tmp_path)).holder, holder)
    busy = exits.Busy(str(tmp_path), "push")
    assert busy.message == f"push: process {me} does it already"
    assert "end the program" in busy.attempt
    assert "in a few seconds" not in busy.attempt
    assert "kill" not in busy.attempt


def test_a_url_type_lets_good_urls_through() -> None:
    assert UrlType().convert(URL, None, None) == URL


@pytest.mark.parametrize(
    ("subtask", "program", "words", "attempt"),
    [
        (True, True, "process {program} does it already", "or end that process: kill {program}"),
        (True, False, "process {subtask} does it already, the subtask of a", "in a few seconds"),
        (False, False, "another process did it meanwhile", "the same command again"),
    ],
)
def test_nobody_is_told_to_kill_what_is_not_the_program(
    tmp_path: pathlib.Path, subtask: bool, program: bool, words: str, attempt: str
) -> None:
    """The parent of a subtask whose program was killed is the session, or the container's first
    process; and ``kill 0`` ends the shell that one types it into."""
    me, parent = os.getpid(), os.getppid()
    holder = {
        "pid": me,
        "start": process_start(me) if subtask else "another boot",
        "program": parent,
        "program_start": process_start(parent) if program else "another boot",
    }
    write_json(StateLayout(str(tmp_path)).holder, holder)
    busy = exits.Busy(str(tmp_path), "push")
    pids = {"program": parent, "subtask": me}
    assert busy.message.startswith(f"push: {words.format(**pids)}")
    assert attempt.format(**pids) in busy.attempt
    assert (": kill" in busy.attempt) is program
