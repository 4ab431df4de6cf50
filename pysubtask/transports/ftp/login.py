"""From a host name to a session that is logged in: connecting, TLS, login, features."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from typing import Literal, Protocol

from pysubtask.errors import LinkError, LinkLost, LoginRefused
from pysubtask.seams.clock import Clock
from pysubtask.transports.ftp.control import Control
from pysubtask.transports.ftp.data import Passive
from pysubtask.transports.ftp.replies import Reply
from pysubtask.transports.sockets import dial

__all__ = ["FtpConnector", "Session", "Tls"]

Tls = Literal["off", "explicit", "implicit"]


class _Secret(Protocol):
    def reveal(self) -> str: ...


@dataclass(slots=True)
class Session:
    """One session, logged in.

    Attributes:
        greeting: what the server said first, in lower case; it mostly names the program. Not to be
            shown.
        features: names of FEAT (RFC 2389), in upper case, with what follows them.
    """

    control: Control
    passive: Passive
    greeting: str
    features: dict[str, str]

    def has(self, feature: str) -> bool:
        """Whether FEAT names it."""
        return feature in self.features

    def close(self) -> None:
        """Idempotent, never raises, never waits."""
        self.control.close()


class FtpConnector:
    """Makes sessions.

    Args:
        user: None: ``anonymous`` (RFC 1635).
        tls: ``explicit``: AUTH TLS before the login (RFC 4217); ``implicit``: from the first byte.
        ca_file: certificates to trust (PEM); None: the system's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: Clock,
        *,
        user: str | None = None,
        password: _Secret | None = None,
        tls: Tls = "explicit",
        ca_file: str | None = None,
        connect_timeout_secs: float = 8.0,
        login_timeout_secs: float = 30.0,
        reply_timeout_secs: float = 30.0,
    ) -> None:
        self.host = host
        self._port = port
        self._clock = clock
        self._user = user
        self._password = password
        self.tls = tls
        self._ca_file = ca_file
        self._connect_timeout_secs = connect_timeout_secs
        self._login_timeout_secs = login_timeout_secs
        self._reply_timeout_secs = reply_timeout_secs
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<FtpConnector {self.host}:{self._port} TLS {self.tls}>"

    def __call__(self) -> Session:
        """Connect and log in.

        Raises:
            LinkError: no connection; ``LoginRefused`` and ``HostKeyRefused`` are told apart.
        """
        context = self._tls_context()
        sock, _ = dial(self.host, self._port, self._connect_timeout_secs, self._reply_timeout_secs)
        control = Control(sock, self._clock, self._reply_timeout_secs)
        try:
            greeting = self._greet(control, context)
            self._log_in(control)
            features = self._features(control)
        except BaseException:
            control.close()
            raise
        passive = Passive(
            control,
            context,
            self.host,
            connect_timeout_secs=self._connect_timeout_secs,
            send_timeout_secs=self._reply_timeout_secs,
        )
        return Session(control, passive, greeting, features)

    def _tls_context(self) -> ssl.SSLContext | None:
        if self.tls != "off" and self._context is None:
            try:
                self._context = ssl.create_default_context(cafile=self._ca_file)
            except (OSError, ValueError) as error:
                raise LinkError(
                    f"the certificates can't be read: {error}",
                    operation="setting",
                    path="ca_file",
                    hint="it must be a file in PEM format",
                ) from error
        return self._context

    def _greet(self, control: Control, context: ssl.SSLContext | None) -> str:
        if self.tls == "implicit" and context is not None:
            control.start_tls(context, self.host)
        try:
            greeting = control.reply(self._login_timeout_secs)
        except LinkLost as error:
            raise LinkError(
                f"no greeting: {error.message}",
                operation="connect to",
                path=self.host,
                hint=error.hint,
            ) from error
        if greeting.code != 220:
            raise LinkError(
                f"the server does not want us: {str(greeting)!r}",
                operation="connect to",
                path=self.host,
            )
        if self.tls == "explicit" and context is not None:
            answer = control.ask(b"AUTH TLS", self._login_timeout_secs)
            if answer.code != 234:
                raise LinkError(
                    f"the server has no TLS: {str(answer)!r}",
                    operation="connect to",
                    path=self.host,
                    hint="nothing was sent in the clear; ftp:// would do that, ftps:// with port "
                    "990 uses TLS from the start",
                )
            control.start_tls(context, self.host)
        return greeting.lowered

    def _log_in(self, control: Control) -> None:
        user = self._user or "anonymous"
        reply = control.ask(b"USER " + _plain(user, "username"), self._login_timeout_secs)
        if reply.code == 331:
            if self._password is not None:
                word = self._password.reveal()
            else:
                word = "" if self._user else "anonymous@"  # RFC 1635: who we are, or anything
            reply = control.ask(b"PASS " + _plain(word, "password"), self._login_timeout_secs)
        if not 200 <= reply.code < 300:
            raise self._refused(reply, user)
        if self.tls != "off":
            control.ask(b"PBSZ 0")
            private = control.ask(b"PROT P")
            if not private.done:
                raise LinkError(
                    f"the server does not encrypt data: {str(private)!r}",
                    operation="connect to",
                    path=self.host,
                )

    def _refused(self, reply: Reply, user: str) -> LinkError:
        if 400 <= reply.code < 500 and reply.code != 430:  # it is not about who we are
            return LinkError(
                f"no login at the moment: {str(reply)!r}", operation="log in to", path=self.host
            )
        words, hint = f"login refused for {user}: {str(reply)!r}", None
        lowered = reply.lowered
        if any(word in lowered for word in ("tls", "ssl", "encrypt", "secure")):
            hint = "the server wants TLS: use ftps://" if self.tls == "off" else None
        elif self._password is None and self._user is not None:
            hint = "no password was given"
        return LoginRefused(words, operation="log in to", path=self.host, hint=hint)

    def _features(self, control: Control) -> dict[str, str]:
        features: dict[str, str] = {}
        reply = control.ask(b"FEAT")
        if reply.code == 211:
            for line in reply.lines[1:-1]:
                name, _, more = line.decode("utf-8", "replace").strip().partition(" ")
                features[name.upper()] = more
        if "UTF8" in features:
            control.ask(b"OPTS UTF8 ON")  # some need it; a refusal changes nothing
        if "MLST" in features:
            control.ask(b"OPTS MLST type;size;modify;")
        kind = control.ask(b"TYPE I")
        if not kind.done:
            raise LinkError(
                f"the server has no binary mode: {str(kind)!r}",
                operation="connect to",
                path=self.host,
            )
        return features


def _plain(text: str, setting: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    with contextlib.suppress(StopIteration):
        bad = next(byte for byte in raw if byte in b"\r\n\0")
        raise LoginRefused(
            f"holds a character ({bad:#04x}) that no FTP command can carry",
            operation="setting",
            path=setting,
        )
    return raw
