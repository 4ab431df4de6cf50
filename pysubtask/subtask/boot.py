"""Which boot of the machine this is."""

from __future__ import annotations

import sys

__all__ = ["boot_id"]


def boot_id() -> str:
    """A text that differs from one boot to the next.

    Linux has one ready (``random(4)``, ``/proc/sys/kernel/random/boot_id``); elsewhere the boot
    time, to the minute, since it is computed from two clocks.
    """
    if sys.platform == "linux":
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            pass
    import psutil  # late: only where the system names no boot

    return f"booted-{round(psutil.boot_time() / 60)}"
