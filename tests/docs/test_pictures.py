"""The pictures' maker, and whether the pictures show the screens of today."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from pysubtask.doctor.checks import TITLES
from tests.docs.blocks import ROOT

if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)
pytest.importorskip("pyte")

from tests.docs.drawing import NO_BREAK, animate, draw, screens
from tests.docs.recorder import Key, Recording, record

FOLDER = ROOT / "docs" / "pictures"
PICTURES = sorted(FOLDER.glob("*.svg"))


def words_of(svg: str) -> str:
    """What a picture says, line by line."""
    found = []
    for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        found.append("".join(text.itertext()).replace(NO_BREAK, " "))
    return "\n".join(found)


def test_a_program_is_recorded_in_a_terminal(tmp_path: pathlib.Path) -> None:
    code = "import sys; print('tty', sys.stdout.isatty()); print('got', input()); sys.exit(3)"
    run = record([sys.executable, "-c", code], tmp_path, keys=[Key(0.3, "größe\n")], columns=40)
    assert run.exit_code == 3
    shown = "".join(text for _, text in run.events)
    assert "tty True" in shown
    assert "got größe" in shown
    assert [at for at, _ in run.events] == sorted(at for at, _ in run.events)
    head, *rows = (json.loads(line) for line in run.as_cast("a title").splitlines())
    assert (head["version"], head["width"], head["title"]) == (2, 40, "a title")
    assert "".join(text for _, _, text in rows) == shown


def test_one_that_does_not_end_is_interrupted(tmp_path: pathlib.Path) -> None:
    code = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('bye')"
    run = record([sys.executable, "-c", code], tmp_path, limit_secs=1.5)
    assert "bye" in "".join(text for _, text in run.events)


def test_what_is_drawn_is_what_was_shown() -> None:
    run = Recording(20, 3, [(0.1, "\x1b[1;31mred\x1b[0m <b>  &\r\n"), (1.2, "\x1b[2mfaint\x1b[m")])
    found = screens(run, 0.5)
    assert [round(at, 1) for at, _ in found] == [0.5, 1.5]
    svg = draw(found[-1][1], 20, "x")
    assert words_of(svg) == "red<b>  &\nfaint"
    assert 'fill="#e06c75" font-weight="bold"' in svg
    moving = animate(found, 20, "x")
    assert words_of(moving) == words_of(svg)  # the first line stays, so it is drawn once
    assert moving.count("<animate ") == 2


def test_a_screen_that_is_written_over() -> None:
    run = Recording(20, 3, [(0.1, "one"), (1.1, "\x1b[H\x1b[2Jtwo")])
    moving = animate(screens(run, 0.5), 20, "x")
    assert words_of(moving) == "one\ntwo"
    times = re.findall(r'keyTimes="([^"]+)"', moving)
    assert times[0].split(";")[-1] == times[1].split(";")[1]  # one goes when the other comes


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_the_pictures_hold_no_places_of_who_made_them(path: pathlib.Path) -> None:
    text = words_of(path.read_text("utf-8"))
    assert "Traceback" not in text
    assert "/home/" not in text
    assert "/root" not in text


def test_the_pictures_show_the_screens_of_today() -> None:
    """A change of a screen is told here: make the pictures anew."""
    demo = words_of((FOLDER / "demo.svg").read_text("utf-8"))
    heads = r"local +delivered +pending +notified +news"
    assert re.search(heads, demo)
    for words in ("● connected", "● retrying", "killed subtask", "equal, byte for byte"):
        assert words in demo
    status = words_of((FOLDER / "status.svg").read_text("utf-8"))
    assert re.search(r"file +local +delivered +pending +notified +news", status)
    assert "● connected" in status
    assert "● retrying" in status
    doctor = words_of((FOLDER / "doctor.svg").read_text("utf-8"))
    for title in TITLES.values():
        assert title in doctor
    assert "wrong password for demo" in words_of((FOLDER / "doctor-login.svg").read_text("utf-8"))


def test_the_recording_is_of_the_demo() -> None:
    lines = (FOLDER / "demo.cast").read_text("utf-8").splitlines()
    shown = "".join(json.loads(line)[2] for line in lines[1:])
    found = re.search(r"(\d+) of (\d+) files are equal, byte for byte", shown)
    assert found is not None
    assert found[1] == found[2]
