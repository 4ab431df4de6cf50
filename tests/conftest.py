"""Fixtures and settings that all tests share."""

from __future__ import annotations

import os
import signal
import sys

import hypothesis

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")  # a busy machine is no fault of the code's

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell, which has its programs ignore it (POSIX, 2.11 "Signals
    # and Error Handling"); so would the programs that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1)

pytest_plugins = ["tests.servers.fixtures"]


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: most tests wait for a server or a child half of the time."""
    return (os.cpu_count() or 1) + 1
