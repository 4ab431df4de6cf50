"""``python -m pysubtask.monitor`` is ``pysubtask-monitor``."""

from pysubtask.monitor.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
