"""What bulk requests take and give."""

from __future__ import annotations

from typing import Final, get_args

from moorage.api.schemas.words import FLAG, OBJECT, Named, list_of, members, named, nullable, one_of, text, whole
from moorage.hub.bulk import ImportMode
from moorage.identities.keys import MAX_REGENERATED, PolicyKey

__all__ = ["BULK_RESULT", "ITEM", "KEYS_RESULT", "REGENERATION"]

ITEM: Final[Named] = named(
    "BulkItem",
    members(
        {"id": text("The device.", most=128)},
        {
            "moduleId": nullable(text("Its module.", most=128)),
            "importMode": nullable(
                one_of(*get_args(ImportMode), about="Taken without case; createOrUpdate where it is absent.")
            ),
            "eTag": nullable(text("For the modes that compare it; any with `*`.")),
            "twinETag": nullable(text("For updateTwinIfMatchETag.")),
            "status": nullable(one_of("enabled", "disabled")),
            "statusReason": nullable(text(most=128)),
            "authentication": nullable(OBJECT),
            "capabilities": nullable(OBJECT),
            "deviceScope": nullable(text()),
            "parentScopes": nullable(list_of(text())),
            "tags": nullable(OBJECT),
            "properties": nullable(OBJECT),
        },
    ),
)
_WHY: Final = {
    "errorCode": text("The name of the error."),
    "errorStatus": text("What is wrong, with the member where it is one."),
}
_OURS: Final = {
    "moduleId": text(),
    "errorNumber": whole("The error's number."),
    "reason": text("docs/reference/reasons.md lists them."),
    "fix": text(),
}
BULK_RESULT: Final[Named] = named(
    "BulkResult",
    members(
        {
            "isSuccessful": FLAG,
            "errors": list_of(
                members(
                    {"deviceId": text(), "operation": text("Its importMode."), **_WHY},
                    {**_OURS, "item": whole("Which item it is, from 0.")},
                )
            ),
            "warnings": list_of(OBJECT),
        }
    ),
)
REGENERATION: Final[Named] = named(
    "KeyRegeneration",
    members(
        {
            "policyKey": one_of(*get_args(PolicyKey)),
            "devices": list_of(
                members({"id": text(most=128)}, {"moduleId": nullable(text(most=128))}), most=MAX_REGENERATED
            ),
        }
    ),
)
KEYS_RESULT: Final[Named] = named(
    "KeyRegenerationResult",
    members(
        {
            "policyKey": text(),
            "rotatedKeys": list_of(
                members({"id": text(), "primaryKey": text(), "secondaryKey": text()}, {"moduleId": text()})
            ),
            "errors": list_of(members({"id": text(), **_WHY}, _OURS)),
        }
    ),
)
