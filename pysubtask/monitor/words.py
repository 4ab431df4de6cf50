"""What is known of a client and why, in sentences. Pure, but for the local time zone."""

from __future__ import annotations

import time

from pysubtask.monitor.clients import Client
from pysubtask.monitor.names import shown
from pysubtask.monitor.rule import Flag, State
from pysubtask.monitor.units import duration

__all__ = ["FLAG_NAMES", "clock", "explain", "flag_words"]

FLAG_NAMES = {
    Flag.CLOCK_SKEW: "clock skew",
    Flag.BAD_FILE: "bad file",
    Flag.FLAPPING: "flapping",
    Flag.NO_DATA: "online, no data",
    Flag.LOOK_ALIKE: "look-alike name",
}


def clock(at: float, now: float) -> str:
    """Server time: the time of day, with the date unless it is today's."""
    then, today = time.localtime(at), time.localtime(now)
    form = "%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, then)


def explain(client: Client, now: float) -> str:
    """What is known about the client and why, in sentences."""
    state, deadline = client.state, client.deadline
    said = []
    if state in (State.DOWN, State.LATE) and deadline is not None:
        said.append(f"{state.capitalize()} {duration(now - deadline)}.")
    elif state is State.NEW:
        said.append("New: no valid promise has been read yet.")
    elif state is State.STOPPED:
        said.append(f"Stopped {duration(now - client.state_since)} ago: it said goodbye.")
    elif state is State.PAUSED:
        until = client.pause_until
        end = {"beat": "until its next beat", "hand": "until somebody resumes it"}.get(
            client.pause or "", f"until {clock(until, now)}" if until else ""
        )
        said.append(f"Paused {end}.")
    elif state is State.UNKNOWN:
        why = client.unseen_why or "the monitor can't see the folder"
        said.append(f"Unknown for {duration(now - client.state_since)}: {why}.")
    elif state in (State.GONE, State.ARCHIVED):
        gone = client.gone_at or client.state_since
        said.append(f"Gone: its heartbeat file was removed {duration(now - gone)} ago.")
    else:
        said.append(f"Up for {duration(now - client.state_since)}.")
    if client.beat_at is not None:
        said.append(f"Last beat {clock(client.beat_at, now)} server time.")
    if client.interval_secs:
        said.append(f"Promised {client.interval_secs} s.")
    if state is State.UP and deadline is not None:
        said.append(f"The next one is due by {clock(deadline, now)}.")
    if state is State.LATE:
        until = client.patience_ends
        if until is not None:
            said.append(f"It is called down at {clock(until, now)}.")
    if client.pardon_until and state is State.LATE:
        said.append("It has more time than usual, since the monitor could not see for a while.")
    return " ".join(said)


def flag_words(client: Client) -> dict[str, str]:
    """For each flag of the client a sentence."""
    said: dict[str, str] = {}
    for flag in client.flags:
        match flag:
            case Flag.CLOCK_SKEW:
                said[flag] = f"{client.skew}."
            case Flag.BAD_FILE:
                said[flag] = f"The heartbeat file is not valid: {client.problem}."
            case Flag.FLAPPING:
                said[flag] = f"It went down {len(client.downs)} times within the last hour."
            case Flag.NO_DATA:
                said[flag] = f"{client.no_data}."
            case Flag.LOOK_ALIKE:
                said[flag] = f"Its name looks like that of “{shown(client.look_alike or '')}”."
    return said
