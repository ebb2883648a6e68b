"""Acts on devices that IoT Central's API has no word for (contract/central.md 5, 10)."""

from __future__ import annotations

from typing import Final, get_args

from moorage.api.schemas.central_devices import COMMAND_RUN
from moorage.api.schemas.words import (
    ANYTHING,
    FLAG,
    TIME,
    Content,
    list_of,
    members,
    named,
    one_of,
    text,
    whole,
)
from moorage.fleet.bulk import ACT_WORDS, CONNECTED_WORDS
from moorage.fleet.model import STATES
from moorage.fleet.operation_model import OperationState

__all__ = [
    "ALIAS",
    "ALIASES",
    "ALIAS_DRAFT",
    "AUTO_APPROVE",
    "COMMAND_RUN",
    "CSV",
    "DEVICE_ACT",
    "DEVICE_STATE",
    "FILE",
    "ITEM_ERROR",
    "OPERATION",
    "QUEUED_COMMAND",
]

DEVICE_STATE: Final = named(
    "DeviceState", members({"id": text(), "displayName": text(), "state": one_of(*STATES), "etag": text()})
)
AUTO_APPROVE: Final = members({"enabled": FLAG})
_FILTER: Final = members(
    {},
    {
        "text": text("In the id or the name."),
        "state": one_of(*STATES),
        "template": text("Its id, or `unassigned`."),
        "organization": text("With those below."),
        "connected": one_of(*CONNECTED_WORDS),
    },
)
DEVICE_ACT: Final = named(
    "DeviceAct",
    members(
        {"act": one_of(*ACT_WORDS)},
        {
            "to": text("The template, organization or gateway; empty for none, or the root."),
            "devices": list_of(text(), "Their ids."),
            "filter": _FILTER,
        },
    ),
)
OPERATION: Final = named(
    "DeviceOperation",
    members(
        {
            "id": text(),
            "title": text("For people."),
            "state": one_of(*get_args(OperationState)),
            "total": whole("Devices that it began with."),
            "done": whole(),
            "failed": whole(),
            "started": TIME,
        },
        {"ended": TIME, "message": text("Why it ended before it was done.")},
    ),
)
ITEM_ERROR: Final = named(
    "DeviceOperationError",
    members({"item": text("A device, or a line of a file."), "reason": text(), "message": text()}),
)
CSV: Final = Content("text/csv", {"type": "string"})
ALIAS_DRAFT: Final = members({"path": text('As `$["Device"]["Temp"]`.')})
ALIAS: Final = named("Alias", members({"alias": text(), "path": text()}))
ALIASES: Final = members({"value": list_of(ALIAS)})
FILE: Final = named(
    "DeviceFile", members({"name": text("Without the device's folder."), "size": whole(), "modified": TIME})
)
QUEUED_COMMAND: Final = named(
    "QueuedCommand",
    members({"command": text()}, {"component": text(), "module": text(), "request": ANYTHING}),
)
