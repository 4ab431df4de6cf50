"""``python -m pysubtask`` and the program ``pysubtask``: the command line (extra ``[cli]``)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; ends the process."""
    try:
        from pysubtask.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print(
            f"Error: the command line needs {error.name}, which is not installed\n"
            "Try: python -m pip install 'pysubtask[cli]'",
            file=sys.stderr,
        )
        return 1
    app.main(prog_name="pysubtask")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
