"""The hubs linked to a provisioning service, in the JSON of its resource (services.md 5.4).

The name is read-only there: what is written back is told apart by its connection string, whose key is shown as stars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage.dialects.arm_members import differs
from moorage.dialects.members import get_boolean, get_text
from moorage.errors import Invalid
from moorage.ids import Secret
from moorage.provisioning.linked_hubs import MAX_LINKED_HUBS, LinkedHubDraft, shown_connection_string
from moorage.provisioning.model import DefaultAllocation, LinkedHub

__all__ = ["allocation_name", "link_facts", "linked_hub_json", "parse_allocation", "parse_links"]

_ALLOCATION: Final[dict[DefaultAllocation, str]] = {
    "hashed": "Hashed",
    "geoLatency": "GeoLatency",
    "static": "Static",
}
# Where a link says nothing of it.
_LOCATION: Final = "moorage"


def allocation_name(policy: DefaultAllocation) -> str:
    return _ALLOCATION[policy]


def linked_hub_json(linked: LinkedHub, own_name: str) -> dict[str, Any]:
    """`own_name` is that of the service's own hub."""
    return {
        "name": own_name if linked.is_own else linked.host_name,
        "connectionString": shown_connection_string(linked, own_name),
        "location": linked.location or _LOCATION,
        "applyAllocationPolicy": linked.applies_policy,
        "allocationWeight": linked.weight,
    }


def link_facts(links: Sequence[LinkedHub], allocation: DefaultAllocation) -> list[Any]:
    """All that can be changed of the links, for the resource's etag."""
    return [
        allocation,
        [
            [
                each.host_name,
                None if each.connection_string is None else each.connection_string.reveal(),
                each.location,
                each.weight,
                each.applies_policy,
            ]
            for each in links
        ],
    ]


def parse_allocation(properties: Mapping[str, Any], shown: Mapping[str, Any]) -> DefaultAllocation | None:
    """None where it stays as it is `shown`. Raises `Invalid` (`body.member`)."""
    given = get_text(properties, "allocationPolicy", "properties.allocationPolicy")
    if given is None or given.lower() == shown["allocationPolicy"].lower():
        return None
    for policy, name in _ALLOCATION.items():
        if name.lower() == given.lower():
            return policy
    raise Invalid(
        "body.member",
        f"properties.allocationPolicy is {given[:40]!r}, it has to be one of {', '.join(_ALLOCATION.values())}",
    )


def parse_links(properties: Mapping[str, Any], shown: Mapping[str, Any]) -> list[LinkedHubDraft] | None:
    """All the links there will be; None where they stay as they are `shown`. Raises `Invalid` (`body.member`)."""
    given = properties.get("iotHubs")
    if given is None:
        return None
    path = "properties.iotHubs"
    if not isinstance(given, list):
        raise Invalid("body.member", f"{path} is a {type(given).__name__}, it has to be a list")
    if len(given) > MAX_LINKED_HUBS:
        raise Invalid("body.member", f"{path} has {len(given)} entries, at most {MAX_LINKED_HUBS} are allowed")
    drafts = [_parse_link(entry, f"{path}[{place}]") for place, entry in enumerate(given)]
    return drafts if differs(given, shown["iotHubs"]) else None


def _parse_link(entry: Any, path: str) -> LinkedHubDraft:
    if not isinstance(entry, Mapping):
        raise Invalid("body.member", f"{path} is a {type(entry).__name__}, it has to be an object")
    text = get_text(entry, "connectionString", f"{path}.connectionString")
    name = get_text(entry, "name", f"{path}.name") or ""
    if not text and not name:
        raise Invalid("body.member", f"{path}.connectionString is missing")
    weight = entry.get("allocationWeight")
    if weight is not None and (not isinstance(weight, int) or isinstance(weight, bool)):
        raise Invalid("body.member", f"{path}.allocationWeight is a {type(weight).__name__}, it has to be a number")
    return LinkedHubDraft(
        host_name=name,
        connection_string=Secret(text) if text else None,
        location=get_text(entry, "location", f"{path}.location") or "",
        weight=1 if weight is None else weight,
        applies_policy=get_boolean(entry, "applyAllocationPolicy", f"{path}.applyAllocationPolicy", default=True),
    )
