"""System users of the tests; only root can make them."""

from __future__ import annotations

import grp
import os
import subprocess
from pathlib import Path

__all__ = ["add_user", "remove_user"]


def add_user(name: str, home: Path, password: str) -> None:
    """A user of this process's own group, with a shell.

    The hash comes over standard input (chpasswd), so the password is in no argument list.
    """
    subprocess.run(
        ["useradd", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/sh",
         "--gid", grp.getgrgid(os.getgid()).gr_name, name],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    subprocess.run(
        ["chpasswd", "-c", "SHA512"],
        input=f"{name}:{password}\n",
        text=True,
        check=True,
        capture_output=True,
        timeout=30,
    )


def remove_user(name: str) -> None:
    """Remove it, if it is there."""
    subprocess.run(["userdel", name], capture_output=True, timeout=30)
