"""What runs in the container of ``examples/container/``, run here: no image is built, since there
is no container runtime where the tests run."""

from __future__ import annotations

import pathlib
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable

import pytest

from tests.docs.bench import Bench
from tests.docs.blocks import ROOT

if sys.platform == "win32":
    pytest.skip("for Linux", allow_module_level=True)

FOLDER = ROOT / "examples" / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
COMPOSE = (FOLDER / "compose.yaml").read_text("utf-8")
SERVICE = (FOLDER / "service.toml").read_text("utf-8")


def wait_for(condition: Callable[[], bool], secs: float = 40) -> None:
    until = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def test_the_files_belong_together() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extra in re.findall(r"\.whl\)\[([a-z,]+)\]", DOCKERFILE)[0].split(","):
        assert extra in project["optional-dependencies"]
    (version,) = set(re.findall(r"FROM python:(3\.\d+)-slim", DOCKERFILE))
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    (config,) = re.findall(r'CMD \["run", "([^"]+)"\]', DOCKERFILE)
    mounts = dict(re.findall(r"- (\S+):(/\w+)(?::ro)?\s", COMPOSE))
    assert mounts["./config"] == str(pathlib.PurePosixPath(config).parent)
    assert mounts["state"] in re.findall(r'VOLUME \["(/\w+)"\]', DOCKERFILE)
    settings = tomllib.loads(SERVICE)
    assert settings["settings"]["bak_to_folder"].startswith(f"{mounts['state']}/")
    assert settings["settings"]["log_to_folder"].startswith(f"{mounts['state']}/")
    assert settings["watch"][0].startswith(f"{mounts['data']}/")
    assert int(re.findall(r"stop_grace_period: (\d+)s", COMPOSE)[0]) > 10  # stop_timeout_secs
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    (number,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert f"--uid {number} " in DOCKERFILE
    assert f"--owner {number} --group {number} {mounts['data']}" in DOCKERFILE
    assert f"number {number})" in (ROOT / "docs" / "howto" / "container.md").read_text("utf-8")


def test_a_new_container_goes_on_where_the_last_one_ended(
    tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    bench = Bench(tmp_path, request.getfixturevalue)
    data, state, config = (tmp_path / name for name in ("data", "state", "config"))
    for path in (data, state, config, data / "outgoing"):
        path.mkdir()
    text = bench.replace(SERVICE).replace("/data/", f"{data}/").replace("/state/", f"{state}/")
    (config / "service.toml").write_text(text, "utf-8")
    for name in ("known_hosts", "id_ed25519"):
        (bench.folder / name).rename(config / name)
    assert bench.incoming is not None
    there = bench.incoming / "incoming" / "test1.csv"

    def container(until: Callable[[], bool]) -> str:
        words = [sys.executable, "-m", "pysubtask", "run", str(config / "service.toml")]
        process = subprocess.Popen(
            words,
            cwd=state,
            env=bench.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for(until)
            process.send_signal(signal.SIGTERM)  # docker stop
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait(10)
        assert process.returncode == 0, output
        return output

    (data / "test1.csv").write_text("1\n")
    (data / "outgoing" / "a.raw").write_bytes(b"picture")
    container(lambda: there.exists() and (there.parent / "a.raw").exists())
    with (data / "test1.csv").open("a") as file:
        file.write("2\n")
    container(lambda: there.read_bytes() == b"1\n2\n")
    (log,) = (state / "logs").glob("*subtask*")
    assert re.search(r"delivered \S*test1.csv: 2 bytes", log.read_text("utf-8"))  # the new ones
    assert not list(data.glob("upload*")) + list(data.glob("logs*"))
