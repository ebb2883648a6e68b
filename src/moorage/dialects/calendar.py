"""A calendar of certificates that end, as programs subscribe to it: iCalendar (RFC 5545), whole days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

__all__ = ["CalendarDay", "calendar_text"]

# RFC 5545 3.1: octets of a line, without its end.
_LINE: Final = 75


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """Something that happens on a day. `uid` stays the same for as long as it is the same thing."""

    uid: str
    day: date
    summary: str
    description: str = ""
    url: str = ""


def calendar_text(name: str, days: Iterable[CalendarDay], now: datetime, *, refresh_hours: int = 12) -> str:
    """The whole file. Each day has an alarm a week before."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//moorage//certificates//EN",
        f"X-WR-CALNAME:{_text(name)}",
        f"REFRESH-INTERVAL;VALUE=DURATION:PT{refresh_hours}H",
    ]
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    for each in days:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{_text(each.uid)}",
            f"DTSTAMP:{stamp}",
            f"DTSTART;VALUE=DATE:{each.day:%Y%m%d}",
            f"DTEND;VALUE=DATE:{each.day + timedelta(days=1):%Y%m%d}",
            f"SUMMARY:{_text(each.summary)}",
        ]
        if each.description:
            lines.append(f"DESCRIPTION:{_text(each.description)}")
        if each.url:
            lines.append(f"URL:{each.url}")
        lines += [
            "TRANSP:TRANSPARENT",
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            "TRIGGER:-P7D",
            f"DESCRIPTION:{_text(each.summary)}",
            "END:VALARM",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(_folded(line) for line in lines)


def _text(value: str) -> str:
    """RFC 5545 3.3.11; what is no text, such as a line's end inside a name, becomes a space."""
    plain = "".join(character if character.isprintable() else " " for character in value)
    return plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _folded(line: str) -> str:
    """In pieces of 75 octets, none of them through a character."""
    pieces: list[str] = []
    piece, size = "", 0
    for character in line:
        width = len(character.encode("utf-8", "replace"))
        if size + width > _LINE - (1 if pieces else 0):
            pieces.append(piece)
            piece, size = "", 0
        piece, size = piece + character, size + width
    return "\r\n ".join([*pieces, piece]) + "\r\n"
