"""What people are told, and when: flips in, notices out. Pure: time is an argument.

A monitor that cries wolf is switched off. So: nothing for a client's first sight; those who go down
within ten seconds of each other share a notice; one that flaps is told of once; recovery is told
only where the trouble was; while the monitor is blind there is one alert, about the monitor, and so
is there for those whom it can't see although it sees others.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pysubtask.monitor.clients import Client
from pysubtask.monitor.fleet import Changes, Fleet
from pysubtask.monitor.notices import Notice, about, trial_notice, who
from pysubtask.monitor.rule import Flag, State
from pysubtask.monitor.units import duration

__all__ = ["AlertSettings", "Alerts", "Notice", "trial_notice"]

_STUCK_AGAIN_SECS = 3600.0
_FINE_SECS = 600.0
"""Data have arrived for so long: that is told."""
_MASS_LASTS_SECS = 1800.0
_SIGHT_GATHER_SECS = 300.0
_NOBODY_KNOWS = (State.LATE, State.UNKNOWN, State.PAUSED)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """How notices are damped; in seconds."""

    gather_secs: float = 10.0
    """Those who go down within this time share a notice."""
    mass_count: int = 5
    """From so many on, one notice for all."""
    reminder_secs: float = 86_400.0
    """How often what is still down is told again; 0: never."""


@dataclass(slots=True)
class Trouble:
    """A client that is down or gone, and what was told of it."""

    since: float
    noticed_at: float
    kind: str = "down"
    told_at: float | None = None
    told_since: float | None = None
    """Since when it has been in trouble that was told, of whichever kind; None: none was."""

    def __post_init__(self) -> None:
        if self.told_at is not None and self.told_since is None:
            self.told_since = self.since


@dataclass(slots=True)
class Unseen:
    """A client that can't be seen although others can, and what was told of that."""

    noticed_at: float
    told_at: float | None = None
    seen_at: float | None = None
    """Since when it is seen again, which is not told yet."""


@dataclass(slots=True)
class Stuck:
    """A client that was told as online without data."""

    since: float
    told_at: float
    fine_since: float | None = None
    """Since when its data arrive, if they do."""
    over: bool = False
    """That they do was told; the rest of an hour nothing more is."""


