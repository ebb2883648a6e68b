"""The page of one device."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from moorage.attempts.model import Attempt
from moorage.errors import Invalid
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, Identity
from moorage.ids import IdentityName, parse_device_id
from moorage.pki.certificates import Certificate
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["device_pages"]

_ATTEMPTS_SHOWN: Final = 20


def device_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Devices(services, renderer)
    return [
        Page("GET", "/devices/{device_id}", pages.show, "devices.view"),
    ]


class _Devices:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

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
