"""Devices in the JSON of IoT Central (contract/central.md 22.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.accounts.model import OrganizationId
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.members import check_same, get_boolean, get_text
from moorage.errors import Invalid
from moorage.fleet.model import UNASSIGNED, DeviceChange, DeviceDraft, DeviceRecord, TemplateId
from moorage.fleet.template_model import parse_template_id
from moorage.ids import DeviceId

__all__ = ["DEVICE_FIELDS", "DEVICE_MEMBERS", "DeviceBody", "device_json", "field_values", "parse_device_body"]

DEVICE_MEMBERS: Final = (
    "id",
    "etag",
    "displayName",
    "template",
    "enabled",
    "provisioned",
    "simulated",
    "organizations",
    "type",
)
# PRE-3. `scopes` and `organizations` are one: the words of the preview and of the stable version.
DEVICE_FIELDS: Final = (
    "id",
    "displayName",
    "enabled",
    "provisioned",
    "simulated",
    "template",
    "scopes",
    "organizations",
    "type",
)
_EDGE: Final = "EdgeDevice"


@dataclass(frozen=True, slots=True)
class DeviceBody:
    """What a body says of a device; None where it says nothing."""

    display_name: str | None
    template: TemplateId | None
    is_enabled: bool | None
    is_simulated: bool | None
    organization: OrganizationId | None
    is_edge: bool | None

    def draft(self, device_id: DeviceId) -> DeviceDraft:
        return DeviceDraft(
            device_id=device_id,
            display_name=self.display_name or "",
            template=self.template or UNASSIGNED,
            organization=self.organization or OrganizationId(""),
            is_simulated=bool(self.is_simulated),
            is_edge=bool(self.is_edge),
            is_blocked=self.is_enabled is False,
        )

    def change(self) -> DeviceChange:
        return DeviceChange(
            display_name=self.display_name,
            template=self.template,
            organization=self.organization,
            is_simulated=self.is_simulated,
            is_blocked=None if self.is_enabled is None else not self.is_enabled,
        )


def parse_device_body(device_id: DeviceId, body: Mapping[str, Any]) -> DeviceBody:
    """Of PUT or PATCH. Raises `Invalid` (`body.member`, `body.id`, `template.template_id`)."""
    check_same(body, "id", device_id)
    template = get_text(body, "template")
    return DeviceBody(
        display_name=get_text(body, "displayName"),
        # '' takes the template away; null and nothing leave it.
        template=UNASSIGNED if template == "" else None if template is None else parse_template_id(template),
        is_enabled=get_boolean(body, "enabled", "enabled", default=None),
        is_simulated=get_boolean(body, "simulated", "simulated", default=None),
        organization=parse_organizations(body),
        is_edge=_is_edge(body),
    )


def device_json(record: DeviceRecord) -> dict[str, Any]:
    """A device that waits for approval is not enabled (ST-3)."""
    document: dict[str, Any] = {
        "id": record.device_id,
        "etag": record.etag,
        "displayName": record.display_name,
        "enabled": _is_enabled(record),
        "provisioned": record.is_provisioned,
        "simulated": record.is_simulated,
    }
    if record.template:
        document["template"] = record.template
    if record.organization:
        document["organizations"] = [record.organization]
    if record.is_edge:
        document["type"] = [_EDGE]
    return document


def field_values(record: DeviceRecord) -> dict[str, Any]:
    """By `DEVICE_FIELDS`, for `$filter` and `$orderby`."""
    organizations = (record.organization,) if record.organization else ()
    return {
        "id": record.device_id,
        "displayName": record.display_name,
        "enabled": _is_enabled(record),
        "provisioned": record.is_provisioned,
        "simulated": record.is_simulated,
        "template": record.template or None,
        "scopes": organizations,
        "organizations": organizations,
        "type": (_EDGE,) if record.is_edge else (),
    }


def _is_enabled(record: DeviceRecord) -> bool:
    return record.is_approved and not record.is_blocked


def _is_edge(body: Mapping[str, Any]) -> bool | None:
    given = body.get("type")
    if given is None:
        return None
    if not isinstance(given, list) or any(each != _EDGE for each in given):
        raise Invalid("body.member", f"type has to be an array: empty, or with {_EDGE!r} for one that runs IoT Edge")
    return bool(given)
