"""All clients of one source: a scan in, what changed out. Pure: clocks and files are arguments.

Besides asking the rule about each client it decides what no single file can tell: that the monitor
is blind (the source can't be read, or lost half its files at once), that a clock was set, and that
clients could not beat while nobody looked.
"""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pysubtask.monitor.clients import Client, Settings, Sighting
from pysubtask.monitor.names import skeleton
from pysubtask.monitor.rule import State
from pysubtask.monitor.sight import Scan, Sight, sight_of

__all__ = ["Changes", "Fleet", "Flip", "Scan"]

STEP_SECS = 5.0
"""Wall and monotonic clock may part by this between two scans; more is a step of the clock."""
STALL_SECS = 30.0
"""No look for so long (and for four usual pauses) is a time in which nobody could be seen."""
MAX_GONE = 50_000
"""So many clients whose files are gone are remembered."""
_GAPS = 9
_LAGS = 64
_NO_SOURCE = "it has not been read yet"


@dataclass(frozen=True, slots=True)
class Flip:
    """A client changed its state."""

    client: Client
    at: float
    old: State | None
    """None: the client was seen for the first time."""
    new: State


@dataclass(slots=True)
class Changes:
    """What one scan changed."""

    now: float
    flips: list[Flip] = field(default_factory=list)
    changed: list[Client] = field(default_factory=list)
    """Clients of which anything changed, a beat included."""
    blind: str | None = None
    """Why nothing can be seen now."""
    went_blind: bool = False
    sight_back: bool = False
    stalled_since: float | None = None
    """Since when nobody looked, though nothing was amiss: a scan hung, or the machine stood still.
    None: the look before was not long ago."""
    step_secs: float = 0.0
    """By how much the clock was set, if it was."""


