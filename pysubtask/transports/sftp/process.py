"""SFTP over the system's ``ssh`` program: the setting ``ssh_command``.

For everything that ``ssh`` can do and a library can't: ``ProxyJump``, hardware keys, certificates,
``~/.ssh/config``; in half the memory. The program is started as ::

    <ssh_command> [-p PORT] -s -- [USER@]HOST sftp

that is: the setting is the command without a host, such as ``ssh -o BatchMode=yes -J gateway``. It
logs in by itself, so it must not ask: it has no terminal and no input of ours. Host keys are its
business, too.

Pipes are read and written by threads, since only sockets can be polled on Windows.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
import time
from collections import deque
from typing import IO, Any

from pysubtask.errors import (
    HostKeyReason,
    HostKeyRefused,
    LinkError,
    LinkLost,
    LoginRefused,
    SettingsError,
)
from pysubtask.systems import frozen, processes
from pysubtask.transports.contract import Wake
from pysubtask.transports.said import said
from pysubtask.transports.sftp.channel import Channel
from pysubtask.transports.sockets import is_too_slow

if sys.platform == "linux":
    import fcntl

__all__ = ["ProcessConnector"]

_PIECE_BYTES = 256 * 1024
_PIPE_BYTES = 512 * 1024
_MOST_PARTS = 512
"""At least 16 may be written at once (POSIX, ``IOV_MAX``); Linux, macOS and the BSDs take 1024."""
_MOST_UNSENT_BYTES = 1024 * 1024
_MOST_UNREAD_BYTES = 8 * 1024 * 1024
_STDERR_LINES = 20
_STDERR_LINE_BYTES = 8192

# What OpenSSH's ssh says when it gives up, lower case.
_HOST_KEY_WORDS = ("host key verification failed", "host identification has changed")
_LOGIN_WORDS = ("permission denied", "too many authentication failures", "no more authentication")


class ProcessConnector:
    """Starts ``ssh`` and gives its pipes as a channel.

    Whether it could connect shows by what comes out of it: the errors are raised by the channel's
    ``receive``, during the SFTP handshake, whose time limit therefore covers the login.

    Args:
        ssh_command: split as a shell splits words (on Windows, backslashes are kept).
        host: the name that ``ssh`` is to connect to; may be an alias of ``~/.ssh/config``.
        user: ``None``: whom ``ssh`` takes by itself.
        port: ``None``: whichever ``ssh`` takes by itself; a number becomes ``-p``.
        send_timeout_secs: how long a send may make no progress.

    Raises:
        SettingsError: the command is empty or can't be split, or the host or user begins with a
            hyphen.
    """

    def __init__(
        self,
        ssh_command: str,
        host: str,
        *,
        user: str | None = None,
        port: int | None = None,
        send_timeout_secs: float = 60.0,
        compress: bool = False,
    ) -> None:
        try:
            words = shlex.split(ssh_command, posix=os.name != "nt")
        except ValueError as error:
            raise _bad_setting(f"{ssh_command!r} can't be split into words: {error}") from None
        if not words:
            raise _bad_setting("the command is empty")
        if host.startswith("-") or (user or "").startswith("-"):
            raise SettingsError("a host or user can't begin with a hyphen", path=user or host)
        self._program = words[0].strip('"')
        self._host = host
        self._user = user
        self._command = [self._program, *words[1:]]
        if compress:
            self._command += ["-C"]
        if port is not None:
            self._command += ["-p", str(port)]
        self._command += ["-s", "--", host if user is None else f"{user}@{host}", "sftp"]
        self._send_timeout_secs = send_timeout_secs

    def __repr__(self) -> str:
        return f"<ProcessConnector {shlex.join(self._command)}>"

    def __call__(self, wake: Wake) -> Channel:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # ssh must not ask by a window either (ssh(1), SSH_ASKPASS_REQUIRE).
                env={
                    **frozen.environment_for_others(os.environ),
                    "SSH_ASKPASS_REQUIRE": "never",
                },
                **processes.own_group(),
            )
        except OSError as error:
            raise LinkError(
                f"{self._program} can't be started: {error.strerror or error}",
                operation="connect to",
                path=self._host,
                hint="check the setting ssh_command",
                retryable=False,
            ) from None
        _widen(process.stdin)
        return _ProcessChannel(process, self._host, self._user, wake, self._send_timeout_secs)


def _widen(pipe: IO[bytes] | None) -> None:
    """Let the pipe hold large writes (Linux; by default 64 KiB, pipe(7)), so that ``ssh`` and we
    take turns less often. Where the system refuses, it stays as it is."""
    if sys.platform == "linux" and pipe is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _bad_setting(words: str) -> SettingsError:
    return SettingsError(words, operation="setting", path="ssh_command")


class _ProcessChannel:
    """Pipes to a process, with one thread each for reading, writing and its complaints."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        host: str,
        user: str | None,
        wake: Wake,
        send_timeout_secs: float,
    ) -> None:
        self._process = process
        self._host = host
        self._user = user
        self._wake = wake
        self._send_timeout_secs = send_timeout_secs
        self._arrived = threading.Condition()
        self._received: deque[bytes] = deque()
        self._unread_bytes = 0
        self._ended = False
        self._said: deque[str] = deque(maxlen=_STDERR_LINES)
        self._room = threading.Condition()
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._broken = False
        self._closed = False
        self._anything = False
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stderr_thread = self._start(self._listen, process.stderr)
        self._reader = self._start(self._read, process.stdout)
        self._writer = self._start(self._write, process.stdin)

    def _start(self, work: Any, pipe: IO[bytes]) -> threading.Thread:
        name = f"pysubtask ssh {work.__name__.strip('_')}"
        thread = threading.Thread(target=work, args=(pipe,), name=name, daemon=True)
        thread.start()
        return thread

    def send(self, *parts: bytes) -> None:
        with self._room:
            before = -1
            began, unsent_bytes = time.monotonic(), self._unsent_bytes
            while self._unsent_bytes > _MOST_UNSENT_BYTES and not self._broken:
                if self._unsent_bytes == before:
                    self._give_up(f"nothing could be sent for {self._send_timeout_secs:.0f} s")
                before = self._unsent_bytes
                took_secs = time.monotonic() - began
                slow = is_too_slow(took_secs, unsent_bytes - before, self._send_timeout_secs)
                if slow:
                    self._give_up(slow)
                self._room.wait(self._send_timeout_secs)
            if not self._broken:
                self._unsent.extend(parts)
                self._unsent_bytes += sum(map(len, parts))
                self._room.notify_all()
                return
        # What ssh has to say tells more than the broken pipe.
        self._reader.join(1.0)
        raise self._why()

    def receive(self) -> bytes:
        with self._arrived:
            if self._received:
                data = b"".join(self._received) if len(self._received) > 1 else self._received[0]
                self._received.clear()
                self._unread_bytes = 0
                self._arrived.notify_all()
                return data
            if not self._ended:
                return b""
        raise self._why()

    def wait(self, timeout_secs: float) -> None:
        with self._arrived:
            if not self._received and not self._ended:
                self._arrived.wait(timeout_secs)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._room:
            self._broken = True
            self._room.notify_all()
        self._end_group()
        for thread in (self._reader, self._writer, self._stderr_thread):
            if thread is not threading.current_thread():
                thread.join(0.2)
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def _end_group(self) -> None:
        # A ProxyCommand is in the group, too.
        with contextlib.suppress(OSError):
            processes.end(self._process, force=False)
        try:
            self._process.wait(0.3)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                processes.end(self._process, force=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.3)

    def _give_up(self, words: str) -> None:
        self._broken = True
        threading.Thread(target=self.close, daemon=True).start()
        raise LinkLost(words)

    def _why(self) -> LinkError:
        """The error for a process that has ended, by its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._stderr_thread.join(0.5)
        lines = [line for line in self._said if line]
        text = "\n".join(lines).lower()
        where = self._host
        last = lines[-1] if lines else ""
        if any(word in text for word in _HOST_KEY_WORDS):
            reason: HostKeyReason = "changed" if "has changed" in text else "unknown"
            return HostKeyRefused(
                f"host key {reason}: {where}: {last}",
                reason=reason,
                hint="connect once by hand with the same command",
            )
        if not self._anything and any(word in text for word in _LOGIN_WORDS):
            user = self._user or "the user"
            return LoginRefused(f"login refused: ssh could not log in as {user}: {last}")
        status = self._process.poll()
        if not self._anything:
            words = last or f"ssh ended with status {status}"
            return LinkError(words, operation="connect to", path=where)
        return LinkLost(f"ssh has ended: {last}" if last else "the server closed the connection")

    # --- threads --------------------------------------------------------------------------------

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while data := _read_some(pipe):
                with self._arrived:
                    while self._unread_bytes > _MOST_UNREAD_BYTES and not self._closed:
                        self._arrived.wait(1.0)
                    self._anything = True
                    self._received.append(data)
                    self._unread_bytes += len(data)
                    self._arrived.notify_all()
                self._wake()
        with self._room:
            self._broken = True
            self._room.notify_all()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()
        # Reaped as soon as it ends, whether anybody looks or not.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        self._wake()

    def _write(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError), pipe:
            while True:
                with self._room:
                    while not self._unsent and not self._broken:
                        self._room.wait()
                    if self._broken:
                        return
                    parts = self._take_piece()
                while parts:
                    written = _write_some(pipe, parts)
                    with self._room:
                        self._unsent_bytes -= written
                        self._room.notify_all()
                        if self._broken:
                            return
        with self._room:
            self._broken = True
            self._room.notify_all()

    def _take_piece(self) -> list[bytes | memoryview]:
        """What to write next: small enough that progress shows, large enough to be few calls."""
        parts: list[bytes | memoryview] = []
        size = 0
        while self._unsent and size < _PIECE_BYTES and len(parts) < _MOST_PARTS:
            parts.append(self._unsent.popleft())
            size += len(parts[-1])
        return parts

    def _listen(self, pipe: IO[bytes]) -> None:
        rest = b""
        with pipe:
            while data := _read_some(pipe):
                *lines, rest = (rest + data).split(b"\n")
                rest = rest[-_STDERR_LINE_BYTES:]  # a line may never end
                self._said.extend(map(said, lines[-_STDERR_LINES:]))
        self._said.append(said(rest))


def _write_some(pipe: IO[bytes], parts: list[bytes | memoryview]) -> int:
    """Write as much as the pipe takes, and drop it from ``parts``; gives how many bytes."""
    written: int
    if hasattr(os, "writev"):
        written = os.writev(pipe.fileno(), parts)
    else:
        written = pipe.write(parts[0]) or 0
    left = written
    while parts and left >= len(parts[0]):
        left -= len(parts.pop(0))
    if left:
        parts[0] = memoryview(parts[0])[left:]
    return written


def _read_some(pipe: IO[bytes]) -> bytes:
    try:
        return os.read(pipe.fileno(), _PIECE_BYTES)
    except OSError:
        return b""
