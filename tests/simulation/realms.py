"""Realms: seeds from some number on have a world of another kind.

An ordinary seed keeps its history for good; what a realm adds is drawn after all the rest. The
realm's own troubles come beside those that every history may have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice

from tests.simulation.packets import MODSFTP_EXTENSIONS
from tests.simulation.script import Config, FileSpec
from tests.simulation.server import ALL_EXTENSIONS, GO_EXTENSIONS, NO_REPLACE, ServerKind
from tests.simulation.slots import folded

__all__ = ["ORDINARY", "REALMS", "Realm", "first_seed", "is_fetching", "mixed_seeds", "realm_of"]

_SIZE = 1_000_000_000
MS = 1_000_000

Change = Callable[[random.Random, Config, bool], Config]
"""The world as drawn for any seed, and whether it has a focus, becomes the realm's."""


def _same(rng: random.Random, config: Config, is_bent: bool) -> Config:
    return config


@dataclass(frozen=True, slots=True)
class Realm:
    """All seeds in ``[number, number + 1)`` thousand millions."""

    name: str
    number: int
    about: str
    change: Change = _same
    troubles: dict[str, int] = field(default_factory=dict)
    """Kinds of trouble that only this realm has, and how often one of them comes."""
    without: frozenset[str] = frozenset()
    """Kinds of trouble that it can't have."""
    every: int = 1
    """It comes in every so-many-th round of all realms: its histories cost so much more."""

    @property
    def first(self) -> int:
        """Its first seed."""
        return self.number * _SIZE


def _archive(rng: random.Random, config: Config, is_bent: bool) -> Config:
    days = rng.choice([0.3, 2.0, 10.0]) / 86_400
    settings = {**config.settings, "archive_after_days_old": days}
    return replace(config, archives=True, settings=settings)


def _limited(rng: random.Random, config: Config, is_bent: bool) -> Config:
    settings = {**config.settings, "outbox_max_bytes": rng.choice([0, 100, 3_000, 20_000])}
    files = config.files
    if not is_bent and rng.random() < 0.5:  # else it may do more than append
        files = tuple(
            FileSpec(f.name, "append", f.burstmode, remote_start=f.remote_start) for f in files
        )
    return replace(config, settings=settings, files=files, small_outbox=True)


def _calls(rng: random.Random, config: Config, is_bent: bool) -> Config:
    return _calling(rng.choice(["ftp", "sessions"]), config)


def _calling(name: str, config: Config) -> Config:
    extensions = ALL_EXTENSIONS if name == "sessions" else NO_REPLACE
    server = ServerKind(calls=name, extensions=extensions)
    settings = dict(config.settings)
    if name == "sessions":  # a consumer is served by segments there
        settings["on_remote_gone"] = "resend"
    return replace(config, server_name=name, server=server, settings=settings)


def _unsteady(rng: random.Random, config: Config, is_bent: bool) -> Config:
    kind = rng.choice(["", "", "", "ftp"])
    if kind:
        config = _calling(kind, config)
    elif not config.server.readable:
        # What it lost is not to be seen there, by anybody: nothing could be checked.
        config = replace(config, server_name="go", server=ServerKind(extensions=GO_EXTENSIONS))
    # A file that the server has lost looks as one that a consumer took.
    return replace(config, settings={**config.settings, "on_remote_gone": "resend"})


def _folder(rng: random.Random, config: Config, is_bent: bool) -> Config:
    mounted = rng.random() < 0.6
    server = ServerKind(calls="folder", cached=mounted)
    settings = {**config.settings, "on_remote_gone": "resend"}
    latency_ns = rng.choice([50_000, MS, 20 * MS]) if mounted else 50_000
    bytes_per_sec = config.bytes_per_sec if mounted else 0
    if mounted and rng.random() < 0.3:
        server = replace(server, refuses_late=True)
        config = replace(config, block_bytes=600_000)  # files of several writes
        bytes_per_sec = 2_000_000
    return replace(
        config,
        server_name="mount" if mounted else "disk",
        server=server,
        settings=settings,
        latency_ns=latency_ns,
        bytes_per_sec=bytes_per_sec,
    )


def _options(rng: random.Random, config: Config, is_bent: bool) -> Config:
    settings = {
        **config.settings,
        "line_wait_secs": rng.choice([0.5, 2.0, 5.0]),
        "burst_rule": rng.choice(["calls", "bytes", "auto"]),
        "burst_full_bytes": rng.choice([20, 500, 32_768]),
        "max_delay_secs": rng.choice([0.3, 5.0]),
        "retry_jitter": rng.choice([0.0, 0.5]),
        "retry_growth": rng.choice([1.0, 2.0]),
    }
    files = tuple(
        replace(f, lines=not f.in_folder and f.growth != "rewrite" and rng.random() < 0.6)
        for f in config.files
    )
    return replace(config, settings=settings, files=files, block_share=rng.choice([0.1, 0.5]))


