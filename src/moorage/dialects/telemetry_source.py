"""Who sent a message, as the telemetry log has it: the same text for every transport (contract/services.md 4.5)."""

from __future__ import annotations

import json
from functools import cache

from moorage.hub.telemetry_log import SourceHeader
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod

__all__ = ["telemetry_source"]


def telemetry_source(who: AuthenticatedIdentity, model_id: str | None = None) -> bytes:
    """The encoded header of every telemetry message that `who` sends; `model_id` is what it said of itself.

    Raises `Invalid` (`log.source_size`).
    """
    identity = who.identity
    return SourceHeader(
        identity.hub,
        "Telemetry",
        identity.name.device_id,
        identity.name.module_id,
        identity.generation_id,
        _auth_method_text(who.method),
        model_id,
    ).encode()


@cache
def _auth_method_text(method: AuthMethod) -> str:
    """There are three of them."""
    fields = {"scope": method.scope, "type": method.type, "issuer": method.issuer, "acceptingIpFilterRule": None}
    return json.dumps(fields, separators=(",", ":"))
