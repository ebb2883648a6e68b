"""Hub and provisioning service as resources (contract/services.md 5)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.errors import ERRORS
from moorage.api.schemas.words import (
    FLAG,
    OBJECT,
    Schema,
    list_of,
    map_of,
    members,
    named,
    nullable,
    one_of,
    text,
    whole,
)

__all__ = [
    "ARRAY",
    "CONSUMER_GROUP",
    "CONSUMER_GROUP_BODY",
    "ERROR",
    "EXPORT_REQUEST",
    "IMPORT_REQUEST",
    "JOB",
    "JOBS",
    "KEYS",
    "LIST",
    "NAME",
    "NAME_AVAILABILITY",
    "PLACE",
    "POLICY_KEYS",
    "RESOURCE",
    "RESOURCES",
    "RESOURCE_CHANGE",
    "STATISTICS",
]

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
            "tags": map_of(text()),
            "etag": text(),
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
RESOURCE_CHANGE: Final = named(
    "ResourceChange",
    members(
        {},
        {
            "tags": nullable(map_of(text())),
            "etag": nullable(text("That of the resource as it was read; If-Match goes before it.")),
            "properties": members(
                {},
                {
                    "disableLocalAuth": _SWITCH,
                    "disableDeviceSAS": _SWITCH,
                    "disableModuleSAS": _SWITCH,
                    "authorizationPolicies": nullable(
                        list_of(
                            members(
                                {"keyName": text(most=64)},
                                {
                                    "rights": nullable(text("With commas between them.")),
                                    "primaryKey": nullable(text("Kept, or made, when absent.")),
                                    "secondaryKey": nullable(text("Kept, or made, when absent.")),
                                },
                            ),
                            "All that there will be.",
                            most=100,
                        )
                    ),
                },
            ),
        },
    ),
)
NAME: Final = members({"name": text(most=64)})
NAME_AVAILABILITY: Final = members(
    {"nameAvailable": FLAG, "reason": one_of("Invalid", "AlreadyExists"), "message": text()}
)
STATISTICS: Final = members(
    {"totalDeviceCount": whole(), "enabledDeviceCount": whole(), "disabledDeviceCount": whole()}
)
CONSUMER_GROUP: Final = named(
    "ConsumerGroup", members({"id": text(), "name": text(), "type": text(), "properties": OBJECT})
)
CONSUMER_GROUP_BODY: Final = members({}, {"properties": members({}, {"name": nullable(text())})})
JOB: Final = named(
    "ControlPlaneJob",
    members(
        {
            "jobId": text(),
            "type": one_of("import", "export"),
            "status": text(),
            "startTimeUtc": text("Like `Tue, 01 Jan 2030 12:00:00 GMT`."),
            "endTimeUtc": nullable(text()),
            "failureReason": nullable(text()),
        }
    ),
)
JOBS: Final = members({"value": list_of(JOB)})
_URI: Final = text("A container, with its signature.")
_STORAGE: Final[dict[str, Schema]] = {
    "authenticationType": nullable(text("keyBased.")),
    "includeConfigurations": _SWITCH,
}
EXPORT_REQUEST: Final = members(
    {"exportBlobContainerUri": _URI, "excludeKeys": FLAG}, {"exportBlobName": nullable(text()), **_STORAGE}
)
IMPORT_REQUEST: Final = members(
    {"inputBlobContainerUri": _URI, "outputBlobContainerUri": _URI}, {"inputBlobName": nullable(text()), **_STORAGE}
)
# Subscriptions, groups and providers, of which tools read a little each.
PLACE: Final = members({"id": text()})
# Of what is always refused.
ERROR: Final = ERRORS["arm"]
LIST: Final = members({"value": list_of(OBJECT)})
ARRAY: Final = list_of(OBJECT)
