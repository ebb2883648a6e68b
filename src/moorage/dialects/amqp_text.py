"""AMQP's values where a hub has text: properties, ids and times of messages."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.protocols.amqp.message import ABSENT, Message
from moorage.protocols.amqp.types import Timestamp

__all__ = ["body_of", "maybe_text", "moment_of", "property_text", "symbol_text", "timestamp"]

_SECOND: Final = 1000


def property_text(name: str, value: object) -> str:
    """A property is text; what clients send besides is written as JSON and ISO 8601 have it.

    Raises `Invalid` (`message.amqp`).
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Timestamp):
        return format_time(moment_of(value))
    if isinstance(value, int | float | uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Invalid("message.amqp", f"{name[:80]!r} holds bytes that are no UTF-8") from None
    if value is None:
        return ""
    raise Invalid("message.amqp", f"{name[:80]!r} is a {type(value).__name__}, and properties are text")


def maybe_text(name: str, value: object) -> str | None:
    return None if value is None else property_text(name, value)


def symbol_text(text: str | None) -> str | None:
    """A symbol is ASCII; what was written otherwise is kept readable."""
    return None if text is None else text.encode("ascii", "backslashreplace").decode()


def moment_of(milliseconds: int) -> datetime:
    """Raises `Invalid` (`message.amqp`) for what no calendar has."""
    try:
        return datetime.fromtimestamp(milliseconds / _SECOND, UTC)
    except (ValueError, OverflowError, OSError):
        raise Invalid("message.amqp", f"{int(milliseconds)} ms since 1970 is no date that can be written") from None


def body_of(message: Message) -> bytes:
    """Its data sections; a value that is bytes or text counts as data. Raises `Invalid` (`message.amqp`)."""
    value = message.value
    if value is ABSENT and not message.sequences:
        return message.body
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise Invalid("message.amqp", "the body of a message is a data section")


def timestamp(moment: datetime) -> Timestamp:
    return Timestamp(int(moment.timestamp() * _SECOND))
