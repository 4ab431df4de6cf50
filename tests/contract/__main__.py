"""``python -m tests.contract``: the tables of ``docs/destinations.md``, from a run of the suite."""

from __future__ import annotations

import sys

from tests.contract.page import main

raise SystemExit(main(sys.argv[1:]))