class Fleet:
    """The clients by their ids, and what is known of the source."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.clients: dict[str, Client] = {}
        self.by_name: dict[str, Client] = {}
        self.blind: str | None = _NO_SOURCE
        """Why nobody can be seen."""
        self.partly: str | None = None
        """Why at least half of the clients can't be seen, though others can."""
        self.unseen: set[str] = set()
        """The ids of those that can't be seen although others can."""
        self.blind_since: float | None = None
        self.loss_since: float | None = None
        self.lost_accepted = False
        self.root = ""
        self.offset = 0.0
        self._alike: dict[str, dict[str, Client]] = defaultdict(dict)
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._lags: deque[float] = deque(maxlen=_LAGS)
        self._last: tuple[float, float] | None = None
        self._previous: float | None = None

    def add(self, client: Client) -> None:
        """Take in a client, a remembered one for instance."""
        self.clients[client.id] = client
        self.by_name[client.name] = client
        if client.state is not State.ARCHIVED:
            self._join_twins(client)

    def _join_twins(self, client: Client) -> None:
        """Names that look alike are told apart by a flag; there may be 65,536 spellings of one."""
        twins = client.twins = self._alike[skeleton(client.name)]
        twins[client.name] = client
        client.settled_until = 0.0
        if len(twins) == 2:
            for twin in twins.values():
                twin.settled_until = 0.0

    def _leave_twins(self, client: Client) -> None:
        twins, client.twins = client.twins, {}
        twins.pop(client.name, None)
        for twin in twins.values() if len(twins) == 1 else ():
            twin.settled_until = 0.0
        if not twins:
            self._alike.pop(skeleton(client.name), None)

    def remove(self, client: Client) -> None:
        """Forget a client."""
        self.clients.pop(client.id, None)
        self.by_name.pop(client.name, None)
        if client.twins:
            self._leave_twins(client)

    def outdated(self, now: float) -> list[Client]:
        """Clients whose files have been gone for so long that they are to be forgotten.

        So are, if there are very many, those that were there for the shortest time: whoever may
        make and remove files can't make the monitor remember more and more. Whom people paused or
        tagged is kept.
        """
        keep_secs = self.settings.archive_secs + self.settings.forget_secs
        gone = [
            (client.gone_at - client.first_seen, client.gone_at, client)
            for client in self.clients.values()
            if client.gone_at is not None and not client.present
            if not client.tags and client.pause is None
        ]
        found = [client for _, gone_at, client in gone if now - gone_at >= keep_secs]
        if len(gone) - len(found) > MAX_GONE:
            gone.sort(key=lambda one: one[:2])
            found = [client for _, _, client in gone[: len(gone) - MAX_GONE]]
        return found

    def remember_sight(self, last_look: float | None, now: float) -> float:
        """A former run's last look: what came due after it could be seen by nobody.

        If it lies ahead, the clock was set back between the two runs: by so much at least (which is
        given), and all that happened before keeps the age that it had at that look.
        """
        self.blind_since = self._previous = last_look
        step = now - last_look if last_look is not None else 0.0
        if step >= -STEP_SECS:
            step = 0.0
        else:
            self._shift(step)
        for client in self.clients.values():
            client.first_seen = min(client.first_seen, now)
        return step

    def accept_loss(self) -> None:
        """Somebody says that the missing files are meant to be missing."""
        self.lost_accepted = True

    def observe(self, scan: Scan, now: float, monotonic: float) -> Changes:
        """Take in a scan that began at ``now`` by the wall clock, ``monotonic`` by the other."""
        changes = Changes(now)
        gap = monotonic - self._last[1] if self._last is not None else 0.0
        changes.step_secs = self._step(now, monotonic)
        was_blind = self.blind
        sight = sight_of(scan, self.clients.values(), self.root)
        lost = self._lost(sight, now) if scan.error is None else {}
        self._decide(scan, sight, lost)
        changes.blind = self.blind
        if self.blind is not None:
            if was_blind is None:
                self.blind_since = self._previous if self._previous is not None else now
                changes.went_blind = True
            self._judge_all(changes, now)
            return changes
        beats = self._take_in(scan, now, gap if changes.step_secs else None)
        changes.changed.extend(beats)
        self._miss(scan, {**sight.hidden, **lost}, now)
        if was_blind is not None:
            changes.sight_back = was_blind is not _NO_SOURCE
            self._pardon(now)
            self.blind_since = None
        elif self._stalled(gap):
            changes.stalled_since = self.blind_since = self._previous
            self._pardon(now)
            self.blind_since = None
        if self.root != scan.root:
            self._lags.clear()
            self.offset = self.offset if not self.root else 0.0
        self.root = scan.root
        self._previous = now
        self._judge_all(changes, now)
        return changes

    def _stalled(self, gap: float) -> bool:
        """Whether the last look is so long ago that it is as if the monitor had been blind.

        A scan may hang for half an hour in a network mount whose server is away: then nobody could
        deliver either. A scan that always takes long is no such thing.
        """
        usual = max(self.settings.look_secs, statistics.median(self._gaps) if self._gaps else 0.0)
        self._gaps.append(gap)
        return gap > max(STALL_SECS, 4 * usual)

    def _step(self, now: float, monotonic: float) -> float:
        last, self._last = self._last, (now, monotonic)
        if last is None:
            return 0.0
        step = (now - last[0]) - (monotonic - last[1])
        if abs(step) <= STEP_SECS:
            return 0.0
        self._shift(step)
        return step

    def _shift(self, by: float) -> None:
        self._lags.clear()
        if self.offset:  # a network mount, whose clock was not set
            self.offset += by
        for client in self.clients.values():
            client.shift(by)
        self._previous = None if self._previous is None else self._previous + by
        self.blind_since = None if self.blind_since is None else self.blind_since + by
        self.loss_since = None if self.loss_since is None else self.loss_since + by

    def _decide(self, scan: Scan, sight: Sight, lost: Mapping[str, str]) -> None:
        """Whether nobody can be seen, or only some.

        Sightings beside lost files go on counting: else whoever may make and remove files would
        silence the alerts about everybody else. Those in another folder do not.
        """
        reason = sight.reason(lost)
        nobody = not sight.visible or (sight.swapped and bool(lost))
        self.blind = scan.error or (reason if nobody else None)
        self.partly = reason if self.blind is None else None

    def _lost(self, sight: Sight, now: float) -> Mapping[str, str]:
        """Files that vanished together, as long as nobody believes that they were removed."""
        waited = now - self.loss_since if self.loss_since is not None else 0.0
        believed = waited >= self.settings.accept_loss_secs and not sight.swapped
        if not sight.lost_together or self.lost_accepted or believed:
            self.loss_since = None
            self.lost_accepted = False
            return {}
        if self.loss_since is None:
            self.loss_since = now
        return sight.missing

    def _take_in(self, scan: Scan, now: float, gap: float | None) -> list[Client]:
        """Take in all sightings; gives the clients that beat.

        ``gap``: the clock was set since the last look, so many seconds ago by the monotonic one.
        Beats from between are stamped by either clock, but can't be older than that.
        """
        beats = []
        for sighting in scan.sightings:
            client = self.by_name.get(sighting.name)
            if client is None:
                client = Client(sighting.name, first_seen=now)
                self.add(client)
            if sighting.unread is not None:
                continue
            first = client.identity is None
            not_before = self._not_before(client)
            if client.see(sighting, now, self.offset):
                beats.append(client)
                client.pardon_until = None
                if not first and gap is None:
                    self._note_lag(sighting, now)
                    client.beat_at = max(client.beat_at or now, not_before)
                elif not first and client.beat_at is not None:
                    client.beat_at = min(max(client.beat_at, now - (gap or 0.0)), now)
                    client.skew = None
            if client.settled_until == 0.0 or self.settings.data_secs is not None:
                before = client.no_data
                client.look_at_data(now, self.settings.data_secs)
                if before != client.no_data:
                    client.settled_until = 0.0
            if client.unseen_since is not None:
                self._pardon_one(client, client.unseen_since, now)
                client.unseen_since = client.unseen_why = None
        return beats

    def _miss(self, scan: Scan, unseen: Mapping[str, str], now: float) -> None:
        """Take in what was not seen; ``unseen``: why some can't be, by their names."""
        there = {sighting.name for sighting in scan.sightings}
        since = self._previous if self._previous is not None else now
        self.unseen.clear()
        for client in self.clients.values():
            why = unseen.get(client.name)
            if why is not None:
                client.hide(since, why)
                self.unseen.add(client.id)
            elif client.name not in there:
                client.unseen_since = client.unseen_why = None
                client.vanish(now)

    def _not_before(self, client: Client) -> float:
        """When somebody last looked and did not find its next beat: that can't be older.

        Stamps say so where the file server's clock was set back, or its error is not yet measured.
        Of a file that was away nobody knows: its stamp may be as old as it says.
        """
        if not client.present or self._previous is None:
            return 0.0
        return self._previous if client.unseen_since is None else client.unseen_since

    def _note_lag(self, sighting: Sighting, now: float) -> None:
        """The smallest distance between a change and its sighting is the server's clock's error.

        A network mount stamps by the file server's clock. On a local disk the smallest distance is
        less than the time between two scans, and is left alone.
        """
        if sighting.ctime_ns is None or self._previous is None:
            return
        lag, gap = now - sighting.ctime_ns / 1e9, now - self._previous
        if self._lags and lag - min(self._lags) > gap + 2.0:
            self._lags.clear()  # that clock was set back: what was measured before is no more true
        self._lags.append(lag)
        if len(self._lags) >= 3:
            least = min(self._lags)
            self.offset = least if not -2.0 <= least <= gap + 2.0 else 0.0

    def _pardon(self, now: float) -> None:
        """After a time of blindness: who was not overdue before it gets more time."""
        since = self.blind_since
        if since is None:
            return  # the first look ever: what is overdue is overdue
        for client in self.clients.values():
            self._pardon_one(client, since, now)

    def _pardon_one(self, client: Client, since: float, now: float) -> None:
        """Who came due meanwhile gets one interval; who did not beat either, what it lasted."""
        client.settled_until = 0.0
        deadline, beat_at = client.deadline, client.beat_at
        if deadline is None or beat_at is None or not client.interval_secs:
            return
        grace, interval = self.settings.grace_secs, client.interval_secs
        if since < deadline < now:
            client.pardon_until = now + interval + grace
        elif now <= deadline and beat_at <= since:
            until = deadline + min(now - since, interval) + grace
            client.pardon_until = max(until, client.pardon_until or until)

    def _judge_all(self, changes: Changes, now: float) -> None:
        held = bool(changes.step_secs)
        settings, blind = self.settings, self.blind is not None
        everyone = blind or held or changes.sight_back or changes.went_blind
        touched = {client.id for client in changes.changed}
        for client in self.clients.values():
            if now < client.settled_until and not everyone:
                continue
            fresh = client.first_seen == now
            if held and not fresh:
                client.settled_until = 0.0
                continue
            looked_at = client.settled_until == 0.0  # something of its file or of people's wishes
            before = client.online, client.flags
            former = client.take(client.evidence(now, blind, settings), now)
            if former is State.ARCHIVED:
                self._join_twins(client)
            elif former is not None and client.state is State.ARCHIVED:
                self._leave_twins(client)
            if former is not None or fresh:
                changes.flips.append(Flip(client, now, None if fresh else former, client.state))
            differs = former is not None or before != (client.online, client.flags)
            if (looked_at or differs) and client.id not in touched:
                changes.changed.append(client)

    def rejudge(self, clients: Iterable[Client], now: float) -> list[Flip]:
        """Ask the rule again about clients that somebody paused or resumed between two scans."""
        flips = []
        for client in clients:
            blind = self.blind is not None
            former = client.take(client.evidence(now, blind, self.settings), now)
            if former is not None:
                flips.append(Flip(client, now, former, client.state))
        return flips
