"""Who is on (dialects/connections_json.py)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, TIME, list_of, members, named, nullable, one_of, text, whole

__all__ = ["CONNECTION", "CONNECTIONS"]

_TEXT: Final = nullable(text())
_REFUSAL: Final = named(
    "LastRefusal",
    members({"at": TIME, "reason": text(), "message": text(), "address": text(), "trackingId": text()}),
)
_CREDENTIAL: Final = named(
    "ShownCredential",
    members(
        {"kind": one_of("x509", "token"), "expires": nullable(TIME)},
        {
            "policy": nullable(text("The policy whose key signed the token; null when it was the identity's own.")),
            "key": nullable(one_of("primary", "secondary")),
            "sha256Thumbprint": _TEXT,
            "subject": text(),
            "issuer": text(),
            "serialNumber": text(),
            "sha1Thumbprint": text(),
            "notAfter": TIME,
        },
    ),
)
CONNECTION: Final = named(
    "Connection",
    members(
        {
            "deviceId": text(),
            "moduleId": _TEXT,
            "connected": FLAG,
            "since": nullable(text("When it came, or went; null when it was never there.")),
            "lastActivityTime": nullable(TIME),
            "protocol": _TEXT,
            "tlsVersion": _TEXT,
            "address": _TEXT,
            "credential": nullable(_CREDENTIAL),
            "lastRefusal": nullable(_REFUSAL),
        }
    ),
)
CONNECTIONS: Final = members(
    {
        "connections": list_of(CONNECTION),
        "next": nullable(text("Give it as `after` for the next page; null on the last.")),
        "connectedDeviceCount": whole(),
    }
)
