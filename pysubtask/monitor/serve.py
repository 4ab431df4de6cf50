"""``pysubtask-monitor serve``: everything put together, and run until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import signal
import socket
import sqlite3
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

import filelock
import uvicorn

from pysubtask.errors import SettingsError, StateError
from pysubtask.monitor.alerts import AlertSettings
from pysubtask.monitor.channels import Apprise, Channel, Mail, Webhook, checked_url
from pysubtask.monitor.clients import Settings
from pysubtask.monitor.config import Config, read_secret
from pysubtask.monitor.history import History
from pysubtask.monitor.keeper import Monitor
from pysubtask.monitor.logs import spare_the_log
from pysubtask.monitor.sources import open_source
from pysubtask.monitor.web.access import Access, settle_password
from pysubtask.monitor.web.app import LOOPBACK, make_app
from pysubtask.monitor.web.door import MAX_CONNECTIONS, Connection, Door, more_descriptors
from pysubtask.monitor.web.stream import MAX_STREAMS, Hub

__all__ = ["serve", "split_address"]

_BACKLOG = 128


class _Told:
    """Notes SIGINT and SIGTERM.

    uvicorn takes them while it runs, and sends them again when it has ended, to the handlers that
    were there before. The default ones would end this process before the history is written.
    """

    def __init__(self) -> None:
        self.stop = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.stop = True


class _Server(uvicorn.Server):
    """Ends the open streams as soon as it is told to stop: it would wait for them."""

    hub: Hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.hub.close()
        super().handle_exit(sig, frame)


def split_address(listen: str) -> tuple[str, int]:
    """``host:port``, ``[::1]:port`` or a port alone.

    Raises:
        SettingsError: it is none of these.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise SettingsError(
            f"{listen!r} is no address", operation="set --listen", hint="127.0.0.1:8642"
        )
    return host, int(port)


def channels_of(config: Config, environ: Mapping[str, str]) -> list[Channel]:
    """Where alerts go.

    Raises:
        SettingsError: one of them can't be right.
    """
    found: list[Channel] = []
    secret = read_secret(config.webhook_secret_file, environ, "WEBHOOK_SECRET")
    found += [Webhook(url, secret) for url in config.webhook]
    if config.smtp:
        found.append(
            Mail(config.smtp, read_secret(config.smtp_password_file, environ, "SMTP_PASSWORD"))
        )
    found += [Apprise(url) for url in config.apprise]
    if config.ping:
        checked_url(config.ping, "--ping", ("https", "http"))
    return found


def serve(config: Config, state: pathlib.Path, environ: Mapping[str, str]) -> int:
    """Run until SIGINT or SIGTERM; gives the exit code.

    Raises:
        SettingsError: a setting can't be right, or would be unsafe.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    spare_the_log()
    host, port = split_address(config.listen)
    password = read_secret(config.password_file, environ, "PASSWORD")
    if host not in LOOPBACK and password is None:
        raise SettingsError(
            f"{host} can be reached from other machines, and there is no password",
            operation="listen",
            hint="give --password-file, or listen on 127.0.0.1",
        )
    if (config.behind_tls or config.allow_host) and password is None:
        raise SettingsError(
            "a proxy in front lets others in, and there is no password",
            operation="listen",
            hint="give --password-file",
        )
    tls = config.tls_cert is not None
    if config.tls_cert is not None:
        _check_certificate(config.tls_cert, config.tls_key)
    source, channels = open_source(config, environ), channels_of(config, environ)
    listener = _listen(host, port)
    with listener, _alone(state), _in_words(state):
        history = History(state)
        monitor = Monitor(
            source,
            history,
            settings=Settings(
                grace_secs=config.grace_secs,
                archive_secs=config.archive_days * 86_400.0,
                accept_loss_secs=config.accept_loss_secs,
                data_secs=config.data_secs,
            ),
            alert_settings=AlertSettings(
                config.gather_secs, config.mass_count, config.reminder_secs
            ),
            channels=channels,
            scan_secs=config.scan_secs,
            ping_url=config.ping,
            ping_secs=config.ping_secs,
        )
        password_hash = settle_password(history, password) if password else None
        access = Access(history, monitor.lock, password_hash)
        hub = Hub(min(MAX_STREAMS, listener.limit // 2))
        hosts = {*LOOPBACK, host, socket.gethostname(), *config.allow_host}
        app = make_app(
            monitor,
            access,
            hosts=hosts,
            any_address=host not in LOOPBACK,
            hub=hub,
            secure=tls or config.behind_tls,
        )
        server = _Server(
            uvicorn.Config(
                app,
                http=Connection,
                loop="asyncio",  # uvloop accepts by itself, past the door
                log_config=None,
                log_level="warning",
                access_log=False,
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
                ssl_certfile=config.tls_cert,
                ssl_keyfile=config.tls_key,
            )
        )
        server.hub = hub
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        if host not in LOOPBACK and not (tls or config.behind_tls):
            print("Passwords cross the network in the clear: see --tls-cert.", file=sys.stderr)
        told = _Told()
        print(f"Watching {source}, at http{'s' if tls else ''}://{shown}:{port}/", flush=True)
        if config.until_eof:
            threading.Thread(target=_end_with_input, args=(server, told), daemon=True).start()
        monitor.start()
        try:
            if not told.stop:
                server.run(sockets=[listener])
        finally:
            monitor.stop()
    return 0


def _check_certificate(cert: str, key: str | None) -> None:
    """uvicorn would end with a traceback."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            error.strerror or str(error),
            operation="load the certificate",
            path=cert,
            hint="PEM files for --tls-cert and --tls-key that belong together, the key unencrypted",
        ) from error


@contextlib.contextmanager
def _alone(state: pathlib.Path) -> Iterator[None]:
    """Two monitors over one history would tell everything twice, and half of it wrong."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(state / "lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StateError(
            "another monitor uses it",
            operation="use the state folder",
            path=str(state),
            hint="stop that one, or give each a --state folder of its own",
        ) from None
    except OSError as error:
        raise StateError(
            error.strerror or str(error),
            operation="use the state folder",
            path=str(state),
            hint="give a folder on a local disk that this user may write with --state",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _in_words(state: pathlib.Path) -> Iterator[None]:
    """A disk that refuses at the start or the end is no bug of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            str(error),
            operation="use the history",
            path=str(state),
            hint="the disk may be full or read-only; give another folder with --state",
        ) from error


def _end_with_input(server: _Server, told: _Told) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin is not None and os.read(sys.stdin.fileno(), 4096):
            pass
    told.stop = server.should_exit = True


def _listen(host: str, port: int) -> Door:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = Door(family, socket.SOCK_STREAM)
    # half of the descriptors are the monitor's own: for the folder, the history, alerts
    listener.limit = min(MAX_CONNECTIONS, more_descriptors() // 2)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            error.strerror or str(error),
            operation="listen on",
            path=f"{host}:{port}",
            hint="another program has this port, or this machine has no such address",
        ) from error
    return listener
