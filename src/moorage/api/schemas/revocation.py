"""Revocation lists and whoever publishes them, of our own API."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import (
    ANYTHING,
    FLAG,
    TIME,
    Content,
    list_of,
    members,
    named,
    nullable,
    one_of,
    text,
    whole,
)

__all__ = ["CRL", "CRL_ISSUER", "CRL_ISSUERS", "CRL_ISSUER_CHANGE"]

_POLICY: Final = one_of("hard", "soft", "off", about="What becomes of a certificate that nobody knows about.")
_URL: Final = text("Called by the hub; allowed addresses are the setting egress_allow.", most=2048)

# DER, or PEM beside which certificates of signers may stand; RFC 5280's application/pkix-crl is taken as well.
CRL: Final = Content("application/octet-stream", ANYTHING)
CRL_ISSUER: Final = named(
    "CRLIssuer",
    members(
        {
            "id": text("Of the name; what paths take.", most=64),
            "subject": text(),
            "sha256Thumbprint": text(),
            "policy": _POLICY,
            "policyIsDefault": FLAG,
            "crlUrl": nullable(_URL),
            "fetched": nullable(TIME),
            "fetchFailed": nullable(text("Why the last fetch failed.")),
            "nextFetch": nullable(TIME),
            "ocspUrl": nullable(_URL),
            "ocspFailed": nullable(text("Why the responder gave no answer the last time.")),
            "lists": list_of(
                members(
                    {
                        "kind": one_of("complete", "delta"),
                        "number": text("Decimal digits."),
                        "thisUpdate": TIME,
                        "nextUpdate": TIME,
                        "entries": whole(),
                        "signer": text(),
                        "signerThumbprint": text(),
                        "added": TIME,
                    }
                )
            ),
            "warnings": list_of(text()),
        }
    ),
)
CRL_ISSUERS: Final = members({"issuers": list_of(CRL_ISSUER)})
CRL_ISSUER_CHANGE: Final = named(
    "CRLIssuerChange",
    members(
        {"certificate": text("Of the CA: PEM, or base64 of PEM or DER.")},
        {
            "policy": nullable(_POLICY),
            "crlUrl": nullable(_URL),
            "ocspUrl": nullable(_URL),
        },
    ),
)
