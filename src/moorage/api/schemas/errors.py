"""What a refusal looks like, in each style (contract/services.md 2.12, 5.4, 6; api/problems.py makes them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moorage.api.problems import Style
from moorage.api.schemas.words import ANYTHING, TIME, Named, Schema, members, named, text, whole

__all__ = ["ERRORS"]

_OWN_MORE: Final[Mapping[str, Schema]] = {
    "reason": text("Stable, dotted; docs/reference/reasons.md lists all."),
    "fix": text("What to do next, empty when there is nothing."),
}

ERRORS: Final[Mapping[Style, Named]] = {
    "registry": named(
        "RegistryError",
        members(
            {
                "Message": text("`ErrorCode:<name>;<sentence>`"),
                "ExceptionMessage": text("`Tracking ID:<id>-G:0-TimeStamp:<time>`"),
            }
        ),
    ),
    "document": named(
        "DocumentError",
        members(
            {
                "Message": text("JSON text: errorCode, trackingId, message, timestampUtc, perhaps info."),
                "ExceptionMessage": text("Always empty."),
            }
        ),
    ),
    "device": named(
        "DeviceError",
        members(
            {
                "Message": text("`ErrorCode:<name>;<sentence>`"),
                "ExceptionMessage": text("`Tracking ID:<id>`"),
                "errorCode": whole("Six digits, the first three of which are the HTTP status."),
                "trackingId": text(),
                "message": text(),
                "timestampUtc": TIME,
            },
            {"info": ANYTHING},
        ),
    ),
    # The answer is XML: this is what it holds.
    "blob": named("BlobError", members({"Code": text("Azure's."), "Message": text()})),
    "dps": named(
        "ProvisioningError",
        members(
            {
                "errorCode": whole("Six digits, the first three of which are an HTTP status."),
                "trackingId": text(),
                "message": text(),
                "timestampUtc": TIME,
            },
            {"info": ANYTHING},
        ),
    ),
    "arm": named(
        "ManagementError",
        members(
            {
                "error": members({"code": text(), "message": text()}),
                "code": text(),
                "message": text(),
                "httpStatusCode": text(),
                "details": text("The tracking id."),
            }
        ),
    ),
    "own": named(
        "Error",
        members(
            {
                "error": members(
                    {"code": text("Name of the error as IoT Hub has it."), "message": text(), "trackingId": text()},
                    _OWN_MORE,
                )
            }
        ),
    ),
    "application": named(
        "ApplicationError",
        members(
            {
                "error": members(
                    {"code": text("The status in one word."), "message": text(), "trackingId": text()}, _OWN_MORE
                )
            }
        ),
    ),
    "central": named(
        "CentralError",
        members(
            {
                "error": members(
                    {
                        "code": text("As the header x-ms-error-code."),
                        "message": text(),
                        "requestId": text("The tracking id."),
                        "time": text("RFC 1123."),
                    }
                )
            }
        ),
    ),
}
