"""``pysubtask service``: definitions that let the system run ``pysubtask run`` for you."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal, cast
from xml.sax.saxutils import escape

import click

from pysubtask.cli.config import config_argument, config_path, load_project
from pysubtask.cli.exits import Code
from pysubtask.cli.messages import ServiceMessage
from pysubtask.cli.options import json_option
from pysubtask.cli.output import Output
from pysubtask.layers import Given

__all__ = ["command", "launchd", "systemd", "windows"]

_STOP_SPARE_SECS = 10


@click.group("service", short_help="Print a service's definition.")
def command() -> None:
    """Run deliveries as a service of the system."""


@command.command("print", short_help="For systemd, launchd or windows.")
@click.argument(
    "kind",
    type=click.Choice(["systemd", "launchd", "windows"]),
    metavar="{systemd|launchd|windows}",
)
@config_argument
@click.option("--user", "own", is_flag=True, help="systemd: a service of yours, not the system's.")
@json_option
def print_(kind: str, config: str | None, own: bool, as_json: bool) -> int:
    """Print a service's definition for a TOML file; nothing is installed.

    The definition goes to standard output, where it belongs to standard error.
    """
    output = Output(as_json=as_json)
    path = os.path.abspath(os.path.expanduser(config_path(config)))
    project = load_project(config)
    stop_secs = max(_stop_secs(delivery.merged.settings) for delivery in project.deliveries)
    if kind == "systemd":
        text, install = systemd(path, stop_secs, own=own)
    elif kind == "launchd":
        text, install = launchd(path, stop_secs)
    else:
        text, install = windows(path)
    named = cast(Literal["systemd", "launchd", "windows"], kind)
    output.emit(ServiceMessage(kind=named, text=text, install=install))
    if not as_json:
        click.echo(text, nl=False)
        output.note(install)
    return Code.OK


def _stop_secs(settings: Mapping[str, Given]) -> int:
    given = settings.get("stop_timeout_secs")
    return round(float(given.value) if given is not None else 10.0)


def systemd(config: str, stop_secs: int, *, own: bool) -> tuple[str, str]:
    """A unit (systemd.service(5)) and how to install it.

    ``KillMode=mixed``: only the command is told to stop; it stops its subtasks. The home folders
    stay readable and writable, since data lie anywhere; the rest of the system is read-only.
    """
    words = [sys.executable, "-P", "-m", "pysubtask", "run", config]
    wanted = "default.target" if own else "multi-user.target"
    network = "" if own else "After=network-online.target\nWants=network-online.target\n"
    user = "" if own else "# User=edge\n"
    text = f"""[Unit]
Description=pysubtask: deliver what {_systemd_text(os.path.basename(config))} watches
Documentation=https://github.com/djacobson/pysubtask
{network}
[Service]
Type=exec
{user}ExecStart={" ".join(_systemd_word(word) for word in words)}
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=2 11
KillMode=mixed
TimeoutStopSec={stop_secs + _STOP_SPARE_SECS}
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=no
UMask=0077

[Install]
WantedBy={wanted}
"""
    if own:
        place = "~/.config/systemd/user/pysubtask.service"
        call = "systemctl --user enable --now pysubtask"
    else:
        place = "/etc/systemd/system/pysubtask.service"
        call = "systemctl enable --now pysubtask"
    return text, f"write it to {place} (set User=), then: {call}" if not own else (
        f"write it to {place}, then: {call}"
    )


def _systemd_word(word: str) -> str:
    """Quoted as systemd.syntax(7) and systemd.service(5) want it: ``%`` and ``$`` doubled."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    if any(char in escaped for char in " \t\"'\\;"):
        escaped = '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return escaped


def _systemd_text(text: str) -> str:
    return text.replace("%", "%%").replace("\n", " ")


def launchd(config: str, stop_secs: int) -> tuple[str, str]:
    """A property list (launchd.plist(5)) and how to install it."""
    words = [sys.executable, "-P", "-m", "pysubtask", "run", config]
    arguments = "\n".join(f"    <string>{escape(word)}</string>" for word in words)
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN"
  "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>pysubtask</string>
  <key>ProgramArguments</key>
  <array>
{arguments}
  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ExitTimeOut</key>
  <integer>{stop_secs + _STOP_SPARE_SECS}</integer>
  <key>ProcessType</key>
  <string>Background</string>
</dict>
</plist>
"""
    return text, (
        "write it to ~/Library/LaunchAgents/pysubtask.plist, then: "
        "launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/pysubtask.plist"
    )


def windows(config: str) -> tuple[str, str]:
    """A PowerShell script that registers a task which runs from the logon of its user on."""
    python = sys.executable
    arguments = f'-P -m pysubtask run "{config}"'
    text = f"""$action = New-ScheduledTaskAction -Execute {_ps(python)} -Argument {_ps(arguments)}
$trigger = New-ScheduledTaskTrigger -AtLogOn -User $env:USERNAME
$settings = New-ScheduledTaskSettingsSet -RestartCount 999 `
    -RestartInterval (New-TimeSpan -Minutes 1) `
    -ExecutionTimeLimit (New-TimeSpan -Seconds 0) -AllowStartIfOnBatteries `
    -DontStopIfGoingOnBatteries -MultipleInstances IgnoreNew
Register-ScheduledTask -TaskName 'pysubtask' -Action $action -Trigger $trigger `
    -Settings $settings
Start-ScheduledTask -TaskName 'pysubtask'
"""
    return text, "write it to pysubtask.ps1, then: powershell -File pysubtask.ps1"


def _ps(text: str) -> str:
    """A PowerShell string that holds no variables."""
    return "'" + text.replace("'", "''") + "'"
