"""Who uses a state folder, as its ``holder.json`` says and the system confirms."""

from __future__ import annotations

from pysubtask.signals import StateLayout, read_json

__all__ = ["holder_pid", "holder_program", "holder_token"]


def holder_token(state_dir: str) -> object:
    """The token of the subtask that uses the state folder, or was the last to; None if nobody
    says."""
    return (read_json(StateLayout(state_dir).holder) or {}).get("token")


def holder_pid(state_dir: str) -> int | None:
    """The process that uses the state folder; None if there is none, or it is dead."""
    return _living(state_dir, "pid", "start")


def holder_program(state_dir: str) -> int | None:
    """The program whose subtask uses the state folder; None if it is dead, or can't be told. (Not
    the subtask's parent: whose program has died has the system for a parent, or the session.)"""
    return _living(state_dir, "program", "program_start")


def _living(state_dir: str, pid_key: str, start_key: str) -> int | None:
    from pysubtask.systems.processes import process_start  # late: the program rarely needs it

    holder = read_json(StateLayout(state_dir).holder) or {}
    pid, start = holder.get(pid_key), holder.get(start_key)
    if not isinstance(pid, int) or not isinstance(start, str):
        return None
    return pid if process_start(pid) == start else None
