"""Settings: spelling, precedence, checks, secrets."""

from __future__ import annotations

import pathlib
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask import defaults_config
from pysubtask.config import build, camel_case, destination_from
from pysubtask.errors import SettingsError
from pysubtask.handover import Handover
from pysubtask.settings import Secret, Settings, describe, from_wire, to_wire
from pysubtask.urls import parse_url
from pysubtask.watch import parse_watches


def test_every_setting_has_default_section_and_meaning() -> None:
    rows = describe()
    assert [row[0] for row in rows] == list(Settings.__struct_fields__)
    for name, section, default, description in rows:
        assert section in ("base", "burst_mode", "link", "ftp", "dropbox", "folder"), name
        assert default is not msgspec.NODEFAULT, name
        assert len(description) > 10, name
        assert description.endswith("."), name


def test_defaults_pass_their_own_checks() -> None:
    assert from_wire({}) == Settings()
    assert from_wire(to_wire(Settings())) == Settings()


@pytest.mark.parametrize(
    ("spelling", "name", "value"),
    [
        ("TimerIntervalSecs", "timer_interval_secs", 5.0),
        ("timer_interval_secs", "timer_interval_secs", 5.0),
        ("DeadTimeMilli", "dead_time_milli", 40_000),
        ("LogToConsole", "log_to_console", True),
        ("Master_Log_FileName", "master_log_file_name", "m.txt"),
        ("ArchiveAfterDaysOld", "archive_after_days_old", 7.0),
        ("User", "username", "edge"),
        ("Host", "host", "collector"),
    ],
)
def test_both_spellings(spelling: str, name: str, value: Any) -> None:
    assert getattr(build("ftp", None, None, {spelling: value}), name) == value
    section = SimpleNamespace(**{spelling: value})
    assert getattr(build("ftp", SimpleNamespace(ftp=section)), name) == value
    assert getattr(build("ftp", {"base": {spelling: value}}), name) == value


def test_use_sftp_is_written_as_version_1_wrote_it() -> None:
    assert camel_case("use_sftp") == "UseSFTP"
    assert build("ftp", {"ftp": {"UseSFTP": False}}).use_sftp is False


def test_precedence() -> None:
    config = {
        "base": {"TimerIntervalSecs": 3, "DeadTimeMilli": 3, "HostPort": 3, "RetryTries": 3},
        "ftp": {"DeadTimeMilli": 4, "HostPort": 4, "RetryTries": 4},
    }
    url = parse_url("sftp://edge@collector:5/x")
    settings = build("ftp", config, url, {"retry_tries": 6})
    assert settings.timer_interval_secs == 3  # base
    assert settings.dead_time_milli == 4  # the section is stronger
    assert settings.host_port == 5  # the URL is stronger
    assert settings.retry_tries == 6  # the keyword is strongest
    assert settings.retry_short_wait_secs == 3.0  # the default


def test_sections_may_be_any_object() -> None:
    class Config:
        class ftp:  # noqa: N801  (a section is named so)
            Host = "a"

        class burst_mode:  # noqa: N801
            start_trigger_count = 7

        def method(self) -> None: ...

    for config in (Config, Config()):
        settings = build("ftp", config)
        assert (settings.host, settings.burst_start_trigger_count) == ("a", 7)
    assert build("ftp", SimpleNamespace(Host="b")).host == "b"  # a single section
    assert build("ftp", {"host": "c"}).host == "c"
    assert build("ftp", sys).host is None  # a module without sections


def test_defaults_config_is_a_configuration_and_says_the_defaults() -> None:
    for extension in ("ftp", "dropbox", "folder", "own"):
        assert build(extension, defaults_config) == build(extension)
    assert defaults_config.ftp.DeadTimeMilli == Settings().dead_time_milli
    assert defaults_config.ftp.BakToFolder == "upload/ftp"
    assert defaults_config.burst_mode.expire_milli == Settings().burst_expire_milli
    shown = {
        key
        for section in (
            defaults_config.base,
            defaults_config.ftp,
            defaults_config.dropbox,
            defaults_config.folder,
        )
        for key in vars(section)
    }
    for name, section, _, _ in describe():
        if section != "burst_mode":
            assert camel_case(name) in shown


