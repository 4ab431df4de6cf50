"""``python -m tests.endurance``: 1,000 starts and stops, 1,000,000 notifies, on a real sshd."""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

from tests.endurance.endurance import hangs, lives, notifies
from tests.servers.openssh import OpenSshServer


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """The exit code is 1 if anything grew or was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--lives", type=int, default=1000, help="starts and stops (1000)")
    parser.add_argument("--notifies", type=int, default=1_000_000, help="notifies (1000000)")
    parser.add_argument(
        "--hangs", type=int, default=0, help="subtasks that hang, a minute each (0)"
    )
    given = parser.parse_args()
    reports = []
    with OpenSshServer() as server, tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if given.notifies:
            reports.append(notifies(server, folder / "notifies", given.notifies, _say))
            _say(str(reports[-1]))
        if given.lives:
            reports.append(lives(server, folder / "lives", given.lives, _say))
            _say(str(reports[-1]))
        if given.hangs:
            reports.append(hangs(server, folder / "hangs", given.hangs, _say))
            _say(str(reports[-1]))
    return 1 if any(report.faults for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
