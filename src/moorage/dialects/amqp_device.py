"""What devices say and hear over AMQP, as messages: telemetry, cloud-to-device, methods, twins (devices.md 4.5, 4.6).

Telemetry is stored as every transport stores it, a property bag and a body (`dialects/bag.py`). What clients check is
kept exactly: the status of a twin's answer is an int, its version a long, the correlation id of a method call a uuid.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

from moorage.dialects.amqp_text import body_of, moment_of, property_text, symbol_text, timestamp
from moorage.dialects.json_text import encode_json
from moorage.dialects.mqtt_hub import MethodAnswer, bag_size, parse_method_reply
from moorage.dialects.times import format_time
from moorage.errors import Invalid, TooLarge
from moorage.hub.methods import BadDeviceReply, MethodReply
from moorage.hub.model import CloudMessage
from moorage.hub.telemetry import MAX_MESSAGE_BYTES
from moorage.protocols.amqp.links import Delivery
from moorage.protocols.amqp.message import BATCHED, Message, Properties, split_batch
from moorage.protocols.amqp.types import Int, Long, UByte, ULong

__all__ = [
    "Telemetry",
    "TwinRequest",
    "cloud_message",
    "desired_patch",
    "method_answer",
    "method_request",
    "telemetry_of",
    "twin_answer",
    "twin_request",
]

# What stands in application properties and annotations, to its key in a bag.
_APPLICATION: Final = {
    "iothub-creation-time-utc": "$.ctime",
    "iothub-outputname": "$.on",
    "iothub-message-schema": "$.schema",
}
_ANNOTATIONS: Final = {
    "iothub-interface-id": "$.ifid",
    "dt-subject": "$.sub",
    "Diagnostic-Id": "$.diagid",
    "Correlation-Context": "$.diagctx",
}


class Telemetry(NamedTuple):
    """One message: a raw property bag, and the body."""

    bag: bytes
    body: bytes


def telemetry_of(delivery: Delivery) -> list[Telemetry]:
    """The messages of one delivery, which is a message or a batch of them.

    Raises:
        PeerError: it is no message.
        Invalid: `message.amqp`: what is no property or date, a body that is neither data nor text.
        TooLarge: `telemetry.size`: bodies and decoded properties together (decisions W4).
    """
    if delivery.format == BATCHED:
        messages = [Message.decode(piece) for piece in split_batch(delivery.payload)]
    else:
        messages = [delivery.message]
    found = [Telemetry(_bag(message), body_of(message)) for message in messages]
    size = sum(bag_size(each.bag) + len(each.body) for each in found)
    if size > MAX_MESSAGE_BYTES:
        raise TooLarge(
            "telemetry.size", f"bodies and properties take {size} bytes, at most {MAX_MESSAGE_BYTES} are allowed"
        )
    return found


def _bag(message: Message) -> bytes:
    pairs: list[str] = []
    properties = message.properties
    if properties is not None:
        for key, value in (
            ("$.mid", properties.message_id),
            ("$.cid", properties.correlation_id),
            ("$.uid", properties.user_id),
            ("$.to", properties.to),
            ("$.ct", properties.content_type),
            ("$.ce", properties.content_encoding),
        ):
            if value is not None:
                pairs.append(f"{key}={_quoted(key, value)}")
        if properties.absolute_expiry_time is not None:
            pairs.append(f"$.exp={quote(format_time(moment_of(properties.absolute_expiry_time)), safe='')}")
    for name, value in message.application_properties.items():
        pairs.append(f"{_APPLICATION.get(name) or quote(name, safe='')}={_quoted(name, value)}")
    for name, value in message.message_annotations.items():
        system = _ANNOTATIONS.get(name)
        if system is not None:
            pairs.append(f"{system}={_quoted(name, value)}")
    return "&".join(pairs).encode()


def _quoted(name: str, value: object) -> str:
    return quote(property_text(name, value), safe="")


def cloud_message(message: CloudMessage, lock: str) -> bytes:
    """A cloud-to-device message; `lock` is the token that its delivery tag says as 16 bytes."""
    name = message.name
    where = f"/devices/{name.device_id}" + ("" if name.module_id is None else f"/modules/{name.module_id}")
    application = dict(message.properties)
    if message.ack != "none":
        application["iothub-ack"] = message.ack
    return Message(
        properties=Properties(
            message_id=message.message_id,
            user_id=None if message.user_id is None else message.user_id.encode(),
            to=f"{where}/messages/devicebound",
            correlation_id=message.correlation_id,
            content_type=symbol_text(message.content_type),
            content_encoding=symbol_text(message.content_encoding),
            absolute_expiry_time=timestamp(message.expires),
        ),
        message_annotations={
            "x-opt-lock-token": lock,
            "x-opt-sequence-number": ULong(message.sequence),
            "iothub-enqueuedtime": timestamp(message.enqueued),
            "iothub-deliverycount": UByte(min(message.delivery_count, 255)),
        },
        application_properties=application,
        data=message.body,
    ).encode()


# -- methods -----------------------------------------------------------------------------------------------------------


def method_request(call_id: uuid.UUID, method: str, payload: bytes) -> bytes:
    """C rejects a call whose correlation id is no uuid."""
    return Message(
        properties=Properties(correlation_id=call_id),
        application_properties={"IoThub-methodname": method},
        data=payload,
    ).encode()


def method_answer(message: Message) -> tuple[uuid.UUID | None, MethodReply | BadDeviceReply]:
    """Which call it answers, None when it does not say, and with what."""
    properties = message.properties
    answered = None if properties is None else properties.correlation_id
    status = message.application_properties.get("IoThub-status")
    if isinstance(status, bool) or not isinstance(status, int):
        reply: MethodReply | BadDeviceReply = BadDeviceReply(
            "method.bad_reply", f"IoThub-status is a {type(status).__name__}, it has to be a number"
        )
    else:
        reply = parse_method_reply(MethodAnswer("", int(status)), message.body)
    return answered if isinstance(answered, uuid.UUID) else _uuid(answered), reply


def _uuid(value: object) -> uuid.UUID | None:
    """Text that spells one, as some clients send it back."""
    try:
        return uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


# -- twins -------------------------------------------------------------------------------------------------------------

_DESIRED: Final = "/notifications/twin/properties/desired"
_REPORTED: Final = "/properties/reported"


@dataclass(frozen=True, slots=True)
class TwinRequest:
    """`correlation` is to be sent back as it came, with its type; `version` None means whatever it is."""

    kind: Literal["get", "report", "subscribe", "unsubscribe"]
    correlation: object
    body: bytes
    version: int | None


def twin_request(message: Message) -> TwinRequest:
    """Raises `Invalid` (`twin.amqp`) for an operation or resource that there is not."""
    annotations = message.message_annotations
    operation, resource = annotations.get("operation"), annotations.get("resource")
    asked = (operation.upper() if isinstance(operation, str) else operation, resource or None)
    version = annotations.get("version")
    kind = _TWIN_KINDS.get(asked) if all(isinstance(part, str | None) for part in asked) else None
    if kind is None:
        raise Invalid("twin.amqp", f"a twin knows no operation {str(operation)[:40]!r} on {str(resource)[:80]!r}")
    properties = message.properties
    return TwinRequest(
        kind,
        None if properties is None else properties.correlation_id,
        message.body,
        int(version) if isinstance(version, int) and not isinstance(version, bool) else None,
    )


_TWIN_KINDS: Final[dict[tuple[Any, Any], Literal["get", "report", "subscribe", "unsubscribe"]]] = {
    ("GET", None): "get",
    ("PATCH", _REPORTED): "report",
    ("PUT", _DESIRED): "subscribe",
    ("DELETE", _DESIRED): "unsubscribe",
}


def twin_answer(correlation: object, status: int, version: int | None = None, body: bytes | None = None) -> bytes:
    """C checks that the status is an int and the version a long."""
    annotations: dict[str, object] = {"status": Int(status)}
    if version is not None:
        annotations["version"] = Long(version)
    return Message(
        properties=Properties(correlation_id=correlation),
        message_annotations=annotations,
        data=() if body is None else body,
    ).encode()


def desired_patch(patch: dict[str, Any], version: int) -> bytes:
    """A change of the desired properties; no correlation id, for nothing asked for it."""
    return Message(
        message_annotations={"resource": "/properties/desired"}, data=encode_json({**patch, "$version": version})
    ).encode()
