"""Configuration for other programs, printed by ``pysubtask-monitor export``.

They are files beside this one, so that their own tools can check them; ``@TARGET@`` in them stands
for the monitor's address. The Grafana dashboard is made here.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

from pysubtask.errors import SettingsError

__all__ = ["KINDS"]

_HERE = pathlib.Path(__file__).parent / "exports"


def _file(name: str) -> Callable[[str], str]:
    def read(target: str) -> str:
        if not re.fullmatch(r"[\w.\-\[\]:]+", target, re.ASCII):
            raise SettingsError(
                f"{target!r} is no address", operation="export", hint="such as 127.0.0.1:8642"
            )
        return (_HERE / name).read_text("utf-8").replace("@TARGET@", target)

    return read


def _panel(number: int, title: str, kind: str, queries: list[str], **more: Any) -> dict[str, Any]:
    column, row = number % 2, number // 2
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"h": 8, "w": 12, "x": 12 * column, "y": 8 * row},
        "targets": [
            {"refId": chr(65 + index), "expr": query, "legendFormat": "__auto"}
            for index, query in enumerate(queries)
        ],
        **more,
    }


def _grafana(_: str) -> str:
    deadline = 'pysubtask_client_deadline_timestamp_seconds{instance=~"$instance"}'
    table = {
        "transformations": [{"id": "labelsToFields", "options": {}}],
        "options": {"sortBy": [{"displayName": "Value", "desc": True}]},
        "fieldConfig": {"defaults": {"unit": "s"}, "overrides": []},
    }
    panels = [
        _panel(
            0,
            "Clients by state",
            "timeseries",
            ['sum by (state) (pysubtask_monitor_clients{instance=~"$instance"})'],
            fieldConfig={"defaults": {"custom": {"stacking": {"mode": "normal"}}}, "overrides": []},
        ),
        _panel(1, "Offline, by how long", "table", [f"time() - {deadline} > 0"], **table),
        _panel(
            2,
            "Largest backlogs",
            "timeseries",
            ['topk(10, pysubtask_client_backlog_bytes{instance=~"$instance"})'],
            fieldConfig={"defaults": {"unit": "bytes"}, "overrides": []},
        ),
        _panel(
            3,
            "The monitor: sees, and how long a look takes",
            "timeseries",
            [
                'pysubtask_monitor_source_readable{instance=~"$instance"}',
                'pysubtask_monitor_scan_duration_seconds{instance=~"$instance"}',
            ],
        ),
    ]
    source = {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}
    instance = {
        "name": "instance",
        "label": "Monitor",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": "label_values(pysubtask_monitor_info, instance)",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }
    dashboard = {
        "title": "pysubtask clients",
        "uid": "pysubtask-clients",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "tags": ["pysubtask"],
        "templating": {"list": [source, instance]},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=2) + "\n"


KINDS: dict[str, Callable[[str], str]] = {
    "prometheus": _file("prometheus.yml"),
    "prometheus-rules": _file("prometheus-rules.yml"),
    "prometheus-tests": _file("prometheus-tests.yml"),
    "alertmanager": _file("alertmanager.yml"),
    "grafana": _grafana,
    "systemd": _file("systemd.service"),
}
"""What can be exported: each a function of the monitor's address."""
