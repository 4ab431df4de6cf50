"""``python -m tests.simulation``: run histories, replay one, show that planted bugs are caught."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.simulation.focus import FOCUSES, seeds_with
from tests.simulation.history import make_history
from tests.simulation.outcome import Outcome
from tests.simulation.plants import PLANTS, WORLDS
from tests.simulation.realms import REALMS, is_fetching, mixed_seeds
from tests.simulation.runner import catch_all, planted, run_history, run_many, run_seed
from tests.simulation.script import History
from tests.simulation.shrink import shrink, tell
from tests.simulation.sweep import case_of
from tests.simulation.sweeping import sweep

_SHOWN = 20
_MEANING = {
    "torn": "a reader sees a mix, a hole or a half",
    "backwards": "a reader sees an older content again",
    "shrunk": "a reader sees less than before",
    "lost": "what was promised is not there",
    "gone": "a name is missing for a moment",
    "stray": "a name that is not ours to make",
    "litter": "a temporary file is left",
    "resent": "more is sent again than what breaks excuse",
    "budget": "more is spent than the settings allow",
    "held": "one file waits for another",
    "taken": "a name goes to another file too soon, or is two files'",
    "two": "two children use one state folder",
    "beat": "a heartbeat is not whole, goes back, or says what is not so",
    "line": "a reader sees half a line too early",
    "status": "status() says what is not so",
    "untold": "the program is not told of what has arrived",
    "beside": "a file that nobody has changed is not replaced",
    "unserved": "a touch is never served",
    "forgotten": "what was noted is not known to the next process",
    "unbacked": "the journal relies on a copy that is gone",
    "leak": "what nobody needs goes on taking room",
    "pending": "it never comes to its end",
    "spin": "it never comes to rest",
    "crash": "an exception escapes",
}
"""Which promise each kind of failure breaks."""


def main(argv: list[str] | None = None) -> int:
    """Exit code 1 if a promise was broken (or a planted bug was not found)."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many histories")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one history")
    parser.add_argument("--case", metavar="STORY:N", help="run one case of the sweep")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --replay: the story")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="with this bug in the code")
    parser.add_argument("--plants", action="store_true", help="each planted bug until it is caught")
    parser.add_argument("--focus", choices=sorted(FOCUSES), help="only worlds with this bias")
    parser.add_argument("--realm", choices=[*REALMS, "all"], help="worlds of this kind; or of each")
    parser.add_argument("--hours", type=float, metavar="H", help="fresh seeds for so long")
    parser.add_argument("--fresh-secs", type=float, metavar="S", help="likewise, in seconds")
    parser.add_argument(
        "--shrink", action="store_true", help="with --replay: make it smaller first"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="short histories, a fault at each call"
    )
    parser.add_argument("--stride", type=int, default=1, metavar="K", help="… at every K-th only")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at many failures")
    args = parser.parse_args(argv)
    if args.replay is not None and is_fetching(args.replay):
        with planted(args.plant):
            return _replay_fetching(args.replay, verbose=args.verbose)
    if args.replay is not None or args.case:
        history = case_of(args.case) if args.case else make_history(args.replay)
        with planted(args.plant):
            return _replay(history, verbose=args.verbose, smaller=args.shrink)
    if args.sweep:
        return sweep(args.jobs, args.stride, args.plant)
    if args.plants:
        return _try_plants(args)
    return _run(args)


def _seeds(args: argparse.Namespace) -> Iterator[int]:
    """Which seeds are meant."""
    limit_secs = args.hours * 3600 if args.hours else args.fresh_secs
    if limit_secs:
        return _fresh_seeds(limit_secs, args.jobs)
    if args.realm == "all":
        return mixed_seeds(args.start, args.seeds)
    first = args.start + (REALMS[args.realm].first if args.realm else 0)
    return seeds_with(args.focus or "", first, args.seeds)


def _fresh_seeds(limit_secs: float, jobs: int) -> Iterator[int]:
    """Seeds of all realms that nobody has tried, as many as the time is good for."""
    until = time.monotonic() + limit_secs
    start = random.SystemRandom().randrange(1_000_000, 900_000_000)
    print(f"fresh seeds from {start} on, of all realms, for {limit_secs:.0f} s", flush=True)
    while time.monotonic() < until:
        yield from mixed_seeds(start, 50 * jobs)
        start += 50 * jobs


