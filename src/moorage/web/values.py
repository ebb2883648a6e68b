"""Values as people read them: what a capability's schema, unit and annotations make of a number, a state or a place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from moorage.dtdl.model import Valued
from moorage.dtdl.schemas import Enum, Primitive, Vector

__all__ = ["MAX_SHOWN", "json_text", "sparkline", "typed_text", "value_text"]

# Of one value in a table or a tile; all of it is in the raw data.
MAX_SHOWN: Final = 240
_WIDTH: Final = 240.0
_HEIGHT: Final = 40.0


def value_text(value: Any, declared: Valued | None = None) -> str:
    """One line, without the unit."""
    if value is None:
        return "—"
    if declared is not None and isinstance(declared.schema, Enum):
        found = declared.schema.find(value)
        if found is not None:
            return found.display_name or found.name
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, (int, float)):
        return _number(value, None if declared is None else declared.annotations.decimal_places)
    if isinstance(value, str):
        return _cut(value)
    if declared is not None and isinstance(declared.schema, Vector) and isinstance(value, dict):
        return ", ".join(f"{name} {value_text(each)}" for name, each in list(value.items())[:4])
    return _cut(_begin_json(value, MAX_SHOWN))


def typed_text(value: Any) -> str:
    """What a form field holds: text as it is, everything else as JSON; '' for nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def json_text(value: Any, *, most: int = 16 * 1024) -> str:
    """Indented, unless that makes it long; cut at `most`."""
    text = _begin_json(value, most, indent=2)
    if len(text) > most:
        text = _begin_json(value, most)
    return text if len(text) <= most else f"{text[:most]} …"


def _begin_json(value: Any, most: int, *, indent: int | None = None) -> str:
    """The JSON of `value`, whole or a little more than `most` of it: of a large value the rest is never written."""
    parts: list[str] = []
    left = most
    for part in json.JSONEncoder(ensure_ascii=False, indent=indent, default=dict).iterencode(value):
        parts.append(part)
        left -= len(part)
        if left < 0:
            break
    return "".join(parts)


def sparkline(points: Sequence[tuple[float, float]]) -> str:
    """The `d` of an SVG path over 240 by 40, from (time, value); '' for fewer than two points."""
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    least, greatest = min(value for _, value in points), max(value for _, value in points)
    width, height = (last - first) or 1.0, greatest - least
    return "M" + "L".join(
        f"{(at - first) / width * _WIDTH:.1f} "
        f"{_HEIGHT / 2 if not height else 2 + (greatest - value) / height * (_HEIGHT - 4):.1f}"
        for at, value in points
    )


def _number(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{min(max(decimals, 0), 10)}f}"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.6g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".") if 0.01 <= abs(value) < 1e9 else f"{value:.4g}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def is_numeric(declared: Valued | None, values: Iterable[Any]) -> bool:
    """Whether a line can be drawn of it."""
    if declared is not None:
        return isinstance(declared.schema, Primitive) and declared.is_number
    return any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
