"""``python -m tests.simulation``: run histories, replay one, show that planted bugs are caught."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

from tests.simulation.history import make_history
from tests.simulation.plants import PLANTS
from tests.simulation.runner import planted, run_many, run_seed
from tests.simulation.world import Outcome

_SHOWN = 20


def main(argv: list[str] | None = None) -> int:
    """Exit code 1 if a promise was broken (or a planted bug was not found)."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many histories")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one history")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --replay: the story")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="with this bug in the code")
    parser.add_argument("--plants", action="store_true", help="each planted bug until it is caught")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at many failures")
    args = parser.parse_args(argv)
    if args.replay is not None:
        with planted(args.plant):
            return _replay(args.replay, verbose=args.verbose)
    if args.plants:
        return _try_plants(range(args.start, args.start + args.seeds), args.jobs)
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    totals: Counter[str] = Counter()
    failures: list[Outcome] = []
    done = 0
    next_report = began + 10
    for outcome in run_many(range(args.start, args.start + args.seeds), args.jobs, args.plant):
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
        print(_indented(make_history(failure.seed).config.describe()))
        plant = f" --plant {args.plant}" if args.plant else ""
        print(f"  replay: python -m tests.simulation --replay {failure.seed} -v{plant}")
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


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def _replay(seed: int, *, verbose: bool) -> int:
    history = make_history(seed)
    print(f"seed {seed}\n{_indented(history.config.describe())}")
    print(f"  troubles: {' '.join(sorted(history.troubles))}")
    lines: list[str] = []
    outcome = run_seed(seed, lines.append)
    for line in lines if verbose else lines[-40:] if outcome.kind else []:
        print(line.encode("utf-8", "backslashreplace").decode())
    print(f"{outcome.kind or 'clean'}: {outcome.message}\n{outcome.counts}")
    return 1 if outcome.kind else 0


def _try_plants(seeds: range, jobs: int) -> int:
    missed = []
    print(f"{'planted bug':<28} {'caught by seed':>14} {'histories':>9}  as")
    for name in PLANTS:
        tried = 0
        caught: Outcome | None = None
        first = seeds.start + PLANTS[name].first_seed
        for outcome in run_many(range(first, first + len(seeds)), jobs, name):
            tried += 1
            if outcome.kind and not run_seed(outcome.seed).kind:  # without it, all is well
                caught = outcome
                break
        if caught is None:
            missed.append(name)
            print(f"{name:<28} {'NOT CAUGHT':>14} {tried:>9}", flush=True)
        else:
            first = caught.message.strip().splitlines()[0][:70] if caught.message else ""
            first = first.encode("utf-8", "backslashreplace").decode()
            print(f"{name:<28} {caught.seed:>14} {tried:>9}  {caught.kind}: {first}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
