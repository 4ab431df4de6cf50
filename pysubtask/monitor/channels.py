"""Where notices go: a webhook, a mail server, and what the ``apprise`` package knows.

All of these come from whoever starts the monitor, never from a page, so they may point into the
private network. Their URLs often hold secrets: only scheme and host of one are ever shown.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Protocol

from pysubtask.errors import LinkError, LinkLost, SettingsError
from pysubtask.monitor.cutting import Cut
from pysubtask.version import __version__

__all__ = ["Apprise", "Channel", "Mail", "Webhook", "checked_url", "ping"]

_TIMEOUT_SECS = 15.0
_TRY_SECS = 60.0
"""All of one try: a server that drips must not hold its channel for hours."""
_AGENT = f"pysubtask-monitor/{__version__}"


class Channel(Protocol):
    """Somewhere to send notices; used by one thread."""

    @property
    def name(self) -> str:
        """Which one it is, without its secrets; the same after a restart."""

    def send(self, facts: dict[str, Any]) -> None:
        """Send one notice.

        Raises:
            PysubtaskError: it could not be sent; ``retryable`` says whether later may do.
        """


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """A redirect is an error: the notice is not carried to a place that nobody named."""
        return


class _WatchedHttp(urllib.request.HTTPHandler):
    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self._cut = cut

    def do_open(self, http_class: Any, req: urllib.request.Request, **args: Any) -> Any:
        return super().do_open(_watched(http_class, self._cut), req, **args)


class _WatchedHttps(urllib.request.HTTPSHandler):
    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self._cut = cut

    def do_open(self, http_class: Any, req: urllib.request.Request, **args: Any) -> Any:
        return super().do_open(_watched(http_class, self._cut), req, **args)


def _watched(http_class: Any, cut: Cut) -> Callable[..., Any]:
    """Makes connections of ``http.client``, whose sockets are watched from the first byte on."""

    def connect(*args: Any, **options: Any) -> socket.socket:
        return cut.watch(socket.create_connection(*args, **options))

    def make(*args: Any, **options: Any) -> Any:
        connection = http_class(*args, **options)
        connection._create_connection = connect
        return connection

    return make


class _Smtp(smtplib.SMTP):
    def __init__(self, cut: Cut, host: str, port: int) -> None:
        self._cut = cut
        super().__init__(host, port, timeout=_TIMEOUT_SECS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        return self._cut.watch(made)


class _Smtps(smtplib.SMTP_SSL, _Smtp):
    """Its socket is made by the class above, and then wrapped."""

    def __init__(self, cut: Cut, host: str, port: int, context: ssl.SSLContext) -> None:
        self._cut = cut
        smtplib.SMTP_SSL.__init__(self, host, port, timeout=_TIMEOUT_SECS, context=context)


def _request(url: str, data: bytes | None, headers: dict[str, str], operation: str) -> None:
    shown = _place(url)
    request = urllib.request.Request(  # noqa: S310  (the scheme was checked)
        url, data=data, headers={"User-Agent": _AGENT, **headers}
    )
    try:
        with Cut(_TRY_SECS) as cut:
            handlers = _NoRedirect, _WatchedHttp(cut), _WatchedHttps(cut)
            opener = urllib.request.build_opener(*handlers)
            with opener.open(request, timeout=_TIMEOUT_SECS) as answer:
                answer.read1(4096)  # once: what it says beyond its status is of no use
    except urllib.error.HTTPError as error:
        again = error.code in (408, 425, 429) or error.code >= 500
        with error:
            raise LinkError(
                f"the server answered {error.code}",
                operation=operation,
                path=shown,
                retryable=again,
                hint=None if again else "check the URL",
            ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise LinkLost(str(reason), operation=operation, path=shown) from None


def _place(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


def _mark(url: str) -> str:
    """Tells two apart that are shown alike without their secrets."""
    return hashlib.sha256(url.encode()).hexdigest()[:6]


def checked_url(url: str, what: str, schemes: tuple[str, ...]) -> str:
    """The URL, if it is one of these schemes with a host.

    Raises:
        SettingsError: it is not; the message does not repeat it.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        wrong = parts.scheme not in schemes or not parts.hostname
        _ = parts.port
        # http.client would refuse these in words that repeat the path, which may be a secret
        wrong |= not url.isascii() or any(c <= " " or c == "\x7f" for c in url)
    except ValueError:
        wrong = True
    if wrong:
        likely = " or ".join(f"{scheme}://" for scheme in schemes)
        raise SettingsError(f"not a URL that begins with {likely}", operation=f"set {what}")
    return url


