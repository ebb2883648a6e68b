"""The Event Hubs-compatible endpoint's words: where a reader begins, and what a stored message is to it.

Selectors are those that occur (contract/services.md 4.4), messages have the shape of 4.5. Offsets are text there, and
places in the whole log here: they grow within a partition, which is all that readers rely on.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from moorage.dialects.amqp_text import symbol_text
from moorage.dialects.bag import Bag, decode_bag
from moorage.dialects.times import parse_time
from moorage.errors import Invalid
from moorage.hub.telemetry_log import PartitionState, StoredMessage
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import Source
from moorage.protocols.amqp.types import Array, Described, Int, Long, Timestamp

__all__ = ["Start", "event_hub_facts", "partition_facts", "start_of", "stored_message"]

_SELECTOR_NAME: Final = "apache.org:selector-filter:string"
_SELECTOR_CODE: Final = 0x468C00000004
_SELECTOR: Final = re.compile(
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time|enqueuedtimeutc)\s*(>=?)\s*"
    r"(?:'([^']{0,40})'|([0-9]{1,20}|-1))\s*"
)
_LATEST: Final = "@latest"
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
# What a device's bag says that is neither a property of the message nor one of the application's.
_ANNOTATED: Final = (
    "iothub-creation-time-utc",
    "iothub-outputname",
    "iothub-interface-id",
    "dt-subject",
    "Diagnostic-Id",
    "Correlation-Context",
)
_APPLICATION: Final = ("iothub-message-schema", "iothub-operation")


class Start(NamedTuple):
    """Where a reader begins; inclusive. All None is the beginning of what is kept."""

    sequence: int | None = None
    offset: int | None = None
    time_ms: int | None = None
    is_latest: bool = False


def start_of(source: Source | None) -> Start:
    """What the filter of a receiver's source asks for; without one, everything.

    Raises:
        Invalid: `reader.filter`: another filter, or a selector that no client of the endpoint sends.
    """
    filters = (source.filter if source is not None else None) or {}
    start = Start()
    for name, value in filters.items():
        if value is None:
            continue
        described = isinstance(value, Described) and value.descriptor in (_SELECTOR_NAME, _SELECTOR_CODE)
        text = value.value if isinstance(value, Described) else value
        if not isinstance(text, str) or not (described or name == _SELECTOR_NAME):
            raise Invalid("reader.filter", f"a reader is told where to begin by {_SELECTOR_NAME}, not by {name[:80]!r}")
        start = _start(text)
    return start


def _start(selector: str) -> Start:
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise _no_selector(selector)
    what, compared, quoted, bare = match.groups()
    value = bare if quoted is None else quoted
    if what == "offset" and value == _LATEST:
        return Start(is_latest=True)
    if value == "-1":
        return Start()
    if not _NUMBER.fullmatch(value):
        raise _no_selector(selector)
    first = int(value) + (compared == ">")
    if what == "offset":
        return Start(offset=first)
    return Start(sequence=first) if what == "sequence-number" else Start(time_ms=first)


def _no_selector(selector: str) -> Invalid:
    return Invalid(
        "reader.filter",
        f"{selector[:120]!r} does not say where to begin; a selector compares x-opt-offset, x-opt-sequence-number or "
        "x-opt-enqueued-time with a number",
    )


def stored_message(message: StoredMessage) -> bytes:
    """A stored message as a reader gets it."""
    source = message.source
    bag = decode_bag(message.bag)
    system = bag.system
    enqueued = Timestamp(message.enqueued_ms)
    annotations: dict[str, object] = {
        "x-opt-sequence-number": Long(message.sequence),
        "x-opt-offset": str(message.offset),
        "x-opt-enqueued-time": enqueued,
    }
    if source.device_id:
        annotations["x-opt-partition-key"] = source.device_id
        annotations["iothub-connection-device-id"] = source.device_id
    if source.module_id is not None:
        annotations["iothub-connection-module-id"] = source.module_id
    if source.auth_method:
        annotations["iothub-connection-auth-method"] = source.auth_method
        annotations["iothub-connection-auth-generation-id"] = source.generation_id
    annotations["iothub-enqueuedtime"] = enqueued
    annotations["iothub-message-source"] = source.message_source
    if source.model_id is not None:
        annotations["dt-dataschema"] = source.model_id
    application: dict[str, object] = {name: value or "" for name, value in bag.properties.items()}
    if system:
        annotations |= {name: system[name] or "" for name in _ANNOTATED if name in system}
        application |= {name: system[name] or "" for name in _APPLICATION if name in system}
    return Message(
        message_annotations=annotations,
        properties=_properties(bag),
        application_properties=application,
        data=message.body,
    ).encode()


def _properties(bag: Bag) -> Properties:
    """Present also when it is empty: readers look into it without asking (services.md 4.6)."""
    system = bag.system
    user_id = system.get("user-id")
    return Properties(
        message_id=system.get("message-id"),
        user_id=None if user_id is None else user_id.encode(),
        to=system.get("to"),
        correlation_id=system.get("correlation-id"),
        content_type=symbol_text(system.get("content-type")),
        content_encoding=symbol_text(system.get("content-encoding")),
        absolute_expiry_time=_expiry(system.get("absolute-expiry-time")),
    )


def _expiry(text: str | None) -> Timestamp | None:
    """Devices write what they like there: what is no time is left out."""
    try:
        return None if text is None else Timestamp(int(parse_time(text, what="expiry").timestamp() * 1000))
    except Invalid:
        return None


def event_hub_facts(entity: str, partitions: int, created: datetime) -> dict[str, object]:
    """The answer to READ of `com.microsoft:eventhub` (4.3)."""
    return {
        "name": entity,
        "type": "com.microsoft:eventhub",
        "created_at": Timestamp(int(created.timestamp() * 1000)),
        "partition_count": Int(partitions),
        "partition_ids": Array(str, tuple(str(partition) for partition in range(partitions))),
    }


def partition_facts(entity: str, state: PartitionState) -> dict[str, object]:
    """The answer to READ of `com.microsoft:partition`."""
    return {
        "name": entity,
        "type": "com.microsoft:partition",
        "partition": str(state.partition),
        "begin_sequence_number": Long(state.begin_sequence),
        "last_enqueued_sequence_number": Long(state.last_sequence),
        "last_enqueued_offset": str(state.last_offset),
        "last_enqueued_time_utc": Timestamp(max(state.last_enqueued_ms, 0)),
        "is_partition_empty": state.is_empty,
    }
