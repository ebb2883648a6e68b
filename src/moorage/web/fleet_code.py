"""What the buttons of the list of devices do, as code: acts on many, an import, an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.accounts.model import Actor
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Upload, Variable, act_as_code, central_path
from moorage.web.device_list import DeviceQuery

__all__ = ["bulk_acts", "filter_of", "import_act", "stop_act"]

_LABELS: Final[Mapping[str, str]] = {
    "approve": "Approve",
    "block": "Block",
    "unblock": "Unblock",
    "migrate": "Migrate",
    "organization": "Organization",
    "attach": "Attach to gateway",
    "detach": "Detach",
    "delete": "Delete",
}


def bulk_acts(
    info: HubInfo, actor: Actor, asked: Mapping[str, str], device_id: str, template: str, organization: str
) -> list[Act]:
    """For the devices that a filter finds, or for one of them where nothing is filtered.

    `template` and `organization` are examples of where they may go.
    """
    chosen: dict[str, Any] = {"filter": dict(asked)} if asked else {"devices": [device_id]}
    to = {"migrate": template, "organization": organization, "attach": "gateway-01"}
    acts = []
    for act, label in _LABELS.items():
        if actor.may("devices.delete" if act == "delete" else "devices.manage"):
            body = {"act": act, **({"to": to[act]} if act in to else {}), **chosen}
            acts.append(act_as_code(info, label, Call("POST", "/deviceOperations", body, api="own")))
    export = Call("GET", "/devices/export", api="own", query=asked)
    return [*acts, act_as_code(info, "Export", export)]


def filter_of(query: DeviceQuery) -> dict[str, str]:
    """As our own API names it."""
    named = {
        "text": query.text,
        "state": query.state,
        "template": query.template,
        "organization": query.organization,
        "connected": query.connected,
    }
    return {name: value for name, value in named.items() if value}


def import_act(info: HubInfo, template: str, organization: str) -> Act:
    query = {name: value for name, value in (("template", template), ("organization", organization)) if value}
    call = Call("POST", "/devices/import", Upload("devices.csv", "text/csv"), api="own", query=query)
    return act_as_code(info, "Import", call)


def stop_act(info: HubInfo) -> Act:
    """Whoever began an operation stops it; what began it said its id."""
    path = central_path("deviceOperations", Variable("OPERATION_ID"), "stop")
    return act_as_code(info, "Stop", Call("POST", path, api="own"))
