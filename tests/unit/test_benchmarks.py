"""The side-by-side program: turns, ratios of the same round, verdicts, JSON."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks._pairs import Took, by_turns, figures_of
from benchmarks._report import Figure, Ratio, Report

ROOT = Path(__file__).resolve().parents[2]


def test_contenders_take_turns_and_the_first_round_is_thrown_away() -> None:
    order: list[str] = []

    def run(name: str) -> Took:
        order.append(name)
        return Took(float(len(order)), 0.0)

    runs = by_turns({name: partial(run, name) for name in "abc"}, 2, _fail)
    assert "".join(order) == "abcbcacab"
    assert [took.secs for took in runs["a"]] == [6.0, 8.0]


def _fail(name: str, error: Exception) -> None:
    raise AssertionError(name) from error


def test_one_that_fails_is_told_and_left_out() -> None:
    told: list[tuple[str, str]] = []

    def bad() -> Took:
        raise RuntimeError("no such flag")

    runs = by_turns(
        {"good": lambda: Took(1, 0), "bad": bad},
        3,
        lambda name, error: told.append((name, str(error))),
    )
    assert list(runs) == ["good"]
    assert told == [("bad", "no such flag")]


def test_a_ratio_is_of_one_round() -> None:
    """Twice as fast in each round, though the machine was busy in the second: the ratio of the
    medians would say 4."""
    runs = {
        "ours": [Took(1, 0.1), Took(10, 0.1), Took(1, 0.1)],
        "theirs": [Took(2, 0.1), Took(20, 0.1), Took(2, 0.1)],
    }
    ours, theirs = figures_of(
        "case", runs, to=["theirs"], per_sec=10, wanted={("ours", "theirs"): 1.9}
    )
    assert ours.ratios == (Ratio("theirs", (2.0, 2.0, 2.0)),)
    assert ours.values == (10.0, 1.0, 10.0)
    assert ours.met is True
    assert theirs.met is None
    (missed, _) = figures_of("case", runs, to=["theirs"], wanted={("ours", "theirs"): 2.1})
    assert missed.met is False


def test_a_report_prints_and_gives_json() -> None:
    out = io.StringIO()
    report = Report("speed", out)
    report.note("lsyncd is missing: apt-get install lsyncd")
    figure = Figure("case", "ours", "s", (3.0, 1.0, 2.0), target="≤ 1 s", met=False)
    report.add([figure])
    assert "lsyncd is missing" in out.getvalue()
    assert "[≤ 1 s: MISSED]" in out.getvalue()
    (found,) = json.loads(json.dumps(report.as_json()))["figures"]
    assert (found["median"], found["least"], found["most"]) == (2.0, 1.0, 3.0)
    assert found["met"] is False


def test_the_program_lists_its_members_and_the_others() -> None:
    text = _run("--help").stdout
    members, others = text.split("side by side:")[1].split("others")
    for name in ("large", "files", "latency", "stream", "scale", "host", "start"):
        assert f"  {name} " in members
    for name in ("bytes", "bursts", "monitor"):
        assert f"  {name} " in others


def test_what_prints_no_json_is_told_apart() -> None:
    done = _run("--only", "bursts", "--json")
    assert done.returncode == 2
    assert "prints no JSON" in done.stderr


def test_plots_are_drawn_of_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = Report("speed", io.StringIO())
    report.add([Figure("case <1>", who, "MB/s", (1.0, 2.0, 3.0), (0.1,)) for who in ("a", "b")])
    file = tmp_path / "found.json"
    file.write_text(json.dumps({"benchmarks": [report.as_json()]}))
    done = _run("--plots", str(tmp_path / "plots"), "--from", str(file))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "plots" / "speed-1.svg").read_text("utf-8")
    assert text.lstrip().startswith("<?xml")
    assert "MB/s" in text


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
        check=False,
    )
