"""A supply chain as coordinates for an SVG that the server draws: a column for each level, a row for each end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import log10
from typing import Final

from moorage.fleet.supply_chain import Node, SupplyChain
from moorage.pki.certificates import Certificate

__all__ = ["Box", "Drawing", "Ends", "Link", "draw_tree"]

_BOX_WIDTH, _BOX_HEIGHT = 200, 58
_COLUMN, _ROW, _EDGE = 270, 76, 10
_ENDS_WIDTH: Final = 120
_TEXT: Final = 24
_SOON: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Box:
    """`state` is `good`, `warn` or `bad`, by its dates."""

    x: float
    y: float
    node: Node
    name: str
    state: str
    fits: bool


@dataclass(frozen=True, slots=True)
class Ends:
    """Devices at the end of a branch."""

    x: float
    y: float
    devices: int


@dataclass(frozen=True, slots=True)
class Link:
    """`width` grows with the number of devices beyond it."""

    path: str
    width: float
    fits: bool


@dataclass(slots=True)
class Drawing:
    boxes: list[Box] = field(default_factory=list)
    ends: list[Ends] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    width: float = 0
    height: float = 0
    box_width: int = _BOX_WIDTH
    box_height: int = _BOX_HEIGHT
    ends_width: int = _ENDS_WIDTH


def draw_tree(chain: SupplyChain, now: datetime, fitting: Collection[Certificate] = ()) -> Drawing:
    """`fitting` are the certificates above one that somebody asks about."""
    drawing = Drawing()
    rows = 0.0
    for root in chain.roots:
        rows = _place(drawing, root, 0, rows, now, frozenset(fitting))[1]
    drawing.height = rows * _ROW + _EDGE
    drawing.width = max((box.x + _COLUMN for box in drawing.boxes), default=0) + _ENDS_WIDTH
    return drawing


def _place(
    drawing: Drawing, node: Node, depth: int, row: float, now: datetime, fitting: frozenset[Certificate]
) -> tuple[float, float]:
    """Put `node` and what is below it from `row` on; (the middle of its box, the next free row)."""
    x, next_row = _EDGE + depth * _COLUMN, row
    branches: list[tuple[float, int, bool]] = []
    if node.devices:
        middle = _EDGE + next_row * _ROW + _BOX_HEIGHT / 2
        drawing.ends.append(Ends(x + _COLUMN, middle, node.devices))
        branches.append((middle, node.devices, False))
        next_row += 1
    for child in sorted(node.children, key=lambda each: -each.total):
        middle, next_row = _place(drawing, child, depth + 1, next_row, now, fitting)
        branches.append((middle, child.total, child.certificate in fitting and node.certificate in fitting))
    if not branches:
        next_row += 1
    own = (branches[0][0] + branches[-1][0]) / 2 if branches else _EDGE + row * _ROW + _BOX_HEIGHT / 2
    drawing.boxes.append(
        Box(
            x,
            own - _BOX_HEIGHT / 2,
            node,
            node.name if len(node.name) <= _TEXT else node.name[: _TEXT - 1] + "\u2026",
            _state(node.certificate, now),
            node.certificate in fitting,
        )
    )
    begin, end = x + _BOX_WIDTH, x + _COLUMN
    bend = (begin + end) / 2
    for middle, devices, fits in branches:
        path = f"M{begin} {own}C{bend} {own} {bend} {middle} {end} {middle}"
        drawing.links.append(Link(path, round(1.5 + 1.5 * log10(devices + 1), 1), fits))
    return own, next_row


def _state(certificate: Certificate, now: datetime) -> str:
    if certificate.not_after < now:
        return "bad"
    return "warn" if certificate.not_after < now + _SOON else "good"
