"""What is wrong between here and a destination, and what the destination can do.

::

    from pysubtask.doctor import examine

    for check in examine(destination, settings):
        print(check.title, check.verdict, check.detail)

One check after the other, each with its true cause: name, port, host key, login, folder, then
trials with files under temporary names, which are removed. A check that a failed one makes
pointless is ``skipped``. What is missing costs what :mod:`pysubtask.core.costs` says.
"""

from __future__ import annotations

from pysubtask.doctor.checks import Check, Verdict
from pysubtask.doctor.examine import examine

__all__ = ["Check", "Verdict", "examine"]
