"""One client: what was seen of it, and what the monitor remembers. Pure: time is an argument."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from dataclasses import dataclass, field

from pysubtask.monitor.beatfile import Facts, read_beat
from pysubtask.monitor.names import client_id
from pysubtask.monitor.rule import Evidence, Flag, State, judge
from pysubtask.monitor.units import bytes_in_words, duration

__all__ = ["Client", "Identity", "Settings", "Sighting", "believed"]

TRUSTED_SECS = 5.0
"""How far a modified time may lie from the change time, or in the future, and be believed."""
SKEWED_SECS = 120.0
"""A client's own clock (``sent_at``) may be off by this, delivery included, without a flag."""
FLAP_WINDOW_SECS = 3600.0
FLAPS = 4
_YEAR_2000 = 946_684_800.0  # an earlier stamp is no stamp
GROWING_BEATS = 4
_MOMENTS = (
    "first_seen state_since beat_at gone_at unseen_since pardon_until patience_ends pause_until"
).split()
STUCK_SECS = 3600.0
"""What a client owes for so long (and for ten intervals) does not move."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the rule needs to know. All in seconds."""

    grace_secs: float = 30.0
    archive_secs: float = 30 * 86_400.0
    forget_secs: float = 100 * 86_400.0
    """Archived for so long: forgotten."""
    accept_loss_secs: float = 3600.0
    """A folder that lost half its files at once is believed after this long."""
    look_secs: float = 5.0
    """The usual pause between two looks; one that lasts much longer is a time of blindness."""
    data_secs: float | None = None
    """With one folder a client: its data are expected to change within this time."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a beat when it changes. The change time is not in it: chmod is no beat. Nor is the
    inode: a backup that is put back, or a move to another disk, gives all files new ones."""

    mtime_ns: int
    inode: int = field(compare=False)
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Sighting:
    """A heartbeat file as a source saw it."""

    name: str
    mtime_ns: int
    ctime_ns: int | None
    """None where the source can't tell (SFTP)."""
    inode: int
    size: int
    content: bytes
    refused: str | None = None
    """Why it is no heartbeat file (a symbolic link, a device …)."""
    unread: str | None = None
    """Why it could not be read this time (no permission, an I/O error): what it says, and since
    when, nobody knows."""
    data_at: float | None = None
    """The newest modified time of the data files beside it, if the source looked."""
    data_bytes: int | None = None

    def identity(self) -> Identity:
        """What of it makes a beat when it changes."""
        digest = hashlib.blake2b(self.content, digest_size=8).digest()
        return Identity(self.mtime_ns, self.inode, self.size, digest)


