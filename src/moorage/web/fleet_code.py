"""What the buttons of the list of devices do, as code: acts on many, an import, an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.accounts.model import Actor
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Upload, act_as_code, central_path
from moorage.web.device_list import DeviceQuery

__all__ = ["bulk_acts", "filter_of", "import_act", "stop_act"]

_OPERATIONS: Final = "/deviceOperations"
# What an act takes beside the devices, with a name to put one's own in the place of.
_TO: Final[Mapping[str, str]] = {
    "migrate": "dtmi:com:example:Thermostat;1",
    "organization": "line-1",
    "attach": "gateway-01",
}
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


def bulk_acts(info: HubInfo, actor: Actor, asked: Mapping[str, str], device_id: str) -> list[Act]:
    """For the devices that a filter finds, or for one of them where nothing is filtered."""
    chosen: dict[str, Any] = {"filter": dict(asked)} if asked else {"devices": [device_id]}
    acts = []
    for act, label in _LABELS.items():
        if actor.may("devices.delete" if act == "delete" else "devices.manage"):
            to = {"to": _TO[act]} if act in _TO else {}
            acts.append(act_as_code(info, label, Call("POST", _OPERATIONS, {"act": act, **to, **chosen}, api="own")))
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


def stop_act(info: HubInfo, operation_id: str) -> Act:
    return act_as_code(info, "Stop", Call("POST", f"{_OPERATIONS}{central_path(operation_id)}/stop", api="own"))
