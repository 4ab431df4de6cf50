"""For tests of programs that use pysubtask: a destination in memory.

>>> from pysubtask.testing import MemoryServer, MemoryTransport
>>> server = MemoryServer()
>>> transport = MemoryTransport(server)
>>> transport.connect()
"""

from __future__ import annotations

from pysubtask.core.capabilities import Capabilities
from pysubtask.transports.memory import MemoryServer, MemoryTransport

__all__ = ["Capabilities", "MemoryServer", "MemoryTransport"]
