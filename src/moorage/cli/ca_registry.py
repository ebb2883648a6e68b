"""The registry of CA certificates over its REST, the ARM-shaped one of contract/services.md 5.

`registry` is `hub` or `dps`; documents are those of 5.2.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from moorage.cli.hub_client import DPS_CERTIFICATES, HUB_CERTIFICATES, HubClient, segment
from moorage.pki.certificates import Certificate
from moorage.pki.keys import PrivateKey

__all__ = ["ca_base", "ca_path", "find_ca", "new_code", "prove_ca", "put_ca", "verify_ca"]


def ca_base(registry: str) -> str:
    return HUB_CERTIFICATES if registry == "hub" else DPS_CERTIFICATES


def ca_path(registry: str, name: str) -> str:
    return f"{ca_base(registry)}/{segment(name)}"


def find_ca(hub: HubClient, registry: str, name: str) -> dict[str, Any] | None:
    for document in hub.request("GET", ca_base(registry))["value"]:
        if document["name"].lower() == name.lower():
            return dict(document)
    return None


def put_ca(hub: HubClient, registry: str, name: str, encoded: str, verified: bool, etag: str | None) -> dict[str, Any]:
    members = {"certificate": encoded, "isVerified": verified}
    body = {"properties": members} if registry == "hub" else members
    return dict(hub.request("PUT", ca_path(registry, name), body=body, if_match=etag))


def new_code(hub: HubClient, registry: str, document: dict[str, Any]) -> dict[str, Any]:
    path = ca_path(registry, document["name"]) + "/generateVerificationCode"
    return dict(hub.request("POST", path, if_match=document["etag"]))


def verify_ca(hub: HubClient, registry: str, document: dict[str, Any], proof: Certificate) -> dict[str, Any]:
    body = {"certificate": base64.b64encode(proof.der).decode("ascii")}
    return dict(
        hub.request("POST", ca_path(registry, document["name"]) + "/verify", body=body, if_match=document["etag"])
    )


def prove_ca(
    hub: HubClient, registry: str, document: dict[str, Any], certificate: Certificate, key: PrivateKey
) -> dict[str, Any]:
    """Prove possession with the key itself, which stays here."""
    from moorage.pki.issue import issue_verification

    coded = new_code(hub, registry, document)
    proof = issue_verification(certificate, key, coded["properties"]["verificationCode"], now=datetime.now(UTC))
    return verify_ca(hub, registry, coded, proof)
