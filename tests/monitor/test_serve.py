"""The real program: real clients, streams, stops, kills; over SFTP; beside Prometheus."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

import pytest

from pysubtask import TaskMaster
from pysubtask.monitor.export import KINDS
from pysubtask.monitor.fleet import Fleet
from pysubtask.monitor.remote import RemoteFolder
from pysubtask.secret import Secret
from pysubtask.transports.dropbox.account import Account
from pysubtask.transports.dropbox.client import DropboxTransport
from tests.monitor.processes import Serving
from tests.monitor.test_exports import tool
from tests.servers.dropbox import DropboxServer
from tests.servers.openssh import OpenSshServer
from tests.servers.processes import Child, free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def beat(drop: pathlib.Path, name: str, secs: int) -> None:
    """As pysubtask delivers it: a temporary name, then renamed."""
    temporary = drop / f".pysubtask-{name}"
    temporary.write_text(f"{secs}\n")
    temporary.rename(drop / f"{name}.heartbeat")


@pytest.fixture
def drop(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


def test_a_real_client_from_its_first_beat_to_its_goodbye(
    drop: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    data = tmp_path / "client" / "data.csv"
    data.parent.mkdir()
    data.write_text("1\n")
    with Serving(str(drop), tmp_path / "state") as serving:
        with TaskMaster(
            [data], to=drop.as_uri(), heartbeat_interval_secs=3600, heartbeat_name="edge7"
        ) as master:
            master.notify(0)
            found = serving.wait(lambda clients: "edge7" in clients)
            found = serving.wait(lambda clients: clients["edge7"]["state"] == "up")
            edge = found["edge7"]
            assert (edge["online"], edge["interval_secs"], edge["flags"]) == (True, 4500, [])
            assert edge["version"]
            assert abs(edge["last_seen"] - time.time()) < 60
        serving.wait(lambda clients: clients["edge7"]["state"] == "stopped")


def test_it_stops_with_streams_open_and_starts_again_as_it_was(
    drop: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    beat(drop, "edge", 3600)
    beat(drop, "dead", 3600)
    with Serving(str(drop), tmp_path / "state", "--grace-secs", "0.5") as serving:
        serving.wait(lambda clients: clients.get("dead", {}).get("state") == "up")
        beat(drop, "dead", 1)  # only now: who is down at the first look is no news
        serving.wait(lambda clients: clients.get("dead", {}).get("state") == "down")
        limit = time.monotonic() + 60
        while b"dead is down" not in serving.get("/alerts")[1]:  # gathered for ten seconds
            assert time.monotonic() < limit
            time.sleep(0.1)
        stream = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
        stream.request("GET", "/events?known=0")
        answer = stream.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.readline() == b"retry: 3000\n"
        began = time.monotonic()
        assert serving.stop() == 0
        assert time.monotonic() - began < 15
        stream.close()
    with Serving(str(drop), tmp_path / "state", "--grace-secs", "0.5") as serving:
        serving.wait(lambda clients: len(clients) == 2)
        serving.process.kill()
        serving.process.wait(10)
    with Serving(str(drop), tmp_path / "state", "--grace-secs", "0.5") as serving:
        found = serving.wait(lambda clients: clients.get("edge", {}).get("state") == "up")
        assert found["dead"]["state"] == "down"
        assert serving.get("/alerts")[1].count(b"dead is down") == 1  # kept, and not told again
        assert serving.stop(signal.SIGINT) == 0
    assert "Traceback" not in (tmp_path / "state.log").read_text()


def test_a_mount_that_goes_away(drop: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A real tmpfs where the machine lets us mount one; else the folder is moved aside."""
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", str(drop)],
            capture_output=True,
            timeout=10,
            check=False,
        ).returncode
    )
    try:
        for number in range(5):
            beat(drop, f"c{number}", 3600)
        with Serving(str(drop), tmp_path / "state") as serving:
            serving.wait(lambda clients: [c["state"] for c in clients.values()] == ["up"] * 5)
            if mounted:
                subprocess.run(["umount", "-l", str(drop)], timeout=10, check=True)
                mounted = False
            else:
                drop.rename(tmp_path / "aside")
                drop.mkdir()
            serving.wait(lambda clients: {c["state"] for c in clients.values()} == {"unknown"})
            assert serving.get("/healthz")[0] == 503
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(drop)], timeout=10, check=False)