@dataclass(slots=True)
class Alerts:
    """What is open. Fields are plain, so that a restart can go on where this run ended."""

    settings: AlertSettings = field(default_factory=AlertSettings)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    recovered: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Told as down or gone and back again, not yet told: (since when it was down, until when)."""
    flapping: set[str] = field(default_factory=set)
    stuck: dict[str, Stuck] = field(default_factory=dict)
    """Online without data, or lately so."""
    mass_at: float | None = None
    """When many were last told as one; for a while the rest of them is gathered for longer."""
    mass_wait_secs: float = 0.0
    blind_since: float | None = None
    blind_told: bool = False
    unseen: dict[str, Unseen] = field(default_factory=dict)
    """Clients that can't be seen although others can."""

    def observe(self, changes: Changes, fleet: Fleet) -> list[Notice]:
        """Take in what a scan changed; gives what is to be told now."""
        now = changes.now
        if changes.step_secs:
            self.shift(changes.step_secs)
        notices = self._blindness(changes)
        self.observe_flips(changes)
        if changes.blind is not None:
            return notices  # no news of clients can be true now
        notices += self._unseen(fleet, now)
        notices += self._seen_again(fleet, now)
        notices += self._steady(fleet, now)
        notices += self._troubles(fleet, now)
        notices += self._recoveries(fleet, now)
        notices += self._reminders(fleet, now)
        notices += self._without_data(changes, now)
        notices += self._data_again(fleet, now)
        return notices

    def shift(self, by: float) -> None:
        """The clock was set: what happened before keeps its age."""
        each: list[Trouble | Unseen | Stuck] = [*self.troubles.values(), *self.unseen.values()]
        each += self.stuck.values()
        for one in each:
            for at in dataclasses.fields(one):
                if at.name.endswith(("_at", "since")) and getattr(one, at.name) is not None:
                    setattr(one, at.name, getattr(one, at.name) + by)
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
            self._is_down(client, one, now)
        elif new is State.GONE:
            back = self.recovered.pop(client.id, None)
            known = old in (State.UP, State.LATE, State.DOWN)
            if known or (old is State.UNKNOWN and client.interval_secs):  # no goodbye, not new
                since = one.told_since if one is not None else None
                self.troubles[client.id] = Trouble(
                    now, now, kind="gone", told_since=back[0] if back is not None else since
                )
        elif new in (State.UP, State.STOPPED):
            self.troubles.pop(client.id, None)
            if one is not None and one.told_since is not None:
                self.recovered[client.id] = (one.told_since, now)
        elif new is State.PAUSED:
            if one is not None and one.told_since is None:
                del self.troubles[client.id]  # else its recovery is to be told
        elif new is State.ARCHIVED:
            self.troubles.pop(client.id, None)
            self.recovered.pop(client.id, None)

    def _is_down(self, client: Client, one: Trouble | None, now: float) -> None:
        since = client.deadline or now
        if since <= client.first_seen:
            return  # it was overdue before anybody looked: known from the first page on
        back = self.recovered.pop(client.id, None)
        if back is not None:  # its recovery was not told yet: it has been down all the time
            self.troubles[client.id] = Trouble(back[0], now, told_at=now)
        elif one is None or one.kind != "down":
            told_since = one.told_since if one is not None else None
            self.troubles[client.id] = Trouble(since, now, told_since=told_since)

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
        title = f"The monitor sees again after {duration(now - since)}"
        body = "Clients that could not beat meanwhile get one interval more."
        gone = sum(flip.new is State.GONE for flip in changes.flips)
        if gone:
            title += f", {gone} heartbeat files are missing"
            body += "\nWhat is still missing is taken as removed from now on."
        return [Notice(now, "sight", title, body)]

    def _unseen(self, fleet: Fleet, now: float) -> list[Notice]:
        """Whom the monitor can't see although it sees others: nobody would tell of their death."""
        for client_id in fleet.unseen:
            if fleet.clients[client_id].state is State.UNKNOWN:
                self.unseen.setdefault(client_id, Unseen(now)).seen_at = None
        waiting = [key for key, one in self.unseen.items() if one.told_at is None]
        for client_id in waiting:
            if client_id not in fleet.unseen:
                del self.unseen[client_id]
        found = [self.unseen[key] for key in waiting if key in self.unseen]
        if not found or now - min(one.noticed_at for one in found) < self.settings.gather_secs:
            return []
        for one in found:
            one.told_at = now
        clients = [fleet.clients[key] for key in waiting if key in self.unseen]
        whom = who(clients[0])
        if len(clients) > 1:
            whom = f"{len(clients)} of {len(fleet.clients)} clients"
        title = f"The monitor can't see {whom}"
        notice = about(now, "blind", title, clients, mass=len(clients) > 1)
        if fleet.partly is not None:
            notice = dataclasses.replace(notice, body=f"{fleet.partly}.\n{notice.body}")
        return [notice]

    def _seen_again(self, fleet: Fleet, now: float) -> list[Notice]:
        """Told together, once all are back, or some have been for a while."""
        back = []
        for client_id, one in list(self.unseen.items()):
            client = fleet.clients.get(client_id)
            if client_id in fleet.unseen:
                continue
            if client is None or not client.present:
                del self.unseen[client_id]  # which is told as that, if at all
                continue
            if one.seen_at is None:
                one.seen_at = now
            back.append((client, one))
        if not back or (
            len(back) < len(self.unseen)
            and now - min(one.seen_at or now for _, one in back) < _SIGHT_GATHER_SECS
        ):
            return []
        for client, _ in back:
            del self.unseen[client.id]
        lasted = duration(now - min(one.noticed_at for _, one in back))
        whom = who(back[0][0]) if len(back) == 1 else f"{len(back)} clients"
        clients = [client for client, _ in back]
        title = f"The monitor sees {whom} again after {lasted}"
        return [about(now, "sight", title, clients, mass=len(back) > 1)]

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
                title = f"{who(client)} no longer flaps: it is {client.state}"
                notices.append(about(now, "steady", title, [client]))
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
                        title = f"{who(client)} flaps: down {len(client.downs)} times"
                        notices.append(about(now, "flapping", title, [client]))
                elif client_id not in self.flapping:
                    waiting[one.kind].append(client)
                    oldest = min(oldest, one.noticed_at)
        if now - oldest < self._patience(now):
            return notices
        words = {"down": "down", "gone": "gone: heartbeat file removed"}
        going_on = self._mass_lasts(now)
        for kind, clients in waiting.items():
            for client in clients:
                one = self.troubles[client.id]
                one.told_at = now
                one.told_since = one.since if one.told_since is None else one.told_since
            total = len(fleet.clients)
            if going_on and clients:
                told = sum(one.kind == kind for one in self.troubles.values())
                count = f"{len(clients)} more client{'' if len(clients) == 1 else 's'}"
                title = f"{count} {words[kind]}, {told} of {total} in all"
                notices.append(about(now, kind, title, clients, mass=True))
                self._count_mass(now)
            elif len(clients) >= self.settings.mass_count:
                title = f"{len(clients)} of {total} clients {words[kind]}"
                notices.append(about(now, kind, title, clients, mass=True))
                self._count_mass(now)
            else:
                for client in clients:
                    title = f"{who(client)} is {words[kind]}"
                    notices.append(about(now, kind, title, [client]))
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
        back: list[tuple[Client, float]] = []
        stopped: list[Notice] = []
        for client_id, (since, until) in list(self.recovered.items()):
            client = fleet.clients.get(client_id)
            if client is not None and client.state in _NOBODY_KNOWS:
                continue  # maybe it is not back at all
            del self.recovered[client_id]
            if client is None or client_id in self.flapping:
                continue
            if client.state is State.STOPPED:
                title = f"{who(client)} has stopped: it said goodbye"
                stopped.append(about(now, "stopped", title, [client]))
            else:
                back.append((client, until - since))
        if len(back) >= self.settings.mass_count or (len(back) > 1 and self._mass_lasts(now)):
            clients = [client for client, _ in back]
            title = f"{len(back)} clients are back"
            return [*stopped, about(now, "up", title, clients, mass=True)]
        return stopped + [
            about(
                now,
                "up",
                f"{who(client)} is {client.state} again after {duration(lasted)}",
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
        whom = who(due[0]) if len(due) == 1 else f"{len(due)} clients"
        verb = "is" if len(due) == 1 else "are"
        return [about(now, "reminder", f"{whom} {verb} still down", due, mass=len(due) > 1)]

    def _without_data(self, changes: Changes, now: float) -> list[Notice]:
        """Hearts that beat while the data stand still; told again as seldom as who is down."""
        every = self.settings.reminder_secs
        found = []
        for client in changes.changed:
            if Flag.NO_DATA not in client.flags:
                continue
            one = self.stuck.get(client.id)
            if one is None:
                one = self.stuck[client.id] = Stuck(now, now)
                found.append(client)
            elif one.over and now - one.told_at >= _STUCK_AGAIN_SECS:
                one.over, one.since, one.told_at = False, now, now
                found.append(client)
            elif not one.over and 0 < every <= now - one.told_at:
                one.told_at = now
                found.append(client)
        words = "online, but data do not arrive"
        if len(found) >= self.settings.mass_count:
            title = f"{len(found)} clients: {words}"
            return [about(now, "no_data", title, found, mass=True)]
        return [about(now, "no_data", f"{who(client)}: {words}", [client]) for client in found]

    def _data_again(self, fleet: Fleet, now: float) -> list[Notice]:
        """Whose data have been arriving again for a while."""
        notices = []
        for client_id, one in list(self.stuck.items()):
            client = fleet.clients.get(client_id)
            if client is None or client.state in (State.GONE, State.STOPPED, State.ARCHIVED):
                del self.stuck[client_id]
            elif client.state is not State.UP or client.no_data:
                one.fine_since = None
            elif one.fine_since is None:
                one.fine_since = now
            elif not one.over and now - one.fine_since >= _FINE_SECS:
                one.over = True
                title = (
                    f"{who(client)}: data arrive again after {duration(one.fine_since - one.since)}"
                )
                notices.append(about(now, "data", title, [client]))
            elif one.over and now - one.told_at >= _STUCK_AGAIN_SECS:
                del self.stuck[client_id]
        if len(notices) < self.settings.mass_count:
            return notices
        back = [fleet.clients[str(one.clients[0]["id"])] for one in notices]
        return [about(now, "data", f"{len(back)} clients: data arrive again", back, mass=True)]

    def keep(self) -> dict[str, Any]:
        """What the next run has to know, as JSON."""
        return {
            "troubles": {key: dataclasses.asdict(one) for key, one in self.troubles.items()},
            "recovered": self.recovered,
            "flapping": sorted(self.flapping),
            "stuck": {key: dataclasses.asdict(one) for key, one in self.stuck.items()},
            "mass_at": self.mass_at,
            "mass_wait_secs": self.mass_wait_secs,
            "blind_since": self.blind_since,
            "blind_told": self.blind_told,
            "unseen": {key: dataclasses.asdict(one) for key, one in self.unseen.items()},
        }

    def recall(self, kept: Any) -> None:
        """Go on where a former run ended; what can't be read is begun anew."""
        try:
            self.troubles = {key: Trouble(**one) for key, one in kept["troubles"].items()}
            self.recovered = {key: (one[0], one[1]) for key, one in kept["recovered"].items()}
            self.flapping = set(kept["flapping"])
            self.stuck = {
                key: Stuck(**one) if isinstance(one, dict) else Stuck(one, one)
                for key, one in kept.get("stuck", {}).items()
            }
            self.mass_at, self.mass_wait_secs = kept["mass_at"], float(kept["mass_wait_secs"])
            self.blind_since, self.blind_told = kept["blind_since"], bool(kept["blind_told"])
            self.unseen = {key: Unseen(**one) for key, one in kept.get("unseen", {}).items()}
        except (KeyError, TypeError, AttributeError, IndexError):
            self.troubles, self.recovered, self.flapping = {}, {}, set()
            self.unseen, self.stuck = {}, {}
