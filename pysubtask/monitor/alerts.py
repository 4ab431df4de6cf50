"""What people are told, and when: flips in, notices out. Pure: time is an argument.

A monitor that cries wolf is switched off. So: nothing for a client's first sight; those who go down
within ten seconds of each other share a notice; one that flaps is told of once; recovery is told
only where the trouble was; while the monitor is blind there is one alert, about the monitor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pysubtask.monitor.clients import Client
from pysubtask.monitor.fleet import Changes, Fleet
from pysubtask.monitor.names import shown
from pysubtask.monitor.rule import Flag, State
from pysubtask.monitor.units import duration
from pysubtask.monitor.words import explain

__all__ = ["AlertSettings", "Alerts", "Notice", "trial_notice"]

_LISTED = 20
_TITLE_CHARS = 150
_NAME_CHARS = 80
_STUCK_AGAIN_SECS = 3600.0
_MASS_LASTS_SECS = 1800.0


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """How notices are damped; in seconds."""

    gather_secs: float = 10.0
    """Those who go down within this time share a notice."""
    mass_count: int = 5
    """From so many on, one notice for all."""
    reminder_secs: float = 86_400.0
    """How often what is still down is told again; 0: never."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell.

    ``kind``: down, up, gone, flapping, steady, no_data, reminder, blind, sight, test; ``mass`` if
    it is about many at once.
    """

    at: float
    kind: str
    title: str
    body: str
    clients: tuple[dict[str, Any], ...] = ()
    mass: bool = False

    def facts(self) -> dict[str, Any]:
        """As JSON for a webhook."""
        return {
            "kind": self.kind,
            "at": self.at,
            "title": self.title,
            "text": self.body,
            "mass": self.mass,
            "clients": list(self.clients),
        }


@dataclass(slots=True)
class Trouble:
    """A client that is down or gone, and what was told of it."""

    since: float
    noticed_at: float
    kind: str = "down"
    told_at: float | None = None


@dataclass(slots=True)
class Alerts:
    """What is open. Fields are plain, so that a restart can go on where this run ended."""

    settings: AlertSettings = field(default_factory=AlertSettings)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    recovered: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Told as down and back again, not yet told: (since when it was down, until when)."""
    flapping: set[str] = field(default_factory=set)
    stuck: dict[str, float] = field(default_factory=dict)
    """Online without data, or lately so: when that was told last."""
    mass_at: float | None = None
    """When many were last told as one; for a while the rest of them is gathered for longer."""
    mass_wait_secs: float = 0.0
    blind_since: float | None = None
    blind_told: bool = False

    def observe(self, changes: Changes, fleet: Fleet) -> list[Notice]:
        """Take in what a scan changed; gives what is to be told now."""
        now = changes.now
        if changes.step_secs:
            self._shift(changes.step_secs)
        notices = self._blindness(changes)
        self.observe_flips(changes)
        if changes.blind is not None:
            return notices  # no news of clients can be true now
        notices += self._steady(fleet, now)
        notices += self._troubles(fleet, now)
        notices += self._recoveries(fleet, now)
        notices += self._reminders(fleet, now)
        notices += self._without_data(changes, now)
        return notices

    def _shift(self, by: float) -> None:
        """The clock was set: what happened before keeps its age."""
        for one in self.troubles.values():
            one.since += by
            one.noticed_at += by
            one.told_at = None if one.told_at is None else one.told_at + by
        self.stuck = {key: at + by for key, at in self.stuck.items()}
        self.recovered = {key: (a + by, b + by) for key, (a, b) in self.recovered.items()}
        self.blind_since = None if self.blind_since is None else self.blind_since + by
        self.mass_at = None if self.mass_at is None else self.mass_at + by

    def observe_flips(self, changes: Changes) -> None:
        """Take in flips alone, such as those of a pause; the next scan tells of them."""
        for flip in changes.flips:
            if flip.old is not None:
                self._flip(flip.client, flip.old, flip.new, changes.now)

    def _flip(self, client: Client, old: State, new: State, now: float) -> None:
        one = self.troubles.get(client.id)
        if new is State.DOWN:
            since = client.deadline or now
            if since <= client.first_seen:
                return  # it was overdue before anybody looked: known from the first page on
            back = self.recovered.pop(client.id, None)
            if back is not None:  # its recovery was not told yet: it has been down all the time
                self.troubles[client.id] = Trouble(back[0], now, told_at=now)
            elif one is None or one.kind != "down":
                self.troubles[client.id] = Trouble(since, now)
        elif new is State.GONE:
            self.recovered.pop(client.id, None)
            if old in (State.UP, State.LATE, State.DOWN):
                self.troubles[client.id] = Trouble(now, now, kind="gone")
        elif new in (State.UP, State.STOPPED):
            self.troubles.pop(client.id, None)
            if one is not None and one.told_at is not None and one.kind == "down":
                self.recovered[client.id] = (one.since, now)
        elif new in (State.PAUSED, State.ARCHIVED):
            self.troubles.pop(client.id, None)
            self.recovered.pop(client.id, None)

    def _blindness(self, changes: Changes) -> list[Notice]:
        now = changes.now
        if changes.blind is not None:
            if self.blind_since is None:
                self.blind_since = now
            if self.blind_told or now - self.blind_since < self.settings.gather_secs:
                return []
            self.blind_told = True
            body = (
                f"{changes.blind}.\nThe state of all clients is unknown until it can be read "
                "again. No alerts about single clients are sent meanwhile."
            )
            return [Notice(now, "blind", "The monitor is blind", body)]
        since, told = self.blind_since, self.blind_told
        self.blind_since, self.blind_told = None, False
        if not told or since is None:
            return []
        lasted = duration(now - since)
        body = "Clients that could not beat meanwhile get one interval more."
        return [Notice(now, "sight", f"The monitor sees again after {lasted}", body)]

    def _steady(self, fleet: Fleet, now: float) -> list[Notice]:
        """Clients that have stopped flapping: how it ended."""
        notices = []
        for client_id in list(self.flapping):
            client = fleet.clients.get(client_id)
            if client is not None and Flag.FLAPPING in client.flags:
                continue
            self.flapping.discard(client_id)
            if client is not None and client_id not in self.troubles:
                self.recovered.pop(client_id, None)
                title = f"{_called(client)} no longer flaps: it is {client.state}"
                notices.append(_about(now, "steady", title, [client]))
        return notices

    def _troubles(self, fleet: Fleet, now: float) -> list[Notice]:
        """Those that wait to be told, once the first of them has waited long enough."""
        notices: list[Notice] = []
        waiting: dict[str, list[Client]] = {"down": [], "gone": []}
        oldest = now
        for client_id, one in list(self.troubles.items()):
            client = fleet.clients.get(client_id)
            if client is None:
                del self.troubles[client_id]
            elif one.told_at is None and client.state.value == one.kind:
                if Flag.FLAPPING in client.flags:
                    if client_id not in self.flapping:
                        self.flapping.add(client_id)
                        title = f"{_called(client)} flaps: down {len(client.downs)} times"
                        notices.append(_about(now, "flapping", title, [client]))
                elif client_id not in self.flapping:
                    waiting[one.kind].append(client)
                    oldest = min(oldest, one.noticed_at)
        if now - oldest < self._patience(now):
            return notices
        words = {"down": "down", "gone": "gone: heartbeat file removed"}
        going_on = self._mass_lasts(now)
        for kind, clients in waiting.items():
            for client in clients:
                self.troubles[client.id].told_at = now
            total = len(fleet.clients)
            if going_on and clients:
                told = sum(one.kind == kind for one in self.troubles.values())
                count = f"{len(clients)} more client{'' if len(clients) == 1 else 's'}"
                title = f"{count} {words[kind]}, {told} of {total} in all"
                notices.append(_about(now, kind, title, clients, mass=True))
                self._count_mass(now)
            elif len(clients) >= self.settings.mass_count:
                title = f"{len(clients)} of {total} clients {words[kind]}"
                notices.append(_about(now, kind, title, clients, mass=True))
                self._count_mass(now)
            else:
                for client in clients:
                    title = f"{_called(client)} is {words[kind]}"
                    notices.append(_about(now, kind, title, [client]))
        return notices

    def _mass_lasts(self, now: float) -> bool:
        return self.mass_at is not None and now - self.mass_at < _MASS_LASTS_SECS

    def _patience(self, now: float) -> float:
        """How long to gather: clients of one outage come due over a whole interval of theirs."""
        return max(self.settings.gather_secs, self.mass_wait_secs if self._mass_lasts(now) else 0.0)

    def _count_mass(self, now: float) -> None:
        longer = self.mass_wait_secs * 2 if self._mass_lasts(now) else 0.0
        self.mass_at = now
        self.mass_wait_secs = min(300.0, max(6 * self.settings.gather_secs, longer))

    def _recoveries(self, fleet: Fleet, now: float) -> list[Notice]:
        if not self.recovered:
            return []
        if now - min(at for _, at in self.recovered.values()) < self._patience(now):
            return []
        back = []
        for client_id, (since, until) in list(self.recovered.items()):
            client = fleet.clients.get(client_id)
            if client is not None and client.state in (State.LATE, State.UNKNOWN):
                continue  # maybe it is not back at all
            del self.recovered[client_id]
            if client is not None and client_id not in self.flapping:
                back.append((client, until - since))
        if len(back) >= self.settings.mass_count or (len(back) > 1 and self._mass_lasts(now)):
            clients = [client for client, _ in back]
            title = f"{len(back)} clients are back"
            return [_about(now, "up", title, clients, mass=True)]
        return [
            _about(
                now,
                "up",
                f"{_called(client)} is {client.state} again after {duration(lasted)}",
                [client],
            )
            for client, lasted in back
        ]

    def _reminders(self, fleet: Fleet, now: float) -> list[Notice]:
        every = self.settings.reminder_secs
        if every <= 0:
            return []
        due = []
        for client_id, one in self.troubles.items():
            if one.kind == "down" and one.told_at is not None and now - one.told_at >= every:
                client = fleet.clients.get(client_id)
                if client is not None and client.state is State.DOWN:
                    one.told_at = now
                    due.append(client)
        if not due:
            return []
        who = _called(due[0]) if len(due) == 1 else f"{len(due)} clients"
        verb = "is" if len(due) == 1 else "are"
        return [_about(now, "reminder", f"{who} {verb} still down", due, mass=len(due) > 1)]

    def _without_data(self, changes: Changes, now: float) -> list[Notice]:
        """Hearts that beat while the data stand still; at most once an hour of each."""
        found = []
        for client in changes.changed:
            if Flag.NO_DATA in client.flags:
                told_at = self.stuck.get(client.id)
                if told_at is None or now - told_at >= _STUCK_AGAIN_SECS:
                    found.append(client)
                self.stuck.setdefault(client.id, now)
            elif now - self.stuck.get(client.id, now) >= _STUCK_AGAIN_SECS:
                del self.stuck[client.id]
        self.stuck.update((client.id, now) for client in found)
        words = "online, but data do not arrive"
        if len(found) >= self.settings.mass_count:
            title = f"{len(found)} clients: {words}"
            return [_about(now, "no_data", title, found, mass=True)]
        return [_about(now, "no_data", f"{_called(client)}: {words}", [client]) for client in found]

    def keep(self) -> dict[str, Any]:
        """What the next run has to know, as JSON."""
        return {
            "troubles": {key: dataclasses.asdict(one) for key, one in self.troubles.items()},
            "recovered": self.recovered,
            "flapping": sorted(self.flapping),
            "stuck": self.stuck,
            "mass_at": self.mass_at,
            "mass_wait_secs": self.mass_wait_secs,
            "blind_since": self.blind_since,
            "blind_told": self.blind_told,
        }

    def recall(self, kept: Any) -> None:
        """Go on where a former run ended; what can't be read is begun anew."""
        try:
            self.troubles = {key: Trouble(**one) for key, one in kept["troubles"].items()}
            self.recovered = {key: (one[0], one[1]) for key, one in kept["recovered"].items()}
            self.flapping = set(kept["flapping"])
            self.stuck = dict(kept.get("stuck", {}))
            self.mass_at, self.mass_wait_secs = kept["mass_at"], float(kept["mass_wait_secs"])
            self.blind_since, self.blind_told = kept["blind_since"], bool(kept["blind_told"])
        except (KeyError, TypeError, AttributeError, IndexError):
            self.troubles, self.recovered, self.flapping = {}, {}, set()


