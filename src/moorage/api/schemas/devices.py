"""Identities, twins and methods, as the hub's service API has them (contract/services.md 2.3, 2.4, 2.5, 2.7, 2.8)."""

from __future__ import annotations

from typing import Any, Final

from moorage.api.schemas.words import (
    ANYTHING,
    FLAG,
    OBJECT,
    TIME,
    Schema,
    list_of,
    members,
    named,
    nullable,
    one_of,
    text,
    whole,
)

__all__ = [
    "DEVICE",
    "DEVICES",
    "DEVICE_CHANGE",
    "DEVICE_STATISTICS",
    "MESSAGES_PURGED",
    "METHOD_CALL",
    "METHOD_REPLY",
    "MODULE",
    "MODULES",
    "MODULE_CHANGE",
    "SERVICE_STATISTICS",
    "TWIN",
    "TWIN_CHANGE",
]

_TEXT: Final = nullable(text())
_STATUS: Final = one_of("enabled", "disabled")
_STATE: Final = one_of("Connected", "Disconnected")
_KIND: Final = one_of("sas", "selfSigned", "certificateAuthority", "none")
_THUMBPRINTS: Final = members({"primaryThumbprint": _TEXT, "secondaryThumbprint": _TEXT})
_AUTHENTICATION: Final = named(
    "Authentication",
    members(
        {
            "type": _KIND,
            "symmetricKey": members({"primaryKey": _TEXT, "secondaryKey": _TEXT}),
            "x509Thumbprint": _THUMBPRINTS,
        }
    ),
)
_PRESENCE: Final[dict[str, Schema]] = {
    "connectionState": _STATE,
    "connectionStateUpdatedTime": TIME,
    "lastActivityTime": TIME,
    "cloudToDeviceMessageCount": whole(least=0),
}
_CAPABILITIES: Final = members({"iotEdge": FLAG})
_SCOPES: Final[dict[str, Schema]] = {"deviceScope": text(), "parentScopes": list_of(text())}

DEVICE: Final = named(
    "Device",
    members(
        {
            "deviceId": text(),
            "generationId": text(),
            "etag": text(),
            "status": _STATUS,
            "statusReason": _TEXT,
            "statusUpdatedTime": TIME,
            **_PRESENCE,
            "authentication": _AUTHENTICATION,
            "capabilities": _CAPABILITIES,
        },
        _SCOPES,
    ),
)
DEVICES: Final = list_of(DEVICE)
MODULE: Final = named(
    "Module",
    members(
        {
            "deviceId": text(),
            "moduleId": text(),
            "managedBy": _TEXT,
            "generationId": text(),
            "etag": text(),
            **_PRESENCE,
            "authentication": _AUTHENTICATION,
        }
    ),
)
MODULES: Final = list_of(MODULE)

_CREDENTIAL: Final = nullable(
    members(
        {},
        {
            "type": nullable(_KIND),
            "symmetricKey": nullable(members({}, {"primaryKey": _TEXT, "secondaryKey": _TEXT})),
            "x509Thumbprint": nullable(members({}, {"primaryThumbprint": _TEXT, "secondaryThumbprint": _TEXT})),
        },
    )
)
_CHANGE: Final[dict[str, Schema]] = {
    "deviceId": text("That of the path."),
    "status": nullable(_STATUS),
    "statusReason": nullable(text(most=128)),
    "authentication": _CREDENTIAL,
    "capabilities": nullable(members({}, {"iotEdge": nullable(FLAG)})),
    "deviceScope": _TEXT,
    "parentScopes": nullable(list_of(text(), most=100)),
}
DEVICE_CHANGE: Final = named("DeviceChange", members({}, _CHANGE))
MODULE_CHANGE: Final = named(
    "ModuleChange",
    members({}, {"deviceId": text(), "moduleId": text(), "managedBy": _TEXT, "authentication": _CREDENTIAL}),
)

DEVICE_STATISTICS: Final = members(
    {"totalDeviceCount": whole(), "enabledDeviceCount": whole(), "disabledDeviceCount": whole()}
)
SERVICE_STATISTICS: Final = members({"connectedDeviceCount": whole()})
MESSAGES_PURGED: Final = members({"totalMessagesPurged": whole(), "deviceId": text(), "moduleId": _TEXT})

_SECTION: Final = {
    "type": "object",
    "properties": {"$metadata": OBJECT, "$version": whole(least=1)},
    "required": ["$metadata", "$version"],
}
TWIN: Final = named(
    "Twin",
    members(
        {
            "deviceId": text(),
            "etag": text(),
            "deviceEtag": text(),
            "status": _STATUS,
            "connectionState": _STATE,
            "lastActivityTime": TIME,
            "cloudToDeviceMessageCount": whole(least=0),
            "authenticationType": _KIND,
            "x509Thumbprint": _THUMBPRINTS,
            "modelId": text(),
            "version": whole(least=1),
            "tags": OBJECT,
            "properties": members({"desired": _SECTION, "reported": _SECTION}),
        },
        {"moduleId": text(), "capabilities": _CAPABILITIES, **_SCOPES},
    ),
)
_DOCUMENT: Final[dict[str, Any]] = nullable(OBJECT)
TWIN_CHANGE: Final = named(
    "TwinChange",
    members({}, {"tags": _DOCUMENT, "properties": nullable(members({}, {"desired": _DOCUMENT}))}),
)

METHOD_CALL: Final = named(
    "MethodCall",
    members(
        {"methodName": text(most=100)},
        {
            "payload": ANYTHING,
            "responseTimeoutInSeconds": whole(least=5, most=300),
            "connectTimeoutInSeconds": whole(least=0, most=300),
        },
    ),
)
METHOD_REPLY: Final = named("MethodReply", members({"status": whole(), "payload": ANYTHING}))
