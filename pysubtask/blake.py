"""BLAKE2b without the rest of :mod:`hashlib`, which loads OpenSSL: 3.5 MB for as long as we live.

A subtask that speaks by the system's ``ssh``, or to a folder, needs no OpenSSL. The standard
library's own ``random`` takes its digest from the same place, for the same reason.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:  # another Python
    from hashlib import blake2b

__all__ = ["blake2b"]
