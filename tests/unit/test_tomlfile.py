"""TOML files, layers of settings, and where passwords come from."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

import pytest

from pysubtask import SettingsError, TaskMaster
from pysubtask.folder import FolderTaskMaster
from pysubtask.ftp import FTPTaskMaster
from pysubtask.layers import Layer, environment_layer, merge, unknown_variables
from pysubtask.passwords import from_command, from_environment, from_file
from pysubtask.settings import Secret
from pysubtask.tomlfile import load, read_layer

URL = "sftp://edge@collector.example/incoming"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PYSUBTASK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text: str, mode: int = 0o644) -> str:
    path = pathlib.Path("service.toml")
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return str(path)


# --- from_toml


def test_one_destination(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(f'to = "{URL}"\nwatch = "logs/a.csv"\n[settings]\nDeadTimeMilli = 5\n')
    monkeypatch.chdir("/")
    master = TaskMaster.from_toml(tmp_path / path)
    assert type(master) is FTPTaskMaster
    assert master.declared_files == [str(tmp_path / "logs" / "a.csv")]
    assert master.state_dir == str(tmp_path / "logs" / "upload" / "ftp")
    assert master._settings.dead_time_milli == 5
    again = TaskMaster.from_toml(tmp_path / path, dead_time_milli=6)
    assert again._settings.dead_time_milli == 6


SEVERAL = f"""
[settings]
retry_tries = 2
key_file = "id"
[[deliver]]
name = "collector"
to = "{URL}"
watch = ["logs/a.csv", {{file = "logs/b.csv", as = "c.csv", burstmode = true}}]
settings = {{retry_tries = 3}}
[[deliver]]
name = "share"
to = "file:///mnt/share"
watch = [{{dir = "logs"}}]
follow = false
follow_secs = 5
"""


def test_several_destinations(tmp_path: pathlib.Path) -> None:
    pathlib.Path("id").touch(0o600)
    path = write(SEVERAL)
    collector = TaskMaster.from_toml(path, "collector")
    share = TaskMaster.from_toml(path, deliver="share")
    assert type(share) is FolderTaskMaster
    assert (collector._settings.retry_tries, share._settings.retry_tries) == (3, 2)
    assert collector._settings.key_file == str(tmp_path / "id")
    assert [watch.remote_name for watch in collector.watches] == ["a.csv", "c.csv"]
    assert collector.state_dir == str(tmp_path / "logs" / "upload" / "collector")
    assert share.state_dir == str(tmp_path / "logs" / "upload" / "share")
    project = load(path)
    assert [one.follow for one in project.deliveries] == [True, False]
    assert [one.follow_secs for one in project.deliveries] == [1.0, 5.0]
    with pytest.raises(SettingsError, match="name one of collector, share"):
        TaskMaster.from_toml(path)
    with pytest.raises(SettingsError, match="no \\[\\[deliver\\]\\] is 'nix'"):
        TaskMaster.from_toml(path, "nix")


SOURCES = f"""
[[deliver]]
name = "both"
to = "{URL}"
watch = ["logs/a.csv", {{pull = "sftp://edge@collector.example/in/*.cfg", to = "inbox"}}]
[[deliver]]
name = "in"
settings = {{retry_tries = 3}}
watch = [
    {{pull = "sftp://other.example/in/", to = "~/in", growth = "rewrite", key_file = "id"}},
    {{pull = "sftp://third.example/x", to = "x", password_env = "X_PASSWORD", username = "u"}},
]
"""


def test_sources(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    pathlib.Path("id").touch(0o600)
    project = load(write(SOURCES), environ={"PYSUBTASK_TO": "sftp://else.example/"})
    assert [one.only_fetches for one in project.deliveries] == [False, True]
    both = load(write(SOURCES), environ={}).delivery("both").make_master({})
    assert both.declared_files == [str(tmp_path / "logs" / "a.csv")]
    assert [(pull.pattern, pull.to) for pull in both.sources] == [
        ("*.cfg", str(tmp_path / "inbox"))
    ]
    with pytest.raises(SettingsError, match="variable X_PASSWORD: it is not set"):
        project.delivery("in").make_master({})
    assert project.delivery("in").without_passwords().make_master().sources[1].pattern is None
    monkeypatch.setenv("X_PASSWORD", "hunter2")
    fetching = project.delivery("in").make_master({})
    assert fetching.declared_files == []
    assert fetching.state_dir == str(tmp_path / "home" / "in" / "upload" / "in")
    first, second = fetching._sources
    assert (first.pull.growth, first.settings.key_file) == ("rewrite", str(tmp_path / "id"))
    assert first.settings.retry_tries == 3
    assert first.settings.password is None
    assert second.settings.password == Secret("hunter2")
    assert str(second.pull.source) == "sftp://u@third.example/x"


def test_a_source_gets_nothing_of_another_files_destination() -> None:
    """One server's password must not go to another."""
    path = write('watch = [{pull = "sftp://other.example/in/", to = "inbox"}]')
    below = Layer("file own.toml", URL, {"password": Secret("hunter2"), "retry_tries": 2}, {}, True)
    master = load(path, below=below, environ={"PYSUBTASK_TO": URL}).delivery().make_master({})
    (source,) = master._sources
    assert source.settings.password is None
    assert source.settings.username is None
    assert source.settings.retry_tries == 2


