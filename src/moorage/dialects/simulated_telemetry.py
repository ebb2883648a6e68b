"""What a simulated device sends, as a device would: JSON in UTF-8, and the component as its subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from moorage.dialects.json_text import encode_json
from moorage.hub.telemetry_log import SourceHeader
from moorage.identities.model import Identity

__all__ = ["simulated_message", "simulated_source"]

_BAG: Final = b"$.ct=application%2Fjson&$.ce=utf-8"
# Nobody logs in by it: an identity of authentication type none has no method in IoT Hub's words.
_METHOD: Final = '{"scope":"device","type":"none","issuer":"moorage","acceptingIpFilterRule":null}'


def simulated_message(values: Mapping[str, Any], component: str) -> tuple[bytes, bytes]:
    """(bag, body); `component` is '' for the root."""
    bag = _BAG + b"&$.sub=" + quote(component, safe="").encode() if component else _BAG
    return bag, encode_json(dict(values))


def simulated_source(identity: Identity, model_id: str) -> bytes:
    return SourceHeader(
        identity.hub, "Telemetry", identity.name.device_id, None, identity.generation_id, _METHOD, model_id
    ).encode()
