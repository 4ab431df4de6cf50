"""Debian's Chromium, driven by Playwright; nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.processes import ServerMissing, find_program


def missing(words: str) -> None:
    if os.environ.get("PYSUBTASK_REQUIRE_SERVERS") == "1":
        pytest.fail(words)
    pytest.skip(words)


def axe_source() -> str:
    """axe-core as the package axe-playwright-python brings it."""
    try:
        import axe_playwright_python as package
    except ImportError:
        missing("package not installed: axe-playwright-python")
    folder = pathlib.Path(str(package.__file__)).parent
    return next(folder.rglob("axe.min.js")).read_text("utf-8")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips by the name of what is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("package not installed: playwright")
    try:
        path = find_program("chromium")
    except ServerMissing as error:
        missing(f"program not installed: {error}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()
