"""What our own paths take and give: messages, telemetry, attempts, settings of programs (decisions W6)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import (
    ANYTHING,
    FLAG,
    OBJECT,
    TIME,
    list_of,
    map_of,
    members,
    named,
    nullable,
    one_of,
    text,
    whole,
)

__all__ = ["ATTEMPTS", "ENVIRONMENT", "MESSAGE", "PARTITIONS", "QUEUED", "SHOWN_CERTIFICATE", "TELEMETRY"]

_TEXT: Final = nullable(text())

MESSAGE: Final = named(
    "CloudMessage",
    members(
        {},
        {
            "body": {"description": "Text, or any other JSON value, which is sent as JSON."},
            "bodyBase64": text("Bytes, in place of body."),
            "properties": map_of(text()),
            "messageId": _TEXT,
            "correlationId": _TEXT,
            "userId": _TEXT,
            "contentType": _TEXT,
            "contentEncoding": _TEXT,
            "expiryTimeUtc": nullable(TIME),
            "ack": one_of("none", "positive", "negative", "full"),
        },
    )
    | {"additionalProperties": False},
)
QUEUED: Final = named(
    "QueuedMessage",
    members({"messageId": _TEXT, "sequenceNumber": whole(), "enqueuedTimeUtc": TIME, "expiryTimeUtc": TIME}),
)

_TELEMETRY_MESSAGE: Final = named(
    "TelemetryMessage",
    members(
        {
            "deviceId": text(),
            "moduleId": _TEXT,
            "partition": whole(),
            "sequenceNumber": whole(),
            "offset": whole(),
            "enqueuedTime": TIME,
            "systemProperties": OBJECT,
            "properties": OBJECT,
        },
        {"body": ANYTHING, "bodyBase64": text()},
    ),
)
TELEMETRY: Final = members({"messages": list_of(_TELEMETRY_MESSAGE), "nextOffset": whole(), "atEnd": FLAG})
PARTITIONS: Final = members(
    {
        "partitions": list_of(
            members(
                {
                    "partition": whole(),
                    "beginSequenceNumber": whole(),
                    "lastSequenceNumber": whole(),
                    "lastOffset": whole(),
                    "lastEnqueuedTime": nullable(TIME),
                    "isEmpty": FLAG,
                }
            )
        )
    }
)

SHOWN_CERTIFICATE: Final = named(
    "ShownCertificate",
    members(
        {"certificate": text("base64 of DER.")},
        {
            "subject": text(),
            "issuer": text(),
            "serialNumber": text(),
            "sha1Thumbprint": text(),
            "sha256Thumbprint": text(),
            "notBefore": TIME,
            "notAfter": TIME,
            "key": text(),
            "isCA": FLAG,
            "unreadable": text("Why it cannot be read."),
        },
    ),
)
_ATTEMPT: Final = named(
    "Attempt",
    members(
        {
            "at": TIME,
            "trackingId": text(),
            "door": text(),
            "address": text(),
            "claimedId": _TEXT,
            "credential": text(),
            "tlsVersion": text(),
            "client": text(),
            "accepted": FLAG,
            "reason": nullable(text("Null of one that was let in.")),
            "message": text(),
            "fix": text(),
            "checks": list_of(members({"name": text(), "passed": nullable(FLAG), "detail": text()})),
            "chain": list_of(SHOWN_CERTIFICATE, "As sent, the leaf first."),
        }
    ),
)
ATTEMPTS: Final = members({"attempts": list_of(_ATTEMPT)})

ENVIRONMENT: Final = named("Environment", map_of(_TEXT))