def trial_notice(now: float) -> Notice:
    """What the test button sends."""
    return Notice(
        now, "test", "Test of the alerts", "Somebody pressed the test button. All is well."
    )


def _called(client: Client) -> str:
    """Its name for a title, cut in its middle: what is the matter comes after it.

    Escaped text is cut, which may be longer than the name.
    """
    name = shown(client.name)
    if len(name) <= _NAME_CHARS:
        return name
    half = _NAME_CHARS // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def _about(
    now: float, kind: str, title: str, clients: Sequence[Client], *, mass: bool = False
) -> Notice:
    lines = [f"{shown(client.name)}: {explain(client, now)}" for client in clients[:_LISTED]]
    if len(clients) > _LISTED:
        lines.append(f"… and {len(clients) - _LISTED} more.")
    return Notice(
        now, kind, title[:_TITLE_CHARS], "\n".join(lines), tuple(_facts(clients)), mass=mass
    )


def _facts(clients: Iterable[Client]) -> list[dict[str, Any]]:
    return [
        {
            "id": client.id,
            "name": shown(client.name),
            "state": client.state.value,
            "online": client.online,
            "last_seen": client.beat_at,
            "deadline": client.deadline,
            "flags": [flag.value for flag in client.flags],
            "tags": list(client.tags),
        }
        for client in list(clients)[:1000]
    ]
