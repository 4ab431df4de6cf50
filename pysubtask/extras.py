"""Libraries that only some destinations need: extras of the package."""

from __future__ import annotations

from pysubtask.errors import SettingsError

__all__ = ["DROPBOX_EXTRA", "dropbox_is_missing"]

DROPBOX_EXTRA = 'python -m pip install "pysubtask[dropbox]"'
"""What brings Dropbox's SDK."""


def dropbox_is_missing(operation: str, path: str) -> SettingsError:
    """Dropbox's SDK is wanted, and is not installed."""
    return SettingsError(
        "needs Dropbox's SDK, which is not installed",
        operation=operation,
        path=path,
        hint=DROPBOX_EXTRA,
    )
