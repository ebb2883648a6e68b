"""The form of a tile, read: what it shows, of which devices, in which colours (contract/central.md 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from moorage.analytics.boards import Threshold, Tile
from moorage.analytics.explorer import DAY, Question
from moorage.errors import Invalid
from moorage.web.explorer import parse_measures
from moorage.web.forms import about

__all__ = ["threshold_fields", "thresholds_of", "tile_of", "whole_number"]

# Rows of a value and its colour.
_THRESHOLDS: Final = 3


def tile_of(tile: Tile, fields: Mapping[str, str]) -> Tile:
    """`tile` as the form has it, but for its colours. Raises `Invalid` (`explorer.question`)."""
    devices = fields.get("devices", "").replace(",", " ").split()
    minutes = whole_number(fields.get("span", ""), DAY)
    question = Question(
        group=fields.get("group", ""),
        devices=tuple(dict.fromkeys(devices)),
        measures=tuple(parse_measures(fields.items())),
        by=fields.get("by", ""),
        minutes=minutes,
        # The form has no field for it: it stays for as long as the time does that it was chosen for.
        step=tile.question.step if minutes == tile.question.minutes else 0,
        axes=tile.question.axes,
    )
    paths = tuple(path.strip() for path in fields.get("paths", "").splitlines() if path.strip())
    decimals = fields.get("decimals", "")
    return replace(
        tile,
        title=fields.get("title", "").strip(),
        question=question,
        paths=paths,
        text=fields.get("text", tile.text),
        query=fields.get("query", ""),
        image="" if "no_picture" in fields else tile.image,
        command=fields.get("command", "").strip(),
        decimals=int(decimals) if decimals.isascii() and decimals.isdigit() and len(decimals) == 1 else None,
        is_abbreviated="abbreviated" in fields,
    )


def thresholds_of(fields: Mapping[str, str]) -> tuple[Threshold, ...]:
    """The colours by value. Raises `Invalid` (`dashboard.tile`)."""
    thresholds = []
    for number in range(_THRESHOLDS):
        least, colour = fields.get(f"least{number}", "").strip(), _colour(fields.get(f"colour{number}", ""))
        if colour is None and least:
            raise Invalid("dashboard.tile", f"choose the colour from {least[:40]!r} on", field=f"colour{number}")
        if colour is not None:
            with about(f"least{number}"):
                thresholds.append(Threshold(_number(least), colour))
    return tuple(thresholds)


def threshold_fields(tile: Tile) -> dict[str, str]:
    """What the form for them has in it."""
    fields = dict[str, str]()
    for number, each in enumerate(tile.thresholds):
        fields |= {f"least{number}": _number_text(each.least), f"colour{number}": each.colour}
    return fields


def _colour(text: str) -> Literal["good", "warn", "bad"] | None:
    match text:
        case "good" | "warn" | "bad":
            return text
    return None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e200:
        raise Invalid("dashboard.tile", f"a colour begins at a number, not at {text[:40]!r}")
    return number


def _number_text(number: float) -> str:
    """All of its digits: a form that is saved unchanged changes nothing."""
    return repr(float(number)).removesuffix(".0")


def whole_number(text: str, otherwise: int) -> int:
    """At most seven digits; `otherwise` for what is no such number."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 8 else otherwise