def test_a_source_on_another_server_gets_no_login_of_the_destination(
    tmp_path: pathlib.Path,
) -> None:
    """Neither from keywords, nor from where they say that it lies, nor from a section."""
    secret = tmp_path / "pw"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    section = {"ftp": {"Username": "edge", "Password": "hunter3"}}
    ways: list[tuple[Any, dict[str, Any]]] = [
        (None, {"password": "hunter1", "username": "edge"}),
        (None, {"password_file": str(secret)}),
        (None, {"PasswordFile": str(secret)}),
        (section, {}),
    ]
    for config, keywords in ways:
        for host, gets in (("other.example", False), ("collector.example", True)):
            entry = {"pull": f"sftp://{host}/in/", "to": "inbox"}
            master = TaskMaster(["a.csv", entry], config, to=URL, **keywords)
            (source,) = master._sources
            assert (source.settings.password is not None) is gets, (config, keywords, host)
            assert (source.settings.username == "edge") is gets


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("to = ", "is no TOML"),
        ('watch = [{pull = 3, to = "x"}]', "pull must be text"),
        ('watch = [{pull = "collector:in", to = "x"}]', "pull: is no URL"),
        ('watch = [{pull = "file:///x", to = "x", password_file = 3}]', "password_file must be"),
        (f'to = "{URL}"', "watches nothing"),
        (f'to = "{URL}"\nwatch = [3]', "a watch must be text or a table"),
        ('to = "collector:in"\nwatch = "a"', "to: is no URL"),
        ("to = 3\nwatch = 'a'", "to must be text"),
        ("watches = 'a'", "did you mean watch?"),
        ("dead_time_milli = 3", r"settings belong below \[settings\]"),
        ("[settings]\ndead_tyme_milli = 3", "did you mean dead_time_milli?"),
        ("settings = 3", "settings must be a table"),
        ("deliver = 3", r"write \[\[deliver\]\]"),
        (f'to = "{URL}"\n[[deliver]]\nwatch = "a"', "has both"),
        ('[[deliver]]\nwatch = "a"\n[[deliver]]\nwatch = "b"', "deliver 1: has no name"),
        (
            '[[deliver]]\nname="x"\nwatch = "a"\n[[deliver]]\nname="x"\nwatch = "b"',
            "the name 'x' is there twice",
        ),
        ('[[deliver]]\nname="../x"\nwatch = "a"', "must be letters"),
        ("watch = 'a'\nfollow = 1", "follow can't be 1"),
        ("watch = 'a'\nfollow_secs = true", "follow_secs can't be True"),
        ("watch = 'a'\nfollow_secs = 0", "must be from 0.05"),
        ("watch = 'a'\n[settings]\npassword_file = 3", "password_file: must be text"),
    ],
)
def test_mistakes_are_told_with_the_file(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        load(write(text))
    assert "service.toml" in str(caught.value)


def test_a_mistake_in_a_value_is_told_by_the_master() -> None:
    path = write(f'to = "{URL}"\nwatch = "a"\n[settings]\ndead_time_milli = -1\n')
    with pytest.raises(SettingsError, match="dead_time_milli: must be at least 0"):
        TaskMaster.from_toml(path)


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
@pytest.mark.parametrize(
    "text",
    [
        f'to = "{URL}"\nwatch = "a"\n[settings]\npassword = "hunter2"\n',
        'to = "sftp://edge:hunter2@collector.example/x"\nwatch = "a"\n',
        'watch = [{pull = "sftp://h/x", to = "a", password = "hunter2"}]\n',
        'watch = [{pull = "sftp://edge:hunter2@h/x", to = "a"}]\n',
    ],
)
def test_a_secret_in_a_file_that_others_may_read_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="others than its owner may read it") as caught:
        load(write(text, 0o644))
    assert "hunter2" not in str(caught.value)
    master = load(write(text, 0o600)).delivery().make_master()
    held = master._sources[0].settings if master.sources else master._settings
    assert held.password is not None
    assert held.password.reveal() == "hunter2"


# --- layers


def test_each_layer_wins_over_those_below() -> None:
    path = write(f'to = "{URL}"\nwatch = "a"\n[settings]\nretry_tries = 2\nretry_jitter = 0.2\n')
    environ = {"PYSUBTASK_RETRY_TRIES": "3", "PYSUBTASK_KEEPALIVE_SECS": "4"}
    merged = load(path, environ=environ, keywords={"keepalive_secs": 5}).delivery().merged
    found = {name: (held.value, held.origin) for name, held in merged.settings.items()}
    file = f"file {os.path.abspath(path)}"
    assert found["retry_tries"] == (3, "environment PYSUBTASK_RETRY_TRIES")
    assert found["keepalive_secs"] == (5, "keyword")
    assert found["retry_jitter"] == (0.2, file)
    assert found["username"] == ("edge", f"{file}, in the URL")


