"""A length of time as it is typed: 365d, 12h, 30s."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

import click

__all__ = ["Lifetime"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


class Lifetime(click.ParamType[timedelta]):
    name = "lifetime"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,9})([smhdwy])", value)
        if not found:
            self.fail(f"{value!r} is not a number with one of s, m, h, d, w, y behind it: 365d, 12h, 30s")
        try:
            return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
        except OverflowError:
            self.fail(f"{value!r} is longer than the calendar")
