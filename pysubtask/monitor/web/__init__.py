"""Pages, API and streams of the monitor: :func:`pysubtask.monitor.web.app.make_app`."""