def _budgets(rng: random.Random, config: Config, is_bent: bool) -> Config:
    limits = {
        "max_bytes_per_day": rng.choice([50_000, 300_000]),
        "max_transactions_per_day": rng.choice([30, 300]),
        "max_rate_bytes_per_sec": rng.choice([1024, 5_000]),
    }
    chosen = rng.sample(sorted(limits), rng.choice([1, 1, 2]))
    settings = {**config.settings, **{name: limits[name] for name in chosen}}
    settings["timer_interval_secs"] = 300.0
    return replace(config, settings=settings, events=1.0, block_bytes=2_000, finish_secs=4 * 86_400)


def _segments(rng: random.Random, config: Config, is_bent: bool) -> Config:
    config = _calling("sessions", config)
    if is_bent:  # its programs may do more than append; what does not only append goes whole
        files = tuple(replace(f, remote_start="") for f in config.files)
    else:
        files = tuple(FileSpec(f.name, "append", f.burstmode) for f in config.files)
    return replace(config, files=files, settings={**config.settings, "segments": True})


def _names(rng: random.Random, config: Config, is_bent: bool) -> Config:
    """Two files whose names at the destination are one, or (now and then) only look like it."""
    kind = rng.choice(["", "", "", "ftp", "sessions"])
    if kind:
        config = _calling(kind, config)
    one, other = rng.choice(_TWINS)
    folds = rng.random() < 0.8 or one == other
    growths = ["auto", "rewrite"] if is_bent else ["append", "auto", "rewrite"]
    twin = FileSpec(other, rng.choice(["auto", rng.choice(growths)]), in_folder=one == other)
    if twin.in_folder:
        twin = FileSpec(other, "auto", in_folder=True)
    files = (FileSpec(one, rng.choice(growths)), twin)
    others = tuple(f for f in config.files if folded(f.name) not in (folded(one), folded(other)))
    files += tuple(replace(f, remote_start="") for f in others[:1])
    server = replace(config.server, folds_names=folds and one != other)
    settings = {**config.settings, "on_remote_gone": "resend"}
    # Files come and go, so that numbers are used again: two ends of zeros would be taken for one.
    disk = replace(config.file_system, zero_tails=False)
    return replace(config, files=files, server=server, settings=settings, file_system=disk)


_TWINS = (
    ("a.csv", "a.csv"),
    ("a.csv", "a.csv"),
    ("a.csv", "A.csv"),
    ("c d.log", "C D.LOG"),
    ("gr\u00f6\u00dfe.csv", "gro\u0308\u00dfe.csv"),
)


def _beats(rng: random.Random, config: Config, is_bent: bool) -> Config:
    kind = rng.choice(["", "", "", "ftp", "sessions"])
    if kind:
        config = _calling(kind, config)
    every = {"heartbeat_interval_secs": rng.choice([0.5, 2.0, 7.0]), "heartbeat_name": "edge"}
    return replace(config, settings={**config.settings, "on_remote_gone": "resend", **every})


def _appending(rng: random.Random, config: Config, is_bent: bool) -> Config:
    return _calling("appe", config)


def _masters(rng: random.Random, config: Config, is_bent: bool) -> Config:
    return replace(config, masters=True)


def _short(rng: random.Random, config: Config, is_bent: bool) -> Config:
    kind = replace(
        config.server,
        extensions=MODSFTP_EXTENSIONS,
        parallel=False,
        acks_short=True,
        software="mod_sftp/1.3.8",
    )
    return replace(config, server_name="mod_sftp", server=kind)


def _stuck(rng: random.Random, config: Config, is_bent: bool) -> Config:
    files = config.files
    while len(files) < 2 or all(f.name == files[0].name for f in files[1:]):
        files = (*files, FileSpec("second.csv", rng.choice(["append", "auto", "rewrite"])))
    config = replace(config, files=files, stuck=True, bytes_per_sec=rng.choice([0, 2_000_000]))
    return replace(config, settings={**config.settings, "on_remote_gone": "resend"})


