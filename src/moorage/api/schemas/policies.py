"""Shared access policies, switches and waivers, over our own paths (contract/services.md 1.3)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import flag, list_of, members, named, nullable, one_of, text
from moorage.pki import waivers

__all__ = ["POLICIES", "POLICY", "POLICY_DRAFT", "ROLL", "SWITCHES", "WAIVERS"]

_KEY: Final = text("base64 of 16 to 64 bytes.")

POLICY: Final = named(
    "Policy", members({"name": text(most=64), "primaryKey": _KEY, "secondaryKey": _KEY, "rights": list_of(text())})
)
POLICIES: Final = members({"hub": list_of(POLICY), "dps": list_of(POLICY)})
POLICY_DRAFT: Final = named(
    "PolicyDraft",
    members(
        {},
        {
            "rights": nullable(list_of(text(), most=20)),
            "primaryKey": nullable(_KEY),
            "secondaryKey": nullable(_KEY),
        },
    ),
)
ROLL: Final = members(
    {"key": one_of("primary", "secondary", "swap")}, {"value": nullable(text("The new key; made when absent."))}
)
SWITCHES: Final = named(
    "SasSwitches",
    members(
        {},
        {
            "disableLocalAuth": nullable(flag("Tokens signed with policy keys of the hub are refused.")),
            "disableDeviceSAS": nullable(flag("Tokens of devices are refused.")),
            "disableModuleSAS": nullable(flag("Tokens of modules are refused.")),
        },
    ),
)
WAIVERS: Final = named(
    "Waivers",
    members({}, {name: nullable(flag(f"Pass: {what}.")) for name, what in waivers.WAIVERS.items()}),
)
