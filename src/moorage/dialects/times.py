"""Times as the wire spells them (contract/services.md R-10, 5.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

from moorage.errors import Invalid

__all__ = ["NEVER", "format_http_date", "format_span", "format_time", "parse_time", "parse_typed_time"]

# "It did not happen yet", for clients that cannot hold null.
NEVER: Final = "0001-01-01T00:00:00Z"

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:?\d\d)?")


def format_time(moment: datetime | None) -> str:
    """`2030-01-01T00:00:00.0000000Z`: seven digits, which every client parses; `NEVER` for None."""
    if moment is None:
        return NEVER
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "0Z"


def format_http_date(moment: datetime) -> str:
    """RFC 1123: `Sun, 22 Nov 2026 12:00:00 GMT`."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def format_span(seconds: int) -> str:
    """`hh:mm:ss`."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def parse_time(text: object, *, what: str) -> datetime:
    """ISO 8601 with or without a fraction and a zone; none means UTC. Raises `Invalid` (`time.malformed`)."""
    match = _ISO.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is not None:
        day, time, fraction, zone = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in (None, 'Z', 'z') else zone}")
            return (moment + timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))).astimezone(UTC)
        except (ValueError, OverflowError):
            # Falls through: 30 February has the form of a date and is none.
            match = None
    raise Invalid("time.malformed", f"{what} is {str(text)[:60]!r}, it has to be a time like 2030-01-31T12:00:00Z")


def parse_typed_time(text: str, *, what: str) -> datetime | None:
    """Of a form's field, which has no seconds where there are none; None when it is empty. Raises as `parse_time`."""
    if not text:
        return None
    return parse_time(f"{text}:00" if len(text) == len("2030-01-31T12:00") else text, what=what)
