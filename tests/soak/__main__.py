"""``python -m tests.soak --minutes 30``; ``--help`` tells the rest."""

from __future__ import annotations

import argparse
import pathlib
import random
import tempfile

from tests.soak.soak import run


def main() -> int:
    """The exit code is 1 if anything was lost, torn, left over or grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="of an earlier soak")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for its files and logs")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**9) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory(prefix="pysubtask-soak-") as temporary:
        summary = run(
            given.minutes * 60,
            seed,
            (given.keep or pathlib.Path(temporary)).resolve(),
            say=lambda text: print(text, flush=True),
        )
    for fault in summary.faults:
        print(f"FAULT: {fault}")
    print(summary)
    return 1 if summary.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
