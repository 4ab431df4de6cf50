"""The SSH agent, which may not answer."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from pysubtask.transports.sftp import login
from pysubtask.transports.sftp.library import load_paramiko


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system's agents have no socket")
def test_an_agent_that_never_answers_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a forwarding whose link is gone, say: logging in would never end, and the watchdog end
    the subtask as stuck, again and again."""
    load_paramiko()
    monkeypatch.setattr(login, "_AGENT_SECS", 0.1)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("HOME", str(tmp_path))
    found: list[object] = []

    def look() -> None:
        found.append(list(login._own_keys()))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(20)
    assert found == [[]]