def _run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    totals: Counter[str] = Counter()
    failures: list[Outcome] = []
    done = 0
    next_report = began + 10
    for outcome in run_many(_seeds(args), args.jobs, args.plant):
        done += 1
        totals.update(outcome.counts)
        if outcome.kind:
            failures.append(outcome)
            print(f"… seed {outcome.seed}: {outcome.kind}", file=sys.stderr, flush=True)
            if len(failures) >= _SHOWN and not args.keep_going:
                print(f"stopping after {_SHOWN} failures")
                break
        if time.monotonic() > next_report:
            next_report += 10
            print(f"… {done} histories, {len(failures)} failed", file=sys.stderr, flush=True)
    kinds = Counter(failure.kind for failure in failures)
    for failure in sorted(failures, key=lambda f: f.seed)[:_SHOWN]:
        print(f"\nseed {failure.seed}: {failure.kind}: {failure.message.strip()}")
        if not is_fetching(failure.seed):
            print(_indented(make_history(failure.seed).config.describe()))
        plant = f" --plant {args.plant}" if args.plant else ""
        print(f"  replay: python -m tests.simulation --replay {failure.seed} -v{plant}")
    lowest = min((f.seed for f in failures if not is_fetching(f.seed)), default=None)
    if lowest is not None:
        with planted(args.plant):
            _show_smaller(make_history(lowest))
    secs = time.monotonic() - began
    print(
        f"\n{done} histories in {secs:.0f} s ({secs / max(done, 1) * 1e3:.1f} ms each): "
        f"kills {totals['kills']}, power losses {totals['power']}, cuts {totals['cuts']}, "
        f"restarts {totals['restarts']}, crashes by disk faults {totals['crashes']}, "
        f"files archived {totals['archived']}, "
        f"seam calls {totals['calls']}, bytes sent {totals['sent']} "
        f"(payload sent again {totals['again']}), "
        f"lost {kinds['lost']}, torn {kinds['torn']}, failed {len(failures)}"
        + (f" ({dict(kinds)})" if kinds else "")
    )
    return 1 if failures else 0


def _show_smaller(history: History) -> History:
    """Print what is left of a failing history when all is gone that it does not need."""
    smaller, outcome = shrink(history, run_history)
    print(
        f"\nseed {history.seed} made smaller: "
        f"{len(smaller.events)} of {len(history.events)} events, "
        f"{len(smaller.config.files)} of {len(history.config.files)} files"
    )
    print(_printable(_indented("\n".join([smaller.config.describe(), *tell(smaller)]))))
    print(f"  {outcome.kind}: {_printable(outcome.message.strip())}", flush=True)
    return smaller


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def _replay(history: History, *, verbose: bool, smaller: bool) -> int:
    if smaller:
        history = _show_smaller(history)
    print(f"seed {history.seed}\n{_printable(_indented(history.config.describe()))}")
    print(f"  troubles: {' '.join(sorted(history.troubles))}")
    if history.focus:
        print(f"  focus: {history.focus} ({FOCUSES[history.focus].about})")
    lines: list[str] = []
    outcome = run_history(history, lines.append)
    for line in lines if verbose else lines[-40:] if outcome.kind else []:
        print(_printable(line))
    print(f"{outcome.kind or 'clean'}: {outcome.message}\n{outcome.counts}")
    return 1 if outcome.kind else 0


def _replay_fetching(seed: int, *, verbose: bool) -> int:
    lines: list[str] = []
    outcome = run_seed(seed, lines.append)
    for line in lines if verbose else lines[-40:] if outcome.kind else []:
        print(_printable(line))
    print(f"{outcome.kind or 'clean'}: {outcome.message}\n{outcome.counts}")
    return 1 if outcome.kind else 0


def _try_plants(args: argparse.Namespace) -> int:
    began = time.monotonic()
    missed = tried = 0
    print(f"{'planted bug':<24} {'world':<8} {'histories':>9} {'seed':>6}  what it does; caught as")
    names = [args.plant] if args.plant else list(PLANTS)
    catches = catch_all(names, args.jobs, number=args.seeds, start=args.start, known={})
    for caught in catches:
        tried += caught.tried
        name, outcome = caught.plant, caught.outcome
        seed = "-" if outcome is None else outcome.seed
        row = f"{name:<24} {WORLDS.get(name) or 'any':<8} {caught.tried:>9} {seed:>6}"
        print(f"{row}  {PLANTS[name].about}")
        if outcome is None:
            missed += 1
            print(f"{'':<51}NOT CAUGHT", flush=True)
            continue
        said = _printable((outcome.message.strip().splitlines() or [""])[0][:90])
        print(f"{'':<51}{outcome.kind} ({_MEANING.get(outcome.kind, '')}): {said}", flush=True)
    secs = time.monotonic() - began
    found = f"{len(names) - missed} of {len(names)} planted bugs caught"
    print(f"\n{found}, {tried} histories, {secs:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # so that a seed is the same history every time
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        raise SystemExit(subprocess.call(command, env={**os.environ, "PYTHONHASHSEED": "0"}))
    raise SystemExit(main())
