"""The curve of certificates that are still good, as coordinates for an SVG that the server draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from moorage.fleet.forecast import Authority, Remaining

__all__ = ["Curve", "Mark", "Tick", "curve_of"]

WIDTH: Final = 860
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 28
# More would stand on each other.
_MARKS: Final = 8
# Labels that are nearer than this are one.
_APART: Final = 22.0


@dataclass(frozen=True, slots=True)
class Tick:
    """`at` is a coordinate along its axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Authorities whose certificates end together, or nearly; `label` has their numbers in the table."""

    at: float
    label: str
    title: str

    @property
    def half(self) -> float:
        """Half the width of the label."""
        return 7 + 3.5 * len(self.label)


@dataclass(frozen=True, slots=True)
class Curve:
    line: str
    area: str
    months: tuple[Tick, ...]
    counts: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    floor: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP


def curve_of(points: Sequence[Remaining], authorities: Sequence[Authority]) -> Curve:
    """`points` in steps; it falls at each, since nobody knows when between two it did."""
    first, last = points[0].at, points[-1].at
    most = max(1, points[0].devices)
    floor = HEIGHT - _BOTTOM

    def x(at: datetime) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * ((at - first) / (last - first)), 1)

    def y(devices: float) -> float:
        return round(floor - (floor - _TOP) * devices / most, 1)

    line = f"M{x(first)} {y(points[0].devices)}" + "".join(f"H{x(each.at)}V{y(each.devices)}" for each in points[1:])
    return Curve(
        line=line,
        area=f"{line}V{floor}H{x(first)}Z",
        months=tuple(Tick(x(at), f"{at:%b}") for at in _months(first, last)),
        counts=tuple(Tick(y(most * part), f"{round(most * part):,}") for part in (0, 0.5, 1)),
        marks=tuple(_marks(authorities, first, last, x)),
        floor=floor,
    )


def _marks(
    authorities: Sequence[Authority], first: datetime, last: datetime, x: Callable[[datetime], float]
) -> list[Mark]:
    marks: list[Mark] = []
    for number, each in enumerate(authorities, 1):
        end = each.certificate.not_after
        if not first <= end <= last:
            continue
        at, title = x(end), f"{each.certificate.subject}, {end:%Y-%m-%d}"
        if marks and at - marks[-1].at < _APART:
            before = marks.pop()
            marks.append(Mark(before.at, f"{before.label}, {number}", f"{before.title}; {title}"))
        else:
            marks.append(Mark(at, str(number), title))
    return marks[:_MARKS]


def _months(first: datetime, last: datetime) -> list[datetime]:
    """The first day of each month between the two."""
    found: list[datetime] = []
    year, month = first.year, first.month
    while True:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        at = datetime(year, month, 1, tzinfo=first.tzinfo)
        if at >= last:
            return found
        found.append(at)
