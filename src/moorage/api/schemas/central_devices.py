"""Devices of the Central API and what is asked of one (contract/central.md 22.2)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import ANYTHING, FLAG, TIME, flag, list_of, map_of, members, named, text, whole

__all__ = [
    "COMMAND",
    "COMMAND_RUN",
    "DEVICE",
    "DEVICE_CHANGE",
    "NAMED_PART",
    "PROPERTIES",
    "RELATIONSHIP",
    "RELATIONSHIP_DRAFT",
    "TELEMETRY",
]

_CHANGE: Final = {
    "displayName": text("What people call it; its id, when absent.", most=148),
    "template": text("The id of a published template; empty for none."),
    "enabled": flag("Whether it may connect."),
    "simulated": flag("Whether the application invents what it sends."),
    "organizations": list_of(text(), "At most one; none is the root.", most=1),
    "type": list_of(text(), "`EdgeDevice` for one that runs IoT Edge."),
}
DEVICE: Final = named(
    "CentralDevice",
    members({"id": text(), "etag": text(), "enabled": FLAG, "provisioned": FLAG, "simulated": FLAG}, _CHANGE),
)
DEVICE_CHANGE: Final = named("CentralDeviceChange", members({}, {**_CHANGE, "etag": text("Only if it is still that.")}))
PROPERTIES: Final = named(
    "CentralProperties", map_of(ANYTHING, "By name; components are objects, `$metadata` says more.")
)
RELATIONSHIP: Final = named(
    "CentralRelationship",
    members({"id": text("The id of the device below."), "source": text("The gateway."), "target": text("Below it.")}),
)
RELATIONSHIP_DRAFT: Final = named(
    "CentralRelationshipDraft", members({"target": text("The device below.")}, {"source": text("The gateway.")})
)
TELEMETRY: Final = named("CentralTelemetry", members({}, {"timestamp": TIME, "value": ANYTHING}))
COMMAND: Final = named(
    "CentralCommand",
    members(
        {},
        {
            "request": ANYTHING,
            "connectionTimeout": whole("Seconds to wait for a device that is away.", least=0, most=30),
            "responseTimeout": whole("Seconds to wait for the answer.", least=5, most=30),
        },
    ),
)
COMMAND_RUN: Final = named(
    "CentralCommandRun",
    members({"id": text()}, {"request": ANYTHING, "response": ANYTHING, "responseCode": whole("The device's own.")}),
)
NAMED_PART: Final = named("CentralPart", members({"@type": list_of(text()), "name": text()}))
