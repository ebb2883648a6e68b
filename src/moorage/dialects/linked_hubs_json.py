"""Linked hubs in the JSON of our own API: the members that Azure's control plane has for them, and `isOwn`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from moorage.dialects.arm_links import linked_hub_json as resource_json
from moorage.dialects.members import check_same, get_boolean, get_text, get_whole
from moorage.errors import Invalid
from moorage.ids import Secret
from moorage.provisioning.linked_hubs import LinkedHubDraft, parse_connection_string
from moorage.provisioning.model import DefaultAllocation, LinkedHub

__all__ = ["linked_hub_json", "parse_default_allocation", "parse_linked_hub"]


def linked_hub_json(linked: LinkedHub, own_name: str) -> dict[str, Any]:
    """With stars in place of the key. `own_name` is that of the service's own hub."""
    return {**resource_json(linked, own_name), "isOwn": linked.is_own}


def parse_linked_hub(name: str, body: Mapping[str, Any], present: LinkedHub | None) -> LinkedHubDraft:
    """What a PUT of the link `name` asks for; what it does not say stays as it is `present`.

    Raises `Invalid`: `body.member`, `body.id` when the connection string is of another host,
    `linked_hub.connection_string`.
    """
    check_same(body, "name", name)
    text = get_text(body, "connectionString")
    if text:
        host = parse_connection_string(Secret(text)).host
        if host != name.lower():
            raise Invalid("body.id", f"the connection string is that of {host!r}, the path says {name[:253]!r}")
    location = get_text(body, "location")
    weight = get_whole(body, "allocationWeight")
    applies = present.applies_policy if present else True
    return LinkedHubDraft(
        host_name=name,
        connection_string=Secret(text) if text else None,
        location=location if location is not None else present.location if present else "",
        weight=weight if weight is not None else present.weight if present else 1,
        applies_policy=get_boolean(body, "applyAllocationPolicy", "applyAllocationPolicy", default=applies),
    )


def parse_default_allocation(body: Mapping[str, Any]) -> DefaultAllocation:
    """Raises `Invalid` (`body.member`)."""
    given = get_text(body, "allocationPolicy") or ""
    for policy in get_args(DefaultAllocation):
        if policy.lower() == given.lower():
            return cast("DefaultAllocation", policy)
    raise Invalid(
        "body.member",
        f"allocationPolicy is {given[:40]!r}, it has to be one of {', '.join(get_args(DefaultAllocation))}",
    )
