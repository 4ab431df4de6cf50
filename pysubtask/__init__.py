"""Your program appends; the bytes get there.

pysubtask delivers growing data files to a server (SFTP, a shared folder …) from an isolated child
process. The program only touches: ``master.notify("logs/test1.csv")``. Importing this package
starts nothing and loads no transfer library.
"""

from __future__ import annotations

from pysubtask.errors import (
    AskedToWait,
    HostKeyRefused,
    LinkError,
    LinkLost,
    LoginRefused,
    NotWatchedError,
    PysubtaskError,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
    RemoteUnsupported,
    SettingsError,
    StartError,
    StateError,
)
from pysubtask.master._command import run_child
from pysubtask.master._master import TaskMaster
from pysubtask.status import FileStatus, Status
from pysubtask.version import __version__

__all__ = [
    "AskedToWait",
    "FileStatus",
    "HostKeyRefused",
    "LinkError",
    "LinkLost",
    "LoginRefused",
    "NotWatchedError",
    "PysubtaskError",
    "RemoteDenied",
    "RemoteError",
    "RemoteExists",
    "RemoteFull",
    "RemoteNotFound",
    "RemoteUnsupported",
    "SettingsError",
    "StartError",
    "StateError",
    "Status",
    "TaskMaster",
    "__version__",
    "run_child",
]
