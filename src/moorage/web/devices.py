"""The list of devices and the page of one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from moorage.attempts.model import Attempt
from moorage.dialects.hub_json import Presence
from moorage.errors import Invalid
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, Identity
from moorage.ids import DeviceId, IdentityName, parse_device_id
from moorage.pki.certificates import Certificate
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["device_pages"]

PAGE_SIZE: Final = 50
_ATTEMPTS_SHOWN: Final = 20
_STATES: Final = ("", "enabled", "disabled", "connected")


def device_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Devices(services, renderer)
    return [
        Page("GET", "/", pages.home, "signed in"),
        Page("GET", "/devices", pages.all, "devices.view"),
        Page("GET", "/devices/{device_id}", pages.show, "devices.view"),
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    """One device in the list."""

    identity: Identity
    presence: Presence
    refusal: Attempt | None

    @property
    def device_id(self) -> str:
        return self.identity.name.device_id


class _Devices:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def home(self, visit: Visit) -> Response:
        return RedirectResponse("/devices", HTTPStatus.SEE_OTHER)

    async def all(self, visit: Visit) -> Response:
        services, hub = self._services, self._services.hub
        text, state, after = (visit.query.get(name, "").strip()[:128] for name in ("q", "state", "after"))
        if state not in _STATES:
            state = ""
        identities = await self._find(text, state, after)
        more, identities = len(identities) > PAGE_SIZE, identities[:PAGE_SIZE]
        refusals = await services.attempts.last_refusals(hub, [each.name.device_id for each in identities])
        rows = [
            _Row(each, services.presence.of(hub, each.name), refusals.get(each.name.device_id)) for each in identities
        ]
        total, enabled = await services.registry.count_devices(hub)
        values: dict[str, Any] = {
            "rows": rows,
            "text": text,
            "state": state,
            "is_first": not after,
            "next": urlencode({"q": text, "state": state, "after": rows[-1].device_id}) if more else "",
            "total": total,
            "disabled": total - enabled,
            "connected": services.presence.count(hub),
            "info": services.info(),
        }
        if visit.request.headers.get("hx-target") == "devices":
            return await self._renderer.long_page(visit, "devices/table.html", **values)
        return await self._renderer.long_page(visit, "devices/list.html", **values)

    async def show(self, visit: Visit) -> Response:
        services, hub = self._services, self._services.hub
        name = IdentityName(parse_device_id(visit.path["device_id"]))
        identity = services.registry.get(hub, name)
        modules = await services.registry.list_modules(hub, name.device_id)
        attempts = await services.attempts.find(
            hub, device=name.device_id, thumbprint=None, tracking_id=None, limit=_ATTEMPTS_SHOWN
        )
        return await self._renderer.long_page(
            visit,
            "devices/show.html",
            identity=identity,
            presence=services.presence.of(hub, name),
            modules=modules,
            attempts=attempts,
            credential=_credential(identity),
            last_chain=await asyncio.to_thread(_last_chain, attempts),
            tab="overview",
        )

    async def _find(self, text: str, state: str, after: str) -> list[Identity]:
        """One device more than a page has, in the order of their ids."""
        hub, store = self._services.hub, self._services.store
        if state != "connected":
            return await store.scan(
                lambda tables: tables.identities.search_devices(
                    hub, PAGE_SIZE + 1, after=DeviceId(after), contains=text, status=state
                )
            )
        names = await asyncio.to_thread(_matching, self._services.presence.connected(hub), text, after)
        found = (store.read().identities.find(hub, name) for name in names)
        return [identity for identity in found if identity is not None]


def _matching(connected: Any, text: str, after: str) -> list[IdentityName]:
    wanted = text.lower()
    names = sorted(
        name.device_id
        for name in connected
        if name.module_id is None and name.device_id > after and wanted in name.device_id.lower()
    )
    return [IdentityName(device_id) for device_id in names[: PAGE_SIZE + 1]]


def _credential(identity: Identity) -> str:
    match identity.authentication:
        case BySharedKey():
            return "Shared access key"
        case ByThumbprint():
            return "Certificate, pinned by its thumbprint"
        case ByAuthority(enrollment_group=None):
            return "Certificate of a CA that the hub trusts"
        case ByAuthority(enrollment_group=group):
            return f"Certificate of the enrollment group {group}"
        case _:
            return "None: nothing gets in"


def _last_chain(attempts: list[Attempt]) -> tuple[Attempt, list[Certificate]] | None:
    """The newest chain that the device showed, as far as it can be read."""
    for attempt in attempts:
        if attempt.chain:
            try:
                return attempt, [Certificate(der) for der in attempt.chain]
            except Invalid:
                continue
    return None
