"""What is exported, read by the programs that it is for."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from pysubtask.errors import SettingsError
from pysubtask.monitor.cli import main
from pysubtask.monitor.export import KINDS
from tests.monitor.bench import Site
from tests.monitor.fakes import HOSTILE, World
from tests.servers.processes import ServerMissing, find_program


def tool(name: str) -> str:
    """A program, or the test is skipped by its name (in CI: fails)."""
    try:
        return find_program(name)
    except ServerMissing as missing:
        words = f"program not installed: {missing}"
        if os.environ.get("PYSUBTASK_REQUIRE_SERVERS") == "1":
            pytest.fail(words)
        pytest.skip(words)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for kind, name in (
        ("prometheus", "prometheus.yml"),
        ("prometheus-rules", "pysubtask.rules.yml"),
        ("prometheus-tests", "pysubtask.tests.yml"),
        ("alertmanager", "alertmanager.yml"),
        ("systemd", "pysubtask-monitor.service"),
    ):
        (tmp_path / name).write_text(KINDS[kind]("127.0.0.1:8642"))
    return tmp_path


def run(*command: str, cwd: pathlib.Path, text: str | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, input=text, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_takes_configuration_and_rules_and_their_tests_pass(folder: pathlib.Path) -> None:
    promtool = tool("promtool")
    assert "7 rules" in run(promtool, "check", "config", "prometheus.yml", cwd=folder)
    run(promtool, "test", "rules", "pysubtask.tests.yml", cwd=folder)
    rules = folder / "pysubtask.rules.yml"
    rules.write_text(rules.read_text().replace("timestamp_seconds > 0", "timestamp_seconds > 90"))
    with pytest.raises(AssertionError):
        run(promtool, "test", "rules", "pysubtask.tests.yml", cwd=folder)


def test_amtool_takes_the_alertmanagers(folder: pathlib.Path) -> None:
    out = run(tool("amtool"), "check-config", "alertmanager.yml", cwd=folder)
    assert "2 inhibit rules" in out


def test_promtool_takes_the_metrics_whatever_clients_are_called(tmp_path: pathlib.Path) -> None:
    promtool = tool("promtool")
    site = Site(World())
    for name in HOSTILE:
        site.world.beat(name, backlog_bytes=5)
    site.look()
    site.world.beat("\u0430dmin", mtime=4e9)
    site.look()
    run(promtool, "check", "metrics", cwd=tmp_path, text=site.ask("/metrics").text)
    site.monitor.stop()


def test_the_dashboard_asks_only_for_what_there_is() -> None:
    dashboard = json.loads(KINDS["grafana"]("x"))
    site = Site(World())
    site.world.beat("a", backlog_bytes=1)
    site.look()
    text = site.ask("/metrics").text
    site.monitor.stop()
    import re

    asked = set(re.findall(r"pysubtask_\w+", json.dumps(dashboard["panels"])))
    assert len(asked) >= 5
    assert all(f"\n{name}" in text for name in asked)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_rules_ask_only_for_what_there_is(folder: pathlib.Path) -> None:
    import re

    site = Site(World())
    site.world.beat("a", mtime=4e9)
    site.look()
    text = site.ask("/metrics").text
    site.monitor.stop()
    for name in set(re.findall(r"pysubtask_\w+", (folder / "pysubtask.rules.yml").read_text())):
        assert f"\n{name}" in text


@pytest.mark.skipif(sys.platform != "linux", reason="systemd")
def test_the_unit_is_one(folder: pathlib.Path) -> None:
    analyze = "/usr/bin/systemd-analyze"
    if not os.path.exists(analyze):
        pytest.skip("program not installed: systemd-analyze")
    done = subprocess.run(
        [analyze, "verify", "--man=no", "./pysubtask-monitor.service"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "pysubtask-monitor.service" in line]
    assert ours == []


def test_export_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "prometheus", "--target", "drop1:8642"]) == 0
    assert '- targets: ["drop1:8642"]' in capsys.readouterr().out
    assert main(["export", "prometheus", "--target", 'x"]\nevil: 1']) == 2
    with pytest.raises(SettingsError):
        KINDS["systemd"]("a b")
