"""Importing paramiko, without what it imports for features that are not used here.

``paramiko.config`` imports *invoke* for ``Match exec`` in ``ssh_config`` files, which paramiko is
never given here. With it come asyncio, unittest.mock and a YAML parser: a third of the time that
the import takes, and 6 MiB of memory for as long as the process lives. paramiko goes without where
it is missing, so it is missing while paramiko is imported.
"""

from __future__ import annotations

import sys
import threading

__all__ = ["load_paramiko"]

_UNUSED = "invoke"
_lock = threading.Lock()


def load_paramiko() -> None:
    """Import paramiko, if that has not been done; any thread.

    Raises:
        ImportError: it can't be imported.
    """
    with _lock:
        if "paramiko" in sys.modules:
            return
        if _UNUSED in sys.modules:
            import paramiko
        else:
            sys.modules[_UNUSED] = None  # type: ignore[assignment]  # "not there", for import
            try:
                import paramiko  # noqa: F401
            finally:
                del sys.modules[_UNUSED]
