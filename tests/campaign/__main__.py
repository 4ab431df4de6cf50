"""``python -m tests.campaign --kills 300 --faults 100 --server vsftpd``; see ``--help``."""

from __future__ import annotations

import argparse
import pathlib

from tests.campaign.campaign import SERVERS, run


def main() -> int:
    """Run campaigns and print a line for each; 1 if anything was lost, torn or left over."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="of processes and connections")
    parser.add_argument("--faults", type=int, default=0, help="of the link, among the kills")
    parser.add_argument("--server", choices=tuple(SERVERS), default="openssh")
    parser.add_argument("--seed", type=int, help="of an earlier campaign")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for its files and logs")
    given = parser.parse_args()
    report = run(given.kills, given.server, given.seed, faults=given.faults, keep=given.keep)
    for kind, faults in (
        ("lost", report.lost),
        ("torn", report.torn),
        ("orphan", report.orphans),
        ("late", report.late_temps),
    ):
        for fault in faults[:20]:
            print(f"{kind}: {fault}")
        if len(faults) > 20:
            print(f"{kind}: … and {len(faults) - 20} more")
    print(report)
    return 0 if report.clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
