"""Which server is this, judged by the extensions that it advertises?

It matters for one promise only: a server that handles requests in the order in which they arrive
may be sent a write to a visible file and the next one in the same flight. Taking a parallel server
for a sequential one could show readers a hole; the other mistake costs round trips. So only
OpenSSH's ``sftp-server`` (and ``internal-sftp``) is recognised.

What servers advertise:

* OpenSSH (``sftp-server.c``, ``process_init``): the names of :data:`_OPENSSH_ORDER`, always in
  this order; older releases lack the later ones, and ``-P`` (``sftp-server(8)``) leaves out those
  that it denies. 6.5 added ``fsync``, 8.0 ``lsetstat``, 8.5 ``limits`` and ``expand-path``, 9.0
  ``copy-data``, 9.1 ``home-directory`` and ``users-groups-by-id``.
* Go's ``github.com/pkg/sftp`` (``supportedSFTPExtensions``), on which SFTPGo and ``rclone serve
  sftp`` stand: ``hardlink``, ``posix-rename``, ``statvfs``. Parallel workers.
* asyncssh (``SFTPServerHandler._extensions``): ``newline`` and ``vendor-id`` first, then OpenSSH's
  names without ``expand-path``. Handles requests as parallel tasks.
* ProFTPD's ``mod_sftp`` (``fxp_version_add_openssh_exts``): ``vendor-id``, ``versions``,
  ``posix-rename``, ``statvfs``, ``fstatvfs``.
* Apache MINA SSHD (its ``docs/sftp.md``): ``vendor-id`` and ``versions`` beside ``fsync``,
  ``fstatvfs``, ``hardlink``, ``lsetstat``, ``limits``.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["is_openssh"]

_OPENSSH_ORDER = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"expand-path@openssh.com", b"1"),
    (b"copy-data", b"1"),
    (b"home-directory", b"1"),
    (b"users-groups-by-id@openssh.com", b"1"),
)

_MARKERS = frozenset(
    {b"lsetstat@openssh.com", b"expand-path@openssh.com", b"users-groups-by-id@openssh.com"}
)
"""Each of them is enough, together with the order and with no foreign name, since a server that
denies some of them with ``-P`` will hardly deny all three."""


def is_openssh(extensions: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether ``VERSION`` with these extensions can only come from OpenSSH's server.

    Names that are unknown here are tolerated after the known ones if they end with
    ``@openssh.com``: a later release may have more.
    """
    known_names = [name for name, _ in _OPENSSH_ORDER]
    known = [pair for pair in extensions if pair[0] in known_names]
    later = extensions[len(known) :]
    return (
        known == [pair for pair in _OPENSSH_ORDER if pair in known]
        and list(extensions[: len(known)]) == known
        and all(name.endswith(b"@openssh.com") for name, _ in later)
        and not _MARKERS.isdisjoint(name for name, _ in known)
    )