@dataclass(slots=True, eq=False)
class Client:
    """Everything about one client. Times in Unix seconds."""

    name: str
    first_seen: float
    id: str = ""
    identity: Identity | None = None
    present: bool = True
    gone_at: float | None = None
    unseen_since: float | None = None
    """Since when it can't be seen although others can; None: it can."""
    unseen_why: str | None = None
    beat_at: float | None = None
    interval_secs: int | None = None
    unsure: bytes | None = None
    """A first line without newline that was seen once; None when there is none."""
    problem: str | None = None
    suspect: str | None = None
    """A problem that was seen once; the second time it is one."""
    skew: str | None = None
    facts: Facts = field(default_factory=Facts)
    no_data: str | None = None
    backlogs: deque[int] = field(default_factory=lambda: deque(maxlen=GROWING_BEATS))
    data_at: float | None = None
    data_bytes: int | None = None
    downs: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    state: State = State.NEW
    online: bool | None = None
    state_since: float = 0.0
    pardon_until: float | None = None
    patience_ends: float | None = None
    pause: str | None = None
    """None, ``"beat"``, ``"time"`` or ``"hand"``: what ends the pause."""
    pause_until: float | None = None
    tags: tuple[str, ...] = ()
    twins: dict[str, Client] = field(default_factory=dict)
    """All clients whose names look like its own, itself among them, by name; they share it."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    """When the last beats were, as far as this run of the monitor saw them."""
    settled_until: float = 0.0
    """Until then nothing but a change of its file can change the verdict."""
    _last: Sighting | None = None

    def __post_init__(self) -> None:
        self.id = self.id or client_id(self.name)
        self.state_since = self.state_since or self.first_seen

    @property
    def deadline(self) -> float | None:
        """When it turns (or turned) offline unless it beats."""
        if self.beat_at is None or not self.interval_secs:
            return None
        return self.beat_at + self.interval_secs

    @property
    def look_alike(self) -> str | None:
        """Another client's name that looks like its own."""
        if len(self.twins) < 2 or self.name not in self.twins:
            return None
        return next(name for name in self.twins if name != self.name)

    @property
    def flags(self) -> tuple[Flag, ...]:
        found = (
            (Flag.CLOCK_SKEW, self.skew),
            (Flag.BAD_FILE, self.problem),
            (Flag.FLAPPING, len(self.downs) >= FLAPS),
            (Flag.NO_DATA, self.no_data if self.state in (State.UP, State.LATE) else None),
            (Flag.LOOK_ALIKE, self.look_alike),
        )
        return tuple(flag for flag, there in found if there)

    def see(self, sighting: Sighting, now: float, offset: float = 0.0) -> bool:
        """Take in what a scan saw. True if it is a beat.

        ``offset`` is how far the file server's clock is behind the monitor's.
        """
        last = self._last
        if last is not None and _same(last, sighting):
            return False
        # A content that is not yet believed is looked at again although it is the same.
        self._last = sighting
        self.settled_until = 0.0
        self.present, self.gone_at = True, None
        self.data_at, self.data_bytes = sighting.data_at, sighting.data_bytes
        if sighting.refused is not None:
            self.problem = sighting.refused
            return False
        identity = sighting.identity()
        beat = identity != self.identity
        if beat:
            self.beat_at, self.skew = believed(sighting, now, offset, first=self.identity is None)
            self.identity = identity
            self.recent.append(self.beat_at)
        self._read(sighting, beat)
        if self.unsure is not None or (self.suspect is not None and self.problem is None):
            self._last = None
        if beat and self.pause == "beat":
            self.pause = None
        return beat

    def _read(self, sighting: Sighting, beat: bool) -> None:
        reading = read_beat(sighting.content)
        problem = reading.problem
        growing = not reading.ended and reading.interval_secs != self.interval_secs
        if problem is None and growing and (beat or self.unsure != sighting.content):
            # More digits may be on their way: believed once it has stood still for a scan.
            self.unsure = sighting.content
            return
        self.unsure = None
        if problem is not None:
            # A file that is written in place is empty for a moment: a fault only if it stays.
            if beat or self.suspect is None:
                self.suspect = problem
            else:
                self.problem = problem
            return
        self.suspect = self.problem = None
        self.interval_secs = reading.interval_secs
        self.facts = reading.facts
        if beat:
            self._take_facts()

    def _take_facts(self) -> None:
        facts = self.facts
        if facts.backlog_bytes is not None:
            self.backlogs.append(facts.backlog_bytes)
        else:
            self.backlogs.clear()  # it no longer says: what it said before is no news
        if facts.sent_at is not None and self.beat_at is not None and self.skew is None:
            apart = facts.sent_at - self.beat_at
            if abs(apart) > SKEWED_SECS:
                way = "ahead of" if apart > 0 else "behind"
                self.skew = f"The client's clock is {duration(abs(apart))} {way} the server's"

    def look_at_data(self, now: float, data_secs: float | None) -> None:
        """Decide whether data stand still while the heart beats."""
        grown = list(self.backlogs)
        self.no_data = None
        if self.interval_secs is None:
            return
        rising = all(a < b for a, b in itertools.pairwise(grown))
        age = self.facts.oldest_age_secs
        waits = age is None or age > self.interval_secs  # else it delivers, and owes what is new
        if age is not None and age > max(STUCK_SECS, 10 * self.interval_secs):
            self.no_data = f"Its oldest data have waited for {duration(age)}"
        elif len(grown) == GROWING_BEATS and rising and waits:
            self.no_data = (
                f"Its backlog grew over the last {GROWING_BEATS} beats, "
                f"to {bytes_in_words(grown[-1])}"
            )
        elif data_secs is not None and self.data_at is not None and now - self.data_at > data_secs:
            self.no_data = f"Its data files have not changed for {duration(now - self.data_at)}"

    def hide(self, since: float, why: str) -> None:
        """It can't be seen, though others can. ``since``: the last look that could see."""
        if self.unseen_since is None:
            self.unseen_since = since
        if self.unseen_why != why:
            self.unseen_why, self.settled_until = why, 0.0
        self.present, self.gone_at, self._last = True, None, None

    def vanish(self, now: float) -> None:
        """Its file is no longer there."""
        if self.present:
            self.present, self.gone_at = False, now
            self.settled_until, self._last = 0.0, None

    def shift(self, by: float) -> None:
        """The monitor's clock was set by so much: what happened before keeps its age."""
        self.settled_until = 0.0
        for name in _MOMENTS:
            at = getattr(self, name)
            if at is not None:
                setattr(self, name, at + by)
        self.downs = deque((at + by for at in self.downs), maxlen=self.downs.maxlen)
        self.recent = deque((at + by for at in self.recent), maxlen=self.recent.maxlen)

    def evidence(self, now: float, blind: bool, settings: Settings) -> Evidence:
        """What the rule is asked about."""
        if self.pause == "time" and self.pause_until is not None and now >= self.pause_until:
            self.pause = self.pause_until = None
        return Evidence(
            now=now,
            present=self.present,
            beat_at=self.beat_at,
            interval_secs=self.interval_secs,
            blind=blind or self.unseen_since is not None,
            paused=self.pause is not None,
            gone_secs=now - self.gone_at if self.gone_at is not None else 0.0,
            grace_secs=settings.grace_secs,
            archive_secs=settings.archive_secs,
            pardon_until=self.pardon_until,
        )

    def take(self, evidence: Evidence, now: float) -> State | None:
        """Ask the rule and take its verdict; gives the former state if it changed."""
        verdict = judge(evidence)
        self.online, self.patience_ends = verdict.online, evidence.patience_ends
        while self.downs and now - self.downs[0] > FLAP_WINDOW_SECS:
            self.downs.popleft()
        former = None
        if verdict.state is not self.state:
            former, self.state, self.state_since = self.state, verdict.state, now
            if verdict.state is State.DOWN and former in (State.UP, State.LATE):
                self.downs.append(now)
        turns = [at for at in (evidence.deadline, evidence.patience_ends) if at and at >= now]
        if self.pause_until is not None:
            turns.append(self.pause_until)
        if self.downs:
            turns.append(self.downs[0] + FLAP_WINDOW_SECS)
        if self.gone_at is not None:
            turns.append(max(now, self.gone_at + evidence.archive_secs))
        self.settled_until = min(turns, default=float("inf"))
        return former


