"""IoT Hub spoken over MQTT 3.1.1: user names, topics and filters to and from our operations (contract/devices.md 2).

Topics are parsed whole, once. Ids are never percent-decoded here: an id may hold `%`, `?` or `#` itself (2.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from moorage.dialects.json_text import encode_json, parse_json
from moorage.dialects.times import format_time
from moorage.errors import Invalid, RemoteProtocolError
from moorage.hub.methods import MAX_PAYLOAD_BYTES, BadDeviceReply, MethodReply
from moorage.hub.model import CloudMessage
from moorage.ids import IdentityName, parse_device_id, parse_module_id

__all__ = [
    "FILTERS",
    "NOT_SUBSCRIBED",
    "CertificateRequest",
    "HubLogin",
    "MethodAnswer",
    "Subscription",
    "TwinGet",
    "TwinReport",
    "bag_is_readable",
    "bag_size",
    "certificate_answer_topic",
    "cloud_message_topic",
    "desired_patch_topic",
    "error_body",
    "events_prefix",
    "method_request_topic",
    "parse_filter",
    "parse_method_reply",
    "parse_request",
    "parse_user_name",
    "twin_answer_topic",
]


@dataclass(frozen=True, slots=True)
class HubLogin:
    """What a hub user name says (2.2). `host` is as typed; unknown parameters are ignored."""

    host: str
    name: IdentityName
    api_version: str = ""
    client_type: str = ""
    model_id: str | None = None


def parse_user_name(user_name: str) -> HubLogin:
    """`{host}/{device}[/{module}][/?parameters]`. Raises `Invalid` (`login.user_name`, `id.device`, `id.module`)."""
    parts = user_name.split("/")
    first = _first_of_parameters(parts)
    # The oldest clients put "/" between the parameters.
    parameters = "&".join(parts[first:]).removeprefix("?")
    parts = parts[:first]
    if len(parts) == 3 and parts[2] == "":
        del parts[2]
    if len(parts) not in (2, 3) or not parts[0]:
        raise Invalid(
            "login.user_name",
            f"the user name {user_name[:200]!r} is not '<hub>/<device id>/?api-version=...' "
            "or '<hub>/<device id>/<module id>/?api-version=...'",
        )
    module_id = parse_module_id(parts[2]) if len(parts) == 3 else None
    fields: dict[str, str] = {}
    for pair in parameters.split("&"):
        key, _, value = pair.partition("=")
        fields.setdefault(key, unquote(value))
    return HubLogin(
        host=parts[0],
        name=IdentityName(parse_device_id(parts[1]), module_id),
        api_version=fields.get("api-version", ""),
        client_type=fields.get("DeviceClientType", ""),
        model_id=fields.get("model-id") or None,
    )


def _first_of_parameters(parts: list[str]) -> int:
    """Where the parameters begin: behind the module id or in its place. A module id may itself begin with `?`."""
    if len(parts) > 3 and parts[3].startswith("?") and not _PARAMETER.match(parts[2].removeprefix("?")):
        return 3
    if len(parts) > 2 and parts[2].startswith("?"):
        return 2
    return next((place for place in (2, 3) if place < len(parts) and _PARAMETER.match(parts[place])), len(parts))


# Parameters without the mark, which edgeHub takes too.
_PARAMETER = re.compile(r"(api-version|DeviceClientType|model-id|auth-chain)=")


# -- subscriptions ---------------------------------------------------------------------------------------------------

Subscription = Literal["messages", "inputs", "twin_answers", "desired", "methods", "credentials"]
FILTERS: tuple[Subscription, ...] = ("messages", "inputs", "twin_answers", "desired", "methods", "credentials")
NOT_SUBSCRIBED = 0xFF

_COMMON: dict[str, tuple[Subscription, ...]] = {
    "$iothub/methods/POST/#": ("methods",),
    "$iothub/twin/res/#": ("twin_answers",),
    "$iothub/twin/PATCH/properties/desired/#": ("desired",),
    "$iothub/credentials/res/#": ("credentials",),
}


def parse_filter(text: str, name: IdentityName) -> tuple[Subscription, ...]:
    """What a documented filter asks for (2.4).

    Raises `RemoteProtocolError` (`mqtt.filter`) for any other: MQTT 3.1.1 has no answer that clients understand.
    """
    known = _COMMON.get(text)
    if known is not None:
        return known
    if name.module_id is None:
        if text == f"devices/{name.device_id}/messages/devicebound/#":
            return ("messages",)
    else:
        prefix = f"devices/{name.device_id}/modules/{name.module_id}/"
        if text.startswith(prefix):
            rest = text[len(prefix) :]
            if rest == "messages/devicebound/#":
                return ("messages",)
            if rest == "inputs/#":
                return ("inputs",)
            if rest == "#":
                return ("messages", "inputs")
    raise RemoteProtocolError("mqtt.filter", f"'{name}' may not subscribe to {text[:200]!r}")


# -- from the device -------------------------------------------------------------------------------------------------


class TwinGet(NamedTuple):
    request_id: str


class TwinReport(NamedTuple):
    request_id: str
    if_version: int | None


class MethodAnswer(NamedTuple):
    request_id: str
    status: int


class CertificateRequest(NamedTuple):
    """A device asks for a new certificate (2.10), which is not served."""

    request_id: str


def events_prefix(name: IdentityName) -> bytes:
    """The telemetry topic up to the bag, without the slash that may follow (2.5)."""
    if name.module_id is None:
        return f"devices/{name.device_id}/messages/events".encode()
    return f"devices/{name.device_id}/modules/{name.module_id}/messages/events".encode()


def bag_is_readable(bag: bytes) -> bool:
    """Whether the property bag decodes as UTF-8 once its percent escapes are undone (decisions W4)."""
    if b"%" not in bag:
        return True
    try:
        unquote_to_bytes(bag).decode()
    except UnicodeDecodeError:
        return False
    return True


def bag_size(bag: bytes) -> int:
    """How many bytes a property bag has decoded."""
    return len(unquote_to_bytes(bag)) if b"%" in bag else len(bag)


_REQUEST_ID = r"\?\$rid=(?P<rid>[^&/#+\x00-\x20\x7f]{1,256})"
_TWIN_GET = re.compile(r"\$iothub/twin/GET/" + _REQUEST_ID, re.ASCII)
_TWIN_REPORT = re.compile(
    r"\$iothub/twin/PATCH/properties/reported/" + _REQUEST_ID + r"(?:&\$version=(?P<version>\d{1,18}))?",
    re.ASCII,
)
_METHOD_ANSWER = re.compile(r"\$iothub/methods/res/(?P<status>-?\d{1,10})/" + _REQUEST_ID, re.ASCII)
_CERTIFICATE_REQUEST = re.compile(r"\$iothub/credentials/POST/issueCertificate/" + _REQUEST_ID, re.ASCII)


def parse_request(topic: bytes) -> TwinGet | TwinReport | MethodAnswer | CertificateRequest:
    """A publish that is not telemetry. Raises `RemoteProtocolError` (`mqtt.topic`)."""
    text = topic.decode()
    if match := _TWIN_GET.fullmatch(text):
        return TwinGet(match["rid"])
    if match := _TWIN_REPORT.fullmatch(text):
        return TwinReport(match["rid"], None if match["version"] is None else int(match["version"]))
    if match := _METHOD_ANSWER.fullmatch(text):
        # Python's SDK percent-encodes the id on its way back (2.8).
        return MethodAnswer(unquote(match["rid"]), int(match["status"]))
    if match := _CERTIFICATE_REQUEST.fullmatch(text):
        return CertificateRequest(match["rid"])
    raise RemoteProtocolError("mqtt.topic", f"no device may publish to {text[:200]!r}")


def parse_method_reply(answer: MethodAnswer, body: bytes) -> MethodReply | BadDeviceReply:
    """What a device answered to a method (2.8); a status that is no int32, a body that is not JSON, or too large, is
    the device's fault."""
    if not -(2**31) <= answer.status < 2**31:
        # Callers hold it in 32 bits, the store in 64; over AMQP any number may come.
        return BadDeviceReply("method.bad_reply", f"the status is {answer.status}, which 32 bits do not hold")
    if len(body) > MAX_PAYLOAD_BYTES:
        return BadDeviceReply("method.bad_reply", f"the answer has {len(body)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    if not body.strip():
        return MethodReply(answer.status, None)
    try:
        return MethodReply(answer.status, parse_json(body, what="the device's answer"))
    except Invalid as refusal:
        return BadDeviceReply("method.bad_reply", refusal.message)


# -- to the device ---------------------------------------------------------------------------------------------------


def twin_answer_topic(status: int, request_id: str, version: int | None = None) -> bytes:
    """`?$rid=` first, then `&$version=`: Java parses by position (2.9)."""
    tail = "" if version is None else f"&$version={version}"
    return f"$iothub/twin/res/{status}/?$rid={request_id}{tail}".encode()


def certificate_answer_topic(status: int, request_id: str) -> bytes:
    """2.10"""
    return f"$iothub/credentials/res/{status}/?$rid={request_id}".encode()


def error_body(error_code: int, message: str, tracking_id: str, now: datetime) -> bytes:
    """An error as JSON (2.9, 2.10), without which Node takes it for an answer."""
    return encode_json(
        {"errorCode": error_code, "trackingId": tracking_id, "message": message, "timestampUtc": format_time(now)}
    )


def desired_patch_topic(version: int) -> bytes:
    return f"$iothub/twin/PATCH/properties/desired/?$version={version}".encode()


def method_request_topic(method: str, request_id: str) -> bytes:
    """Nothing may follow the id: .NET takes the rest of the segment for it (2.8)."""
    return f"$iothub/methods/POST/{method}/?$rid={request_id}".encode()


def cloud_message_topic(message: CloudMessage) -> bytes:
    """The topic with its bag, by the rules of 2.6: `%24.to` first and always, every pair with a value, no raw slash."""
    name = message.name
    base = f"devices/{name.device_id}"
    if name.module_id is not None:
        base += f"/modules/{name.module_id}"
    pairs = [("%24.to", f"/{base}/messages/deviceBound"), ("%24.mid", message.message_id)]
    pairs += [
        (key, value)
        for key, value in (
            ("%24.cid", message.correlation_id),
            ("%24.uid", message.user_id),
            ("%24.ct", message.content_type),
            ("%24.ce", message.content_encoding),
            ("%24.exp", format_time(message.expires)),
            ("iothub-ack", message.ack),
        )
        if value
    ]
    pairs += [(quote(key, safe=""), value) for key, value in message.properties.items()]
    bag = "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs)
    return f"{base}/messages/devicebound/{bag}".encode()
