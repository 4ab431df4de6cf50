"""``python -m tests.docs.pictures`` makes the pictures in ``docs/pictures/`` from real runs.

The demo, ``pysubtask status --watch`` and ``pysubtask doctor`` run in a terminal of their own, with
the demo's SFTP server on this machine; what they printed is drawn as SVG, and the demo's run is
kept as a recording for asciinema as well. Needs pyte (``python -m pip install pyte``).
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
import tempfile
import threading
import time

import demo
import demo_config
from examples.demo_server import OwnServer
from pysubtask import TaskMaster
from tests.docs.blocks import ROOT
from tests.docs.drawing import Row, animate, draw, screens
from tests.docs.recorder import Key, Recording, record

FOLDER = ROOT / "docs" / "pictures"
DEMO_KEYS = (
    Key(8.0, "a\n"),
    Key(13.0, "d\n"),  # the server goes down …
    Key(16.0, "1\n"),
    Key(20.0, "d\n"),  # … and comes back
    Key(27.0, "k\n"),
    Key(33.0, "c\n"),
    Key(37.0, "x\n"),
)


def main() -> int:
    """Make all of them, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.pictures", description=__doc__)
    parser.add_argument("names", nargs="*", help="demo, status, doctor")
    wanted = parser.parse_args().names or ["demo", "status", "doctor"]
    FOLDER.mkdir(exist_ok=True)
    for name in wanted:
        {"demo": make_demo, "status": make_status, "doctor": make_doctor}[name]()
        print(f"made: {name}")
    return 0


def make_demo() -> None:
    """The demo is played: data for all, the server down and up, the subtask killed."""
    with tempfile.TemporaryDirectory(prefix="pysubtask-") as folder:
        run = _demo(pathlib.Path(folder), DEMO_KEYS)
    title = (
        "python demo.py: the server is taken down, the subtask is killed, and every byte arrives"
    )
    (FOLDER / "demo.cast").write_text(run.as_cast(title), "utf-8")
    found = screens(run, 0.5)
    (FOLDER / "demo.svg").write_text(animate(found, run.columns, title), "utf-8")
    down = next(rows for _, rows in found if _says(rows[:1], "retrying"))
    (FOLDER / "demo-down.svg").write_text(
        draw(down[:8], run.columns, "the demo while its server is down"), "utf-8"
    )


def make_status() -> None:
    """``status --watch`` from a second terminal, while a program writes; the server goes away for
    some seconds."""
    server = OwnServer()
    settings = {k: v for k, v in server.settings().items() if k != "bak_to_folder"}
    with tempfile.TemporaryDirectory(prefix="pysubtask-") as name, contextlib.chdir(name):
        data = demo.Data()
        data.master = TaskMaster(demo.WATCHED, demo_config, **settings)
        timers = [threading.Timer(10, server.down), threading.Timer(18, server.up)]
        try:
            with data.master:
                data.begin()
                time.sleep(3)
                for timer in timers:
                    timer.start()
                run = record(
                    [sys.executable, "-m", "pysubtask", "status", "logs", "--watch",
                     "--every", "0.5"],
                    pathlib.Path(name),
                    lines=16,
                    limit_secs=28,
                    env={"PYTHONPATH": str(ROOT)},
                )  # fmt: skip
                data.end()
        finally:
            for timer in timers:
                timer.cancel()
            server.close()
    found = [(at, rows) for at, rows in screens(run, 0.5) if _says(rows, "news")]
    title = "pysubtask status --watch: link, lanes, and what has come of late"
    (FOLDER / "status.svg").write_text(animate(found, run.columns, title), "utf-8")
    still = next((rows for _, rows in found[4:] if _says(rows[:1], "retrying")), found[-1][1])
    (FOLDER / "status-down.svg").write_text(draw(still, run.columns, title), "utf-8")


def make_doctor() -> None:
    """``doctor`` on the demo's server: once as it should be, once with a wrong password."""
    server = OwnServer()
    try:
        with tempfile.TemporaryDirectory(prefix="pysubtask-") as name:
            folder = pathlib.Path(name)
            for file, password in (("password", server.password), ("wrong", "not this")):
                (folder / file).write_text(f"{password}\n")
                (folder / file).chmod(0o600)
            url = f"sftp://{server.user}@127.0.0.1:{server.port}/incoming"
            for picture, file, title in (
                ("doctor.svg", "password", "pysubtask doctor: what the server can do"),
                ("doctor-login.svg", "wrong", "pysubtask doctor: a wrong password"),
            ):
                run = record(
                    [sys.executable, "-m", "pysubtask", "doctor", url, "--password-file", file,
                     "--host-key", server.fingerprint],
                    folder,
                    lines=50,
                    env={"PYTHONPATH": str(ROOT)},
                )  # fmt: skip
                rows = screens(run, 1.0)[-1][1]
                (FOLDER / picture).write_text(draw(rows, run.columns, title), "utf-8")
    finally:
        server.close()


def _demo(folder: pathlib.Path, keys: tuple[Key, ...]) -> Recording:
    return record(
        [sys.executable, str(ROOT / "demo.py")],
        folder,
        keys=keys,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": _short(folder)},
        limit_secs=90,
    )


def _short(folder: pathlib.Path) -> str:
    """The demo's own server lies there; it goes with the folder."""
    place = folder / "tmp"
    place.mkdir()
    return str(place)


def _says(rows: list[Row], words: str) -> bool:
    return any(words in text for row in rows for _, text, _ in row)


if __name__ == "__main__":
    raise SystemExit(main())
