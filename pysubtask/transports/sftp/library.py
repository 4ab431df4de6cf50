"""Importing paramiko, without what it imports for features that are not used here.

``paramiko.config`` imports *invoke* for ``Match exec`` in ``ssh_config`` files, which paramiko is
never given here. With it come asyncio, unittest.mock and a YAML parser: a third of the time that
the import takes, and 6 MiB of memory for as long as the process lives. paramiko goes without where
it is missing, so it is missing while paramiko is imported.

paramiko 5 asks ``importlib.metadata`` for its own version, which it says in its greeting. With it
come parsers of mail, CSV and ZIP files: 14 ms and 1 MiB. The version is in the name of a folder.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ["load_paramiko"]

_UNUSED = "invoke"
_METADATA = "importlib.metadata"
_lock = threading.Lock()


def load_paramiko() -> None:
    """Import paramiko, if that has not been done; any thread.

    Raises:
        ImportError: it can't be imported.
    """
    with _lock:
        if "paramiko" in sys.modules:
            return
        with _instead(_UNUSED, None), _instead(_METADATA, _Metadata(_METADATA)):
            importlib.import_module("paramiko")


@contextmanager
def _instead(name: str, module: ModuleType | None) -> Iterator[None]:
    """Import ``module`` as ``name``, unless that has been imported; None: it is not there."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]  # what None means to an import
    if module is not None:  # who imports it meanwhile, by another thread, finds it in its package
        setattr(importlib, name.rpartition(".")[2], module)
    try:
        yield
    finally:
        _take_back(name, module)


def _take_back(name: str, module: ModuleType | None) -> None:
    if sys.modules.get(name) is module:
        sys.modules.pop(name, None)
    attribute = name.rpartition(".")[2]
    if module is not None and getattr(importlib, attribute, None) is module:
        delattr(importlib, attribute)


class _Metadata(ModuleType):
    """Answers what paramiko asks of ``importlib.metadata``; anything else is that one's."""

    def version(self, name: str) -> str:
        """The version of a package that was installed from a wheel."""
        for folder in sys.path:
            try:
                names = os.listdir(folder or ".")
            except OSError:
                continue
            for found in names:
                if found.startswith(f"{name}-") and found.endswith(".dist-info"):
                    return found.removeprefix(f"{name}-").removesuffix(".dist-info")
        return str(self.__getattr__("version")(name))

    def __getattr__(self, name: str) -> Any:
        _take_back(_METADATA, self)
        return getattr(importlib.import_module(_METADATA), name)
