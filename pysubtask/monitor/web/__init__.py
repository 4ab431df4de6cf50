"""Pages, API and streams of the monitor."""

from pysubtask.monitor.web.app import make_app

__all__ = ["make_app"]
