"""The command line: scan, check, key, export, and what serve refuses."""

from __future__ import annotations

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import time

import pytest

from pysubtask.errors import SettingsError
from pysubtask.monitor import cli
from pysubtask.monitor.cli import main
from pysubtask.monitor.config import Config, descriptions, load_config, read_secret
from pysubtask.monitor.history import History
from pysubtask.monitor.serve import split_address

Drop = pathlib.Path


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_SECOND_LOOK_SECS", 0.02)


@pytest.fixture
def drop(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


def beat(drop: Drop, name: str, text: str = "3600\n{}\n", age: float = 0.0) -> None:
    """A heartbeat; one that is old was delivered by rename long ago (its change time is now)."""
    path = drop / f"{name}.heartbeat"
    path.write_text(text)
    if age:
        os.utime(path, (time.time() - age, time.time() - age))


def test_scan_as_json_is_what_the_api_says(drop: Drop, capsys: pytest.CaptureFixture[str]) -> None:
    beat(drop, "edge")
    assert main(["scan", "--once", "--json", str(drop)]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["clients"]
    assert (row["name"], row["state"], row["online"]) == ("edge", "up", True)
    assert row["deadline"] == row["last_seen"] + 3600
    assert document["source"]["readable"] is True


def test_scan_in_words(drop: Drop, capsys: pytest.CaptureFixture[str]) -> None:
    beat(drop, "edge")
    beat(drop, "bye", "0\n")
    beat(drop, "old-style", "3600")
    beat(drop, "esc\x1b[31m\n\u202e")
    assert main(["scan", str(drop)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    lines = out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("stopped  bye")
    assert any(line.startswith("up       old-style") for line in lines)
    assert any("\\u{001b}[31m\\u{000a}\\u{202e}" in line for line in lines)


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"a": "3600\n"}, 0, "OK - 1 of 1 up"),
        ({"a": "1\n", "b": "3600\n"}, 1, "WARNING - 1 late: a"),
        ({"a": "3600\n", "b": "0\n"}, 0, "OK - 1 of 2 up"),
        ({}, 3, "UNKNOWN - no heartbeat files"),
        ({"a": "x\n"}, 3, "UNKNOWN - 1 without a valid heartbeat: a"),
        ({"a": "x\n", "b": "3600\n"}, 1, "WARNING - 1 without a valid heartbeat: a"),
        ({"a": "x\n", "b": "1\n"}, 1, "WARNING - 1 late: b"),
        ({"a": "", "b": "0\n"}, 1, "WARNING - 1 without a valid heartbeat: a"),
    ],
)
def test_check(
    drop: Drop,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    code: int,
    words: str,
) -> None:
    for name, text in files.items():
        beat(drop, name, text, age=3.0)
    assert main(["check", str(drop)]) == code
    out = capsys.readouterr().out
    assert words in out
    assert out.count("\n") == 1
    assert " | down=0 late=" in out or not files


def test_check_of_one_client(drop: Drop, capsys: pytest.CaptureFixture[str]) -> None:
    beat(drop, "a")
    beat(drop, "b|x", "1\n", age=4.0)
    args = ["check", str(drop), "--grace-secs", "0"]
    assert main([*args, "--client", "a"]) == 0
    assert main([*args, "--client", "b|x"]) == 2
    assert "1 down: b¦x | down=1" in capsys.readouterr().out
    assert main([*args, "--client", "c"]) == 3
    assert main(["check", str(drop / "no")]) == 3


