"""Which host key does a server show? Asked without logging in."""

from __future__ import annotations

from dataclasses import dataclass

from pysubtask.errors import HostKeyRefused
from pysubtask.transports.sftp.hostkeys import HostKeyPolicy, fingerprint, policy_for
from pysubtask.transports.sftp.ssh import SshConnector

__all__ = ["ServerKey", "scan_host_key"]


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A host key as a server showed it."""

    host: str
    port: int
    key_type: str
    key: bytes
    """In its wire form."""

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``"""
        return fingerprint(self.key)


class _Looker:
    """Notes the key that would be accepted, or else the first one that was shown, and refuses it,
    so that nobody logs in."""

    def __init__(self, policy: HostKeyPolicy) -> None:
        self._policy = policy
        self._good = False
        self.found: ServerKey | None = None

    def algorithms(self, host: str, port: int) -> list[list[str]]:
        return self._policy.algorithms(host, port)

    def check(self, host: str, port: int, key_type: str, key: bytes) -> None:
        try:
            self._policy.check(host, port, key_type, key)
        except HostKeyRefused:
            good = False
        else:
            good = True
        if self.found is None or (good and not self._good):
            self.found, self._good = ServerKey(host, port, key_type, key), good
        raise HostKeyRefused("seen", operation="look at the host key of", path=host)


def scan_host_key(
    host: str,
    port: int,
    *,
    host_key: tuple[str, ...] = (),
    known_hosts: str | None = None,
    connect_timeout_secs: float = 8.0,
    login_timeout_secs: float = 30.0,
) -> ServerKey:
    """The key that the server shows to a client with these settings: of a type that is known, if
    one is.

    Raises:
        LinkError: there is no SSH server.
    """
    looker = _Looker(policy_for(host_key or None, known_hosts))
    connector = SshConnector(
        host,
        user="nobody",
        port=port,
        connect_timeout_secs=connect_timeout_secs,
        login_timeout_secs=login_timeout_secs,
        policy=looker,
    )
    try:
        connector(lambda: None).close()
    except HostKeyRefused:
        if looker.found is None:
            raise
    assert looker.found is not None
    return looker.found
