"""Enrollments, groups and registrations (contract/services.md 6; devices.md 6.5)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import (
    ANYTHING,
    FLAG,
    OBJECT,
    TIME,
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
    "ATTESTATION",
    "ENROLLMENT",
    "ENROLLMENTS",
    "ENROLLMENT_BULK",
    "ENROLLMENT_CHANGE",
    "GROUP",
    "GROUPS",
    "GROUP_BULK",
    "GROUP_CHANGE",
    "OPERATION",
    "OPERATION_BULK_RESULT",
    "QUERY",
    "REGISTER",
    "REGISTRATION",
    "REGISTRATIONS",
]

_TEXT: Final = nullable(text())
_KIND: Final = one_of("x509", "symmetricKey", "tpm")
_STATUS: Final = one_of("unassigned", "assigning", "assigned", "failed", "disabled")
ATTESTATION: Final = named(
    "Attestation", members({"type": _KIND}, {"x509": OBJECT, "symmetricKey": OBJECT, "tpm": OBJECT})
)

REGISTRATION: Final = named(
    "Registration",
    members(
        {"registrationId": text(), "status": _STATUS},
        {
            "createdDateTimeUtc": TIME,
            "lastUpdatedDateTimeUtc": TIME,
            "assignedHub": text(),
            "deviceId": text(),
            "substatus": text(),
            "errorCode": whole(),
            "errorMessage": text(),
            "etag": text(),
            "payload": ANYTHING,
        },
    ),
)
REGISTRATIONS: Final = list_of(REGISTRATION)

_COMMON: Final[dict[str, Schema]] = {
    "attestation": ATTESTATION,
    "capabilities": members({"iotEdge": FLAG}),
    "initialTwin": OBJECT,
    "etag": text(),
    "provisioningStatus": one_of("enabled", "disabled"),
    "reprovisionPolicy": members({"updateHubAssignment": FLAG, "migrateDeviceData": FLAG}),
    "createdDateTimeUtc": TIME,
    "lastUpdatedDateTimeUtc": TIME,
}
_SOMETIMES: Final[dict[str, Schema]] = {
    "allocationPolicy": _TEXT,
    "iotHubs": list_of(text()),
    "customAllocationDefinition": members({"webhookUrl": text(), "apiVersion": text()}),
}
ENROLLMENT: Final = named(
    "Enrollment",
    members(
        {"registrationId": text(), **_COMMON},
        {"deviceId": text(), "registrationState": REGISTRATION, "optionalDeviceInformation": OBJECT, **_SOMETIMES},
    ),
)
ENROLLMENTS: Final = list_of(ENROLLMENT)
GROUP: Final = named("EnrollmentGroup", members({"enrollmentGroupId": text(), **_COMMON}, _SOMETIMES))
GROUPS: Final = list_of(GROUP)

_SLOT: Final = nullable(members({}, {"certificate": _TEXT, "info": nullable(OBJECT)}))
_SLOTS: Final = nullable(members({}, {"primary": _SLOT, "secondary": _SLOT}))
_ATTESTATION_CHANGE: Final = named(
    "AttestationChange",
    members(
        {"type": _KIND},
        {
            "x509": nullable(
                members(
                    {},
                    {
                        "clientCertificates": _SLOTS,
                        "signingCertificates": _SLOTS,
                        "caReferences": nullable(members({}, {"primary": _TEXT, "secondary": _TEXT})),
                    },
                )
            ),
            "symmetricKey": nullable(members({}, {"primaryKey": _TEXT, "secondaryKey": _TEXT})),
            "tpm": nullable(members({}, {"endorsementKey": _TEXT, "storageRootKey": _TEXT})),
        },
    ),
)
_CHANGE: Final[dict[str, Schema]] = {
    "etag": _TEXT,
    "provisioningStatus": nullable(one_of("enabled", "disabled")),
    "reprovisionPolicy": nullable(
        members({}, {"updateHubAssignment": nullable(FLAG), "migrateDeviceData": nullable(FLAG)})
    ),
    "allocationPolicy": nullable(one_of("hashed", "geoLatency", "static", "custom")),
    "iotHubs": nullable(list_of(text(), most=100)),
    "iotHubHostName": _TEXT,
    "capabilities": nullable(members({}, {"iotEdge": nullable(FLAG)})),
    "customAllocationDefinition": nullable(members({}, {"webhookUrl": _TEXT, "apiVersion": _TEXT})),
    "initialTwin": nullable(
        members(
            {},
            {"tags": nullable(OBJECT), "properties": nullable(members({}, {"desired": nullable(OBJECT)}))},
        )
    ),
}
ENROLLMENT_CHANGE: Final = named(
    "EnrollmentChange",
    members(
        {"attestation": _ATTESTATION_CHANGE},
        {
            "registrationId": text("That of the path."),
            "deviceId": _TEXT,
            "optionalDeviceInformation": nullable(OBJECT),
            **_CHANGE,
        },
    ),
)
GROUP_CHANGE: Final = named(
    "EnrollmentGroupChange",
    members({"attestation": _ATTESTATION_CHANGE}, {"enrollmentGroupId": text("That of the path."), **_CHANGE}),
)

_MODE: Final = one_of("create", "update", "updateIfMatchETag", "delete")
ENROLLMENT_BULK: Final = members({"mode": _MODE, "enrollments": list_of(ENROLLMENT_CHANGE, most=10)})
GROUP_BULK: Final = members({"mode": _MODE, "enrollmentGroups": list_of(GROUP_CHANGE, most=10)})
OPERATION_BULK_RESULT: Final = named(
    "EnrollmentBulkResult",
    members({"isSuccessful": FLAG, "errors": list_of(members({"errorCode": whole(), "errorStatus": text()}))}),
)
QUERY: Final = named("ProvisioningQuery", members({"query": text("`select * from ...`")}))

REGISTER: Final = named(
    "RegistrationRequest",
    members({}, {"registrationId": _TEXT, "payload": ANYTHING, "tpm": nullable(OBJECT), "csr": _TEXT}),
)
OPERATION: Final = named(
    "RegistrationOperation",
    members({"operationId": text(), "status": _STATUS}, {"registrationState": map_of(ANYTHING)}),
)
