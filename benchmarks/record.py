"""Record how a file grows: ``python -m benchmarks.record FILE > benchmarks/traces/NAME.txt``.

A line for each growth: seconds since the start, and the bytes that were added. What the file holds
is not looked at.
"""

from __future__ import annotations

import argparse
import os
import time

_LOOK_SECS = 0.01


def main() -> None:
    """Print the trace."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--secs", type=float, default=600.0)
    args = parser.parse_args()
    began = time.monotonic()
    before = os.stat(args.file).st_size
    while (now := time.monotonic() - began) < args.secs:
        size = os.stat(args.file).st_size
        if size > before:
            print(f"{now:.2f} {size - before}", flush=True)
        before = size
        time.sleep(_LOOK_SECS)


if __name__ == "__main__":
    main()
