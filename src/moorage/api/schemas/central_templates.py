"""Device templates and device groups of the Central API (contract/central.md 22.2)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import OBJECT, Schema, list_of, members, named, text

__all__ = ["DEVICE_GROUP", "DEVICE_GROUP_CHANGE", "TEMPLATE", "TEMPLATE_CHANGE"]

_TEMPLATE: Final[dict[str, Schema]] = {
    "@id": text("A DTDL identifier."),
    "displayName": text("What people call it."),
    "description": text(),
    "etag": text(),
}
TEMPLATE: Final = named(
    "CentralDeviceTemplate",
    members({"@type": list_of(text(), "ModelDefinition and DeviceModel."), "capabilityModel": OBJECT}, _TEMPLATE),
)
TEMPLATE_CHANGE: Final = named(
    "CentralDeviceTemplateChange", members({}, {"@type": list_of(text()), "capabilityModel": OBJECT, **_TEMPLATE})
)
_GROUP: Final[dict[str, Schema]] = {
    "displayName": text("What people call it.", most=128),
    "filter": text('A query, such as `SELECT * FROM devices WHERE $template = "dtmi:..."`.'),
    "description": text(),
    "organizations": list_of(text(), "At most one; none is the root.", most=1),
}
DEVICE_GROUP: Final = named("CentralDeviceGroup", members({"id": text(), "etag": text()}, _GROUP))
DEVICE_GROUP_CHANGE: Final = named(
    "CentralDeviceGroupChange", members({}, {**_GROUP, "etag": text("Only if it is still that.")})
)
