"""A subtask of your own, which is no transfer: it counts the lines of a log after every notify.

python examples/count_lines.py
"""

from __future__ import annotations

import pathlib
import tempfile

from pysubtask.base import BaseSubtask, BaseTaskMaster


class CountLines(BaseSubtask):  # runs in the child process
    def process_notify(self, path: str) -> None:
        lines = pathlib.Path(path).read_bytes().count(b"\n")
        pathlib.Path(path + ".count").write_text(f"{lines}\n")


if __name__ == "__main__":
    log = pathlib.Path(tempfile.mkdtemp()) / "test.csv"
    with BaseTaskMaster([log], subtask="count_lines:CountLines") as master, log.open("a") as file:
        for number in range(1000):
            file.write(f"{number},{number * number}\n")
            file.flush()
            master.notify(log)
        print("all counted:", master.flush(timeout=10))
    print("lines:", log.with_name("test.csv.count").read_text().strip())
