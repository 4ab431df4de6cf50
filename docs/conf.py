"""The site: ``python -m sphinx -W --keep-going docs docs/_build/html`` (extra ``[docs]``).

The pages are written to be read in the repository too. So what a page says of a file outside of
``docs/`` is led to the repository here, and the README's settings to the page that shows them.
"""

from __future__ import annotations

import os
import pathlib
import re

from sphinx.application import Sphinx

from pysubtask.version import __version__

HERE = pathlib.Path(__file__).parent
SOURCE = "https://github.com/djacobson/pysubtask/blob/main"

project = "pysubtask"
author = "pysubtask contributors"
copyright = "pysubtask contributors"  # noqa: A001
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4  # links to headings are checked, by the names that GitHub gives them
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]  # blocks that show what a terminal shows

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "exclude-members": "__new__, __init__"}
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "pysubtask"
html_static_path: list[str] = []
html_copy_source = False


def lead_out(app: Sphinx, name: str, source: list[str]) -> None:
    """Links to files outside of ``docs/`` go to the repository."""
    page = HERE / f"{name}.md"

    def led(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        path = pathlib.Path(os.path.normpath(page.parent / target))
        if not target or "://" in target or path.is_relative_to(HERE):
            return match[0]
        outside = os.path.relpath(path, HERE.parent).replace(os.sep, "/")
        if (outside, anchor) == ("README.md", "settings"):
            inside = os.path.relpath(HERE / "settings.md", page.parent).replace(os.sep, "/")
            return f"{match[1]}({inside})"
        return f"{match[1]}({SOURCE}/{outside}{'#' * bool(anchor)}{anchor})"

    source[0] = re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", led, source[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", lead_out)
