"""State folders as earlier versions left them, and what the present one makes of them.

``states/format-N-<transport>.tar.xz`` each hold a program's files, its state folder and the
destination's, at a moment when the subtask was killed in the middle of its work. They are made by
``python -m tests.upgrades`` (:mod:`tests.upgrades.make`) with the version whose format they have,
and never again: a new format gets new ones beside them.
"""