def test_another_destination_gets_nothing_of_the_files_one() -> None:
    """One server's password must not go to another."""
    path = write(
        'to = "sftp://edge:hunter2@collector.example/x"\nwatch = "a"\n'
        '[settings]\nhost_key = "SHA256:' + "A" * 43 + '"\npassword_command = "pass x"\n'
        "retry_tries = 2\n",
        0o600,
    )
    for changed in (
        load(path, to="sftp://other.example/y", environ={}),
        load(path, environ={"PYSUBTASK_TO": "sftp://other.example/y"}),
    ):
        merged = changed.delivery().merged
        assert merged.keywords({}) == {"retry_tries": 2}
        assert merged.to is not None
        assert merged.to.value == "sftp://other.example/y"
        assert "username" not in merged.settings
    kept = load(path, environ={"PYSUBTASK_PASSWORD": "mine"}, to="sftp://other.example/y")
    assert kept.delivery().merged.keywords({})["password"] == Secret("mine")


def test_a_higher_source_of_the_password_replaces_a_lower_one(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "pw"
    secret.write_text("from the file\n")
    secret.chmod(0o600)
    low = Layer("low", None, {"password": Secret("low")})
    high = Layer("high", None, {"password_file": str(secret)})
    assert merge([low, high]).keywords({})["password"] == Secret("from the file")
    assert merge([high, low]).keywords({})["password"] == Secret("low")


def test_variables_become_values() -> None:
    layer = environment_layer(
        {
            "PYSUBTASK_RESTART": "false",
            "PYSUBTASK_WATCHDOG_SECS": "7.5",
            "PYSUBTASK_LOG_TO_FOLDER": "none",
            "PYSUBTASK_HOST_KEY": "SHA256:a, SHA256:b",
            "PYSUBTASK_PASSWORD": "x",
            "PYSUBTASK_OUTBOX_MAX_BYTES": "5",
            "PYSUBTASK_SOMETHING": "else",
            "PYSUBTASK_TO": URL,
            "HOME": "/",
        }
    )
    assert layer.to == URL
    assert dict(layer.settings) == {
        "restart": False,
        "watchdog_secs": 7.5,
        "log_to_folder": None,
        "host_key": ("SHA256:a", "SHA256:b"),
        "password": Secret("x"),
        "outbox_max_bytes": 5,
    }
    with pytest.raises(SettingsError, match="PYSUBTASK_RESTART: must be true or false"):
        environment_layer({"PYSUBTASK_RESTART": "perhaps"})
    assert unknown_variables({"PYSUBTASK_SOMETHING": "", "PYSUBTASK_RESTART": ""}) == [
        "PYSUBTASK_SOMETHING"
    ]


def test_a_child_does_not_inherit_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from pysubtask.master._child import _environment

    assert _environment(["python"]) is None
    monkeypatch.setenv("PYSUBTASK_PASSWORD", "hunter2")
    monkeypatch.setenv("PYSUBTASK_KEY_PASSPHRASE", "hunter3")
    monkeypatch.setenv("PYSUBTASK_RETRY_TRIES", "3")
    inherited = _environment(["python"])
    assert inherited is not None
    assert set(os.environ) - set(inherited) == {"PYSUBTASK_PASSWORD", "PYSUBTASK_KEY_PASSPHRASE"}


def test_a_users_file_needs_no_watches() -> None:
    layer = read_layer(os.path.abspath(write("[settings]\nretry_tries = 2\n")))
    assert dict(layer.settings) == {"retry_tries": 2}
    assert layer.to is None


# --- passwords


def test_a_password_from_a_file(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "pw"
    secret.write_bytes(b"gehe\xc3\xafm \nsecond line\n")
    secret.chmod(0o600)
    assert from_file(str(secret)) == Secret("geheïm ")
    secret.write_bytes(b"\nx")
    with pytest.raises(SettingsError, match="first line is empty"):
        from_file(str(secret))
    secret.write_bytes(b"\xff\n")
    with pytest.raises(SettingsError, match="no UTF-8"):
        from_file(str(secret))
    if os.name == "posix":
        for mode in (0o604, 0o640, 0o620, 0o610):
            secret.chmod(mode)
            with pytest.raises(SettingsError, match="chmod 600"):
                from_file(str(secret))


def test_a_password_from_a_command() -> None:
    python = sys.executable
    assert from_command(f"{python} -c 'print(\"a b\")'") == Secret("a b")
    for command, words in (
        (f"{python} -c pass", "first line is empty"),
        (f"{python} -c 'raise SystemExit(3)'", "exit code 3"),
        ("", "it is empty"),
        ("'", "No closing quotation"),
        ("/no/such/program secret-argument", "No such file"),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            from_command(command)
        assert "secret-argument" not in str(caught.value)


def test_a_password_from_a_variable() -> None:
    assert from_environment("X", {"X": "y"}) == Secret("y")
    with pytest.raises(SettingsError, match="variable X: it is not set"):
        from_environment("X", {"X": ""})
