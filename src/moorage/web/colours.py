"""Colours that somebody chose, made readable: WCAG 2.2 contrast for text, by day and by night.

A chosen colour is kept where it can be read, and otherwise moved towards black or white in small steps until it can.
What stands on it is black or white, one of which is always good enough (4.58 to 1 at the worst grey).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["MARKED", "TEXT", "Accent", "Header", "accent_of", "contrast", "header_of", "ink_on", "mixed", "readable"]

# WCAG 2.2, 1.4.3.
TEXT: Final = 4.5
_STEPS: Final = 25
# How much of its text's colour the pane's marked entry has.
MARKED: Final = 0.14
_DARK: Final = "#0a1117"
_DIM: Final = 0.05
# Of tokens.css: what an accent stands on, and what stands on its wash.
_DAY: Final = ("#ffffff", "#f6f8f9")
_NIGHT: Final = ("#0d151b", "#131e26", "#1a2833")
_QUIET: Final = {"day": "#526572", "night": "#9db0bc"}


class Accent(NamedTuple):
    """By day and by night: the colour, what stands on it, and its wash behind text."""

    colour: tuple[str, str]
    ink: tuple[str, str]
    wash: tuple[str, str]


class Header(NamedTuple):
    """By day and by night: the pane's ground, and its text, loud and quiet."""

    ground: tuple[str, str]
    ink: tuple[str, str]
    quiet: tuple[str, str]


def header_of(chosen: str) -> Header:
    """By night a bright ground is dimmed."""
    night = next(
        made for made in (mixed(chosen, _DARK, step / _STEPS) for step in range(_STEPS + 1)) if _luminance(made) <= _DIM
    )
    grounds = _ground(chosen), _ground(night)
    inks = ink_on(grounds[0]), ink_on(grounds[1])
    quiets = [mixed(ink, ground, 0.25) for ink, ground in zip(inks, grounds, strict=True)]
    kept = [
        quiet if contrast(quiet, ground) >= TEXT else ink
        for quiet, ink, ground in zip(quiets, inks, grounds, strict=True)
    ]
    return Header(grounds, inks, (kept[0], kept[1]))


def _ground(chosen: str) -> str:
    """`chosen`, or the nearest on which its ink can also be read where an entry is marked (app.css, `.pane`)."""
    ink = ink_on(chosen)
    away = "#000000" if ink == "#ffffff" else "#ffffff"
    grounds = (mixed(chosen, away, step / _STEPS) for step in range(_STEPS + 1))
    return next(ground for ground in grounds if contrast(ink, mixed(ground, ink, MARKED)) >= TEXT)


def accent_of(chosen: str) -> Accent:
    day_wash, night_wash = _wash(chosen, "#ffffff", _QUIET["day"]), _wash(chosen, "#131e26", _QUIET["night"])
    day = readable(chosen, (*_DAY, day_wash), "#000000")
    night = readable(chosen, (*_NIGHT, night_wash), "#ffffff")
    return Accent((day, night), (ink_on(day), ink_on(night)), (day_wash, night_wash))


def readable(colour: str, grounds: Iterable[str], towards: str) -> str:
    """`colour`, or the nearest on the way to `towards` that can be read on all `grounds`."""
    grounds = tuple(grounds)
    for step in range(_STEPS + 1):
        found = mixed(colour, towards, step / _STEPS)
        if all(contrast(found, ground) >= TEXT for ground in grounds):
            return found
    return towards


def ink_on(ground: str) -> str:
    """Black or white, whichever can be read better."""
    return max(("#ffffff", "#000000"), key=lambda ink: contrast(ink, ground))


def mixed(colour: str, other: str, share: float) -> str:
    """`colour` with that share of `other`."""
    parts = (round(a + (b - a) * share) for a, b in zip(_parts(colour), _parts(other), strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio, 1 to 21."""
    dark, bright = sorted((_luminance(one), _luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def _wash(chosen: str, ground: str, quiet: str) -> str:
    """A little of the colour on that ground: as much as quiet text on it allows."""
    shares = (share / 100 for share in range(14, 0, -1))
    return next(
        (wash for share in shares if contrast(wash := mixed(ground, chosen, share), quiet) >= TEXT + 0.1), ground
    )


def _luminance(colour: str) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in _parts(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
