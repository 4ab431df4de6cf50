"""``python -m tests.upgrades``: makes the states of the present format anew; ``--help``."""

from __future__ import annotations

import argparse

from tests.upgrades.cases import CASES
from tests.upgrades.kept import archive_of
from tests.upgrades.make import make


def main() -> int:
    """Make some or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrades", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="default: all")
    given = parser.parse_args()
    for name in given.names or CASES:
        target = archive_of(1, name)
        make(CASES[name], target)
        print(f"{target.name}: {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
