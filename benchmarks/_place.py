"""Where a benchmark happens: a folder, a real sshd, a link with a delay and a rate."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from tests.servers.openssh import OpenSshServer
from tests.servers.proxy import TcpProxy

__all__ = ["Link", "Place", "place", "wait_until"]

CIPHER = "aes128-gcm@openssh.com"


class Link:
    """A TCP relay in a process of its own, so that it takes no time from who measures.

    Args:
        delay_secs: half of a round trip.
        bytes_per_sec: per direction and connection; None: no limit.
    """

    def __init__(self, host: str, port: int, delay_secs: float, bytes_per_sec: float | None):
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=_relay, args=(theirs, host, port, delay_secs, bytes_per_sec), daemon=True
        )
        self._pipe = ours
        self.host = "127.0.0.1"
        self.port = 0

    def __enter__(self) -> Link:
        self._process.start()
        if not self._pipe.poll(30):
            raise TimeoutError("the link did not come up")
        self.port = self._pipe.recv()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(10)


def _relay(
    pipe: Connection, host: str, port: int, delay_secs: float, bytes_per_sec: float | None
) -> None:
    with TcpProxy(host, port, delay_secs=delay_secs, bytes_per_sec=bytes_per_sec) as proxy:
        pipe.send(proxy.port)
        with contextlib.suppress(EOFError):
            pipe.recv()


@dataclass(frozen=True)
class Place:
    """What the contenders get: the server by ``host`` and ``port``, over the link if there is one.

    Attributes:
        folder: for local data.
        server: the sshd.
    """

    folder: pathlib.Path
    server: OpenSshServer
    host: str
    port: int

    @property
    def known_hosts(self) -> pathlib.Path:
        """A file that knows the server's key by the name and port that the contenders use."""
        file = self.folder / f"known_hosts-{self.port}"
        if not file.exists():
            words = pathlib.Path(self.server.known_hosts).read_text().split()
            file.write_text(f"[{self.host}]:{self.port} {words[-2]} {words[-1]}\n")
        return file

    @property
    def ssh(self) -> str:
        """An ``ssh`` command without a host."""
        return (
            f"ssh -p {self.port} -i {self.server.key_file} -o IdentitiesOnly=yes -o BatchMode=yes "
            f"-o UserKnownHostsFile={self.known_hosts} -o LogLevel=ERROR -c {CIPHER}"
        )

    def url(self, remote: str) -> str:
        """The destination for pysubtask."""
        return f"sftp://{self.server.user}@{self.host}:{self.port}{self.server.root}/{remote}"

    def new_remote(self, *, filled: bool = True) -> pathlib.Path:
        """A new folder at the server; ``filled=False``: only its name."""
        _, path = self.server.new_folder()
        if not filled:
            path.rmdir()
        return path

    def new_local(self) -> pathlib.Path:
        """A new local folder."""
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder))


@contextlib.contextmanager
def place(
    *, round_trip_secs: float = 0.0, bytes_per_sec: float | None = None, folder: str | None = None
) -> Iterator[Place]:
    """A server and a folder; a link only where one is asked for.

    Args:
        folder: below it all data lie, also the server's; default: memory (``/dev/shm``) where
            there is one, so that no disk is measured.
    """
    before = tempfile.tempdir
    if folder is None and os.access("/dev/shm", os.W_OK):
        folder = "/dev/shm"
    tempfile.tempdir = folder
    try:
        with contextlib.ExitStack() as stack:
            local = pathlib.Path(tempfile.mkdtemp(prefix="pysubtask-bench-"))
            stack.callback(shutil.rmtree, local, ignore_errors=True)
            # Thousands of logins within a benchmark are nobody's attack.
            server = stack.enter_context(OpenSshServer(config=["MaxSessions 200"]))
            host, port = server.host, server.port
            if round_trip_secs or bytes_per_sec:
                link = Link(host, port, round_trip_secs / 2, bytes_per_sec)
                stack.enter_context(link)
                host, port = link.host, link.port
            yield Place(local, server, host, port)
    finally:
        tempfile.tempdir = before


def wait_until(found: object, timeout_secs: float, pause_secs: float = 0.0005) -> float:
    """Wait until ``found()`` is true; gives the time (``time.perf_counter``) when it was.

    Raises:
        TimeoutError: it was not within ``timeout_secs``.
    """
    assert callable(found)
    until = time.perf_counter() + timeout_secs
    while not found():
        if time.perf_counter() > until:
            raise TimeoutError(f"not within {timeout_secs:g} s")
        time.sleep(pause_secs)
    return time.perf_counter()
