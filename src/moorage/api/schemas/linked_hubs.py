"""Linked hubs of our own API."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, list_of, members, named, nullable, one_of, text, whole

__all__ = ["ALLOCATION", "CHECKED_HUB", "LINKED_HUB", "LINKED_HUBS", "LINK_CHANGE"]

_POLICY: Final = one_of("hashed", "geoLatency", "static")
_WEIGHT: Final = whole(least=0, most=1000)

LINKED_HUB: Final = named(
    "LinkedHub",
    members(
        {
            "name": text("The host that devices are told."),
            "connectionString": text("With stars in place of the key."),
            "location": text(),
            "applyAllocationPolicy": FLAG,
            "allocationWeight": _WEIGHT,
            "isOwn": FLAG,
        }
    ),
)
LINKED_HUBS: Final = members({"allocationPolicy": _POLICY, "linkedHubs": list_of(LINKED_HUB)})
LINK_CHANGE: Final = named(
    "LinkedHubChange",
    members(
        {},
        {
            "connectionString": nullable(text("Of a policy that may write the registry; without it the key stays.")),
            "location": nullable(text(most=64)),
            "applyAllocationPolicy": nullable(FLAG),
            "allocationWeight": nullable(_WEIGHT),
        },
    ),
)
CHECKED_HUB: Final = members({"name": text(), "isReachable": FLAG})
ALLOCATION: Final = members({"allocationPolicy": _POLICY})
