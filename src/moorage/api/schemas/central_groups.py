"""Enrollment groups and attestations of the Central API (contract/central.md 22.2, 22.3)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, Schema, flag, members, named, one_of, text

__all__ = ["ATTESTATION", "CODE", "CREDENTIALS", "GROUP", "GROUP_CHANGE", "PROOF", "SIGNER", "UPLOAD"]

_INFO: Final = members({"sha1Thumbprint": text("In hexadecimal.")})
SIGNER: Final = named(
    "CentralSigningCertificate", members({"verified": FLAG, "info": _INFO}, {"etag": text("The group's.")})
)
_CLIENT: Final = members({}, {"certificate": text("PEM, or DER in base64."), "info": _INFO})
_KEYS: Final = members({"primaryKey": text("Base64."), "secondaryKey": text("Base64.")})
ATTESTATION: Final = named(
    "CentralAttestation",
    members(
        {"type": one_of("x509", "symmetricKey", "tpm")},
        {
            "x509": members(
                {},
                {
                    "clientCertificates": members({}, {"primary": _CLIENT, "secondary": _CLIENT}),
                    "signingCertificates": members({}, {"primary": SIGNER, "secondary": SIGNER}),
                },
            ),
            "symmetricKey": _KEYS,
            "tpm": members({"endorsementKey": text("TPM2B_PUBLIC in base64.")}),
        },
    ),
)
_GROUP: Final[dict[str, Schema]] = {
    "displayName": text("What people call it.", most=255),
    "type": one_of("iot", "iotEdge", about="What its devices are."),
    "attestation": ATTESTATION,
}
GROUP: Final = named(
    "CentralEnrollmentGroup",
    members(_GROUP, {"enabled": flag("Whether its devices may connect."), "id": text(), "etag": text()}),
)
GROUP_CHANGE: Final = named(
    "CentralEnrollmentGroupChange", members({}, {**_GROUP, "enabled": FLAG, "etag": text("Only if it is still that.")})
)
UPLOAD: Final = named(
    "CentralCertificateUpload",
    members(
        {"certificate": text("PEM, or DER in base64.")},
        {"verified": flag("The caller vouches for possession of its key."), "etag": text()},
    ),
)
PROOF: Final = named(
    "CentralVerification", members({"certificate": text("Signed by the uploaded one; its CN is the code.")})
)
CODE: Final = named("CentralVerificationCode", members({"verificationCode": text()}))
CREDENTIALS: Final = named(
    "CentralDeviceCredentials",
    members(
        {"idScope": text()},
        {
            "symmetricKey": _KEYS,
            "x509": members({}, {"clientCertificates": members({}, {"primary": _CLIENT, "secondary": _CLIENT})}),
            "tpm": members({"endorsementKey": text()}),
        },
    ),
)
