"""A stored message as rules and exports read it: the members of its body by name (contract/central.md W-1, W-2)."""

from __future__ import annotations

from typing import Any

from moorage.automation.rules import Reading
from moorage.dialects.bag import decode_bag
from moorage.dialects.json_text import parse_json
from moorage.dialects.telemetry_json import json_text_of
from moorage.errors import Invalid
from moorage.hub.telemetry_log import StoredMessage

__all__ = ["read_telemetry"]


def read_telemetry(message: StoredMessage) -> Reading | None:
    """None for what the hub tells itself. A body that is no JSON object has no values, and still is a message.

    Without a content type the body is read as JSON where it is some: that is what the product does.
    """
    source = message.source
    if source.message_source != "Telemetry":
        return None
    bag = decode_bag(message.bag)
    content_type = bag.system.get("content-type")
    body: bytes | None = message.body
    if content_type or bag.system.get("content-encoding"):
        body = json_text_of(message.body, content_type or "application/json", bag.system.get("content-encoding"))
    values: Any = None
    if body is not None:
        try:
            values = parse_json(body, what="the body")
        except Invalid:
            # What cannot be read has no values; Raw data shows it (contract/central.md RAW-5).
            values = None
    return Reading(
        device_id=source.device_id,
        at=message.enqueued_time,
        values=values if isinstance(values, dict) else {},
        component=bag.system.get("dt-subject") or "",
        module=source.module_id or "",
        offset=message.offset,
        message_properties=bag.properties,
    )
