"""``pysubtask-monitor``: serve, scan, check, key, export."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import platformdirs

from pysubtask.errors import PysubtaskError, SettingsError
from pysubtask.monitor.config import Config, descriptions, load_config
from pysubtask.systems.streams import print_anything
from pysubtask.version import __version__

if TYPE_CHECKING:
    from pysubtask.monitor.fleet import Fleet, Scan
    from pysubtask.monitor.history import History
    from pysubtask.monitor.snapshot import Snapshot

__all__ = ["main"]

_SCAN = (
    "source flat grace_secs data_secs key_file known_hosts host_key source_password_file "
    "dropbox_app_key dropbox_token_file".split()
)


_SECOND_LOOK_SECS = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    print_anything()
    args = _parsed(argv)
    checking = args.command == "check"
    try:
        code: int = args.run(args)
    except PysubtaskError as error:
        return _unknown(error) if checking else _complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read our output has gone; nothing more can be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 3 if checking else 0
    except Exception as error:
        if not checking:
            raise
        return _unknown(error)  # a traceback would end with 1, which means late
    return code


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. A mistake in it ends this with 2, which for a plugin would be critical."""
    try:
        return _parser().parse_args(argv)
    except SystemExit as end:
        words = sys.argv[1:] if argv is None else argv
        if end.code == 2 and "check" in words[:1]:
            raise SystemExit(3) from None
        raise


def _complain(error: PysubtaskError) -> int:
    print(f"pysubtask-monitor: {error}", file=sys.stderr)
    return 2


