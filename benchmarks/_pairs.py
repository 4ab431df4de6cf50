"""Contenders by turns, round after round: A B C, A B C, …"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks._report import Figure, Ratio

__all__ = ["Took", "by_turns", "figures_of"]


@dataclass(frozen=True, slots=True)
class Took:
    """What one run of one contender cost: seconds on the clock, and of processor time."""

    secs: float
    cpu_secs: float


def by_turns(
    contenders: Mapping[str, Callable[[], Took]],
    rounds: int,
    failed: Callable[[str, Exception], None],
    *,
    warm_up: bool = True,
) -> dict[str, list[Took]]:
    """Run them ``rounds`` times by turns, each round beginning with another one.

    With ``warm_up`` the first run of each is thrown away where there is more than one round: pages,
    names and programs are not in memory yet. One that fails is told and left out.
    """
    runs: dict[str, list[Took]] = {name: [] for name in contenders}
    order = list(contenders)
    thrown_away = int(warm_up and rounds > 1)
    for number in range(rounds + thrown_away):
        for name in list(order):
            try:
                took = contenders[name]()
            except Exception as error:
                failed(name, error)
                order.remove(name)
                runs.pop(name)
                continue
            if number >= thrown_away:
                runs[name].append(took)
        order = order[1:] + order[:1]
    return runs


def figures_of(
    case: str,
    runs: Mapping[str, list[Took]],
    *,
    to: Iterable[str],
    per_sec: float | None = None,
    unit: str = "s",
    wanted: Mapping[tuple[str, str], float] | None = None,
    x: float | None = None,
) -> list[Figure]:
    """The figures of a case.

    Args:
        to: with whom every other one is compared: as many times as fast as they.
        per_sec: how much one run moves, for figures per second in ``unit``; None: seconds.
        wanted: by (contender, whom it is compared with), the ratio that is wanted.
    """
    wanted = wanted or {}
    found = []
    for name, all_took in runs.items():
        ratios, targets, met = [], [], []
        for other in to:
            if other == name or other not in runs:
                continue
            values = tuple(
                theirs.secs / ours.secs for ours, theirs in zip(all_took, runs[other], strict=True)
            )
            ratios.append(Ratio(other, values))
            least = wanted.get((name, other))
            if least is not None:
                targets.append(f"≥ {least:g} × {other}")
                met.append(statistics.median(values) >= least)
        values = tuple(t.secs if per_sec is None else per_sec / t.secs for t in all_took)
        found.append(
            Figure(
                case,
                name,
                unit,
                values,
                tuple(t.cpu_secs for t in all_took),
                tuple(ratios),
                " and ".join(targets),
                all(met) if met else None,
                x=x,
            )
        )
    return found
