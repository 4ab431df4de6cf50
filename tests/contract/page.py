"""The tables of ``docs/destinations.md``: what holds for which transport, made by the suite itself.

::

    python -m tests.contract            # prints them, from a run of the suite
    python -m tests.contract --write    # puts them into docs/destinations.md
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pysubtask.core.capabilities import Capabilities
from pysubtask.core.costs import costs_of
from tests.contract.conftest import OURS, SEEN

__all__ = ["PAGE", "TITLES", "case_names", "main", "words_of"]

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "destinations.md"
BEGIN, END = "<!-- contract: made by python -m tests.contract -->", "<!-- end of contract -->"

TITLES = {
    "memory": "in memory (`pysubtask.testing`)",
    "folder": "a folder",
    "openssh_by_paramiko": "SFTP: OpenSSH",
    "openssh_by_ssh": "SFTP: OpenSSH, by the system's `ssh`",
    "openssh_denied": "SFTP: OpenSSH with posix-rename, copy-data and fsync denied",
    "rclone_by_paramiko": "SFTP: `rclone serve sftp`",
    "modsftp": "SFTP: ProFTPD mod_sftp",
    "dropbox_by_sdk": "Dropbox (emulated), by its SDK",
    "shelf": "the example of your own (`examples/pysubtask_shelf/`)",
    "ftp_vsftpd": "FTP: vsftpd",
    "ftp_vsftpd_tls": "FTPS: vsftpd, explicit",
    "ftp_vsftpd_implicit": "FTPS: vsftpd, implicit",
    "ftp_proftpd": "FTP: ProFTPD",
    "ftp_proftpd_whole": "FTP: ProFTPD as it comes (no AllowStoreRestart)",
    "ftp_proftpd_tls": "FTPS: ProFTPD, explicit",
    "ftp_pyftpd": "FTP: pyftpdlib",
    "ftp_pyftpd_bare": "FTP: a bare server (APPE, no REST, no MLST)",
    "ftp_pyftpd_implicit": "FTPS: pyftpdlib, implicit",
}
"""What each transport under test is, in the order of the columns."""

MARKS = {"passed": "✓", "skipped": "–", "failed": "✗"}


@dataclass
class Outcomes:
    """A pytest plugin that notes what became of each case with each transport."""

    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    seen: dict[str, Capabilities] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = re.search(r"::test_(\w+)\[(\w+)\]$", report.nodeid)
        if found is None:
            return
        key = (found[1], found[2])
        if report.when == "call" or report.outcome != "passed":
            if self.cells.get(key) != "failed":
                self.cells[key] = report.outcome
            if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
                self.reasons[key] = report.longrepr[2].removeprefix("Skipped: ")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.seen = session.config.stash.get(SEEN, {})


def case_names() -> list[str]:
    """Every case of the suite, in the order of the sources."""
    return [
        name
        for path in sorted(HERE.glob("test_*.py"))
        for name in re.findall(r"^def test_(\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    ]


def words_of(case: str) -> str:
    """A case for people."""
    return case.replace("_", " ")


def _tables(outcomes: Outcomes) -> str:
    kinds = [maker.__name__ for maker in OURS]
    heads = ["no.", "transport", "in place", "replaces", "copies", "syncs", "in order"]
    heads.append("what it lacks, and what that costs")
    lines = [f"| {' | '.join(heads)} |", f"| ---: | --- |{' --- |' * 6}"]
    flags: list[Callable[[Capabilities], object]] = [
        lambda can: can.positioned_write,
        lambda can: can.atomic_replace,
        lambda can: can.server_copy,
        lambda can: can.fsync,
        lambda can: can.sequential,
    ]
    for number, kind in enumerate(kinds, 1):
        can = outcomes.seen.get(kind)
        shown = ["?"] * len(flags) if can is None else ["✓" if f(can) else "–" for f in flags]
        costs = [*can.limits, *costs_of(can)] if can is not None else []
        cells = [str(number), TITLES[kind], *shown, "; ".join(costs) or "–"]
        lines.append(f"| {' | '.join(cells)} |")
    reasons = sorted({*outcomes.reasons.values()})
    letters = {reason: chr(ord("a") + index) for index, reason in enumerate(reasons)}
    lines += [
        "",
        f"| case | {' | '.join(str(number) for number in range(1, len(kinds) + 1))} |",
        f"| --- |{' --- |' * len(kinds)}",
    ]
    for case in case_names():
        marks = []
        for kind in kinds:
            reason = outcomes.reasons.get((case, kind))
            mark = MARKS.get(outcomes.cells.get((case, kind), ""), "?")
            marks.append(letters[reason] if reason is not None else mark)
        lines.append(f"| {words_of(case)} | {' | '.join(marks)} |")
    if reasons:
        lines += ["", "✓ holds · " + " · ".join(f"{letters[r]}: {r}" for r in reasons)]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run the suite and print the tables; the exit code is the suite's."""
    outcomes = Outcomes()
    options = ["-p", "no:cacheprovider", "-p", "no:terminal", "-n0", str(HERE)]
    code = pytest.main(options, plugins=[outcomes])
    if not outcomes.cells:
        return int(code)
    text = _tables(outcomes)
    if "--write" in arguments:
        page = PAGE.read_text("utf-8")
        head, rest = page.split(BEGIN)
        tail = rest.split(END)[1]
        PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", "utf-8")
        print(f"{PAGE.name} written", file=sys.stderr)
    else:
        print(text)
    return int(code)