def _unknown(error: Exception) -> int:
    """What ``check`` says when it can't say anything else: to standard output, as plugins do."""
    known = isinstance(error, PysubtaskError)
    words = str(error) if known else f"{type(error).__name__}: {error}"
    print(f"HEARTBEAT UNKNOWN - {' '.join(words.split()).replace('|', '¦')}")
    return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pysubtask-monitor",
        description="Turns the heartbeat files of pysubtask clients into the truth about who is "
        "online.",
    )
    parser.add_argument("--version", action="version", version=f"pysubtask {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="watch a folder, show pages, send alerts")
    _settings(serve, [name for name, *_ in descriptions()])
    serve.set_defaults(run=_serve)

    scan = commands.add_parser("scan", help="look once and print what is so")
    scan.add_argument("--once", action="store_true", help="look once (what it does anyway)")
    scan.add_argument("--json", action="store_true", help="as the API's JSON")
    _settings(scan, _SCAN)
    scan.set_defaults(run=_scan)

    check = commands.add_parser(
        "check", help="look once and answer as a Nagios plugin: 0 ok, 1 late, 2 down, 3 unknown"
    )
    check.add_argument("--client", action="append", help="only this client (repeat)")
    _settings(check, _SCAN)
    check.set_defaults(run=_check)

    key = commands.add_parser("key", help="keys for programs that read the API or the metrics")
    acts = key.add_subparsers(dest="act", required=True, metavar="ACT")
    add = acts.add_parser("add", help="make one and print it, this once")
    add.add_argument("name", help="what it is for")
    add.add_argument("--scope", choices=("metrics", "read", "write"), default="read")
    drop = acts.add_parser("drop", help="make one worthless")
    drop.add_argument("id")
    for act in (add, drop, acts.add_parser("list", help="show all, but not the keys themselves")):
        _settings(act, ["state"])
        act.set_defaults(run=_key)

    export = commands.add_parser("export", help="print configuration for other programs")
    from pysubtask.monitor.export import KINDS

    export.add_argument("what", choices=sorted(KINDS), metavar="WHAT", help=", ".join(KINDS))
    export.add_argument("--target", default="127.0.0.1:8642", help="where this monitor listens")
    export.set_defaults(run=_export)
    return parser


def _settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML file with these settings")
    for name, kind, default, text in descriptions():
        if name not in names:
            continue
        if name == "source":
            parser.add_argument("source", nargs="?", help=text)
            continue
        flag = "--" + name.replace("_", "-")
        text = text.replace("%", "%%")
        if isinstance(kind, msgspec.inspect.BoolType):
            parser.add_argument(flag, action="store_true", default=None, help=text)
        elif isinstance(kind, msgspec.inspect.VarTupleType):
            parser.add_argument(flag, action="append", help=text)
        else:
            shown = (
                ""
                if default is None
                else f" (default {default:g})"
                if isinstance(default, (int, float))
                else f" (default {default})"
            )
            parser.add_argument(flag, help=text + shown)


def _config(args: argparse.Namespace) -> Config:
    names = {name for name, *_ in descriptions()}
    flags: dict[str, Any] = {key: one for key, one in vars(args).items() if key in names}
    return load_config(flags, os.environ, args.config)


def state_folder(config: Config) -> pathlib.Path:
    """Where the history lies."""
    if config.state:
        return pathlib.Path(config.state)
    return pathlib.Path(platformdirs.user_state_dir("pysubtask-monitor", appauthor=False))


def _serve(args: argparse.Namespace) -> int:
    try:
        from pysubtask.monitor.serve import serve
    except ImportError as error:
        raise SettingsError(
            f"{error.name} is not installed",
            operation="serve pages",
            hint="pip install 'pysubtask[monitor]'",
        ) from error
    return serve(_config(args), state_folder(_config(args)), os.environ)


def _look(args: argparse.Namespace) -> tuple[Fleet, Snapshot, Scan]:
    from pysubtask.monitor.clients import Settings
    from pysubtask.monitor.fleet import Fleet
    from pysubtask.monitor.snapshot import Snapshot, SourceState, next_snapshot
    from pysubtask.monitor.sources import open_source

    config = _config(args)
    source = open_source(config, os.environ)
    fleet = Fleet(Settings(grace_secs=config.grace_secs, data_secs=config.data_secs))
    try:
        scan = source.scan()
        now = time.time()
        changes = fleet.observe(scan, now, time.monotonic())
        if any(client.unsure or client.suspect for client in fleet.clients.values()):
            time.sleep(_SECOND_LOOK_SECS)  # is it being written, or does it stay like that?
            scan = source.scan()
            now = time.time()
            changes = fleet.observe(scan, now, time.monotonic())
    finally:
        source.close()
    state = SourceState(str(source), changes.blind, None, scan.took_secs, scan.warnings)
    clients = list(fleet.clients.values())
    snapshot = next_snapshot(Snapshot.empty(str(source), now), clients, clients, now, state)
    return fleet, snapshot, scan


def _scan(args: argparse.Namespace) -> int:
    from pysubtask.monitor.documents import fleet_document
    from pysubtask.monitor.listing import failed_first
    from pysubtask.monitor.words import FLAG_NAMES, explain

    fleet, snapshot, _ = _look(args)
    if args.json:
        print(json.dumps(fleet_document(snapshot, snapshot.rows.values())))
        return 0 if snapshot.source.blind is None else 3
    if snapshot.source.blind is not None:
        print(f"unknown: {snapshot.source.blind}", file=sys.stderr)
        return 3
    for row in sorted(snapshot.rows.values(), key=failed_first):
        flags = "".join(f" [{FLAG_NAMES[flag]}]" for flag in row.flags)
        words = explain(fleet.clients[row.id], snapshot.at)
        print(f"{row.state:<8} {row.shown}{flags}  {words}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from pysubtask.monitor.check import verdict

    _, snapshot, scan = _look(args)
    code, text = verdict(snapshot, args.client, scan.unread)
    print(text)
    return code


def _history(args: argparse.Namespace) -> History:
    from pysubtask.monitor.history import History

    return History(state_folder(_config(args)))


def _key(args: argparse.Namespace) -> int:
    from pysubtask.monitor.web.access import Access, Scope

    history = _history(args)
    access = Access(history, threading.RLock(), None)
    try:
        if args.act == "add":
            print(access.make_key(args.name, Scope[args.scope.upper()]))
            print("Keep it: it is not stored. Send it as: Authorization: Bearer …", file=sys.stderr)
        elif args.act == "drop":
            if not access.drop_key(args.id):
                raise SettingsError("there is no such key", operation="drop the key", path=args.id)
        else:
            for key_id, name, scope, made_at in access.all_keys():
                made = time.strftime("%Y-%m-%d", time.localtime(made_at))
                print(f"{key_id}  {scope:<8} {made}  {name}")
    finally:
        history.close()
    return 0


def _export(args: argparse.Namespace) -> int:
    from pysubtask.monitor.export import KINDS

    print(KINDS[args.what](args.target), end="")
    return 0
