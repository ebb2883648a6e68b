"""Device groups in the JSON of IoT Central (contract/central.md 22.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.accounts.model import OrganizationId
from moorage.dialects.members import check_same, get_text
from moorage.errors import Invalid
from moorage.fleet.groups import DeviceGroup, GroupDraft

__all__ = ["DEVICE_GROUP_MEMBERS", "device_group_json", "parse_device_group", "parse_organizations"]

DEVICE_GROUP_MEMBERS: Final = ("id", "displayName", "filter", "description", "etag", "organizations")


def parse_device_group(group_id: str, body: Mapping[str, Any], *, default: OrganizationId) -> GroupDraft:
    """A whole group; it belongs to `default` where the body says nothing of it. Raises `Invalid` (`body.*`)."""
    check_same(body, "id", group_id)
    name, query = get_text(body, "displayName"), get_text(body, "filter")
    if not name or not query:
        raise Invalid("body.member", "displayName and filter have to be there")
    organization = parse_organizations(body)
    return GroupDraft(
        name, query, get_text(body, "description") or "", default if organization is None else organization
    )


def parse_organizations(body: Mapping[str, Any]) -> OrganizationId | None:
    """API-10: an array of at most one; an empty one is the root. Raises `Invalid` (`body.member`)."""
    given = body.get("organizations")
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > 1 or not all(isinstance(each, str) for each in given):
        raise Invalid("body.member", "organizations has to be an array of at most one id of an organization")
    return OrganizationId(given[0] if given else "")


def device_group_json(group: DeviceGroup) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": group.group_id,
        "displayName": group.display_name,
        "filter": group.query,
        "etag": group.etag,
    }
    if group.description:
        document["description"] = group.description
    if group.organization:
        document["organizations"] = [group.organization]
    return document
