"""``python -m benchmarks``: the side-by-side program; ``python -m benchmarks NAME``: one of all.

    python -m benchmarks [--only NAME …] [--json] [--rounds N] [--quick] [--without-peers]
                         [--folder DIR] [--plots DIR [--from FILE …]]
    python -m benchmarks NAME [options]

Without ``--only`` all members of the program run, which takes about an hour. ``--json`` writes one
JSON document to standard output, and what is read by people to standard error. ``--from`` draws
what was measured and written before, and measures nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

import benchmarks
from benchmarks._options import Options
from benchmarks._report import Report, machine


def main() -> int:
    """Run what is asked for, or list what there is."""
    names = sorted(
        found.name for found in pkgutil.iter_modules(benchmarks.__path__) if found.name[0] != "_"
    )
    if len(sys.argv) > 1 and sys.argv[1] in names:
        return _script(sys.argv[1])
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    members = [name for name, module in modules.items() if hasattr(module, "run")]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="pysubtask beside its peers, by turns, on real servers.",
        epilog=_listing(modules, members),
    )
    parser.add_argument("--only", action="append", metavar="NAME", choices=names)
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    parser.add_argument("--rounds", type=int, help="how often each contender runs")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--folder", help="where the data lie; default: memory")
    parser.add_argument("--plots", metavar="DIR", help="write SVG plots there (matplotlib)")
    parser.add_argument(
        "--from",
        dest="files",
        action="append",
        metavar="FILE",
        help="JSON to draw; measure nothing",
    )
    given = parser.parse_args()
    options = Options(given.rounds, given.quick, given.folder, given.without_peers)
    found = []
    for file in given.files or ():
        found += json.loads(pathlib.Path(file).read_text("utf-8"))["benchmarks"]
    for name in () if given.files else given.only or members:
        if name in members:
            found.append(_member(name, modules[name], options, given.json))
        elif given.json:
            parser.error(f"{name} prints no JSON; run python -m benchmarks {name}")
        else:
            sys.argv[:] = [sys.argv[0], name]
            _script(name)
    if given.plots:
        from benchmarks._plots import draw

        draw(found, pathlib.Path(given.plots))
    if given.json:
        json.dump({"benchmarks": found}, sys.stdout, indent=1)
        print()
    return 0


def _member(name: str, module: ModuleType, options: Options, as_json: bool) -> dict[str, Any]:
    report = Report(name, sys.stderr if as_json else sys.stdout)
    before = machine()
    print(
        f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}\n   Python {before['python']}, "
        f"{before['cores']} cores, {before['system']}, load {before['load']}",
        file=report.out,
    )
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    module.run(options, report)
    return {**report.as_json(), "before": before, "after": machine()}


def _script(name: str) -> int:
    module = importlib.import_module(f"benchmarks.{name}")
    if not hasattr(module, "main"):
        sys.argv[1:2] = ["--only", name]
        return main()
    sys.argv[:2] = [f"python -m benchmarks {name}"]
    return int(module.main() or 0)


def _listing(modules: dict[str, ModuleType], members: list[str]) -> str:
    lines = []
    for title, is_member in (
        ("side by side:", True),
        ("others (python -m benchmarks NAME):", False),
    ):
        lines.append(title)
        for name, module in modules.items():
            if (name in members) is is_member:
                lines.append(f"  {name:<14}{(module.__doc__ or '').strip().splitlines()[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
