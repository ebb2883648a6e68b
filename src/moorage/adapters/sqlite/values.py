"""How values lie in columns: times as whole microseconds, documents as compact JSON, case-blind names folded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["fold", "from_json", "from_micros", "maybe_from_micros", "maybe_to_micros", "to_json", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Exact; `moment` must be aware."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def maybe_to_micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def maybe_from_micros(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


# ASCII only: JSON from a client can carry half a surrogate pair, which escapes survive and UTF-8 does not.
to_json = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def from_json(text: str) -> Any:
    return json.loads(text)


def fold(name: str) -> str:
    """The form in which names that differ only in case are equal. They are ASCII (`ids.py`)."""
    return name.lower()
