"""Heartbeat files on a server, read through pysubtask's own transports (SFTP, Dropbox).

A server tells a file's size and modified time, no inode and no change time; so a beat's time is
when its change was seen, at most one scan late, and a modified time that is far from it is flagged.
(Dropbox's own stamp, ``server_modified``, is believed.)
A file is read again only when size or modified time differ. The connection is kept between scans
and made anew after trouble: at once if it broke while it was kept, for servers cut idle ones; and
after a refused login ever more slowly, for servers ban who knocks too often.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from pysubtask.config import build
from pysubtask.core.retry import refusal_wait_secs
from pysubtask.errors import (
    AskedToWait,
    HostKeyRefused,
    LinkLost,
    LoginRefused,
    PysubtaskError,
    RemoteError,
    SettingsError,
)
from pysubtask.monitor.beatfile import MAX_BYTES
from pysubtask.monitor.clients import Sighting
from pysubtask.monitor.fleet import Scan
from pysubtask.monitor.names import SUFFIX, client_name, shown
from pysubtask.seams.clock import RealClock
from pysubtask.transports import transport_factory
from pysubtask.transports.contract import List, Read, RemoteStat, Request, Result, Transport
from pysubtask.urls import extension_of, parse_url

__all__ = ["RemoteFolder"]

_FLIGHT = 256
_STALL_SECS = 30.0
_MAX_DEPTH = 8
_MAX_FOLDERS = 20_000
_MAX_WAIT_SECS = 3600.0


class RemoteFolder:
    """Scans a folder on a server. Used by one thread.

    Args:
        url: ``sftp://user@host/folder``, ``dropbox:///folder``.
        recursive: look into its folders as well.
        limit: at most so many clients.
        make_transport: instead of the URL's own (tests).
        settings: of the link, as for a ``TaskMaster`` (``password``, ``key_file``, ``host_key`` …);
            None: not given.

    Raises:
        SettingsError: the URL or a setting can't be right.
    """

    def __init__(
        self,
        url: str,
        *,
        recursive: bool = True,
        limit: int = 200_000,
        make_transport: Callable[[Callable[[], None]], Transport] | None = None,
        **settings: Any,
    ) -> None:
        destination = parse_url(url)
        if destination.scheme not in ("sftp", "dropbox") and make_transport is None:
            raise SettingsError(
                f"heartbeat files are not read over {destination.scheme}://, whose listings tell "
                "times by the minute and in any zone",
                operation="look for heartbeat files",
                hint="a folder, sftp://user@host/folder or dropbox:///folder",
            )
        given = {name: value for name, value in settings.items() if value is not None}
        # Dropbox stamps by its own clock what clients can't set: as good as a change time.
        self._stamps_are_true = destination.scheme == "dropbox"
        self._name = str(destination)
        self._root = destination.path
        self._recursive, self._limit = recursive, limit
        self._wake = threading.Event()
        self._make: Callable[[], Transport]
        if make_transport is not None:
            made = make_transport
            self._make = lambda: made(self._wake.set)
        else:
            extension = extension_of(destination.scheme)
            chosen = build(extension, destination=destination, keywords=given)
            if chosen.password is not None:
                destination = msgspec.structs.replace(destination, password=chosen.password)
            self._make = transport_factory(destination, chosen, RealClock(), self._wake.set)
        self._transport: Transport | None = None
        self._tickets = itertools.count(1)
        self._seen: dict[str, Sighting] = {}
        self._refusals = 0
        self._again_at = 0.0  # by the monotonic clock
        self._refused = ""

    def __str__(self) -> str:
        return shown(self._name)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def scan(self) -> Scan:
        """Look at every heartbeat file; trouble on the way is the scan's error."""
        began = time.perf_counter()
        warnings: list[str] = []
        unread: list[str] = []
        if time.monotonic() < self._again_at:
            return Scan(error=self._refused, took_secs=0.0)
        try:
            found = self._look_again_if_cut(warnings, unread)
        except PysubtaskError as error:
            self.close()
            self._note_refusal(error)
            return Scan(error=str(error), took_secs=time.perf_counter() - began)
        self._seen = {one.name: one for one in found}
        return Scan(
            tuple(found),
            took_secs=time.perf_counter() - began,
            warnings=tuple(warnings[:20]),
            unread=tuple(unread),
        )

    def _look_again_if_cut(self, warnings: list[str], unread: list[str]) -> list[Sighting]:
        if self._transport is not None:
            try:
                return self._look(self._transport, warnings, unread)
            except LinkLost:
                self.close()
                warnings.clear()
                unread.clear()
        self._wake.clear()
        transport = self._make()
        transport.connect()
        self._transport = transport
        self._refusals = 0
        return self._look(transport, warnings, unread)

    def _note_refusal(self, error: PysubtaskError) -> None:
        if isinstance(error, AskedToWait):
            wait_secs = min(error.wait_secs, _MAX_WAIT_SECS)
        elif isinstance(error, (LoginRefused, HostKeyRefused)):
            self._refusals += 1
            wait_secs = refusal_wait_secs(self._refusals)
        else:
            return
        self._refused = str(error)
        self._again_at = time.monotonic() + wait_secs

    def _look(self, transport: Transport, warnings: list[str], unread: list[str]) -> list[Sighting]:
        files = self._list(transport, warnings, unread)
        fresh = [name for name, stat in files.items() if not self._same(name, stat)]
        paths = {self._path(name + SUFFIX): name for name in fresh}
        contents: dict[str, bytes | RemoteError] = {}
        requests = [Read(path, 0, MAX_BYTES) for path in paths]
        for request, result in self._ask(transport, requests):
            if isinstance(request, Read) and isinstance(result, (bytes, RemoteError)):
                contents[paths[request.path]] = result
        sightings = []
        for name, stat in files.items():
            content = contents.get(name)
            if content is None:
                sightings.append(self._seen[name])
            elif isinstance(content, RemoteError):
                why = f"it can't be read: {content.message}"
                sightings.append(self._sighting(name, stat, b"", why))
            else:
                sightings.append(self._sighting(name, stat, content, None))
        return sightings

    def _list(
        self, transport: Transport, warnings: list[str], unread: list[str]
    ) -> dict[str, RemoteStat]:
        files: dict[str, RemoteStat] = {}
        level, folders = [""], 0
        for depth in range(_MAX_DEPTH + 1):
            requests = {self._path(below): below for below in level}
            level = []
            for request, result in self._ask(transport, [List(path) for path in requests]):
                assert isinstance(request, List)
                below = requests[request.path]
                if isinstance(result, RemoteError):
                    if not below:
                        raise result
                    warnings.append(f"{shown(below)} can't be read: {result.message}")
                    unread.append(below)
                    continue
                assert isinstance(result, dict)
                for base, stat in result.items():
                    name = client_name(below + base)
                    if name is not None and not stat.is_dir:
                        files[name] = stat
                    elif stat.is_dir and self._recursive and not base.startswith("."):
                        level.append(f"{below}{base}/")
            folders += len(level)
            if not level:
                break
            if folders > _MAX_FOLDERS or len(files) > 2 * self._limit:
                warnings.append(f"after {folders} folders the rest is left out")
                unread.extend(level)
                break
            if depth == _MAX_DEPTH:
                warnings.append(f"folders more than {_MAX_DEPTH} deep are left out")
        return self._within_limit(files, warnings, unread)

    def _within_limit(
        self, files: dict[str, RemoteStat], warnings: list[str], unread: list[str]
    ) -> dict[str, RemoteStat]:
        """Whom the last scan saw goes first; what is left out is unread, not gone."""
        if len(files) <= self._limit:
            return files
        warnings.append(f"more than {self._limit} heartbeat files: the rest is left out")
        names = sorted(files, key=lambda name: name not in self._seen)
        left_out = {name.rpartition("/")[0] for name in names[self._limit :]}
        unread.extend(sorted(f"{folder}/" if folder else "" for folder in left_out))
        return {name: files[name] for name in names[: self._limit]}

    def _path(self, below: str) -> str:
        below = below.rstrip("/")
        if not below:
            return self._root
        return f"{self._root.rstrip('/')}/{below}" if self._root else below

    def _same(self, name: str, stat: RemoteStat) -> bool:
        seen = self._seen.get(name)
        if seen is None or seen.unread is not None:
            return False
        return (seen.mtime_ns, seen.size) == (_mtime_ns(stat), stat.size)

    def _sighting(
        self, name: str, stat: RemoteStat, content: bytes, unread: str | None
    ) -> Sighting:
        mtime_ns = _mtime_ns(stat)
        ctime_ns = mtime_ns if self._stamps_are_true else None
        return Sighting(name, mtime_ns, ctime_ns, 0, stat.size, content, unread=unread)

    def _ask(
        self, transport: Transport, requests: Sequence[Request]
    ) -> Iterator[tuple[Request, Result]]:
        """Submit all, at most 256 at once; gives each with its result as they come."""
        waiting: dict[int, Request] = {}
        queue = iter(requests)
        left = len(requests)
        heard = time.monotonic()
        while left:
            for request in itertools.islice(queue, _FLIGHT - len(waiting)):
                ticket = next(self._tickets)
                waiting[ticket] = request
                transport.submit(ticket, request)
            self._wake.clear()
            got = False
            for ticket, result in transport.collect():
                asked = waiting.pop(ticket, None)
                if asked is not None:
                    got = True
                    left -= 1
                    yield asked, result
            if got:
                heard = time.monotonic()
            elif time.monotonic() - heard > _STALL_SECS:
                raise LinkLost(
                    f"no answer for {_STALL_SECS:.0f} s", operation="look at", path=self._name
                )
            else:
                self._wake.wait(timeout=0.25)


def _mtime_ns(stat: RemoteStat) -> int:
    return int((stat.mtime or 0.0) * 1e9)
