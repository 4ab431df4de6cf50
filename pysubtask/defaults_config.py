"""All settings with their defaults, section by section, in the spelling of version 1.

To be read, printed or copied from, and fit to be passed as a configuration as it is::

    $ python -m pysubtask.defaults_config          # every setting with its meaning
    >>> from pysubtask import defaults_config
    >>> defaults_config.ftp.DeadTimeMilli
    180000

The sections are made from :class:`pysubtask.settings.Settings`, so they can't differ from it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pysubtask.config import camel_case
from pysubtask.settings import describe

__all__ = ["base", "burst_mode", "dropbox", "folder", "ftp"]

_SHOWN_IN = {
    "base": ("base",),
    "burst_mode": ("burst_mode",),
    "link": ("ftp", "dropbox", "folder"),
    "ftp": ("ftp",),
    "dropbox": ("dropbox",),
}


def _spelling(name: str, section: str) -> str:
    # version 1 wrote the burst settings in lower case: burst_mode.start_trigger_milli
    return name.removeprefix("burst_") if section == "burst_mode" else camel_case(name)


def _sections() -> dict[str, dict[str, tuple[Any, str]]]:
    """Section → spelled name → (default, description)."""
    sections: dict[str, dict[str, tuple[Any, str]]] = {
        name: {} for name in ("base", "burst_mode", "ftp", "dropbox", "folder")
    }
    for name, kind, default, description in describe():
        for section in _SHOWN_IN[kind]:
            sections[section][_spelling(name, section)] = (default, description)
        if name == "bak_to_folder":
            for section in ("ftp", "dropbox", "folder"):
                sections[section][_spelling(name, section)] = (f"upload/{section}", description)
    return sections


def _namespace(section: str) -> SimpleNamespace:
    return SimpleNamespace(**{name: row[0] for name, row in _sections()[section].items()})


base = _namespace("base")
burst_mode = _namespace("burst_mode")
ftp = _namespace("ftp")
dropbox = _namespace("dropbox")
folder = _namespace("folder")


def main() -> int:
    """Print all settings."""
    import textwrap

    for section, rows in _sections().items():
        print(f"[{section}]")
        for name, (default, description) in rows.items():
            print(f"{section}.{name} = {default!r}")
            print(textwrap.indent(textwrap.fill(description, 92), "    # "))
        print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