def test_defaults_config_prints_every_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pysubtask.defaults_config"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for name, section, _, _ in describe():
        spelled = name.removeprefix("burst_") if section == "burst_mode" else camel_case(name)
        assert spelled in done.stdout


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"timer_interval_secs": -1}, "at least 0.02 seconds, not -1"),
        ({"timer_interval_secs": float("nan")}, "finite"),
        ({"timer_interval_secs": "2"}, "a number of seconds"),
        ({"DeadTimeMilli": 1.5}, "a whole number of milliseconds"),
        ({"restart": 1}, "True or False"),
        ({"on_remote_gone": "x"}, "one of resend, continue"),
        ({"host_port": 70_000}, "at most 65535"),
        ({"host_key": "ab:cd"}, "ssh-keygen"),
        ({"ssh_command": 'ssh "x'}, "split"),
        ({"ssh_command": " "}, "empty"),
        ({"key_file": "/nowhere/key"}, "/nowhere/key"),
        ({"tmier_interval_secs": 1}, "timer_interval_secs"),
        ({"DeadTimMilli": 1}, "DeadTimeMilli"),
        ({"heartbeat_name": "a/b"}, "file name"),
        ({"heartbeat_name": ".edge"}, "hidden"),
        ({"heartbeat_name": "é" * 123}, "245 bytes"),
        ({"heartbeat_interval_secs": 25 * 86_400}, "at most 2073600"),
        ({"host": "a\0b"}, "NUL"),
        ({"xyzzy": 1}, "defaults_config"),
    ],
)
def test_mistakes_are_told_in_words(given_settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build("ftp", None, None, given_settings)
    assert words in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_mistake_in_a_section_names_the_section() -> None:
    with pytest.raises(SettingsError, match=r"ftp\.DeadTime.*DeadTimeMilli"):
        build("ftp", {"ftp": {"DeadTime": 3}})
    with pytest.raises(SettingsError, match="start_trigger_milli"):
        build("ftp", {"burst_mode": {"start_triger_milli": 3}})


def test_a_section_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"configuration fpt.*ftp"):
        build("ftp", {"base": {}, "fpt": {}})
    with pytest.raises(SettingsError, match="object with attributes"):
        build("ftp", {"base": "x"})


def test_none_means_the_default_where_none_is_no_value() -> None:
    settings = build("ftp", None, None, {"timer_interval_secs": None, "archive_to_folder": None})
    assert settings.timer_interval_secs == 2.0
    assert settings.archive_to_folder is None
    assert build("ftp", None, None, {"host_port": -1}).host_port is None


def test_version_1_demo_configuration_is_understood() -> None:
    ftp = SimpleNamespace(
        UseFTP=True,
        UseSFTP=True,
        User="edge",
        Password="pw",
        Host="collector",
        HostFTPPath="tagreader",
        HostSFTPPath="Desktop/tagreader",
        DeadTimeMilli=40_000,
    )
    config = SimpleNamespace(ftp=ftp, dropbox=SimpleNamespace(UseDropbox=False, AccessToken="x"))
    settings = build("ftp", config)
    assert settings.host_path == "Desktop/tagreader"
    assert str(destination_from("sftp", settings)) == "sftp://edge@collector/~/Desktop/tagreader"
    ftp.UseSFTP = False
    assert build("ftp", config).host_path == "tagreader"


def test_files_are_made_absolute(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").touch(0o600)
    monkeypatch.chdir(tmp_path)
    assert build("ftp", None, None, {"key_file": pathlib.Path("key")}).key_file == str(
        tmp_path / "key"
    )


def test_a_secret_shows_nothing() -> None:
    secret = Secret("hunter2")
    settings = Settings(password=secret, key_passphrase=secret)
    for text in (str(secret), repr(secret), f"{secret}", f"{secret!s:>20}", repr(settings),
                 repr([settings]), str({"a": secret})):  # fmt: skip
        assert "hunter2" not in text
    assert secret.reveal() == "hunter2"
    assert pickle.loads(pickle.dumps(secret)) == secret
    assert Secret(secret) == secret != Secret("other")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert not Secret("")


@pytest.mark.parametrize("value", [5, b"hunter2", ["hunter2"], object()])
def test_no_mistake_shows_a_secret(value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        build("ftp", None, None, {"password": value})
    assert "hunter2" not in str(caught.value)
    assert "text" in str(caught.value)


@given(
    st.text(st.characters(exclude_characters="\0")),
    st.text(st.characters(), min_size=1),
    st.floats(0.02, 3600),
)
def test_the_hand_over_arrives_as_it_left(path: str, password: str, interval: float) -> None:
    settings = build("ftp", None, None, {"password": password, "timer_interval_secs": interval})
    name = "x" + path.replace("/", "").rstrip(".")
    sent = Handover(
        extension="ftp",
        settings=settings,
        watches=parse_watches([b"/data/\xff.csv", {"file": f"/d/{name}y"}]),
        destination=parse_url("sftp://edge:s3cret@collector/~/in"),
        state_dir="/s",
        log_dir=None,
        log_name="l",
        work_dir="/",
        precleanup_old_files=True,
        parent_pid=1,
        token="t",
        sys_path=["\udcff"],
        subtask=None,
    )
    line = sent.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert Handover.from_line(line) == sent
    assert "s3cret" not in repr(sent)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]\n", b"{}\n", b'{"format": 99}\n', b'{"format": 1}\n', b"\xff\n"]
)
def test_a_damaged_hand_over_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Handover.from_line(line)
