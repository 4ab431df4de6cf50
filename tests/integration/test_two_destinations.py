"""Two masters on the same files: they share the ``.notify`` files and nothing else."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pysubtask import SettingsError, StateError, TaskMaster
from pysubtask.signals import notify_path
from tests.integration.promises import QUICK, wait_until


class Two:
    """One folder of files, masters to several folders.

    Attributes:
        file: the declared file; ``box`` is a watched folder beside it.
    """

    def __init__(self, tmp_path: pathlib.Path, stack: ExitStack) -> None:
        self.tmp_path = tmp_path
        self._stack = stack
        (tmp_path / "data" / "box").mkdir(parents=True)
        self.file = tmp_path / "data" / "log.csv"
        self.box = tmp_path / "data" / "box"

    def master(self, name: str, *, start: bool = True, **settings: Any) -> TaskMaster:
        (self.tmp_path / name).mkdir(exist_ok=True)
        given = {"bak_to_folder": f"upload/{name}", **QUICK, **settings}
        to = f"file://{self.tmp_path / name}"
        made = TaskMaster([str(self.file), {"dir": str(self.box)}], to=to, **given)
        self._stack.callback(made.stop, forcekill=True)
        if start:
            made.start()
        return made

    def append(self, data: bytes, *by: TaskMaster) -> None:
        with self.file.open("ab") as out:
            out.write(data)
        for master in by:
            assert master.notify(self.file)

    def has(self, name: str, file: str = "log.csv") -> Callable[[], bool]:
        """Whether ``name`` has all of the file."""
        there, here = (
            self.tmp_path / name / file,
            self.file if file == "log.csv" else self.box / file,
        )
        return lambda: there.exists() and there.read_bytes() == here.read_bytes()

    @property
    def logs(self) -> set[str]:
        return {path.name for path in (self.tmp_path / "data" / "logs").iterdir()}


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(tmp_path, stack)


def test_one_touch_reaches_both_and_each_flushes_for_itself(two: Two) -> None:
    first, second = two.master("one"), two.master("two")
    two.append(b"1\n", first)  # either of them may say it
    (two.box / "x").write_bytes(b"x")
    assert second.notify(two.box / "x")
    for master, name in ((first, "one"), (second, "two")):
        assert master.flush(20), master.status()
        assert two.has(name)()
        assert two.has(name, "x")()
    two.append(b"2\n", second)
    assert first.flush(20)
    assert second.flush(20)
    assert two.has("one")()
    assert two.has("two")()
    assert two.logs == {
        "folder_taskmaster.log.txt", "folder_subtask.log.txt",
        "folder_taskmaster.two.log.txt", "folder_subtask.two.log.txt",
    }  # fmt: skip


def test_stopping_one_takes_nothing_from_the_other(two: Two) -> None:
    first, second = two.master("one"), two.master("two")
    two.append(b"1\n", first)
    assert first.flush(20)
    assert second.flush(20)
    for number in range(3):
        first.stop()
        two.append(b"%d more\n" % number, second)
        assert second.flush(20)
        assert two.has("two")()
        assert second.status().link == "connected"
        first.start()
        assert first.flush(20)
        assert two.has("one")()
    two.append(b"last\n", first)
    first.stop()  # it has served that touch, and takes the .notify with it
    assert two.has("one")()
    wait_until(two.has("two"), 10)
    assert second.flush(20)


def test_a_touch_that_was_served_while_the_other_was_away(two: Two) -> None:
    """Even if the other one has never seen the file."""
    first, second = two.master("one"), two.master("two")
    wait_until((two.tmp_path / "data" / "upload" / "two" / "blanks.json").exists, 10)
    second.stop()
    two.append(b"1\n", first)
    assert first.flush(20)
    first.stop()
    assert not pathlib.Path(notify_path(str(two.file))).exists()
    second.start()
    wait_until(two.has("two"), 10)


def test_what_can_not_be_shared_is_refused_in_words(two: Two) -> None:
    two.master("one", heartbeat_interval_secs=60)
    other = two.master("two", start=False, bak_to_folder="upload/one")
    with pytest.raises(StateError, match=r"it is in use for file:.*one .each destination needs"):
        other.start()
    with pytest.raises(
        SettingsError, match=r"heartbeat_name: is that of the master for file:.*one"
    ):
        two.master("three", heartbeat_interval_secs=60)
    two.master("four", heartbeat_interval_secs=60, heartbeat_name="four")
