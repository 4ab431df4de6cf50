"""The login to one Dropbox, which outlives connections."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pysubtask.errors import LinkError
from pysubtask.extras import DROPBOX_EXTRA
from pysubtask.secret import Secret
from pysubtask.version import __version__

if TYPE_CHECKING:
    from dropbox import Dropbox

__all__ = ["Account"]


class Account:
    """Who logs in, and the SDK's client, which holds the access token of the hour.

    Args:
        refresh_token, app_key: for access tokens without end (OAuth 2 with PKCE: no app secret).
        access_token: a single one instead; it ends after some four hours.
        ca_file: certificates to trust instead of the SDK's own (certifi). Proxies and
            ``REQUESTS_CA_BUNDLE`` of the environment are not looked at then: with them the latter
            would win (``requests.Session.merge_environment_settings``).
        timeout_secs: for connecting, and without a byte from the server.
    """

    def __init__(
        self,
        *,
        refresh_token: Secret | None = None,
        app_key: str | None = None,
        access_token: Secret | None = None,
        ca_file: str | None = None,
        timeout_secs: float = 30.0,
    ) -> None:
        self._refresh_token = refresh_token
        self._app_key = app_key
        self._access_token = access_token
        self._ca_file = ca_file
        self.timeout_secs = timeout_secs
        self._client: Dropbox | None = None
        self._waiting_client: Dropbox | None = None
        self.quiet_until = 0.0
        """Until then (monotonic) the service does not want to be asked for changes."""
        self.takes_many = True
        """False once it has refused to take several files together."""

    def client(self) -> Dropbox:
        """The SDK's client, made at the first call.

        Raises:
            LinkError: the SDK is not installed.
        """
        if self._client is None:
            self._client = self._make()
        return self._client

    def waiting_client(self) -> Dropbox:
        """Another one, for the one thread that waits for changes: the SDK's client is for one
        thread at a time.

        Raises:
            LinkError: the SDK is not installed.
        """
        if self._waiting_client is None:
            self._waiting_client = self._make()
        return self._waiting_client

    def be_quiet(self, secs: float) -> None:
        """The service does not want to be asked for changes for so long."""
        self.quiet_until = max(self.quiet_until, time.monotonic() + secs)

    def disconnect(self) -> None:
        """Close the connections; the next call of the client makes new ones."""
        if self._client is not None:
            self._client.close()

    def _make(self) -> Dropbox:
        try:
            import dropbox
            from dropbox.dropbox_client import create_session

            from pysubtask.transports.dropbox.bounded import bounded
        except ImportError as error:
            raise LinkError(
                f"Dropbox's SDK is not there ({error})",
                operation="connect",
                path="dropbox",
                hint=DROPBOX_EXTRA,
            ) from error
        session = bounded(create_session(ca_certs=self._ca_file))
        if self._ca_file is not None:
            session.trust_env = False
        # The SDK would retry 5xx and 429 by sleeping; waiting is delivery's business. Connection
        # errors it does not retry at all.
        return dropbox.Dropbox(
            oauth2_access_token=_text(self._access_token),
            oauth2_refresh_token=_text(self._refresh_token),
            app_key=self._app_key,
            session=session,
            timeout=self.timeout_secs,
            max_retries_on_error=0,
            max_retries_on_rate_limit=0,
            user_agent=f"pysubtask/{__version__}",
        )


def _text(secret: Secret | None) -> str | None:
    return secret.reveal() if secret else None
