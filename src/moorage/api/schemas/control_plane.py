"""Hub and provisioning service as resources (contract/services.md 5)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, OBJECT, list_of, members, named, nullable, text

__all__ = ["HUB_CHANGE", "KEYS", "POLICY_KEYS", "RESOURCE", "RESOURCES"]

RESOURCE: Final = named(
    "Resource",
    members(
        {
            "id": text(),
            "name": text(),
            "type": text(),
            "location": text(),
            "resourcegroup": text(),
            "subscriptionid": text(),
            "sku": OBJECT,
            "properties": OBJECT,
        }
    ),
)
RESOURCES: Final = members({"value": list_of(RESOURCE)})
POLICY_KEYS: Final = named(
    "PolicyKeys",
    members({"keyName": text(), "primaryKey": text(), "secondaryKey": text(), "rights": text()}),
)
KEYS: Final = members({"value": list_of(POLICY_KEYS)})
_SWITCH: Final = nullable(FLAG)
HUB_CHANGE: Final = named(
    "HubChange",
    members(
        {},
        {
            "properties": members(
                {}, {"disableLocalAuth": _SWITCH, "disableDeviceSAS": _SWITCH, "disableModuleSAS": _SWITCH}
            )
        },
    ),
)
