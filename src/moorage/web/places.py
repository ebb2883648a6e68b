"""Where on earth a device says that it is: telemetry with a latitude and a longitude, or a property that holds both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.analytics.explorer import Measure
from moorage.analytics.rollups import Key, LastValue

__all__ = ["place_in", "place_of"]

_LATITUDES: Final = ("lat", "latitude")
_LONGITUDES: Final = ("lon", "longitude", "lng")
# Each with the most that there is of it.
_AXES: Final = ((_LATITUDES, 90.0), (_LONGITUDES, 180.0))


def place_of(last: Mapping[Key, LastValue], measure: Measure) -> tuple[float, float] | None:
    """(latitude, longitude) of the members of a place below the name that is shown, whatever they are called."""
    root, _, name = measure.name.rpartition(".")
    root = root if root and name in (*_LATITUDES, *_LONGITUDES) else measure.name
    told = {
        key[1].removeprefix(f"{root}."): value.value
        for key, value in last.items()
        if key[0] == measure.component and key[1].startswith(f"{root}.")
    }
    return place_in(told)


def place_in(value: Any) -> tuple[float, float] | None:
    """(latitude, longitude) of a geopoint as telemetry and properties have it, or of a GeoJSON point."""
    if not isinstance(value, Mapping):
        return None
    coordinates = value.get("coordinates")
    if value.get("type") == "Point" and isinstance(coordinates, list) and len(coordinates) > 1:
        # Of which the first is the longitude (RFC 7946, 3.1.1).
        value = {"lat": coordinates[1], "lon": coordinates[0]}
    found: list[float] = []
    for names, most in _AXES:
        number = next((value[name] for name in names if _is_number(value.get(name), most)), None)
        if number is not None:
            found.append(float(number))
    return (found[0], found[1]) if len(found) == 2 else None


def _is_number(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= most
