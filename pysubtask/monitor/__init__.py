"""The second program: turns heartbeat files into the truth about who is online.

``pysubtask-monitor serve /srv/drop`` watches the folder where clients' ``.heartbeat`` files land.
Nothing of the library imports this package, and it imports only what both share: errors, the
version, and for remote folders the transports. ``docs/monitor.md`` says what it does and why.
"""
