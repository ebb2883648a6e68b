"""Bodies of data exports, with the product's fields (contract/central.md 16).

    every body   applicationId, messageSource, deviceId, schema, templateId, enqueuedTime, enrichments
    telemetry    telemetry, module, component, messageProperties
    properties   messageType, properties: [{name, value, component, module}]
    connectivity, life cycle   messageType
    templates    messageType; no deviceId
    audit        actor, action, resource, facts

The product writes `templateId` and `module` where there are some, and so do we.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from moorage.automation.exports import MAX_BODY_BYTES, ExportEvent, OutgoingEvent, fill
from moorage.automation.filters import Watched
from moorage.automation.watching import unwrapped
from moorage.dialects.bag import decode_bag
from moorage.dialects.json_text import encode_json, parse_json
from moorage.dialects.readings import read_telemetry
from moorage.dialects.times import format_time
from moorage.errors import Invalid, TooLarge
from moorage.hub.digital_twins import COMPONENT, is_component
from moorage.hub.router import Outgoing
from moorage.hub.routing_model import EndpointKind
from moorage.hub.telemetry_log import StoredMessage

__all__ = ["as_outgoing", "encode_body", "event_body", "export_body", "message_events"]

_SCHEMA: Final = "default@v1"
_MARK: Final = COMPONENT[0]
_CONNECTIVITY: Final = {"deviceConnected": "connected", "deviceDisconnected": "disconnected"}
_CHANGES: Final = {"desired": "devicePropertyDesiredChange", "reported": "devicePropertyReportedChange"}


def message_events(message: StoredMessage) -> Iterator[OutgoingEvent]:
    """What a message of the log is to exports; nothing for what none of them takes. For a thread."""
    match message.source.message_source:
        case "Telemetry":
            yield from _telemetry(message)
        case "deviceConnectionStateEvents" if message.source.module_id is None:
            operation = decode_bag(message.bag).properties.get("opType") or ""
            if operation in _CONNECTIVITY:
                body = {"messageSource": "deviceConnectivity", "messageType": _CONNECTIVITY[operation]}
                yield _event(message, body, {}, {})
        case "twinChangeEvents":
            yield from _properties(message)


def event_body(event: ExportEvent, place: int) -> OutgoingEvent:
    """What was kept beside the log."""
    facts = dict(event.facts)
    values: Mapping[str, Any] = {}
    if event.source == "properties":
        values = {each["name"]: each["value"] for each in facts.get("properties", [])}
    body = {"messageSource": event.source, "enqueuedTime": format_time(event.at), **facts}
    return OutgoingEvent(event.device_id, body, values, {}, place)


def export_body(
    event: OutgoingEvent, device: Watched | None, enrichments: Mapping[str, Any], application_id: str
) -> dict[str, Any]:
    """All of a body, in the product's order."""
    body = dict(event.body)
    source, at = body.pop("messageSource"), body.pop("enqueuedTime")
    template = {"templateId": device.template} if device is not None and device.template else {}
    return {
        "applicationId": application_id,
        "messageSource": source,
        **({"messageType": body.pop("messageType")} if "messageType" in body else {}),
        **({"deviceId": event.device_id} if event.device_id else {}),
        "schema": _SCHEMA,
        **template,
        "enqueuedTime": at,
        **body,
        "enrichments": dict(enrichments),
    }


def encode_body(body: Mapping[str, Any], template: Any) -> bytes:
    """What goes out: the body, or what a template makes of it.

    Raises `TooLarge` (`export.body`) beyond `MAX_BODY_BYTES`, before more than so much is made of it.
    """
    if template is None:
        return _bounded(encode_json(body))
    sizes = dict[str, int]()
    total = 0

    def weigh(path: str, value: Any) -> None:
        nonlocal total
        if path not in sizes:
            sizes[path] = len(encode_json(value))
        total += sizes[path]
        if total > MAX_BODY_BYTES:
            raise _too_large()

    return _bounded(encode_json(fill(template, body, weigh)))


def _bounded(document: bytes) -> bytes:
    if len(document) > MAX_BODY_BYTES:
        raise _too_large()
    return document


def _too_large() -> TooLarge:
    return TooLarge("export.body", f"a body would have more than {MAX_BODY_BYTES} bytes, no more are sent")


def as_outgoing(kind: EndpointKind, event: OutgoingEvent, document: bytes) -> Outgoing:
    """A composed document on its way: Kafka's sink takes a record's value out of `body`, its time from `document`."""
    if kind != "kafka":
        return Outgoing(event.device_id, event.place, document, document)
    beside = {"enqueuedTime": event.body["enqueuedTime"], "properties": {}, "systemProperties": {}}
    return Outgoing(event.device_id, event.place, encode_json(beside), document)


def _telemetry(message: StoredMessage) -> Iterator[OutgoingEvent]:
    reading = read_telemetry(message)
    if reading is None:
        return
    body: dict[str, Any] = {"messageSource": "telemetry", "telemetry": dict(reading.values)}
    if reading.module:
        body["module"] = reading.module
    if reading.component:
        body["component"] = reading.component
    body["messageProperties"] = {name: value or "" for name, value in reading.message_properties.items()}
    values = {reading.component: reading.values} if reading.component else reading.values
    yield _event(message, body, values, reading.message_properties)


def _properties(message: StoredMessage) -> Iterator[OutgoingEvent]:
    try:
        told = parse_json(message.body, what="the body")
    except Invalid:
        # The hub wrote it, and can read it; a log that was damaged says so itself.
        return
    sections = told.get("properties", {}) if isinstance(told, dict) else {}
    for section, kind in _CHANGES.items():
        changed = sections.get(section)
        found = list(_changed(changed, message.source.module_id)) if isinstance(changed, dict) else []
        if found:
            values = {each["name"]: each["value"] for each in found}
            body = {"messageSource": "properties", "messageType": kind, "properties": found}
            yield _event(message, body, values, {})


def _changed(section: Mapping[str, Any], module: str | None) -> Iterator[dict[str, Any]]:
    more = {} if module is None else {"module": module}
    for name, value in section.items():
        if name.startswith("$"):
            continue
        if is_component(value):
            for member, inner in value.items():
                if member != _MARK and not member.startswith("$"):
                    yield {"name": member, "value": unwrapped(inner), **more, "component": name}
        else:
            yield {"name": name, "value": unwrapped(value), **more}


def _event(
    message: StoredMessage, body: Mapping[str, Any], values: Mapping[str, Any], properties: Mapping[str, str | None]
) -> OutgoingEvent:
    timed = {**body, "enqueuedTime": format_time(message.enqueued_time)}
    return OutgoingEvent(message.source.device_id, timed, values, properties, message.offset)
