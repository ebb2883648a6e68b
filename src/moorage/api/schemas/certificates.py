"""CA certificates, and the certificates of a group (contract/services.md 5.2, decisions T1)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, TIME, Schema, list_of, members, named, nullable, one_of, text

__all__ = ["CA", "CAS", "CA_UPLOAD", "CA_WITH_CODE", "PROOF", "SIGNER", "SIGNER_WITH_CODE"]

_PEM: Final = text("The certificate: PEM, or base64 of PEM or DER.")
_HTTP_DATE: Final = text("Like `Tue, 01 Jan 2030 12:00:00 GMT`.")
_CA_MEMBERS: Final[dict[str, Schema]] = {"id": text(), "name": text(), "type": text(), "etag": text()}
_CA_PROPERTIES: Final[dict[str, Schema]] = {
    "subject": text(),
    "expiry": _HTTP_DATE,
    "thumbprint": text("SHA-1."),
    "isVerified": FLAG,
    "created": _HTTP_DATE,
    "updated": _HTTP_DATE,
    "certificate": text("base64 of DER."),
}
CA: Final = named("CACertificate", members({**_CA_MEMBERS, "properties": members(_CA_PROPERTIES)}))
CA_WITH_CODE: Final = named(
    "CACertificateWithCode",
    members({**_CA_MEMBERS, "properties": members({**_CA_PROPERTIES, "verificationCode": nullable(text())})}),
)
CAS: Final = members({"value": list_of(CA)})
CA_UPLOAD: Final = named(
    "CACertificateUpload",
    members(
        {},
        {
            "certificate": _PEM,
            "isVerified": FLAG,
            "properties": members({}, {"certificate": _PEM, "isVerified": FLAG}),
        },
    ),
)
PROOF: Final = named(
    "ProofOfPossession",
    members({}, {"certificate": _PEM, "properties": members({}, {"certificate": _PEM})}),
)

_SIGNER: Final[dict[str, Schema]] = {
    "enrollmentGroupId": text(),
    "slot": one_of("primary", "secondary"),
    "etag": text(),
    "subject": text(),
    "sha256Thumbprint": text(),
    "notAfter": TIME,
    "proof": one_of("possession", "vouched", "none"),
    "isVerified": FLAG,
}
SIGNER: Final = named("GroupCertificate", members(_SIGNER))
SIGNER_WITH_CODE: Final = named(
    "GroupCertificateWithCode", members({**_SIGNER, "verificationCode": text(), "verificationCodeExpires": TIME})
)
