"""Who is on, since when, with which credential, and when it was last turned away: as our own API shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from moorage.attempts.model import Attempt
from moorage.dialects.hub_json import Presence
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.sessions import Line
from moorage.identities.credentials import AuthenticatedIdentity
from moorage.identities.model import SharedAccessPolicy
from moorage.identities.policies import key_mark
from moorage.ids import IdentityName
from moorage.pki.certificates import Certificate

__all__ = ["KeyNames", "connection_json", "key_names", "refusal_json"]

KeyNames = Mapping[tuple[str, bytes], Literal["primary", "secondary"]]


def key_names(policies: Iterable[SharedAccessPolicy]) -> KeyNames:
    """Which key of which policy has which mark."""
    names: dict[tuple[str, bytes], Literal["primary", "secondary"]] = {}
    for policy in policies:
        names[policy.name, key_mark(policy.secondary)] = "secondary"
        names[policy.name, key_mark(policy.primary)] = "primary"
    return names


def connection_json(
    name: IdentityName,
    presence: Presence,
    session: tuple[AuthenticatedIdentity, Line] | None,
    refusal: Attempt | None,
    keys: KeyNames,
) -> dict[str, Any]:
    """`session` is None for who is not connected, or not here. `since` is when it came, or went."""
    document: dict[str, Any] = {
        "deviceId": name.device_id,
        "moduleId": name.module_id,
        "connected": presence.is_connected,
        "since": _time(presence.changed),
        "lastActivityTime": _time(presence.last_activity),
        "protocol": None,
        "tlsVersion": None,
        "address": None,
        "credential": None,
        "lastRefusal": None if refusal is None else refusal_json(refusal),
    }
    if session is not None:
        who, line = session
        document |= {"protocol": line.protocol, "tlsVersion": line.tls_version, "address": line.address}
        document["credential"] = _credential_json(who, line, keys)
    return document


def refusal_json(attempt: Attempt) -> dict[str, Any]:
    """Why somebody who claimed to be this one was turned away."""
    return {
        "at": format_time(attempt.at),
        "reason": attempt.reason,
        "message": attempt.message,
        "address": attempt.address,
        "trackingId": attempt.tracking_id,
    }


def _credential_json(who: AuthenticatedIdentity, line: Line, keys: KeyNames) -> dict[str, Any]:
    """What let it in. `expires` ends the session: of a certificate, the first `notAfter` on its path."""
    document: dict[str, Any] = {"kind": "token" if who.method.type == "sas" else "x509", "expires": _time(who.expires)}
    if document["kind"] == "token":
        # A token is signed with a policy's key, or with one of the identity's own.
        key = None if who.policy is None or who.policy_key is None else keys.get((who.policy, who.policy_key))
        return document | {"policy": who.policy, "key": key}
    document |= {"sha256Thumbprint": who.thumbprint}
    if line.certificate is not None:
        try:
            certificate = Certificate(line.certificate)
        except Invalid:
            # It let somebody in, so it could be read; what is unusual in it is nobody's business here.
            return document
        document |= {
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "serialNumber": f"{certificate.serial_number:X}",
            "sha1Thumbprint": certificate.sha1,
            "notAfter": format_time(certificate.not_after),
        }
    return document


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