def test_check_of_what_it_may_not_read(
    drop: Drop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nagios runs as another user. Without: "OK - 0 of 3 up", however dead they are."""
    for name in ("a", "b", "c"):
        beat(drop, name, "1\n", age=9999.0)
    real = os.open

    def refuse(path: str, *args: int, **options: int) -> int:
        if str(path).endswith(".heartbeat"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pysubtask.monitor.local.os.open", refuse)
        assert main(["check", str(drop)]) == 3
        assert main(["check", str(drop), "--client", "b"]) == 3
    assert "HEARTBEAT UNKNOWN" in capsys.readouterr().out


def test_check_with_a_folder_that_it_may_not_read(
    drop: Drop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without: "OK - 1 of 1 up", for those in the folder are not even counted."""
    beat(drop, "edge")
    (drop / "site").mkdir()
    beat(drop / "site", "dead", "1\n", age=9999.0)
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).rstrip("/").endswith("site"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("pysubtask.monitor.local.os.scandir", refuse)
    assert main(["check", str(drop)]) == 3
    assert "UNKNOWN - can't be read: site/ | " in capsys.readouterr().out
    assert main(["check", str(drop), "--client", "edge"]) == 0  # who asks for one gets that one
    beat(drop, "down", "1\n", age=4.0)
    assert main(["check", str(drop), "--grace-secs", "0"]) == 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_check_says_down_whatever_the_terminal(drop: Drop, encoding: str) -> None:
    """Without: nothing is printed, and the exit code is 1, which means late."""
    beat(drop, "日本語", "1\n", age=4.0)
    done = subprocess.run(
        [sys.executable, "-m", "pysubtask.monitor", "check", str(drop), "--grace-secs", "0"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout.startswith(b"HEARTBEAT CRITICAL - 1 down: ")
    assert done.stderr == b""


def test_check_has_no_other_words_than_a_plugins(
    drop: Drop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong is unknown (3): a traceback would be 1, a wrong option 2."""

    def broken(*args: object) -> None:
        raise RuntimeError("no|\nidea")

    monkeypatch.setattr("pysubtask.monitor.sources.open_source", broken)
    assert main(["check", str(drop)]) == 3
    assert capsys.readouterr().out == "HEARTBEAT UNKNOWN - RuntimeError: no¦ idea\n"
    with pytest.raises(RuntimeError):
        main(["scan", str(drop)])
    for command, code in (("check", 3), ("scan", 2)):
        with pytest.raises(SystemExit) as end:
            main([command, str(drop), "--no-such-option"])
        assert end.value.code == code
    with pytest.raises(SystemExit) as end:
        main(["check", "--help"])
    assert not end.value.code
    assert main(["check"]) == 3
    assert "HEARTBEAT UNKNOWN - " in capsys.readouterr().out


def test_scan_of_nothing(drop: Drop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(drop / "no")]) == 3
    assert "No such file" in capsys.readouterr().err
    assert main(["scan"]) == 2
    assert "pysubtask-monitor serve /srv/drop" in capsys.readouterr().err


def test_keys(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(tmp_path / "state")]
    assert main(["key", "add", "prometheus", "--scope", "metrics", *state]) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("psm_")
    assert main(["key", "list", *state]) == 0
    listed = capsys.readouterr().out
    assert "metrics" in listed
    assert "prometheus" in listed
    assert key not in listed
    assert main(["key", "drop", listed.split()[0], *state]) == 0
    assert main(["key", "drop", listed.split()[0], *state]) == 2


def test_settings_flag_before_environment_before_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "monitor.toml"
    file.write_text('scan_secs = 2\ngrace_secs = 7\nmass_count = 9\nwebhook = ["https://a/"]\n')
    environ = {"PYSUBTASK_MONITOR_SCAN_SECS": "3", "PYSUBTASK_MONITOR_GRACE_SECS": "8"}
    config = load_config({"grace_secs": "9", "source": None}, environ, str(file))
    assert (config.scan_secs, config.grace_secs, config.mass_count) == (3.0, 9.0, 9)
    assert config.webhook == ("https://a/",)
    for wrong in ("scan_secs = 0\n", "scan_sec = 3\n", "scan_secs = \n", 'mass_count = "x"\n'):
        file.write_text(wrong)
        with pytest.raises(SettingsError):
            load_config({}, {}, str(file))
    with pytest.raises(SettingsError, match="No such file"):
        load_config({}, {}, str(tmp_path / "no.toml"))


def test_every_setting_is_described() -> None:
    assert [name for name, *_ in descriptions()] == list(Config.__struct_fields__)
    assert all(text for *_, text in descriptions())


def test_secrets_come_from_files_that_others_cannot_read(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "password"
    file.write_text("sesame\n")
    file.chmod(0o600)
    assert read_secret(str(file), {}, "PASSWORD") == "sesame"
    assert read_secret(str(file), {"PYSUBTASK_MONITOR_PASSWORD": "env"}, "PASSWORD") == "env"
    file.chmod(0o644)
    if os.name == "posix":
        with pytest.raises(SettingsError, match="chmod 600"):
            read_secret(str(file), {}, "PASSWORD")
    file.chmod(0o600)
    file.write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        read_secret(str(file), {}, "PASSWORD")


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("8642", ("127.0.0.1", 8642)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("127.0.0.1", 80)),
    ],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    assert split_address(listen) == address


@pytest.mark.parametrize("listen", ["x", "127.0.0.1", "h:99999", "h:-1", "h:٣"])
def test_no_addresses(listen: str) -> None:
    with pytest.raises(SettingsError):
        split_address(listen)


def test_serve_refuses_the_network_without_a_password(
    drop: Drop, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path / "state")]
    assert main(["serve", str(drop), "--listen", "0.0.0.0:0", *state]) == 2
    assert "there is no password" in capsys.readouterr().err
    assert main(["serve", str(drop), "--webhook", "nonsense", *state]) == 2
    assert main(["serve", "--listen", "127.0.0.1:0", *state]) == 2
    assert main(["serve", str(drop), "--ping", "nonsense", *state]) == 2
    capsys.readouterr()
    assert main(["serve", str(drop), "--tls-cert", str(drop / "no.pem"), *state]) == 2
    assert "load the certificate" in capsys.readouterr().err
    assert main(["serve", "gopher://x/y", "--listen", "127.0.0.1:0", *state]) == 2


def test_serve_says_that_its_history_can_not_be_read(
    drop: Drop,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without: a traceback, over and over where something restarts it."""

    def broken(*args: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    state = tmp_path / "state"
    History(state).close()
    monkeypatch.setattr(History, "get", broken)
    command = ["serve", str(drop), "--listen", "127.0.0.1:0", "--state", str(state)]
    assert main(command) == 2
    words = capsys.readouterr().err
    assert "disk I/O error" in words
    assert "--state" in words
