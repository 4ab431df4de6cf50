"""A real frozen program, made by PyInstaller: ``python -m tests.frozen``.

:mod:`tests.frozen.trials` says what is tried. It is no test of CI, since building takes a minute.
"""
