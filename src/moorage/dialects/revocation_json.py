"""JSON of CRL issuers: what is kept of each, and what an operator decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args

from moorage.certificates.revocation import KEEP, IssuerState, Keep
from moorage.certificates.revocation_model import StoredList
from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.pki.revocation import Policy

__all__ = ["IssuerChange", "issuer_json", "parse_issuer_change"]


class IssuerChange(NamedTuple):
    """`KEEP` for what was not named, None for what is taken back."""

    certificate: Certificate
    policy: Policy | None | Keep
    crl_url: str | None | Keep
    ocsp_url: str | None | Keep


def issuer_json(state: IssuerState, warnings: list[str], ocsp_failed: str | None) -> dict[str, Any]:
    issuer = state.issuer
    return {
        "id": issuer.issuer_id,
        "subject": issuer.certificate.subject,
        "sha256Thumbprint": issuer.certificate.sha256,
        "policy": state.policy,
        "policyIsDefault": issuer.policy is None,
        "crlUrl": issuer.crl_url,
        "fetched": _time(issuer.fetched),
        "fetchFailed": issuer.failed,
        "nextFetch": _time(issuer.next_fetch),
        "ocspUrl": issuer.ocsp_url,
        "ocspFailed": ocsp_failed,
        "lists": [_list_json(each) for each in state.lists],
        "warnings": warnings,
    }


def parse_issuer_change(body: Mapping[str, Any]) -> IssuerChange:
    """Raises `Invalid`: `crl.member` for what is missing or of a wrong kind, `certificate.*`."""
    content = body.get("certificate")
    if not isinstance(content, str):
        raise Invalid("crl.member", "certificate has to be the certificate of the CA that it is about, as text")
    policy = body.get("policy", KEEP)
    allowed = get_args(Policy)
    if not (policy is None or isinstance(policy, Keep) or policy in allowed):
        raise Invalid("crl.member", f"policy is {str(policy)[:40]!r}, it has to be {', '.join(allowed)} or null")
    return IssuerChange(parse_certificate(content), policy, _url(body, "crlUrl"), _url(body, "ocspUrl"))


def _url(body: Mapping[str, Any], name: str) -> str | None | Keep:
    value = body.get(name, KEEP)
    if value is None or isinstance(value, str | Keep):
        return value
    raise Invalid("crl.member", f"{name} has to be a URL or null")


def _list_json(stored: StoredList) -> dict[str, Any]:
    return {
        "kind": stored.kind,
        # More than JSON's numbers hold: up to 20 bytes.
        "number": str(stored.number),
        "thisUpdate": _time(stored.this_update),
        "nextUpdate": _time(stored.next_update),
        "entries": stored.entries,
        "signer": stored.signer.subject,
        "signerThumbprint": stored.signer.sha256,
        "added": _time(stored.added),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
