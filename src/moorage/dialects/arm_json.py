"""CA certificates in the JSON of Azure's control plane, and where resources are (services.md 5.2, 5.3)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.certificates.model import RegisteredCA, Registry
from moorage.dialects.times import format_http_date
from moorage.errors import Invalid
from moorage.ids import version_etag

__all__ = [
    "ResourcePlace",
    "ca_json",
    "certificate_text",
    "is_vouched",
]

_CERTIFICATE_TYPES: Final[dict[Registry, str]] = {
    "hub": "Microsoft.Devices/IotHubs/Certificates",
    "dps": "Microsoft.Devices/provisioningServices/Certificates",
}


@dataclass(frozen=True, slots=True)
class ResourcePlace:
    """Where the caller believes a resource to be: subscription and group are taken as given and shown again."""

    subscription: str
    group: str
    name: str

    def path(self, registry: Registry) -> str:
        kind = "IotHubs" if registry == "hub" else "provisioningServices"
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Devices/{kind}/{self.name}"
        )


def ca_json(ca: RegisteredCA, path: str, *, with_code: bool = False) -> dict[str, Any]:
    """5.2. `path` is that of the resource the certificate belongs to; the code is shown to whoever made it, once."""
    certificate = ca.certificate
    properties: dict[str, Any] = {
        "subject": certificate.subject,
        "expiry": format_http_date(certificate.not_after),
        "thumbprint": certificate.sha1,
        "isVerified": ca.is_verified,
        "created": format_http_date(ca.created),
        "updated": format_http_date(ca.updated),
        "certificate": base64.b64encode(certificate.der).decode(),
    }
    if with_code:
        properties["verificationCode"] = ca.code
    return {
        "id": f"{path}/certificates/{ca.name}",
        "name": ca.name,
        "type": _CERTIFICATE_TYPES[ca.registry],
        "etag": version_etag(ca.version),
        "properties": properties,
    }


def certificate_text(body: Mapping[str, Any]) -> str:
    """`certificate` of an upload or a verification, at the top or in `properties` (5.3). Raises `Invalid`."""
    text = _members(body).get("certificate")
    if not isinstance(text, str) or not text:
        raise Invalid("body.member", "certificate is missing; it has to be the certificate's text, PEM or base64")
    return text


def is_vouched(body: Mapping[str, Any]) -> bool:
    """`isVerified` of an upload (K-2). Raises `Invalid`."""
    value = _members(body).get("isVerified")
    if value is not None and not isinstance(value, bool):
        raise Invalid("body.member", f"isVerified is a {type(value).__name__}, it has to be true or false")
    return bool(value)


def _members(body: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = body.get("properties")
    return properties if isinstance(properties, Mapping) else body
