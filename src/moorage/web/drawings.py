"""Charts as SVG that the server makes: bars, parts of a whole, points on a map. Colours come from classes (`--line-n`).

Every drawing has its figures as text beside it, so nobody has to read a shape or a colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup, escape

__all__ = ["Band", "Point", "bands_of", "heat_of", "map_of", "marks_of", "pie_of"]

_COLOURS: Final = 8
_WIDTH: Final = 400
_HEIGHT: Final = 240


class Point(NamedTuple):
    label: str
    latitude: float
    longitude: float


class Band(NamedTuple):
    """From `begin` to `end`, as parts of the whole time; `number` is of its colour, from 1."""

    begin: float
    end: float
    number: int


def heat_of(values: Sequence[float | None], least: float, greatest: float) -> Markup:
    """A strip of cells, the darker the nearer to `greatest`; where there is no value there is no cell."""
    cells = []
    for number, value in enumerate(values):
        if value is not None:
            share = (value - least) / (greatest - least) if greatest > least else 1.0
            strength = 0.12 + 0.88 * min(1.0, max(0.0, share))
            cells.append(f'<rect class="c1" x="{number}" width="0.96" height="10" fill-opacity="{strength:.2f}"/>')
    return Markup(_strip(cells, len(values)))


def bands_of(bands: Sequence[Band]) -> Markup:
    """A strip of bands, in the colours of their states."""
    drawn = []
    for band in bands:
        width = max(0.3, (band.end - band.begin) * 100)
        drawn.append(f'<rect class="c{band.number}" x="{band.begin * 100:.2f}" width="{width:.2f}" height="10"/>')
    return Markup(_strip(drawn, 100))


def marks_of(places: Sequence[tuple[float, int]]) -> Markup:
    """A strip with a mark at each place, 0 to 1, in the colour of that number."""
    marks = [f'<rect class="c{number}" x="{place * 99:.2f}" width="0.8" height="10"/>' for place, number in places]
    return Markup(_strip(marks, 100))


def _strip(parts: Sequence[str], width: int) -> str:
    return (
        f'<svg class="strip" viewBox="0 0 {max(1, width)} 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def pie_of(values: Sequence[float]) -> Markup:
    """A ring of arcs, in the order of the values; what is not above zero has none."""
    total = sum(value for value in values if value > 0)
    arcs = []
    at = 0.0
    for number, value in enumerate(values):
        if value <= 0 or not total:
            continue
        share = value / total
        arcs.append(f'<path class="part c{number % _COLOURS + 1}" d="{_arc(at, at + share)}"/>')
        at += share
    return Markup(f'<svg class="pie" viewBox="0 0 100 100" aria-hidden="true">{"".join(arcs)}</svg>')


def _arc(begin: float, end: float) -> str:
    outer, inner = 48.0, 29.0
    if end - begin > 0.9999:
        return (
            f"M50 {50 - outer}A{outer} {outer} 0 1 1 49.99 {50 - outer}Z"
            f"M50 {50 - inner}A{inner} {inner} 0 1 0 50.01 {50 - inner}Z"
        )

    def at(share: float, radius: float) -> str:
        angle = 2 * math.pi * share
        return f"{50 + radius * math.sin(angle):.2f} {50 - radius * math.cos(angle):.2f}"

    large = int(end - begin > 0.5)
    return (
        f"M{at(begin, outer)}A{outer} {outer} 0 {large} 1 {at(end, outer)}"
        f"L{at(end, inner)}A{inner} {inner} 0 {large} 0 {at(begin, inner)}Z"
    )


def map_of(points: Sequence[Point]) -> Markup:
    """Where they lie among each other, north up, with lines of latitude and longitude; nothing is fetched for it."""
    south, north = _range([point.latitude for point in points], 90.0)
    west, east = _range([point.longitude for point in points], 180.0)
    # A degree of longitude is shorter away from the equator.
    narrow = max(0.2, math.cos(math.radians((south + north) / 2)))
    scale = min((_WIDTH - 40) / max((east - west) * narrow, 1e-9), (_HEIGHT - 40) / max(north - south, 1e-9))

    def place(latitude: float, longitude: float) -> tuple[float, float]:
        x = _WIDTH / 2 + (longitude - (west + east) / 2) * narrow * scale
        y = _HEIGHT / 2 - (latitude - (south + north) / 2) * scale
        return x, y

    drawn = []
    step = _step(max(_HEIGHT / scale, _WIDTH / scale / narrow))
    for number in range(math.floor((south - 2 * step) / step), math.ceil((north + 2 * step) / step) + 1):
        _, y = place(number * step, west)
        if 0 <= y <= _HEIGHT:
            drawn.append(f'<path class="meridian" d="M0 {y:.1f}H{_WIDTH}"/>')
            drawn.append(f'<text x="4" y="{y - 3:.1f}">{_degrees(number * step, "N", "S", step)}</text>')
    for number in range(math.floor((west - 6 * step) / step), math.ceil((east + 6 * step) / step) + 1):
        x, _ = place(south, number * step)
        if 0 <= x <= _WIDTH:
            drawn.append(f'<path class="meridian" d="M{x:.1f} 0V{_HEIGHT}"/>')
            drawn.append(f'<text x="{x + 3:.1f}" y="{_HEIGHT - 4}">{_degrees(number * step, "E", "W", step)}</text>')
    for point in points:
        x, y = place(point.latitude, point.longitude)
        drawn.append(
            f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(point.label)}</title></circle>'
        )
    return Markup(f'<svg class="map" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{"".join(drawn)}</svg>')


def _range(values: Sequence[float], most: float) -> tuple[float, float]:
    least, greatest = min(values), max(values)
    if greatest - least < 0.01:
        least, greatest = least - 0.005, greatest + 0.005
    return max(-most, least), min(most, greatest)


def _step(span: float) -> float:
    """About four lines."""
    power = math.pow(10, math.floor(math.log10(span / 4)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / 4)


def _degrees(value: float, above: str, below: str, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step)))
    return f"{abs(value):.{decimals}f}° {above if value >= 0 else below}"
