"""Which clients a page shows: search, filters, order and paging, all of it in the URL. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pysubtask.monitor.rule import Flag, State
from pysubtask.monitor.snapshot import Row

__all__ = ["ORDERS", "PAGE_ROWS", "Listing", "Query", "failed_first"]

PAGE_ROWS = 200
ORDERS = {
    "failed": "failed first",
    "name": "by name",
    "beat": "oldest beat first",
    "backlog": "largest backlog first",
}
_RANK = {state: rank for rank, state in enumerate(State)}
_SECRET_STATES = {State.ARCHIVED}
_WORD_CHARS = 200


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. ``Query.of`` reads it from a URL and never fails on what stands there."""

    text: str = ""
    states: tuple[State, ...] = ()
    flag: Flag | None = None
    tag: str = ""
    order: str = "failed"
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        states = tuple(state for state in State if state.value in given.get("state", "").split(","))
        flags = [flag for flag in Flag if flag.value == given.get("flag")]
        number = given.get("page", "1")
        order = given.get("order", "failed")
        return cls(
            text=given.get("q", "").strip()[:_WORD_CHARS],
            states=states,
            flag=flags[0] if flags else None,
            tag=given.get("tag", "").strip()[:_WORD_CHARS],
            order=order if order in ORDERS else "failed",
            page=int(number) if re.fullmatch(r"[1-9][0-9]{0,5}", number, re.ASCII) else 1,
        )

    def url(self, **changes: Any) -> str:
        """The query string (with ``?``) of this view with some things changed, from page 1."""
        new = replace(self, **{"page": 1, **changes})
        parts = {
            "q": new.text,
            "state": ",".join(new.states),
            "flag": new.flag or "",
            "tag": new.tag,
            "order": "" if new.order == "failed" else new.order,
            "page": "" if new.page == 1 else str(new.page),
        }
        return "?" + urllib.parse.urlencode({key: one for key, one in parts.items() if one})

    def wants(self, row: Row) -> bool:
        """Whether the row is shown. Archived clients are, only where asked for by their state."""
        if self.states:
            if row.state not in self.states:
                return False
        elif row.state in _SECRET_STATES:
            return False
        if self.flag is not None and self.flag not in row.flags:
            return False
        if self.tag and self.tag not in row.tags:
            return False
        if not self.text:
            return True
        wanted = self.text.casefold()
        return (
            wanted in row.shown.casefold()
            or wanted in row.name.casefold()
            or any(wanted in tag.casefold() for tag in row.tags)
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the rows that were asked for."""

    rows: tuple[Row, ...]
    total: int
    page: int
    pages: int

    @classmethod
    def of(cls, rows: Iterable[Row], query: Query) -> Listing:
        found = sorted((row for row in rows if query.wants(row)), key=_KEYS[query.order])
        pages = max(1, -(-len(found) // PAGE_ROWS))
        page = min(query.page, pages)
        begin = (page - 1) * PAGE_ROWS
        return cls(tuple(found[begin : begin + PAGE_ROWS]), len(found), page, pages)


def failed_first(row: Row) -> tuple[Any, ...]:
    """The order of the table: the worst states first, in them the newest."""
    newest_first = -row.since if row.state in (State.DOWN, State.LATE) else 0.0
    return _RANK[row.state], newest_first, not row.flags, row.shown


_KEYS = {
    "failed": failed_first,
    "name": lambda row: (row.shown, row.id),
    "beat": lambda row: (row.beat_at is None, row.beat_at or 0.0, row.shown),
    "backlog": lambda row: (-(row.backlog_bytes or 0), row.shown),
}
