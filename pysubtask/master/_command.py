"""How a subtask is started: which interpreter, which arguments.

The rule is ``python -P -m pysubtask.<extension>``. ``-P`` keeps the current folder out of the
module search path, so that a ``queue.py`` there can't take the place of the standard library's.
"""

from __future__ import annotations

import os
import sys

from pysubtask.errors import SettingsError
from pysubtask.systems.frozen import CHILD_FLAG, is_frozen, own_program

__all__ = ["child_command", "run_child"]

_frozen_program: str | None = None
"""What starts this program again; known once :func:`run_child` was called."""


def child_command(module: str, python: str | None, cwd: str = "") -> list[str]:
    """The argument list that runs ``module`` as a subtask.

    Args:
        python: the interpreter; None: that of the program.
        cwd: folder that a relative path to it starts from.

    Raises:
        SettingsError: no interpreter is known that would run it.
    """
    if python is None and is_frozen():
        if _frozen_program is not None:
            return [_frozen_program, CHILD_FLAG, module]
        # sys.executable is the program itself: "-m" would start it again, and that one again …
        raise SettingsError(
            "a frozen program can't run its subtask by itself",
            operation="setting",
            path="python",
            hint="call pysubtask.run_child() first thing in main(), or set python to an "
            "interpreter that has pysubtask",
        )
    if python is not None:
        import shutil

        if os.path.dirname(python):  # else it is looked for in PATH
            python = os.path.join(cwd, os.path.expanduser(python))
        found = shutil.which(python)
        if found is None:
            raise _no_interpreter(f"{python!r} is no program that can be run")
        return [found, *_arguments(module, elsewhere=True)]
    own = sys.executable
    if not own or "py" not in os.path.basename(own).lower():
        raise _no_interpreter(f"{own or 'this program'!r} is no Python interpreter")
    return [own, *_arguments(module, elsewhere=False)]


def run_child() -> None:
    """For frozen programs: call it first thing in ``main()``.

    In the program it only notes that it was called. In a subtask, which a frozen program starts as
    itself, it runs the subtask and never returns.
    """
    global _frozen_program
    _frozen_program = own_program()  # now: the program may change its folder and its arguments
    if len(sys.argv) == 3 and sys.argv[1] == CHILD_FLAG:
        module = sys.argv[2]
        if not module.startswith("pysubtask."):
            raise SystemExit(f"{module} is no subtask of pysubtask")
        import importlib

        raise SystemExit(importlib.import_module(module).main())


def _arguments(module: str, *, elsewhere: bool) -> list[str]:
    package_home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # how file names are spoken (PEP 540); PYTHONUTF8 is inherited, an option is not
    options = ["-X", "utf8"] if _speaks_utf8_by_option() else []
    if not os.path.isdir(package_home) or (not elsewhere and _finds_by_itself(package_home)):
        return [*options, "-P", "-m", module]
    # pysubtask lies where only this program looks (a checkout, a vendored copy). Its folder comes
    # last in the search path: it may hold modules named like the standard library's.
    code = (
        f"import runpy, sys; sys.path.append({package_home!r}); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [*options, "-P", "-c", code]


def _speaks_utf8_by_option() -> bool:
    return bool(sys.flags.utf8_mode) and os.environ.get("PYTHONUTF8") != "1"


def _finds_by_itself(folder: str) -> bool:
    """Whether a new interpreter has ``folder`` in its search path, by its own rules."""
    import site

    places = [*site.getsitepackages(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    wanted = os.path.normcase(os.path.realpath(folder))
    return any(os.path.normcase(os.path.realpath(place)) == wanted for place in places if place)


def _no_interpreter(message: str) -> SettingsError:
    return SettingsError(
        message, operation="setting", path="python", hint="set python to a Python interpreter"
    )
