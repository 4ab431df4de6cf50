"""Subtasks of your own: :class:`BaseTaskMaster` in the program, :class:`BaseSubtask` in the child.

::

    # counting.py
    from pysubtask.base import BaseSubtask

    class Count(BaseSubtask):
        def process_notify(self, path):
            ...                                  # in the child process, after every notify

    # the program
    from pysubtask.base import BaseTaskMaster

    with BaseTaskMaster(["logs/test1.csv"], subtask="counting:Count") as master:
        master.notify("logs/test1.csv")

:class:`BaseSubtask` is loaded when it is asked for, so that a program that needs only the master
does not carry the child's code.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from pysubtask.config import build
from pysubtask.errors import SettingsError
from pysubtask.master._master import TaskMaster
from pysubtask.settings import Settings
from pysubtask.urls import Destination, parse_url

if TYPE_CHECKING:
    from pysubtask.subtask.context import Context
    from pysubtask.subtask.subtask import BaseSubtask

__all__ = ["BaseSubtask", "BaseTaskMaster"]


def __getattr__(name: str) -> Any:
    if name == "BaseSubtask":
        from pysubtask.subtask.subtask import BaseSubtask

        return BaseSubtask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class BaseTaskMaster(TaskMaster):
    """A master whose subtask is your own class. See :class:`pysubtask.TaskMaster`.

    Args:
        subtask: ``"package.module:Class"``; ``"package.module"`` if the module defines one
            subclass of :class:`BaseSubtask`; or the class itself. It is imported in the child,
            with the program's module search path. None: a subtask that only writes its log.
        to: a destination for your subtask, if it has one: ``self.context.handover.destination``.
    """

    extension = "base"
    module = "pysubtask.base"

    def _configure(
        self, config: Any, to: str | os.PathLike[str] | None, settings: dict[str, Any]
    ) -> tuple[Settings, Destination | None]:
        destination = None if to is None else parse_url(to)
        return build(self.extension, config, destination, settings), destination

    def _user_subtask(self, subtask: str | type | None) -> str | None:
        if subtask is None:
            return None
        if isinstance(subtask, type):
            subtask = f"{subtask.__module__}:{subtask.__qualname__}"
        if not isinstance(subtask, str):
            raise _mistake(f"must be text such as 'package.module:Class', not {subtask!r}")
        module, _, name = subtask.partition(":")
        if module == "__main__":
            raise _mistake(
                "the child can't import __main__, which is this program",
                "move the class into a module of its own, or name the program's file without .py",
            )
        names = [*module.split("."), *(name.split(".") if name else [])]
        if not all(part.isidentifier() for part in names):
            raise _mistake(f"{subtask!r} is no module", "such as 'package.module:Class'")
        _check_importable(module)
        return subtask


def _check_importable(module: str) -> None:
    from importlib.util import find_spec

    top = module.partition(".")[0]
    try:
        found = top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise _mistake(f"there is no module {top!r}", "is its folder in sys.path?")


def _mistake(message: str, hint: str | None = None) -> SettingsError:
    return SettingsError(message, operation="setting", path="subtask", hint=hint)


def _load(context: Context) -> BaseSubtask:
    """Import the class that the master named, and make the subtask."""
    from pysubtask.subtask.subtask import BaseSubtask

    wanted = context.handover.subtask
    if wanted is None:
        return BaseSubtask(context)
    import importlib

    module_name, _, class_name = wanted.partition(":")
    found: Any = importlib.import_module(module_name)
    if class_name:
        for part in class_name.split("."):
            found = getattr(found, part)
    else:
        found = _only_subtask(found, BaseSubtask)
    if not (isinstance(found, type) and issubclass(found, BaseSubtask)):
        raise _mistake(f"{wanted} is no subclass of BaseSubtask")
    return found(context)


def _only_subtask(module: Any, parent: type) -> Any:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, parent)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(sorted(value.__name__ for value in found)) or "none"
        raise _mistake(
            f"{module.__name__} defines {names} as subtask", "write 'package.module:Class'"
        )
    return found[0]


def main() -> int:
    """Run the subtask: the child process starts here."""
    from pysubtask.subtask.shell.main import run

    return run(_load)


if __name__ == "__main__":
    raise SystemExit(main())
