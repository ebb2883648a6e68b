"""Search: devices by name or id, and pages by what they are called or were called in older tutorials (NAV-20)."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.responses import Response

from moorage.fleet.model import DeviceFilter
from moorage.web.navigation import GROUPS
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["search_pages"]

_MOST: Final = 50
_MAX_TEXT: Final = 200
# contract/central.md 2, "Older names", and what its REST and command line call the same.
_OLDER: Final = {
    "Device connection groups": (
        "Administration",
        "Device connection",
        "Create enrollment group",
        "Enrollment groups",
        "ID scope",
    ),
    "Data explorer": ("Analytics",),
    "Devices": ("Unassociated", "Unassigned", "Device explorer"),
    "Device templates": ("Interfaces", "Cloud properties", "Customize", "Capability model"),
    "Edge manifests": ("Deployment manifests",),
    "Data export": ("Continuous data export", "Exports"),
    "API tokens": ("Access tokens",),
    "Application": ("Your application", "Device file storage", "File upload", "Management"),
    "Customization": ("Customize your application", "Appearance", "Help links", "Logo"),
    "Audit logs": ("Audit",),
}


class FoundPage(NamedTuple):
    """`older` is the name that was looked for, '' when that is today's."""

    label: str
    group: str
    path: str
    older: str


def search_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    async def show(visit: Visit) -> Response:
        text = visit.query.get("q", "").strip()[:_MAX_TEXT]
        devices = []
        if text and visit.may("devices.view"):
            devices = await services.fleet.list(visit.actor, DeviceFilter(text=text), _MOST + 1)
        return await renderer.long_page(
            visit,
            "search.html",
            text=text,
            pages=_pages(visit, text) if text else [],
            devices=devices[:_MOST],
            has_more=len(devices) > _MOST,
        )

    return [Page("GET", "/search", show, "signed in")]


def _pages(visit: Visit, text: str) -> list[FoundPage]:
    wanted = text.casefold()
    found = []
    for group in GROUPS:
        for entry in group.entries:
            older = next((name for name in _OLDER.get(entry.label, ()) if wanted in name.casefold()), "")
            is_named = wanted in entry.label.casefold()
            if (is_named or older) and visit.may(entry.gate):
                found.append(FoundPage(entry.label, group.label, entry.path, "" if is_named else older))
    return found