class Webhook:
    """POSTs each notice as JSON.

    Args:
        url: ``https://…`` or ``http://…``.
        secret: signs the body: ``X-Pysubtask-Signature: sha256=<HMAC in hex>``.
    """

    def __init__(self, url: str, secret: str | None = None) -> None:
        self._url = checked_url(url, "--webhook", ("https", "http"))
        self._secret = secret
        self.name = f"webhook {_place(url)} #{_mark(url)}"

    def send(self, facts: dict[str, Any]) -> None:
        """Send one notice."""
        body = json.dumps(facts).encode()
        headers = {"Content-Type": "application/json"}
        if self._secret:
            digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Pysubtask-Signature"] = f"sha256={digest}"
        _request(self._url, body, headers, "call the webhook")


class Mail:
    """Sends each notice as a mail.

    Args:
        url: ``smtp://user@host:587?to=ops@example.com&from=monitor@example.com`` (with STARTTLS,
            unless ``tls=off``) or ``smtps://…`` (TLS from the start, port 465). ``to`` may be given
            more than once.
        password: the user's; from a file or the environment, never in the URL.
    """

    def __init__(self, url: str, password: str | None = None) -> None:
        parts = urllib.parse.urlsplit(checked_url(url, "--smtp", ("smtp", "smtps")))
        options = urllib.parse.parse_qs(parts.query)
        if parts.password is not None:
            raise SettingsError(
                "a password in the URL would show in the list of processes",
                operation="set --smtp",
                hint="put it into PYSUBTASK_MONITOR_SMTP_PASSWORD or --smtp-password-file",
            )
        self._tls = parts.scheme == "smtps"
        self._starttls = not self._tls and options.get("tls") != ["off"]
        self._host = parts.hostname or ""
        self._port = parts.port or (465 if self._tls else 587)
        self._user = urllib.parse.unquote(parts.username) if parts.username else None
        self._password = password
        self._to = options.get("to", [])
        self._from = (options.get("from") or self._to or [""])[0]
        if not self._to:
            raise SettingsError(
                "nobody to send mails to", operation="set --smtp", hint="add ?to=you@example.com"
            )
        for address in (*self._to, self._from):
            try:
                Address(addr_spec=address)
            except (ValueError, IndexError) as error:
                raise SettingsError(
                    f"{address!r} is no mail address", operation="set --smtp"
                ) from error
        self.name = f"mail {_place(url)} to {', '.join(self._to)}"

    def message(self, facts: dict[str, Any]) -> EmailMessage:
        """The mail itself. ``EmailMessage`` refuses a header with a newline; titles hold none."""
        mail = EmailMessage()
        mail["Subject"] = f"[pysubtask] {facts['title']}"
        mail["From"], mail["To"] = self._from, ", ".join(self._to)
        mail["Date"] = formatdate(facts["at"])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
        mail.set_content(facts["text"] + "\n")
        return mail

    def send(self, facts: dict[str, Any]) -> None:
        """Send one notice."""
        try:
            with Cut(_TRY_SECS) as cut:
                self._send(self.message(facts), cut)
        except smtplib.SMTPResponseException as error:
            text = error.smtp_error
            words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            raise LinkError(
                f"{error.smtp_code} {words}",
                operation="send a mail through",
                path=f"{self._host}:{self._port}",
                retryable=error.smtp_code < 500,
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise LinkLost(
                str(error), operation="send a mail through", path=f"{self._host}:{self._port}"
            ) from None

    def _send(self, mail: EmailMessage, cut: Cut) -> None:
        context = ssl.create_default_context()
        server: smtplib.SMTP
        if self._tls:
            server = _Smtps(cut, self._host, self._port, context)
        else:
            server = _Smtp(cut, self._host, self._port)
        with server:
            if self._starttls:
                server.starttls(context=context)
            if self._user:
                server.login(self._user, self._password or "")
            server.send_message(mail)


class Apprise:
    """Whatever the ``apprise`` package can reach (``pip install apprise``)."""

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError as error:
            raise SettingsError(
                "the package apprise is not installed",
                operation="set --apprise",
                hint="pip install apprise",
            ) from error
        self._target = apprise.Apprise()
        if not self._target.add(url):
            raise SettingsError("apprise does not know this kind of URL", operation="set --apprise")
        self.name = f"apprise {next(iter(self._target)).url(privacy=True)} #{_mark(url)}"

    def send(self, facts: dict[str, Any]) -> None:
        """Send one notice."""
        if not self._target.notify(title=facts["title"], body=facts["text"]):
            raise LinkLost("apprise could not deliver it", operation="notify", path=self.name)


def ping(url: str) -> None:
    """Tell somebody outside that this monitor lives.

    Raises:
        LinkError: it could not be told.
    """
    _request(checked_url(url, "--ping", ("https", "http")), None, {}, "ping")
