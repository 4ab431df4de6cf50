"""Questions by file: each is answered once, in time, and rubbish does no harm."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pysubtask.signals import StateLayout, read_json, write_json
from pysubtask.status import FileStatus, Status
from pysubtask.subtask.shell.requests import MAX_NEW_PER_ROUND, Requests
from pysubtask.subtask.shell.statusfile import StatusFile
from tests.unit.shell_fakes import FailingDisk, FakeClock, FakeSubtask, make_state, quiet_log

ID = "0123456789abcdef"


class Setting:
    def __init__(self, tmp_path: Path) -> None:
        self.layout: StateLayout = make_state(tmp_path)
        self.clock = FakeClock()
        self.clock.wall = os.stat(tmp_path).st_mtime - self.clock.now
        self.disk = FailingDisk()
        self.subtask = FakeSubtask(self.clock)
        self.requests = Requests(
            self.layout,
            self.subtask,
            disk=self.disk,
            clock=self.clock,
            log=quiet_log(),
            purpose="ours",
        )

    def ask(self, question: dict[str, Any], request_id: str = ID) -> None:
        write_json(self.layout.ask_path(request_id), question)

    def round(self) -> bool:
        more = self.requests.look()
        self.requests.answer()
        return more

    def answer(self, request_id: str = ID) -> dict[str, Any] | None:
        return read_json(self.layout.answer_path(request_id))

    def asked(self) -> list[str]:
        return sorted(name for name in os.listdir(self.layout.requests) if name.endswith("ask"))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_flush_is_answered_when_all_is_delivered(setting: Setting) -> None:
    setting.ask({"ask": "flush"})
    setting.round()
    setting.round()
    assert setting.answer() is None
    assert setting.asked() == [f"{ID}.ask"]
    setting.subtask.delivered = True
    setting.round()
    assert setting.answer() == {"ok": True}
    assert setting.asked() == []
    assert setting.subtask.calls == ["flush"]
    assert len(setting.requests) == 0


@pytest.mark.parametrize("years", [-50, 50])
def test_a_question_outlives_a_clock_that_is_set(setting: Setting, years: int) -> None:
    """A small computer learns the time after its start, while ``flush()`` waits: the question
    would be taken for an old one, and never answered."""
    setting.ask({"ask": "flush"})
    setting.round()
    setting.clock.wall += years * 365 * 86_400
    setting.round()
    setting.subtask.delivered = True
    setting.round()
    assert setting.answer() == {"ok": True}


@pytest.mark.parametrize("kind", ["flush", "snapshot", "pull"])
def test_what_another_program_wants_to_know_is_not_answered_in_its_favour(
    setting: Setting, kind: str
) -> None:
    """A program that was taken over asks the newer one's subtask, which knows nothing of its
    files: "all is delivered" would be told of what nobody delivers."""
    setting.subtask.delivered = True
    setting.ask({"ask": kind, "purpose": "another", "path": "/a", "mtime_ns": 1})
    setting.round()
    assert (setting.answer() or {}).get("ok") is False
    assert setting.subtask.calls == []


def test_an_answer_to_what_was_taken_back_meanwhile_is_removed(setting: Setting) -> None:
    setting.ask({"ask": "flush"})
    setting.requests.look()
    os.unlink(setting.layout.ask_path(ID))
    setting.subtask.delivered = True
    setting.requests.answer()
    assert os.listdir(setting.layout.requests) == []
    assert len(setting.requests) == 0


def test_snapshot_is_answered_when_the_touch_is_served(setting: Setting) -> None:
    path = os.fsdecode(b"/data/\xff.csv")
    setting.ask({"ask": "snapshot", "path": path, "mtime_ns": 17})
    setting.round()
    assert setting.answer() is None
    setting.subtask.served.add((path, 17))
    setting.round()
    assert setting.answer() == {"ok": True}


def test_status_of_one_file(setting: Setting) -> None:
    setting.subtask.files["/a"] = FileStatus(size_bytes=5, pending_bytes=2)
    setting.ask({"ask": "status", "path": "/a"})
    setting.ask({"ask": "status", "path": "/unknown"}, "f" * 16)
    setting.round()
    answer = setting.answer()
    assert answer is not None
    assert answer["file"]["size_bytes"] == 5
    assert setting.answer("f" * 16) == {"file": None}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"ask": "dance"}',
        b'{"ask": ["flush"]}',
        b'{"ask": "snapshot", "path": 5, "mtime_ns": 1}',
        b'{"ask": "snapshot", "path": "/a"}',
        b'{"ask": "status"}',
    ],
)
def test_rubbish_is_dropped_with_a_line(
    setting: Setting, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    Path(setting.layout.ask_path(ID)).write_bytes(content)
    setting.round()
    setting.round()
    assert setting.asked() == []
    assert setting.answer() is None
    assert len(caplog.records) == 1
    assert "not understood" in caplog.records[0].getMessage()


def test_what_is_a_folder_or_foreign_is_left_alone(setting: Setting) -> None:
    os.mkdir(setting.layout.ask_path(ID))
    foreign = Path(setting.layout.requests, "readme.ask")
    foreign.write_text("hello")
    setting.round()
    setting.round()
    assert foreign.exists()
    assert len(setting.requests) == 0


def test_what_is_older_than_an_hour_goes(setting: Setting) -> None:
    names = [f"{ID}.ask", f"{ID}.answer", f"{ID}.answer.77.tmp", f"{ID}.ask.77-ab12cd34.tmp"]
    for name in names:
        path = Path(setting.layout.requests, name)
        path.write_text('{"ask": "flush"}')
        os.utime(path, (setting.clock.time() - 3700,) * 2)
    fresh = Path(setting.layout.requests, "f" * 16 + ".answer")
    fresh.write_text("{}")
    setting.round()
    assert os.listdir(setting.layout.requests) == [fresh.name]
    assert setting.subtask.calls == []


def test_a_question_taken_back_is_forgotten(setting: Setting) -> None:
    setting.ask({"ask": "flush"})
    setting.round()
    assert len(setting.requests) == 1
    os.unlink(setting.layout.ask_path(ID))
    setting.subtask.delivered = True
    setting.requests.look()
    assert len(setting.requests) == 0
    setting.requests.answer()
    assert setting.answer() is None


def test_work_per_round_is_bounded(setting: Setting) -> None:
    setting.subtask.delivered = True
    count = MAX_NEW_PER_ROUND * 2 + 5
    for number in range(count):
        setting.ask({"ask": "flush"}, f"{number:016x}")
    assert setting.round()
    assert len(setting.asked()) == count - MAX_NEW_PER_ROUND
    assert setting.round()
    assert not setting.round()
    assert setting.asked() == []


def test_an_answer_waits_for_the_disk(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.subtask.delivered = True
    setting.ask({"ask": "flush"})
    setting.disk.error = OSError(errno.ENOSPC, "No space left on device")
    for _ in range(5):
        setting.round()
    assert setting.asked() == [f"{ID}.ask"]
    setting.disk.error = None
    setting.round()
    assert setting.answer() == {"ok": True}
    assert setting.subtask.calls == ["flush"]


def test_a_mistake_of_the_subtask_is_told(setting: Setting) -> None:
    def broken(path: str, mtime_ns: int) -> bool:
        raise ZeroDivisionError

    setting.subtask.is_served = broken  # type: ignore[method-assign]
    setting.ask({"ask": "snapshot", "path": "/a", "mtime_ns": 1})
    setting.round()
    answer = setting.answer()
    assert answer is not None
    assert answer["ok"] is False
    assert setting.asked() == []


def test_a_question_that_cannot_be_deleted_is_answered_once(setting: Setting) -> None:
    setting.subtask.delivered = True
    setting.ask({"ask": "flush"})

    def stuck(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    setting.disk.remove = stuck  # type: ignore[method-assign]
    for _ in range(3):
        setting.round()
    assert setting.subtask.calls == ["flush"]


def test_the_folder_is_made_again(setting: Setting) -> None:
    os.rmdir(setting.layout.requests)
    setting.round()
    setting.ask({"ask": "status", "path": "/a"})
    setting.round()
    assert setting.answer() == {"file": None}
    assert json.loads(Path(setting.layout.answer_path(ID)).read_bytes()) == {"file": None}


# -- what is brought up to date before an answer -----------------------------------------------


def _with_before_answer(setting: Setting, before_answer: Callable[[], None]) -> None:
    setting.requests = Requests(
        setting.layout,
        setting.subtask,
        disk=setting.disk,
        clock=setting.clock,
        log=quiet_log(),
        before_answer=before_answer,
    )


def test_the_status_is_brought_up_to_date_before_the_answer_appears(setting: Setting) -> None:
    """Whoever hears of a flush finds it in ``status()``, too."""
    answers: list[dict[str, Any] | None] = []
    _with_before_answer(setting, lambda: answers.append(setting.answer()))
    setting.ask({"ask": "flush"})
    setting.round()
    assert answers == []  # nothing is answered: nothing is written
    setting.subtask.delivered = True
    setting.round()
    assert answers == [None]
    assert setting.answer() == {"ok": True}
    setting.round()
    assert answers == [None]


def test_what_is_shown_at_an_answer_is_what_the_subtask_says_then(setting: Setting) -> None:
    shown = StatusFile(
        setting.layout.status,
        setting.subtask.status,
        disk=setting.disk,
        clock=setting.clock,
        log=quiet_log(),
    )
    _with_before_answer(setting, shown.write)
    setting.ask({"ask": "flush"})
    setting.round()
    setting.subtask.shown = Status(link="resting")
    setting.subtask.delivered = True
    shown.changed()
    setting.round()
    status = read_json(setting.layout.status)
    assert status is not None
    assert status["link"] == "resting"
