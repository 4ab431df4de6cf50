"""``records="lines"``: when a reader may see half a line."""

from __future__ import annotations

from tests.simulation.ledger import Lineage

__all__ = ["half_line"]

_LEAST_REQUEST_BYTES = 4_096


def half_line(lineage: Lineage, size: int, now_ns: int, wait_ns: int, released_ns: int) -> str:
    """What is wrong with showing so much of it now, in words; "" if nothing is.

    Args:
        wait_ns: half a line is kept back for so long.
        released_ns: when everything was asked for last (flush, stop); -1: never.
    """
    begins = lineage.content.rfind(b"\n", 0, size) + 1
    whole = lineage.content.find(b"\n", size) + 1 or len(lineage.content)
    if begins == size or whole - begins > _LEAST_REQUEST_BYTES:
        return ""  # a line that is longer than a request comes in several
    begun_ns = next((at_ns for at_ns, reached in lineage.grown if reached > begins), 0)
    if begun_ns + wait_ns <= now_ns or released_ns >= begun_ns:
        return ""
    waited = (now_ns - begun_ns) / 1e9
    return f"{size - begins} bytes of a line that was begun {waited:.3f} s ago"
