"""The command line ``pysubtask``: each command a thin call on the public API.

Data go to standard output, progress and notes to standard error. With ``--json`` standard output
is NDJSON: one object a line, each with a ``message_type`` (:mod:`pysubtask.cli.messages`). Every
error ends with a line ``Try: …``; exit codes are those of :class:`pysubtask.cli.exits.Code`.
"""

from __future__ import annotations
