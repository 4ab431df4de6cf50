"""The way to the server: its name, its port, its host key."""

from __future__ import annotations

import socket
import threading
import time

from pysubtask.doctor.checks import Check
from pysubtask.errors import HostKeyRefused, LinkError
from pysubtask.settings import Settings
from pysubtask.urls import Destination

__all__ = ["check_host_key", "check_name", "check_port"]

_GREETING_SECS = 3.0


def check_name(destination: Destination, settings: Settings) -> Check:
    """Look the name up, within ``connect_timeout_secs``."""
    host = destination.host
    found: list[str] = []
    failed: list[OSError] = []

    def work() -> None:  # nothing can interrupt getaddrinfo
        try:
            rows = socket.getaddrinfo(host, destination.port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(row[4][0]) for row in rows))
        except (OSError, UnicodeError) as error:
            failed.append(error if isinstance(error, OSError) else OSError(str(error)))

    began = time.monotonic()
    thread = threading.Thread(target=work, name="pysubtask look-up", daemon=True)
    thread.start()
    thread.join(settings.connect_timeout_secs)
    secs = time.monotonic() - began
    if found:
        shown = f"{host} is an address" if found == [host] else f"{host} is {', '.join(found[:4])}"
        return Check("dns", "ok", shown, secs=secs)
    if failed:
        words = failed[0].strerror or str(failed[0])
        remedy = "look for a typing mistake in the host's name; is this computer online?"
    else:
        words = f"no answer within {settings.connect_timeout_secs:.0f} s"
        remedy = "the name server does not answer: is this computer online?"
    error = LinkError(
        f"the name can't be resolved: {words}", operation="connect to", path=host, hint=remedy
    )
    return Check("dns", "failed", f"{host}: {words}", remedy=remedy, error=error, secs=secs)


def check_port(destination: Destination, settings: Settings) -> Check:
    """Does anybody listen?"""
    host, port = destination.host, destination.port
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), settings.connect_timeout_secs):
            pass
    except OSError as error:
        secs = time.monotonic() - began
        words, remedy = _port_words(error, destination)
        failure = LinkError(f"port {port}: {words}", operation="connect to", path=host, hint=remedy)
        return Check("port", "failed", f"{port}: {words}", remedy=remedy, error=failure, secs=secs)
    secs = time.monotonic() - began
    return Check("port", "ok", f"{port}, answers in {secs * 1000:.0f} ms", secs=secs)


def _port_words(error: OSError, destination: Destination) -> tuple[str, str]:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there", (
            f"is the server running, and is {destination.port} the port of its "
            f"{destination.scheme.upper()} service?"
        )
    if isinstance(error, TimeoutError):
        return "no answer", "a firewall drops it, or the computer is off"
    return error.strerror or str(error), "is there a route to that network?"


def check_host_key(destination: Destination, settings: Settings) -> Check:
    """Which key does it show, and is that the right one? (SFTP by the built-in client)"""
    from pysubtask.trust import judge, look

    began = time.monotonic()
    try:
        key = look(destination, settings)
    except LinkError as error:
        return Check(
            "identity",
            "failed",
            error.message,
            remedy=f"is {destination.port} the port of an SSH server?",
            error=error,
            secs=time.monotonic() - began,
        )
    secs = time.monotonic() - began
    judgement, refusal = judge(key, settings)
    shown = f"{key.fingerprint} ({key.key_type})"
    if judgement == "known":
        return Check("identity", "ok", f"known: {shown}", secs=secs)
    assert isinstance(refusal, HostKeyRefused)
    words = {
        "unknown": f"unknown: {shown}",
        "changed": refusal.message,
    }.get(judgement, refusal.message)
    return Check("identity", "failed", words, remedy=refusal.hint, error=refusal, secs=secs)
