"""Data exports of the Central API's preview versions (contract/central.md 16, 23)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import ANYTHING, FLAG, TIME, Schema, list_of, map_of, members, named, one_of, text

__all__ = ["DESTINATION", "DESTINATION_CHANGE", "EXPORT", "EXPORT_CHANGE"]

_HEADER: Final = members({"value": text("`*****` where it is not told.")}, {"secret": FLAG})
_PLACE: Final[dict[str, Schema]] = {"organizations": list_of(text(), "At most one.", most=1)}
_DESTINATION: Final[dict[str, Schema]] = {
    "displayName": text(),
    "type": one_of("webhook@v1", "file@moorage", "nats@moorage", "kafka@moorage"),
    "url": text("Its address."),
}
_OPTIONAL: Final[dict[str, Schema]] = {
    "authorization": members({"type": one_of("header"), "value": text("Of the header Authorization.")}),
    "headerCustomizations": map_of(_HEADER, "One header instead."),
    "options": map_of(text(), "What else its type takes."),
    **_PLACE,
}
_STATUS: Final = one_of("notStarted", "starting", "waiting", "healthy", "error")
DESTINATION: Final = named(
    "CentralDestination", members({"id": text(), **_DESTINATION, "status": _STATUS, "etag": text()}, _OPTIONAL)
)
DESTINATION_CHANGE: Final = named("CentralDestinationChange", members({}, {**_DESTINATION, **_OPTIONAL}))
_EXPORT: Final[dict[str, Schema]] = {
    "displayName": text(),
    "source": one_of(
        "telemetry", "properties", "deviceConnectivity", "deviceLifecycle", "deviceTemplateLifecycle", "audit"
    ),
    "destinations": list_of(members({"id": text()}, {"transform": text("A JSON template.")})),
    "enabled": FLAG,
}
_MORE: Final[dict[str, Schema]] = {
    "filter": text("Which devices, as a device group's query."),
    "template": text("Of one template's devices, where filters are said as below."),
    "filters": list_of(
        members(
            {
                "of": one_of("capability", "messageProperty", "property", "cloudProperty"),
                "name": text(),
                "operator": text("`equals`, `greaterOrEqual`, `startsWith`, ..."),
            },
            {"value": ANYTHING},
        ),
        "Which messages and devices, where `filter` cannot say it.",
    ),
    "matches": one_of("all", "any"),
    "enrichments": map_of(members({}, {"value": text("A constant."), "path": text("A property, or `$displayName`.")})),
    **_PLACE,
}
EXPORT: Final = named(
    "CentralExport",
    members({"id": text(), **_EXPORT, "status": _STATUS, "etag": text()}, {**_MORE, "lastExportTime": TIME}),
)
EXPORT_CHANGE: Final = named("CentralExportChange", members({}, {**_EXPORT, **_MORE}))
