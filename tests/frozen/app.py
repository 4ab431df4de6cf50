"""The program that :mod:`tests.frozen` freezes: one line a step, told on standard output.

Its argument is JSON: ``file``, ``to``, ``settings``, and ``end``, which says how it ends: ``stop``;
``kill``: by itself, SIGKILL, right after the last notify; ``forcekill``: by killing the subtask for
good; ``restart``: by killing the subtask, which is replaced, and then ``stop``. ``--unprepared``
after it: it does not call ``run_child()``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import pysubtask

LINES = 1000


def main() -> int:
    """As users write it."""
    if "--unprepared" not in sys.argv:
        pysubtask.run_child()
    print("program", flush=True)
    given: dict[str, Any] = json.loads(sys.argv[1])
    master = pysubtask.TaskMaster([given["file"]], to=given["to"], **given["settings"])
    try:
        master.start()
    except pysubtask.SettingsError as error:
        print(f"refused: {error}", flush=True)
        return 2
    with master, open(given["file"], "ab") as file:
        for number in range(LINES):
            file.write(b"%d\n" % number)
        file.flush()
        master.notify(0)
        print(f"pid {master.status().pid}", flush=True)
        if given["end"] == "kill":
            master.notify(0, wait_secs=10)
            os.kill(os.getpid(), signal.SIGKILL)
        pid = master.status().pid
        if given["end"] == "restart" and pid is not None:
            os.kill(pid, signal.SIGKILL)
            while master.status().pid in (pid, None):
                time.sleep(0.05)
        print("flushed" if master.flush(30) else str(master.status()), flush=True)
        if given["end"] == "forcekill":
            master.stop(forcekill=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
