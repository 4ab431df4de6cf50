"""A child process with the real shell around a subtask that does what ``subtask`` in its hand-over
says. Run by ``test_child_shell.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from pysubtask.errors import SettingsError, StateError
from pysubtask.status import FileStatus, Status
from pysubtask.subtask.context import Context
from pysubtask.subtask.shell.main import run


class ScriptedSubtask:
    """Writes what happens to ``<state>/events.txt``, one word a line."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.mode = context.handover.subtask or "idle"
        self.steps = 0
        if self.mode == "bad-settings":
            raise SettingsError("can't be right", path="host")
        if self.mode == "bad-state":
            raise StateError("journal of another version", path="journal")

    def say(self, word: str) -> None:
        with open(os.path.join(self.context.layout.state_dir, "events.txt"), "a") as file:
            file.write(word + "\n")

    def start(self) -> None:
        if self.mode == "closed-output":
            # the next file opened must not become somebody's standard error
            with open(os.path.join(self.context.layout.state_dir, "next"), "wb") as file:
                self.say(f"fd-{'safe' if file.fileno() > 2 else 'unsafe'}")
            print("printed")
        if self.mode == "grandchild":
            done = subprocess.run([sys.executable, "-c", "import sys; sys.exit(len(input()))"])
            self.say(f"grandchild-{'eof' if done.returncode == 1 else done.returncode}")
        self.say("start")

    def step(self) -> float:
        self.steps += 1
        secret = self.context.handover.settings.password
        if self.mode == "crash" and secret is not None:
            os.kill(os.getpid(), signal.SIGINT)  # ignored
            raise StateError(f"connected with {secret.reveal()}")
        if self.mode == "interrupt":
            raise KeyboardInterrupt
        if self.mode == "deaf":
            self.say("deaf")
            while True:
                time.sleep(3600)
        return self.context.clock.monotonic() + 3600

    def hint(self, path: str | None, complete: bool = False, gone: bool = False) -> bool:
        return path is not None

    def folders(self) -> list[str]:
        return [self.context.handover.work_dir]

    def status(self) -> Status:
        return Status(link="connected", pending_bytes=self.steps)

    def file_status(self, path: str) -> FileStatus | None:
        return FileStatus(size_bytes=len(path))

    def request_flush(self) -> Callable[[], bool]:
        return lambda: True

    def is_served(self, path: str, mtime_ns: int) -> bool:
        return True

    def stop(self, deadline: float) -> bool:
        self.say("stop")
        if self.mode == "slow-stop":
            while self.context.clock.monotonic() < deadline:
                time.sleep(0.01)
            return False
        if self.mode == "hung-stop":
            time.sleep(3600)
        self.say("stopped")
        return True


if __name__ == "__main__":
    sys.exit(run(ScriptedSubtask))
