"""``python -m benchmarks NAME [options]``; without a name, what there is."""

from __future__ import annotations

import importlib
import pkgutil
import runpy
import sys

import benchmarks


def main() -> int:
    """Run one benchmark, or list them."""
    names = sorted(
        found.name for found in pkgutil.iter_modules(benchmarks.__path__) if found.name[0] != "_"
    )
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("python -m benchmarks NAME [options]\n")
        for name in names:
            text = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
            print(f"  {name:<14}{text.strip().splitlines()[0]}")
        return 0 if len(sys.argv) < 2 else 2
    name = sys.argv[1]
    sys.argv[:2] = [f"python -m benchmarks {name}"]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
