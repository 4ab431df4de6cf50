"""Something to mount: a file system that keeps its files while it is not mounted (root, Linux)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys

from tests.servers.processes import ServerMissing

__all__ = ["Stick"]


class Stick:
    """``with Stick(folder) as stick:`` a tmpfs behind the scenes, bound to a mount point and
    unbound again, as a stick that is plugged in and out.

    Args:
        folder: an empty one, for the tmpfs itself.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._places: list[pathlib.Path] = []

    def __enter__(self) -> Stick:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise ServerMissing("mounts (need root on Linux)")
        self._folder.mkdir(parents=True)
        done = _run("mount", "-t", "tmpfs", "-o", "size=4m", "pysubtask-test", self._folder)
        if done.returncode:
            raise ServerMissing(f"mounts: {done.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        for place in [*reversed(self._places), self._folder]:
            with contextlib.suppress(subprocess.SubprocessError):
                _run("umount", "--lazy", place)

    def mount(self, place: pathlib.Path) -> None:
        """Plug it in."""
        done = _run("mount", "--bind", self._folder, place)
        assert not done.returncode, done.stderr
        self._places.append(place)

    def unmount(self, place: pathlib.Path, *, lazy: bool = False) -> str:
        """Take it out; the words of a refusal (the file system is in use), or ""."""
        done = _run("umount", *(["--lazy"] if lazy else []), place)
        if not done.returncode:
            self._places.remove(place)
        return done.stderr.strip()


def _run(*command: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=30
    )
