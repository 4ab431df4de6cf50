"""Half an hour of everything at once: ``python -m tests.soak --minutes 30``.

:mod:`tests.soak.soak` says what is done.
"""
