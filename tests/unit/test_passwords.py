"""Where secrets come from: files, commands, variables, the keyring, credentials."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import threading
from collections.abc import Iterator

import keyring
import keyring.backend
import keyring.errors
import pytest

from pysubtask import SettingsError, TaskMaster
from pysubtask import passwords as sources
from pysubtask.cli.options import forget_secrets
from pysubtask.config import build
from pysubtask.layers import Layer, merge
from pysubtask.master._child import _environment
from pysubtask.passwords import PASSWORD_SOURCES, SECRETS, SOURCES, fetch, from_keyring, secret_of
from pysubtask.pull import _LOGIN
from pysubtask.settings import Secret, Settings
from pysubtask.tomlfile import load
from pysubtask.urls import parse_url

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files")
URL = parse_url("sftp://edge@collector.example/in")


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]
    held = {("ftp://collector", "edge"): "from the ring"}  # noqa: RUF012
    error: Exception | None = None
    answers = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        if self.error is not None:
            raise self.error
        assert self.answers.wait(30)
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture
def ring() -> Iterator[Ring]:
    before, made = keyring.get_keyring(), Ring()
    made.answers.set()
    keyring.set_keyring(made)
    yield made
    made.answers.set()
    keyring.set_keyring(before)


def private(path: pathlib.Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_every_secret_setting_has_every_source() -> None:
    hidden = {name for name in Settings.__struct_fields__ if name in SECRETS}
    assert hidden == set(SECRETS)
    for name, hint in Settings.__annotations__.items():
        assert ("Secret" in str(hint)) == (name in SECRETS), name
    assert len(SOURCES) == 5 * len(SECRETS)
    assert {secret_of(name) for name in SOURCES} == set(SECRETS)
    assert secret_of("known_hosts") is secret_of("password_x") is None
    assert not set(SOURCES) & set(Settings.__struct_fields__)
    assert set(SOURCES) < set(_LOGIN), "a source on another server would inherit it"


@pytest.fixture
def given(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, ring: Ring
) -> dict[str, tuple[str, str]]:
    """By the way: what is given, and which secret that is."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    private(credentials / "collector", "from the credential\n", 0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("COLLECTOR_PW", "from the variable")
    path = private(tmp_path / "pw", "from the file\n")
    return {
        "file": (path, "from the file"),
        "command": (f"{sys.executable} -c 'print(1234)'", "1234"),
        "env": ("COLLECTOR_PW", "from the variable"),
        "keyring": ("ftp://collector/edge", "from the ring"),
        "credential": ("collector", "from the credential"),
    }


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_in_every_place(
    tmp_path: pathlib.Path, given: dict[str, tuple[str, str]], name: str
) -> None:
    secret = str(secret_of(name))
    text, expected = given[name.removeprefix(f"{secret}_")]
    assert fetch(name, text) == Secret(expected)
    camel = "".join(word.capitalize() for word in name.split("_"))
    for settings in (
        build("ftp", None, URL, {name: text}),
        build("ftp", {"ftp": {camel: text}}, URL),
        build("ftp", {"base": {secret: "lower"}, "ftp": {name: text}}, URL),
        build("ftp", {"base": {name: text}}, URL),
    ):
        assert getattr(settings, secret) == Secret(expected)
    file = tmp_path / "x.toml"
    file.write_text(f'to = "{URL}"\nwatch = "a"\n[settings]\n{name} = {json.dumps(text)}\n')
    assert load(file).deliveries[0].merged.keywords()[secret] == Secret(expected)
    variable = f"PYSUBTASK_{name.upper()}"
    (delivery,) = load(
        file, environ={variable: "PATH" if name.endswith("env") else text}
    ).deliveries
    assert delivery.merged.settings[name].origin == f"environment {variable}"


@pytest.mark.parametrize("name", PASSWORD_SOURCES)
def test_one_source_takes_the_place_of_another(
    name: str, given: dict[str, tuple[str, str]]
) -> None:
    text, expected = given[name.removeprefix("password_")]
    low, high = Layer("low", None, {"password": Secret("low")}), Layer("high", None, {name: text})
    assert merge([low, high]).keywords()["password"] == Secret(expected)
    assert merge([high, low]).keywords()["password"] == Secret("low")
    section = {"ftp": {name: "nobody fetches this"}}
    assert build("ftp", section, URL, {"password": "high"}).password == Secret("high")
    withit = parse_url("sftp://edge:in-the-url@collector.example/in")
    assert build("ftp", section, withit).password == Secret("in-the-url")
    assert build("ftp", None, withit, {name: text}).password == Secret(expected)
    other = Layer("other", "sftp://elsewhere.example/in", {})
    file = Layer("file", str(URL), {name: text}, is_file=True)
    assert name not in merge([file, other]).settings, "another server would get it"


@pytest.mark.parametrize("value", ["", 3, ["x"]])
def test_a_source_must_be_text(value: object) -> None:
    with pytest.raises(SettingsError, match="password_file: must be text"):
        build("ftp", None, URL, {"password_file": value})


