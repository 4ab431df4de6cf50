"""docs/monitor.md says what is so.

``python -m tests.monitor.test_monitor_docs`` prints its table of settings.
"""

from __future__ import annotations

import pathlib
import re

import msgspec

import pysubtask
from pysubtask.monitor.config import descriptions
from pysubtask.monitor.export import KINDS
from pysubtask.monitor.rule import Flag, State

PAGE = pathlib.Path(pysubtask.__file__).parent.parent / "docs" / "monitor.md"


def settings_table() -> str:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, kind, default, text in descriptions():
        if name == "source":
            lines.append(f"| `SOURCE` | – | {text} |")
            continue
        flag = "--" + name.replace("_", "-")
        shown = (
            "–"
            if default in (None, (), False)
            else f"`{default:g}`"
            if isinstance(default, float)
            else f"`{default}`"
        )
        takes = "" if isinstance(kind, msgspec.inspect.BoolType) else " …"
        lines.append(f"| `{flag}{takes}` | {shown} | {text} |")
    return "\n".join(lines)


def test_the_table_is_the_settings() -> None:
    text = PAGE.read_text("utf-8")
    found = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- end of settings -->", text, re.DOTALL)
    assert found is not None
    assert found[1].strip() == settings_table(), "run python -m tests.monitor.test_monitor_docs"


def test_every_state_flag_and_export_is_explained() -> None:
    text = PAGE.read_text("utf-8")
    for name in (*State, *Flag):
        assert f"`{name}`" in text, name
    for kind in KINDS:
        assert f"export {kind} " in text, kind


def test_every_flag_that_is_named_exists() -> None:
    known = {"--" + name.replace("_", "-") for name, *_ in descriptions()}
    known |= {"--json", "--client", "--scope", "--target", "--config"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE.read_text("utf-8"))) <= known


if __name__ == "__main__":
    print(settings_table())
