"""``pysubtask run``: a service of many watches and destinations, described by a TOML file."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import click

from pysubtask.cli.config import config_argument, load_project
from pysubtask.cli.convert import arrived_message, link_message
from pysubtask.cli.exits import Busy, Code, scrub
from pysubtask.cli.messages import (
    DeliveredMessage,
    DeliveryMessage,
    FailedMessage,
    SummaryMessage,
)
from pysubtask.cli.options import forget_secrets, json_option, set_option
from pysubtask.cli.output import Output, plain
from pysubtask.cli.telling import arrival_words
from pysubtask.events import (
    Delivered,
    Event,
    FileFailed,
    LinkChanged,
    Restarted,
    SourceChanged,
    TakenOver,
)
from pysubtask.follow import Follower
from pysubtask.holder import holder_pid
from pysubtask.master._master import TaskMaster
from pysubtask.status import printable, size_words
from pysubtask.tomlfile import Delivery

__all__ = ["command"]

_LOOK_SECS = 0.25
_QUIET_EVERY_SECS = 60.0


@dataclass(slots=True)
class _Running:
    """One delivery of the file, and who does it."""

    delivery: Delivery
    master: TaskMaster
    follower: Follower | None
    quiet_until: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        return self.delivery.name

    @property
    def label(self) -> str:
        to = self.delivery.merged.to  # of one that only fetches: its first source
        return self.delivery.name or (scrub(str(to.value)) if to is not None else "delivery")


@click.command("run", short_help="Run the deliveries of a TOML file as a service.")
@config_argument
@click.option(
    "--sweep",
    is_flag=True,
    help="At the start also send residual files beside the watched ones, then archive old files.",
)
@set_option
@json_option
def command(config: str | None, sweep: bool, assignments: tuple[str, ...], as_json: bool) -> int:
    """Run the deliveries and sources of a TOML file until Ctrl-C or SIGTERM, then stop gracefully.

    Without a file: ./pysubtask.toml, or config.toml in your configuration folder. A program may
    touch FILE.notify to have it looked at within milliseconds; without that, changes are seen
    every `follow_secs`. For a service see `pysubtask service print`.
    """
    output = Output(as_json=as_json)
    project = load_project(config, assignments)
    running = [_prepare(delivery) for delivery in project.deliveries]
    forget_secrets(*(delivery.merged for delivery in project.deliveries))
    for one in running:
        if holder_pid(one.master.state_dir) is not None:
            raise Busy(one.master.state_dir, f"deliver {one.label}")
    try:
        for one in running:
            _start(output, one, sweep)
        while any(not one.master.status().taken_over for one in running):
            for one in running:
                _tell_news(output, one)
            time.sleep(_LOOK_SECS)
        first = running[0]
        raise Busy(first.master.state_dir, f"deliver {first.label} (it was taken over)")
    except KeyboardInterrupt:
        output.note("stopping")
        return _stop(output, running)
    finally:
        for one in running:
            one.master.stop()


def _prepare(delivery: Delivery) -> _Running:
    master = delivery.make_master()
    follower = None
    if delivery.follow and master.declared_files:
        follower = Follower(master, secs=delivery.follow_secs)
    return _Running(delivery, master, follower)


def _start(output: Output, one: _Running, sweep: bool) -> None:
    one.master.start(precleanup_old_files=sweep)
    if one.follower is not None:
        one.follower.start()
    destination = one.master.status().destination
    sources = [str(pull.source) + pull.suffix for pull in one.master.sources]
    output.emit(
        DeliveryMessage(
            event="started",
            delivery=one.name,
            destination=destination,
            sources=sources,
            state_dir=one.master.state_dir,
        )
    )
    if not output.as_json:
        ways = [f"to {destination}"] if destination else []
        ways += [f"from {printable(source)}" for source in sources]
        output.note(f"{one.label}: started, {', '.join(ways)}; state in {one.master.state_dir}")


def _stop(output: Output, running: list[_Running]) -> int:
    """All at once, since each may take ``stop_timeout_secs``."""
    for one in running:
        if one.follower is not None:
            one.follower.stop()
    threads = [threading.Thread(target=one.master.stop, daemon=True) for one in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pending = 0
    good = 0
    for one in running:
        _tell_news(output, one, links=False)
        left = one.master.status().pending_bytes
        pending += left
        good += not left
        output.emit(
            DeliveryMessage(event="stopped", delivery=one.name, state_dir=one.master.state_dir)
        )
        if not output.as_json:
            rest = f"; {size_words(left)} are left for the next start" if left else ""
            output.note(f"{one.label}: stopped{rest}")
    code = Code.PARTIAL if pending else Code.OK
    output.emit(SummaryMessage(command="run", ok=good, total=len(running), exit_code=code))
    return code


def _tell_news(output: Output, one: _Running, *, links: bool = True) -> None:
    for event in one.master.events():
        if links or not isinstance(event, LinkChanged | SourceChanged):
            _tell(output, one, event)
    for arrival in one.master.arrivals():
        output.emit(arrived_message(arrival, one.name))
        if _may_tell(one, arrival.path) and not output.as_json:
            output.note(f"{one.label}: {arrival.kind}: {arrival_words(arrival)}")


def _tell(output: Output, one: _Running, event: Event) -> None:
    text = None
    if isinstance(event, LinkChanged | SourceChanged):
        output.emit(link_message(event, one.name))
        if event.error or event.link == "connected":
            text = event.link + (f": {event.error}" if event.error else "")
            if isinstance(event, SourceChanged):
                text = f"{event.source}: {text}"
    elif isinstance(event, Delivered):
        output.emit(
            DeliveredMessage(path=event.path, size_bytes=event.size_bytes, delivery=one.name)
        )
        if _may_tell(one, event.path):
            text = f"delivered {plain(event.path)} ({size_words(event.size_bytes)})"
    elif isinstance(event, FileFailed):
        output.emit(FailedMessage(path=event.path, error=scrub(event.error), delivery=one.name))
        text = f"{plain(event.path)}: {event.error}"
    elif isinstance(event, Restarted):
        output.emit(DeliveryMessage(event="restarted", delivery=one.name))
        text = f"the subtask was started again ({event.restarts})"
    elif isinstance(event, TakenOver):
        output.emit(DeliveryMessage(event="taken_over", delivery=one.name))
        text = f"another program has taken over {one.master.state_dir}"
    if text is not None and not output.as_json:
        output.note(scrub(f"{one.label}: {text}"))


def _may_tell(one: _Running, path: str) -> bool:
    """A file that grows all the time is told once a minute: a service's log must stay small."""
    now = time.monotonic()
    if now < one.quiet_until.get(path, 0.0):
        return False
    one.quiet_until[path] = now + _QUIET_EVERY_SECS
    return True
