"""What the monitor remembers: one SQLite file.

Flips are written at once, and with them the clients concerned; clients that merely went on beating
are written once a minute and at the end. So a fleet of 10,000 costs a disk next to nothing, and
what a crash may lose is found again in the files themselves. The file lies on a local disk (WAL
needs one) in a folder that only the monitor's user can read.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pysubtask.errors import StateError
from pysubtask.monitor.clients import Client
from pysubtask.monitor.fleet import Flip
from pysubtask.monitor.memory import from_text, to_text

__all__ = ["History", "Past", "Sample", "Span"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE clients (id TEXT PRIMARY KEY, name BLOB NOT NULL, kept TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE flips (
    number INTEGER PRIMARY KEY, client TEXT NOT NULL, at REAL NOT NULL, old TEXT, new TEXT NOT NULL
);
CREATE INDEX flips_of ON flips (client, at);
CREATE TABLE blind (since REAL PRIMARY KEY, until REAL, why TEXT NOT NULL);
CREATE TABLE samples (
    client TEXT NOT NULL, at REAL NOT NULL, backlog_bytes INTEGER, data_bytes INTEGER,
    PRIMARY KEY (client, at)
) WITHOUT ROWID;
CREATE TABLE notices (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL,
    body TEXT NOT NULL, facts TEXT NOT NULL
);
CREATE TABLE deliveries (
    notice INTEGER NOT NULL, channel TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL, done_at REAL, error TEXT, PRIMARY KEY (notice, channel)
) WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (next_try) WHERE done_at IS NULL;
CREATE TABLE keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, scope TEXT NOT NULL,
    made_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE sessions (hash TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
KEEP_SECS = 100 * 86_400.0
SAMPLES_KEEP_SECS = 8 * 86_400.0
FLIPS_A_CLIENT = 5_000


@dataclass(frozen=True, slots=True)
class Past:
    """A flip of one client, as it was written."""

    at: float
    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the monitor could not see; ``until`` None: it still lasts."""

    since: float
    until: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What a client owed, and how much of its data lay there."""

    at: float
    backlog_bytes: int | None
    data_bytes: int | None


class History:
    """The store. One thread at a time; the monitor's lock sees to it.

    Args:
        folder: made if missing, with mode 0700. None: kept in memory only.

    Raises:
        StateError: it can't be used, or was written by a newer version.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.path = ":memory:"
        if folder is not None:
            place = pathlib.Path(folder)
            try:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise _unusable(place, error) from error
            self.path = str(place / "history.sqlite3")
        try:
            self._db = sqlite3.connect(
                self.path, timeout=10.0, check_same_thread=False, isolation_level=None
            )
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        try:
            self._prepare()
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                raise _unusable(self.path, error) from error
            raise

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StateError(
                f"it was written by a newer version of pysubtask (format {version})",
                operation="open the history",
                path=self.path,
                hint="use that version, or another --state folder",
            )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        if version == 0:
            with self.writing():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; rolled back if the block raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have rolled it back already
                self._db.execute("ROLLBACK")
            raise

    def get(self, key: str) -> Any:
        """A remembered value, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Remember a value."""
        self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def load_clients(self) -> list[Client]:
        """All remembered clients; one that can't be read is begun anew."""
        found = []
        for name, kept in self._db.execute("SELECT name, kept FROM clients"):
            with contextlib.suppress(ValueError):
                found.append(from_text(os.fsdecode(name), kept))
        return found

    def save_clients(self, clients: Iterable[Client]) -> None:
        """Write clients as they are now."""
        self._db.executemany(
            "REPLACE INTO clients VALUES (?, ?, ?)",
            ((client.id, os.fsencode(client.name), to_text(client)) for client in clients),
        )

    def forget(self, client_id: str) -> None:
        """Remove a client and its past."""
        for table, column in (("clients", "id"), ("flips", "client"), ("samples", "client")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (client_id,))  # noqa: S608

    def add_flips(self, flips: Iterable[Flip]) -> None:
        """Write what changed."""
        self._db.executemany(
            "INSERT INTO flips (client, at, old, new) VALUES (?, ?, ?, ?)",
            ((flip.client.id, flip.at, flip.old, flip.new) for flip in flips),
        )

    def flips(self, client_id: str, since: float = 0.0, limit: int = FLIPS_A_CLIENT) -> list[Past]:
        """One client's flips, oldest first; the last one before ``since`` is among them."""
        rows = self._db.execute(
            "SELECT at, old, new FROM flips WHERE client = ? AND at >= coalesce("
            "(SELECT max(at) FROM flips WHERE client = ? AND at <= ?), 0) "
            "ORDER BY number DESC LIMIT ?",
            (client_id, client_id, since, limit),
        ).fetchall()
        return [Past(*row) for row in reversed(rows)]

    def begin_blind(self, since: float, why: str) -> None:
        """The monitor can't see from here on."""
        if self._db.execute("SELECT 1 FROM blind WHERE until IS NULL").fetchone() is None:
            self._db.execute("REPLACE INTO blind VALUES (?, NULL, ?)", (since, why))

    def end_blind(self, until: float) -> None:
        """It sees again."""
        self._db.execute("UPDATE blind SET until = max(since, ?) WHERE until IS NULL", (until,))

    def blind_spans(self, since: float) -> list[Span]:
        """When it was blind, oldest first."""
        rows = self._db.execute(
            "SELECT since, until, why FROM blind WHERE until IS NULL OR until > ? ORDER BY since",
            (since,),
        )
        return [Span(*row) for row in rows]

    def add_samples(self, samples: Iterable[tuple[str, float, int | None, int | None]]) -> None:
        """Write (client, at, backlog, data) rows."""
        self._db.executemany("REPLACE INTO samples VALUES (?, ?, ?, ?)", samples)

    def samples(self, client_id: str, since: float) -> list[Sample]:
        """One client's samples, oldest first."""
        rows = self._db.execute(
            "SELECT at, backlog_bytes, data_bytes FROM samples WHERE client = ? AND at >= ? "
            "ORDER BY at",
            (client_id, since),
        )
        return [Sample(*row) for row in rows]

    def clock_was_set(self, by: float) -> None:
        """What waits to be sent waits as long as it was meant to."""
        self._db.execute(
            "UPDATE deliveries SET next_try = next_try + ? WHERE done_at IS NULL", (by,)
        )

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """For the parts that keep their own tables (alerts, keys)."""
        return self._db.execute(sql, values).fetchall()

    def prune(self, now: float) -> None:
        """Drop what is older than anybody looks at."""
        old = now - KEEP_SECS
        # A client's last flip says what it is until today: kept however old it is.
        self._db.execute(
            "DELETE FROM flips WHERE at < ? AND number NOT IN "
            "(SELECT max(number) FROM flips GROUP BY client)",
            (old,),
        )
        self._db.execute(
            "DELETE FROM flips WHERE number IN (SELECT number FROM (SELECT number, row_number() "
            "OVER (PARTITION BY client ORDER BY number DESC) AS place FROM flips) WHERE place > ?)",
            (FLIPS_A_CLIENT,),
        )
        self._db.execute("DELETE FROM blind WHERE until < ?", (old,))
        self._db.execute("DELETE FROM samples WHERE at < ?", (now - SAMPLES_KEEP_SECS,))
        self._db.execute(
            "DELETE FROM deliveries WHERE notice IN (SELECT number FROM notices WHERE at < ?)",
            (old,),
        )
        self._db.execute("DELETE FROM notices WHERE at < ?", (old,))
        self._db.execute("DELETE FROM sessions WHERE until < ?", (now,))


def _unusable(path: object, error: Exception) -> StateError:
    return StateError(
        str(error),
        operation="open the history",
        path=str(path),
        hint="give a folder on a local disk that this user may write with --state",
    )