@pytest.mark.parametrize(
    "options", [["--listen", "0.0.0.0:0"], ["--behind-tls"], ["--allow-host", "fleet.example"]]
)
def test_who_can_be_reached_from_elsewhere_needs_a_password(
    drop: pathlib.Path, tmp_path: pathlib.Path, options: list[str]
) -> None:
    command = [sys.executable, "-m", "pysubtask.monitor", "serve", str(drop)]
    command += ["--state", str(tmp_path / "state"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "there is no password" in done.stderr
    assert "--password-file" in done.stderr


def test_with_a_password_and_keys(drop: pathlib.Path, tmp_path: pathlib.Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    options = ["--password-file", str(password)]
    state = tmp_path / "state"
    key = subprocess.run(
        [sys.executable, "-m", "pysubtask.monitor", "key", "add", "x", "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.strip()
    with Serving(str(drop), state, *options) as serving:
        assert serving.get("/api/v1/clients")[0] == 401
        assert serving.get("/api/v1/clients", Authorization=f"Bearer {key}")[0] == 200
        assert serving.get("/", Host="evil.example")[0] == 421
        assert serving.get("/healthz")[0] == 200
        command = f"/proc/{serving.process.pid}/cmdline"
        if os.path.exists(command):
            assert "horse" not in pathlib.Path(command).read_text()
    text = (tmp_path / "state.log").read_text()
    assert "horse" not in text
    assert key not in text


def test_a_state_folder_is_for_one_monitor(drop: pathlib.Path, tmp_path: pathlib.Path) -> None:
    again = pytest.raises(RuntimeError, match="another monitor uses it")
    with Serving(str(drop), tmp_path / "state"), again:
        Serving(str(drop), tmp_path / "state")


def test_https(drop: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """With a certificate of our own; the session's cookie is then for HTTPS only."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        capture_output=True,
        timeout=30,
        check=True,
    )  # fmt: skip
    options = ["--tls-cert", str(cert), "--tls-key", str(key)]
    with Serving(
        str(drop), tmp_path / "state", *options, PYSUBTASK_MONITOR_PASSWORD="correct horse"
    ) as serving:
        assert serving.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", serving.port, timeout=10, context=context
        )
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/login", b"password=correct+horse", form)
        answer = connection.getresponse()
        assert answer.status == 303
        assert "secure" in (answer.headers["set-cookie"] or "").lower()
        connection.close()


def test_a_port_that_is_taken_is_said(drop: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "pysubtask.monitor", "serve", str(drop), "--listen", listen,
             "--state", str(tmp_path / "state")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"listen on {listen}: Address already in use" in done.stderr


def test_over_sftp(openssh: OpenSshServer, tmp_path: pathlib.Path) -> None:
    drop = pathlib.Path(tempfile.mkdtemp(prefix="monitored-", dir=openssh.root))
    (drop / "site").mkdir()
    beat(drop, "edge", 3600)
    beat(drop / "site", "edge", 0)
    (drop / "x.csv").write_text("1\n")
    beat(drop, "esc\x1b[31m", 60)
    source = RemoteFolder(
        f"sftp://{openssh.user}@{openssh.host}:{openssh.port}{drop}",
        key_file=openssh.key_file,
        host_key=openssh.fingerprint,
    )
    try:
        scan = source.scan()
        assert scan.error is None
        assert {one.name: one.content for one in scan.sightings} == {
            "edge": b"3600\n", "site/edge": b"0\n", "esc\x1b[31m": b"60\n"
        }  # fmt: skip
        beat(drop, "edge", 60)
        os.utime(drop / "edge.heartbeat", (1e9, 1e9))
        again = {one.name: one for one in source.scan().sightings}
        assert (again["edge"].content, again["edge"].mtime_ns) == (b"60\n", 10**18)
        assert again["site/edge"] is next(one for one in scan.sightings if one.name == "site/edge")
        source.close()  # as after a break: the next scan connects anew
        assert len(source.scan().sightings) == 3
        (drop / "edge.heartbeat").unlink()
        assert len(source.scan().sightings) == 2
    finally:
        source.close()
    refused = RemoteFolder(
        f"sftp://{openssh.user}@{openssh.host}:{openssh.port}/no/such/folder",
        key_file=openssh.key_file,
        host_key=openssh.fingerprint,
    )
    assert "/no/such/folder" in (refused.scan().error or "")
    refused.close()
    unknown = RemoteFolder(
        f"sftp://{openssh.user}@{openssh.host}:{openssh.port}{drop}",
        key_file=openssh.key_file,
        host_key="SHA256:" + "A" * 43,
    )
    assert "host key" in (unknown.scan().error or "").lower()


def test_over_dropbox(dropbox: DropboxServer) -> None:
    """To the emulated one, by the SDK; the server's stamp is believed."""
    name, _ = dropbox.new_folder()
    token = Secret(dropbox.refresh_token)
    account = Account(refresh_token=token, app_key=dropbox.app_key, ca_file=dropbox.ca_file)
    client = DropboxTransport(account, name)
    client.connect()
    client.put(f"{name}/edge.heartbeat", b"3600\n", modified=None, quiet=True)
    client.put(f"{name}/site/edge.heartbeat", b"0\n", modified=None, quiet=True)
    client.close()
    source = RemoteFolder(
        f"dropbox://{name}",
        dropbox_app_key=dropbox.app_key,
        dropbox_refresh_token=dropbox.refresh_token,
        ca_file=dropbox.ca_file,
    )
    fleet = Fleet()
    try:
        for _ in range(2):
            scan = source.scan()
            assert scan.error is None
            fleet.observe(scan, time.time(), time.monotonic())
        assert {client.name: client.state.value for client in fleet.clients.values()} == {
            "edge": "up", "site/edge": "stopped"
        }  # fmt: skip
        assert all(client.flags == () for client in fleet.clients.values())
    finally:
        source.close()


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


def wait_for(url: str, good: Any, secs: float = 30.0) -> Any:
    limit = time.monotonic() + secs
    found: Any = None
    while time.monotonic() < limit:
        try:
            found = fetch(url)
        except OSError as error:
            found = error
        else:
            if good(found):
                return found
        time.sleep(0.1)
    raise AssertionError(f"not in {secs} s: {found}")


def test_prometheus_and_alertmanager_really_scraping_two_monitors(tmp_path: pathlib.Path) -> None:
    """One monitor for each file server, joined by Prometheus and Alertmanager."""
    prometheus, alertmanager = tool("prometheus"), tool("prometheus-alertmanager")
    drops = [tmp_path / "drop1", tmp_path / "drop2"]
    for number, drop in enumerate(drops):
        drop.mkdir()
        beat(drop, f"alive{number}", 3600)
        beat(drop, f"dead{number}", 1)
    ports = free_port(), free_port(), free_port()
    with (
        Serving(str(drops[0]), tmp_path / "state1") as first,
        Serving(str(drops[1]), tmp_path / "state2") as second,
    ):
        first.wait(lambda clients: clients.get("dead0", {}).get("online") is False)
        config = KINDS["prometheus"](f"127.0.0.1:{first.port}")
        config = config.replace(
            f'"127.0.0.1:{first.port}"', f'"127.0.0.1:{first.port}", "127.0.0.1:{second.port}"'
        )
        config = config.replace("127.0.0.1:9093", f"127.0.0.1:{ports[1]}").replace("15s", "500ms")
        (tmp_path / "prometheus.yml").write_text(config)
        rules = KINDS["prometheus-rules"]("x").replace("for: 30s", "for: 0s")
        (tmp_path / "pysubtask.rules.yml").write_text(rules)
        manager = KINDS["alertmanager"]("x").replace("group_wait: 10s", "group_wait: 1s")
        (tmp_path / "alertmanager.yml").write_text(manager)
        servers = [
            Child(
                [alertmanager, "--config.file", str(tmp_path / "alertmanager.yml"),
                 "--storage.path", str(tmp_path / "am"), "--cluster.listen-address", "",
                 "--web.listen-address", f"127.0.0.1:{ports[1]}"],
                tmp_path / "alertmanager.log",
            ),
            Child(
                [prometheus, "--config.file", str(tmp_path / "prometheus.yml"),
                 "--storage.tsdb.path", str(tmp_path / "tsdb"),
                 "--web.listen-address", f"127.0.0.1:{ports[0]}"],
                tmp_path / "prometheus.log",
            ),
        ]  # fmt: skip
        try:
            alerts = f"http://127.0.0.1:{ports[1]}/api/v2/alerts"
            try:
                found = wait_for(
                    alerts,
                    lambda found: (
                        {one["labels"].get("client") for one in found} >= {"dead0", "dead1"}
                    ),
                )
            except AssertionError as error:
                raise AssertionError(servers[1].output()[-3000:]) from error
            names = {(one["labels"]["alertname"], one["labels"].get("client")) for one in found}
            assert names == {
                ("PysubtaskClientOffline", "dead0"), ("PysubtaskClientOffline", "dead1")
            }  # fmt: skip
            targets = fetch(f"http://127.0.0.1:{ports[0]}/api/v1/targets")["data"]["activeTargets"]
            assert [one["health"] for one in targets] == ["up", "up"]
        finally:
            for server in servers:
                server.stop()
