"""Values for a simulated device: what its model allows, moving as measurements do (contract/central.md REG-5).

Numbers go up and down on waves of their own, between the bounds that the model gives, or bounds that fit what is
measured; whatever else there is, is chosen by dice. Every value passes the check of its schema. Of a model whose
messages would be huge (arrays in arrays of objects) the first `MAX_VALUES` values are invented, and no more.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from moorage.dtdl.model import Interface, Telemetry
from moorage.dtdl.schemas import Array, Enum, Geometry, Map, Object, Primitive, Schema, Vector

__all__ = ["MAX_VALUES", "invent", "invent_message"]

# In one message: a few milliseconds, which is what the event loop has.
MAX_VALUES: Final = 500

# Between which bounds, by semantic type; in the units that people mostly give.
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "Temperature": (17.0, 28.0),
    "RelativeHumidity": (30.0, 65.0),
    "Humidity": (30.0, 65.0),
    "Pressure": (980.0, 1030.0),
    "Velocity": (0.0, 30.0),
    "Acceleration": (-1.0, 1.0),
    "Voltage": (215.0, 245.0),
    "Current": (0.0, 16.0),
    "Power": (0.0, 2000.0),
}
_ANY_BOUNDS: Final = (0.0, 100.0)
# How long a wave is, shortest and longest.
_WAVES_S: Final = (300.0, 3600.0)
_EVENT_CHANCE: Final = 0.1
_WORDS: Final = ("ready", "running", "idle", "warming up", "cooling down")
_AT: Final = (60.39, 5.32)


def invent_message(part: Interface, seed: str, dice: random.Random, now: datetime) -> dict[str, Any]:
    """One value for each telemetry of an interface, for most events none. `seed` names the device and the component."""
    room = _Room()
    return {
        each.name: invent(each.schema, f"{seed}/{each.name}", dice, now, _bounds(each), room)
        for each in part.telemetry
        if room.left > 0 and (not each.is_event or dice.random() < _EVENT_CHANCE)
    }


class _Room:
    """How many values a message may still have, those that hold others counted too."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_VALUES


def invent(
    schema: Schema,
    seed: str,
    dice: random.Random,
    now: datetime,
    bounds: tuple[float, float] = _ANY_BOUNDS,
    room: _Room | None = None,
) -> Any:
    """A value that fits."""
    room = room or _Room()
    room.left -= 1
    match schema:
        case Primitive():
            return _primitive(schema, seed, dice, now, bounds)
        case Enum():
            return dice.choice(schema.values).value if schema.values else None
        case Vector(name):
            if name == "geopoint":
                latitude, longitude = _place(dice)
                return {"lat": latitude, "lon": longitude, "alt": round(dice.uniform(0, 50), 1)}
            return {axis: round(dice.gauss(0, 0.3), 3) for axis in ("x", "y", "z")}
        case Geometry(name):
            return {"type": name[0].upper() + name[1:], "coordinates": _coordinates(name, dice)}
        case Object():
            return {
                each.name: invent(each.schema, f"{seed}/{each.name}", dice, now, room=room)
                for each in schema.fields
                if room.left > 0
            }
        case Map():
            return {"first": invent(schema.value.schema, f"{seed}/first", dice, now, room=room)}
        case Array():
            return [
                invent(schema.element, f"{seed}/{index}", dice, now, room=room) for index in range(3) if room.left > 0
            ]
        case _:
            raise TypeError(f"nothing is invented for a {schema.kind}")


def _bounds(telemetry: Telemetry) -> tuple[float, float]:
    """Those of the model first; one alone has the other beside it."""
    lowest, highest = next((_BOUNDS[each] for each in telemetry.semantic_types if each in _BOUNDS), _ANY_BOUNDS)
    given = telemetry.annotations
    low = lowest if given.min_value is None else given.min_value
    high = highest if given.max_value is None else given.max_value
    if low < high:
        return low, high
    return (low, low + 100.0) if given.max_value is None else (high - 100.0, high)


def _primitive(schema: Primitive, seed: str, dice: random.Random, now: datetime, bounds: tuple[float, float]) -> Any:
    match schema.name:
        case "boolean":
            return dice.random() < 0.5
        case "double" | "float":
            return round(_wave(seed, dice, now, bounds), 2)
        case "integer" | "long":
            low, high = bounds
            return max(-(2**31), min(2**31 - 1, round(_wave(seed, dice, now, (low, high)))))
        case "date":
            return now.date().isoformat()
        case "time":
            return now.strftime("%H:%M:%SZ")
        case "dateTime":
            return now.strftime("%Y-%m-%dT%H:%M:%SZ")
        case "duration":
            return f"PT{dice.randint(1, 90)}M"
        case _:
            return dice.choice(_WORDS)


def _wave(seed: str, dice: random.Random, now: datetime, bounds: tuple[float, float]) -> float:
    """Where the wave of `seed` is now, with some noise."""
    low, high = bounds
    own = random.Random(seed)
    length, shift = own.uniform(*_WAVES_S), own.uniform(0, 2 * math.pi)
    level = math.sin(2 * math.pi * now.timestamp() / length + shift) * 0.45 + 0.5
    return min(high, max(low, low + (high - low) * (level + dice.gauss(0, 0.01))))


def _place(dice: random.Random) -> tuple[float, float]:
    return tuple(round(each + dice.gauss(0, 0.005), 6) for each in _AT)  # type: ignore[return-value] # there are two


def _coordinates(name: str, dice: random.Random) -> Any:
    latitude, longitude = _place(dice)
    ring = [[longitude + east, latitude + north] for east, north in ((0, 0), (0.01, 0), (0.01, 0.01), (0, 0))]
    nested: Mapping[str, Any] = {
        "point": [longitude, latitude],
        "multiPoint": ring[:2],
        "lineString": ring[:2],
        "multiLineString": [ring[:2]],
        "polygon": [ring],
        "multiPolygon": [[ring]],
    }
    return nested[name]