def _rotated(rng: random.Random, config: Config, is_bent: bool) -> Config:
    kind = rng.choice(["", "", "", "ftp", "sessions", "segments"])
    if kind == "segments":
        config = _segments(rng, config, is_bent)
    elif kind:
        config = _calling(kind, config)
    settings = {
        **config.settings,
        "rotated_as": rng.choice(["{name}-{time}", "{stem}-{time}{ext}", "{local}"]),
        "on_first_contact": "keep",
    }
    files = tuple(
        replace(
            f,
            growth="append" if f.growth == "rewrite" and not is_bent else f.growth,
            rotates=rng.choice(["numbered", "dated"]),
        )
        for f in config.files
    )
    return replace(config, settings=settings, files=files)


_ALL_TROUBLES = frozenset(
    "kill power cut refuse clock disk_fault disk_full denied remote_full consumer foreign restart "
    "write_back".split()
)
ORDINARY = Realm("ordinary", 0, "what every machine may see")
REALMS: dict[str, Realm] = {
    realm.name: realm
    for realm in (
        ORDINARY,
        Realm("archive", 2, "old files, seconds old, move aside once they are delivered", _archive),
        Realm("limited", 3, "the outbox is soon full: files are their own source", _limited),
        Realm("calls", 4, "FTP's manners, or Dropbox's: one call after the other", _calls),
        Realm(
            "unsteady",
            5,
            "the server goes down with what it had not synced; its replies come twice, or late",
            _unsteady,
            troubles={"server_loss": 5, "echo": 4, "lag": 4},
            without=frozenset({"consumer"}),
        ),
        Realm(
            "folder",
            6,
            "a folder, on a mount with a cache of its own, or on the disk that loses its power",
            _folder,
            troubles={"server_loss": 2, "lag": 2},
            without=frozenset({"consumer"}),
        ),
        Realm(
            "options",
            7,
            "whole lines, bursts by bytes, other waits; other clients and masters beside us",
            _options,
            troubles={"neighbour": 2, "other_master": 5},
        ),
        Realm(
            "segments",
            9,
            "a growing file goes piece by piece, each a file of its own (Dropbox)",
            _segments,
            without=frozenset({"consumer", "foreign"}),
        ),
        Realm(
            "stuck",
            10,
            "one file can't be delivered, and nothing else goes wrong: the others are in time",
            _stuck,
            troubles={"jam": 6},
            without=_ALL_TROUBLES,
            every=3,
        ),
        Realm(
            "rotated",
            15,
            "what is rotated is kept at the destination, under a name of its own",
            _rotated,
            without=frozenset({"consumer", "foreign"}),
        ),
        Realm(
            "names",
            11,
            "two files have one name at the destination, which may fold case; files come and go",
            _names,
            troubles={"leave": 5},
            without=frozenset({"consumer", "foreign", "power"}),
        ),
        Realm(
            "beats",
            12,
            "heartbeats, which somebody watches",
            _beats,
            troubles={"restart": 5, "refuse": 4},
            without=frozenset({"consumer", "foreign"}),
            every=3,
        ),
        Realm(
            "appending",
            13,
            "FTP servers that can only append, where what a broken connection sent arrives later",
            _appending,
            troubles={"cut": 12, "kill": 8},
        ),
        Realm(
            "masters",
            14,
            "another master starts, with the same state folder: its child takes it over",
            _masters,
            troubles={"second_master": 8, "kill": 6, "refuse": 4},
            every=2,
        ),
        Realm(
            "short",
            18,
            "a server whose disk is full acknowledges writes of which it took a part (mod_sftp)",
            _short,
            troubles={"remote_full": 9},
        ),
        Realm(
            "names_power",
            17,
            "as names, with losses of power",
            _names,
            troubles={"leave": 5},
            without=frozenset({"consumer", "foreign"}),
        ),
        Realm("fetching", 16, "the other way round: tests/simulation/fetching_world.py"),
        Realm("budgets", 8, "so much a day, so much a second", _budgets, troubles={"restart": 4}),
    )
}


def realm_of(seed: int) -> Realm:
    """The realm that a seed belongs to."""
    number = seed // _SIZE
    return next((realm for realm in REALMS.values() if realm.number == number), ORDINARY)


def is_fetching(seed: int) -> bool:
    """Whether it is a history of fetching, which has a world of its own."""
    return realm_of(seed).name == "fetching"


def first_seed(realm: str) -> int:
    """Where a realm's seeds begin."""
    return REALMS[realm].first


def mixed_seeds(start: int, number: int) -> Iterator[int]:
    """``number`` seeds: every second one is ordinary, the others go round the realms, so that each
    of them gets about the same time."""

    def seeds() -> Iterator[int]:
        others = [realm for realm in REALMS.values() if realm is not ORDINARY]
        at = start
        for round_number in count():
            for realm in others:
                if round_number % realm.every == 0:
                    yield at
                    yield realm.first + at
                    at += 1

    return islice(seeds(), number)