# --- each way's troubles


@posix
def test_a_file_that_others_may_read_is_refused(tmp_path: pathlib.Path) -> None:
    for mode in (0o604, 0o640, 0o644, 0o660, 0o606, 0o777):
        path = private(tmp_path / f"pw{mode}", "hunter2\n", mode)
        with pytest.raises(SettingsError, match=rf"mode {mode:04o}.*chmod 600") as caught:
            TaskMaster([str(tmp_path / "a")], to=str(URL), password_file=path)
        assert "hunter2" not in str(caught.value)
    for mode in (0o600, 0o400):
        assert fetch("password_file", private(tmp_path / f"ok{mode}", "x", mode)) == Secret("x")


@posix
def test_a_key_that_others_may_read_is_refused(tmp_path: pathlib.Path) -> None:
    """As ssh itself does; a key that is somebody else's is his business (and root's)."""
    key = private(tmp_path / "key", "-----BEGIN OPENSSH PRIVATE KEY-----", 0o640)
    with pytest.raises(SettingsError, match=r"use the private key .*key: others .*chmod 600"):
        TaskMaster([str(tmp_path / "a")], to=str(URL), key_file=key)
    os.chmod(key, 0o600)
    assert build("ftp", None, URL, {"key_file": key}).key_file == key
    if os.getuid() == 0:
        os.chown(key, 65534, -1)
        os.chmod(key, 0o640)
        assert build("ftp", None, URL, {"key_file": key}).key_file == key


def test_the_keyring_has_no_such_entry(ring: Ring) -> None:
    for entry in ("nix", "/nix", "nix/", ""):
        with pytest.raises(SettingsError, match="must be SERVICE/USER"):
            from_keyring(entry)
    with pytest.raises(SettingsError, match=r"no such entry.*keyring set ftp://collector other"):
        from_keyring("ftp://collector/other")


def test_there_is_no_keyring(ring: Ring) -> None:
    ring.error = keyring.errors.NoKeyringError("No recommended backend was available.\nmore")
    with pytest.raises(SettingsError, match=r"No recommended backend was available\. \(a service"):
        from_keyring("ftp://collector/edge")


def test_a_keyring_that_asks_somebody_who_is_not_there(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.answers.clear()
    monkeypatch.setattr(sources, "COMMAND_SECS", 0.2)
    with pytest.raises(SettingsError, match="did not answer"):
        from_keyring("ftp://collector/edge")


def test_the_package_keyring_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"not installed.*pysubtask\[keyring\]"):
        from_keyring("ftp://collector/edge")


def test_credentials(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    path = private(tmp_path / "pw", "x y\n\n", 0o440)  # as its ACL's mask makes it look
    assert fetch("password_credential", "pw", environ) == Secret("x y")
    assert fetch("password_file", path) == Secret("x y")
    with pytest.raises(SettingsError, match=r"CREDENTIALS_DIRECTORY is not set.*LoadCredential=pw"):
        fetch("password_credential", "pw", {})
    with pytest.raises(SettingsError, match="No such file"):
        fetch("password_credential", "other", environ)
    for name in ("../pw", "/etc/passwd", "..", ".", "", f"a{os.sep}b"):
        with pytest.raises(SettingsError, match="no name of a credential"):
            fetch("password_credential", name, environ)
    if os.name == "posix":
        os.chmod(path, 0o444)
        with pytest.raises(SettingsError, match="others"):
            fetch("password_credential", "pw", environ)


def test_a_variable_with_a_secret_is_kept_from_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_PW", "hunter2")
    monkeypatch.setenv("COLLECTOR_PORT", "22")
    monkeypatch.setenv("USER", "edge")
    inherited = _environment(["python"], (Secret("hunter2"), Secret("edge")))
    assert inherited is not None
    assert "COLLECTOR_PW" not in inherited
    assert inherited["COLLECTOR_PORT"] == "22"
    assert inherited["USER"] == "edge"


def test_the_password_of_a_url_is_kept_from_the_childs_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``PYSUBTASK_TO=ftp://me:hunter2@host/`` is a way to say it, and others have variables of
    their own; anybody of the same user could read it in ``/proc/<child>/environ``."""
    monkeypatch.setenv("PYSUBTASK_TO", "ftp://me:hunter%202@host/in")
    monkeypatch.setenv("COLLECTOR", "ftp://me:hunter%202@host/in")
    monkeypatch.setenv("OTHER", "https://me:another@host/")
    inherited = _environment(["python"], (Secret("hunter 2"), Secret("")))
    assert inherited is not None
    assert inherited["PYSUBTASK_TO"] == "ftp://me@host/in"
    assert "COLLECTOR" not in inherited
    assert inherited["OTHER"] == "https://me:another@host/"
    forget_secrets()
    assert os.environ["PYSUBTASK_TO"] == "ftp://me@host/in"
