"""What the buttons of the application's settings and of its audit logs do, as code: calls of our own API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moorage.accounts.audit import AuditFilter
from moorage.accounts.customization import PICTURES, Customization
from moorage.dialects.times import format_time
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Upload, act_as_code, central_path

__all__ = ["application_acts", "audit_acts", "customization_acts"]

_SETTINGS: Final = "/settings"
_CUSTOMIZATION: Final = "/settings/customization"


def application_acts(info: HubInfo, name: str) -> list[Act]:
    return [act_as_code(info, "Save", Call("PATCH", _SETTINGS, {"displayName": name}, api="own"))]


def customization_acts(info: HubInfo, current: Customization) -> list[Act]:
    """As it is now; with the acts of the logo and of the browser icon."""
    body = {
        "headerColor": current.header or None,
        "accentColor": current.accent or None,
        "helpLinks": [{"label": each.label, "url": each.url} for each in current.links],
    }
    acts = [act_as_code(info, "Save", Call("PATCH", _CUSTOMIZATION, body, api="own"))]
    for which in PICTURES:
        there = _CUSTOMIZATION + central_path(which)
        acts.append(
            act_as_code(info, f"Upload: {which}", Call("PUT", there, Upload(f"{which}.png", "image/png"), api="own"))
        )
        acts.append(act_as_code(info, f"Remove: {which}", Call("DELETE", there, api="own")))
    return acts


def audit_acts(info: HubInfo, wanted: AuditFilter, order: str, *, is_descending: bool) -> list[Act]:
    """What the filter finds, in the order of the page."""
    asked: Mapping[str, str] = {
        "since": "" if wanted.since is None else format_time(wanted.since),
        "until": "" if wanted.until is None else format_time(wanted.until),
        "who": wanted.actor,
        "kind": wanted.kind,
        "what": wanted.action,
        "on": wanted.entity,
        "sort": order,
        "direction": "down" if is_descending else "up",
        "$top": "100",
    }
    query = {name: value for name, value in asked.items() if value}
    return [act_as_code(info, "Export", Call("GET", "/audit", api="own", query=query))]
