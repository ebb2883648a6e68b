"""What back ends send and receive over AMQP (contract/services.md 3.4, 3.5)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast, get_args
from urllib.parse import unquote

from moorage.dialects.amqp_text import body_of, maybe_text, moment_of, property_text, timestamp
from moorage.dialects.json_text import encode_json
from moorage.errors import Invalid
from moorage.hub.messages import MessageDraft
from moorage.hub.model import FeedbackRequest
from moorage.ids import IdentityName, parse_device_id, parse_module_id
from moorage.protocols.amqp.message import Message, Properties

__all__ = ["document_message", "draft_of", "recipients"]

_ACK: Final = "iothub-ack"


def draft_of(message: Message) -> MessageDraft:
    """Raises `Invalid` (`message.amqp`); `hub.messages.check_draft` judges the rest."""
    properties = message.properties or Properties()
    application = dict(message.application_properties)
    ack = application.pop(_ACK, None) or "none"
    if ack not in get_args(FeedbackRequest):
        raise Invalid("message.amqp", f"{_ACK} is {str(ack)[:40]!r}, it has to be none, positive, negative or full")
    expires = properties.absolute_expiry_time
    return MessageDraft(
        body=body_of(message),
        properties={name: property_text(name, value) for name, value in application.items()},
        message_id=maybe_text("message-id", properties.message_id),
        correlation_id=maybe_text("correlation-id", properties.correlation_id),
        user_id=maybe_text("user-id", properties.user_id),
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        expires=None if expires is None else moment_of(expires),
        ack=cast("FeedbackRequest", ack),
    )


def recipients(message: Message) -> list[IdentityName]:
    """Whom `to` may mean, at least one: the id that it spells percent-encoded, then the same text as it stands.

    Raises `Invalid` (`message.to`, `id.device`, `id.module`).
    """
    to = (message.properties.to if message.properties is not None else None) or ""
    parts = tuple(part for part in to.split("/") if part)
    match tuple(part.lower() for part in parts):
        case ("devices", _, "messages", "devicebound"):
            ids: tuple[str, ...] = (parts[1],)
        case ("devices", _, "modules", _, "messages", "devicebound"):
            ids = (parts[1], parts[3])
        case _:
            raise Invalid("message.to", f"to is {to[:200]!r}; it has to be /devices/<device id>/messages/devicebound")
    found: list[IdentityName] = []
    wrong: Invalid | None = None
    for each in dict.fromkeys((tuple(map(unquote, ids)), ids)):
        try:
            found.append(_name(each))
        except Invalid as refusal:
            wrong = wrong or refusal
    if wrong is not None and not found:
        raise wrong
    return found


def _name(ids: tuple[str, ...]) -> IdentityName:
    return IdentityName(parse_device_id(ids[0]), parse_module_id(ids[1]) if len(ids) > 1 else None)


def document_message(document: Any, content_type: str, hub_name: str, enqueued: datetime) -> bytes:
    """A batch of feedback, or a file notification; .NET requires the time."""
    return Message(
        properties=Properties(user_id=hub_name.encode(), content_type=content_type, content_encoding="utf-8"),
        message_annotations={"iothub-enqueuedtime": timestamp(enqueued)},
        data=encode_json(document),
    ).encode()
