"""Recorded attempts as JSON: what `moorage explain --json` and the API show."""

from __future__ import annotations

import base64
from typing import Any

from moorage.attempts.model import Attempt
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.pki.certificates import Certificate

__all__ = ["attempt_json", "certificate_json"]


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """`chain` is leaf first, as sent; `passed` of a check is null when it was not reached."""
    return {
        "at": format_time(attempt.at),
        "trackingId": attempt.tracking_id,
        "door": attempt.door,
        "address": attempt.address,
        "claimedId": attempt.claimed_id,
        "credential": attempt.credential,
        "tlsVersion": attempt.tls_version,
        "client": attempt.client,
        "accepted": attempt.is_accepted,
        "reason": attempt.reason,
        "message": attempt.message,
        "fix": attempt.fix,
        "checks": [{"name": each.name, "passed": each.passed, "detail": each.detail} for each in attempt.checks],
        "chain": [certificate_json(der) for der in attempt.chain],
    }


def certificate_json(der: bytes) -> dict[str, Any]:
    """What a certificate says; only its bytes, and why, when it cannot be read."""
    shown: dict[str, Any] = {"certificate": base64.b64encode(der).decode()}
    try:
        certificate = Certificate(der)
        shown |= {
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "serialNumber": f"{certificate.serial_number:X}",
            "sha1Thumbprint": certificate.sha1,
            "sha256Thumbprint": certificate.sha256,
            "notBefore": format_time(certificate.not_before),
            "notAfter": format_time(certificate.not_after),
            "key": certificate.key,
            "isCA": certificate.is_ca,
        }
    except Invalid as refusal:
        shown["unreadable"] = refusal.message
    return shown
