"""The log: no forged line, no secret, no trouble from the disk."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pysubtask.secret import Secret
from pysubtask.subtask.shell.logs import close_logs, open_logs, secrets_of
from tests.unit.shell_fakes import make_handover

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[ftp\.FTPSubtask\.1[^\]]*\]: [A-Z]+: .*")

Opener = Callable[..., logging.Logger]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    root = logging.getLogger()
    level, raising = root.level, logging.raiseExceptions

    def opener(**options: Any) -> logging.Logger:
        monkeypatch.setattr(root, "handlers", [])  # pytest's own would report what is not escaped
        options.setdefault("path", str(tmp_path / "logs" / "log.txt"))
        open_logs("ftp.FTPSubtask.1", **options)
        return logging.getLogger("pysubtask")

    yield opener
    close_logs()
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)
    for name in ("paramiko", "filelock", "watchdog", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def read(tmp_path: Path) -> str:
    return (tmp_path / "logs" / "log.txt").read_bytes().decode("utf-8")


def test_format(opened: Opener, tmp_path: Path) -> None:
    log = opened()
    log.info("hello %s", "wörld")
    logging.getLogger("user.module").warning("there")
    logging.getLogger("paramiko.transport").info("noise")
    lines = read(tmp_path).splitlines()
    assert len(lines) == 2
    assert all(LINE.fullmatch(line) for line in lines)
    assert lines[0].endswith("[ftp.FTPSubtask.1]: INFO: hello wörld")
    assert lines[1].endswith("[ftp.FTPSubtask.1 user.module]: WARNING: there")


def test_no_file_name_forges_a_line(opened: Opener, tmp_path: Path) -> None:
    log = opened()
    forged = "2026-01-01 00:00:00 [ftp.FTPSubtask.1]: INFO: forged"
    name = f"a\n{forged}\r\x1b[2J\x9b\u202e\u2028{forged}" + os.fsdecode(b"\xff")
    log.info("sent %s", name)
    try:
        raise OSError(2, "gone", name)
    except OSError:
        log.exception("failed: %s", name)
    try:
        raise ValueError(name)
    except ValueError as error:
        log.error("%s", error, exc_info=True)
    raw = (tmp_path / "logs" / "log.txt").read_bytes()
    text = raw.decode("utf-8")
    assert len([line for line in text.split("\n") if LINE.match(line)]) == 3
    assert not set(raw) & (set(range(32)) - {0x0A})
    assert not re.search("[\x7f-\x9f\u202e\u2028]", text)
    assert "\\udcff" in text
    assert "Traceback" in text


def test_secrets_never_appear(opened: Opener, tmp_path: Path) -> None:
    secret = 'p@ss "w\\ö\nrd/%'
    log = opened(secrets=[secret, "hunter2!", "a1"])
    import json
    import urllib.parse

    log.info("%s | %r | %s", secret, secret, json.dumps(secret))
    log.info("%s", urllib.parse.quote(secret, safe=""))
    log.info("sftp://me:%s@host", "hunter2!")
    log.info("%r", {"password": b"hunter2!"})
    log.info("the pin is a1, not a12")
    try:
        raise RuntimeError(f"login with {secret} and hunter2! failed")
    except RuntimeError:
        log.exception("oops")
    text = read(tmp_path)
    assert "w\\" not in text
    assert "hunter2" not in text
    assert "rd/%" not in text
    assert urllib.parse.quote("ö").casefold() not in text.casefold()
    assert "the pin is •••, not a12" in text
    assert "oops" in text


def test_secrets_of_a_handover(tmp_path: Path) -> None:
    handover = make_handover(tmp_path, password=Secret("pw-1"), key_passphrase=Secret("pw-22"))
    assert secrets_of(handover) == ["pw-22", "pw-1"]

    @dataclass
    class Own:
        tokens: list[Secret]
        empty: Secret

    assert secrets_of({"x": Own([Secret("t")], Secret(""))}) == ["t"]


def test_a_log_that_cannot_be_opened_is_not_fatal(opened: Opener, tmp_path: Path) -> None:
    blocked = tmp_path / "logs"
    blocked.write_text("a file where the folder should be")
    log = opened()
    log.info("lost")
    blocked.unlink()
    log.info("found")
    assert "found" in read(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_lines_only(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "log.txt"
    path.symlink_to("/dev/full")
    log = opened()
    for _ in range(100):
        log.info("x" * 1000)
    path.unlink()
    log.info("there is room again")
    assert read(tmp_path).endswith("there is room again\n")


def test_a_log_that_was_moved_away_starts_again(opened: Opener, tmp_path: Path) -> None:
    log = opened()
    log.info("one")
    (tmp_path / "logs" / "log.txt").rename(tmp_path / "moved.txt")
    log.info("two")
    assert "two" in read(tmp_path)
    assert "two" not in (tmp_path / "moved.txt").read_text()


def test_rotation(opened: Opener, tmp_path: Path) -> None:
    log = opened(max_bytes=4096, backup_count=2)
    for number in range(400):
        log.info("line %d", number)
    names = sorted(os.listdir(tmp_path / "logs"))
    assert names == ["log.txt", "log.txt.1", "log.txt.2"]
    assert all((tmp_path / "logs" / name).stat().st_size <= 4096 for name in names)
    assert "line 399" in read(tmp_path)


def test_rotation_that_fails_keeps_the_limit(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(max_bytes=4096, backup_count=2)
    log.info("first")
    real = os.rename

    def refuse(source: str, target: str) -> None:
        if str(source).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", source)
        real(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    for number in range(400):
        log.info("line %d", number)
    assert (tmp_path / "logs" / "log.txt").stat().st_size <= 4096
    assert "line 399" in read(tmp_path)


def test_console(opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = io.StringIO()
    monkeypatch.setattr(sys, "stderr", console)
    log = opened(path=None, to_console=True, secrets=["hunter2!"])
    log.info("to hunter2!\x1b[31m")
    assert console.getvalue().endswith("INFO: to •••\\x1b[31m\n")


def test_no_console(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    opened(path=None, to_console=True).info("nobody listens")


def test_a_mistake_in_a_log_call_is_shown(opened: Opener, tmp_path: Path) -> None:
    opened().info("%d files", "many")
    assert "%d files (arguments do not fit" in read(tmp_path)
