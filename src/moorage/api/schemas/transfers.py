"""What import and export jobs take and give."""

from __future__ import annotations

from typing import Any, Final

from moorage.api.schemas.words import FLAG, OBJECT, TIME, Content, Named, members, named, nullable, one_of, text, whole

__all__ = ["EXPORT_LINES", "TRANSFER", "TRANSFER_REQUEST"]

_TEXT: Final[dict[str, Any]] = nullable(text())
_CONTAINER: Final = "A container's URI with its signature, or file:///folder below the setting transfer_folder."

TRANSFER_REQUEST: Final[Named] = named(
    "TransferRequest",
    members(
        {"type": one_of("import", "export"), "outputBlobContainerUri": text(_CONTAINER)},
        {
            "inputBlobContainerUri": nullable(text(f"For an import. {_CONTAINER}")),
            "inputBlobName": nullable(text("devices.txt where it is absent.")),
            "outputBlobName": nullable(text("devices.txt where it is absent; of an export.")),
            "excludeKeysInExport": nullable(FLAG),
            "storageAuthenticationType": nullable(
                one_of("keyBased", "identityBased", about="keyBased alone is served.")
            ),
            "includeConfigurations": nullable(FLAG),
        },
    ),
)
TRANSFER: Final[Named] = named(
    "Transfer",
    members(
        {
            "jobId": text(),
            "type": one_of("import", "export"),
            "status": one_of("running", "completed", "failed", "cancelled"),
            "progress": whole("Percent.", least=0, most=100),
            "startTimeUtc": TIME,
            "endTimeUtc": nullable(TIME),
            "inputBlobContainerUri": _TEXT,
            "inputBlobName": _TEXT,
            "outputBlobContainerUri": text("Its signature is not shown."),
            "outputBlobName": _TEXT,
            "excludeKeysInExport": FLAG,
            "storageAuthenticationType": text(),
            "failureReason": _TEXT,
        },
        {"includeConfigurations": FLAG, "configurationsBlobName": _TEXT, "identity": nullable(OBJECT)},
    ),
)
EXPORT_LINES: Final = Content("application/x-ndjson", text("A BulkItem a line."))
