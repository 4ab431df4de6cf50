"""``python -m tests.simulation_pull``: run histories of fetching, or replay one."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from tests.simulation_pull.world import Outcome, run_seed


def main() -> int:
    """Exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation_pull", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many histories")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one, and tell its story")
    args = parser.parse_args()
    if args.replay is not None:
        outcome = run_seed(args.replay, lambda text: print(text))
        print(f"{outcome.kind or 'clean'}: {outcome.message}\n{outcome.counts}")
        return 1 if outcome.kind else 0
    began = time.monotonic()
    totals: Counter[str] = Counter()
    failures: list[Outcome] = []
    seeds = range(args.start, args.start + args.seeds)
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for done, outcome in enumerate(pool.imap_unordered(run_seed, seeds, 16), 1):
            totals.update(outcome.counts)
            if outcome.kind:
                failures.append(outcome)
                print(f"seed {outcome.seed}: {outcome.message}", flush=True)
            if done % 1000 == 0:
                print(f"… {done} histories, {len(failures)} failed", file=sys.stderr, flush=True)
    kinds = Counter(failure.kind for failure in failures)
    told = ", ".join(f"{name} {count}" for name, count in totals.items())
    print(
        f"{len(seeds)} histories in {time.monotonic() - began:.0f} s: {told}; "
        f"lost {kinds['lost']}, torn {kinds['torn']}, failed {len(failures)}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