def _same(last: Sighting, new: Sighting) -> bool:
    return (
        last.mtime_ns == new.mtime_ns
        and last.content == new.content
        and last.inode == new.inode
        and last.size == new.size
        and last.refused == new.refused
        and last.data_at == new.data_at
    )


def believed(
    sighting: Sighting, now: float, offset: float, *, first: bool
) -> tuple[float, str | None]:
    """When the beat was, in the monitor's time, and what is wrong with the stamp, if anything.

    SFTP clients may set any modified time (``touch -d 2096``). The change time can't be set, so on
    a local disk it is the witness; without one it is the time at which the change was observed.
    """
    mtime = sighting.mtime_ns / 1e9 + offset
    if sighting.ctime_ns is None:
        if first and _YEAR_2000 <= mtime <= now + TRUSTED_SECS:
            return mtime, None  # nothing better is known of what was there before us
        skewed = abs(now - mtime) > SKEWED_SECS
        return now, _skew(mtime - now, "the time it was seen at") if skewed or first else None
    ctime = sighting.ctime_ns / 1e9 + offset
    if mtime <= now + TRUSTED_SECS and abs(mtime - ctime) <= TRUSTED_SECS:
        return mtime, None
    if ctime <= now + TRUSTED_SECS:
        return min(ctime, now), _skew(mtime - ctime, "the file's change time")
    return now, _skew(mtime - now, "the server's clock")


def _skew(apart: float, witness: str) -> str:
    way = "after" if apart > 0 else "before"
    return f"The file's modified time is {duration(abs(apart))} {way} {witness}: not believed"
