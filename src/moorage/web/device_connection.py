"""How a device is connected: its credential, its sessions, who tried under its name; the modules of an Edge device.

contract/central.md CON-3, DEV-10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from moorage.attempts.model import Attempt
from moorage.dialects.hub_json import Presence
from moorage.errors import Invalid
from moorage.fleet.device_models import DeviceModel
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, Identity
from moorage.identities.registry import EDGE_MODULES
from moorage.ids import IdentityName
from moorage.pki.certificates import Certificate
from moorage.web.device_form_code import module_acts
from moorage.web.device_page import DevicePage
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.values import json_text

__all__ = ["connection_pages"]

_ATTEMPTS_SHOWN: Final = 20


class _Module(NamedTuple):
    """`runtime` is what the Edge agent reports of it: (status, image, description); '' where it says nothing."""

    identity: Identity
    presence: Presence
    reported: str
    version: int
    runtime: tuple[str, str, str]


def connection_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Connection(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/connection", pages.connection, "devices.view"),
        Page("GET", one + "/modules", pages.modules, "devices.view"),
    ]


class _Connection:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def connection(self, visit: Visit) -> Response:
        """How it gets in, and who tried to under its name."""
        model, services = self._page.find(visit), self._services
        device_id = model.device.record.device_id
        attempts = await services.attempts.find(
            services.hub, device=device_id, thumbprint=None, tracking_id=None, limit=_ATTEMPTS_SHOWN
        )
        # Of another device that had this id, somebody else's perhaps, nobody sees more than the log of attempts tells.
        made = model.device.record.created
        if not visit.may("attempts.view"):
            attempts = [attempt for attempt in attempts if attempt.at >= made]
        modules: list[Identity] = []
        if model.device.identity is not None:
            modules = await services.registry.list_modules(services.hub, device_id)
        return await self._page.page(
            visit,
            model,
            "device/connection.html",
            tab="connection",
            modules=modules,
            attempts=attempts if visit.may("attempts.view") else [],
            credential=_credential(model.device.identity),
            last_chain=await asyncio.to_thread(_last_chain, attempts),
            sessions=[each for each in services.sessions.of_device(device_id) if each.at >= made],
        )

    async def modules(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        modules = await self._modules(model)
        names = [each.identity.name.module_id or "" for each in modules]
        may_run = visit.may("commands.run")
        return await self._page.page(
            visit,
            model,
            "device/modules.html",
            tab="modules",
            modules=modules,
            may_run=may_run,
            as_code=module_acts(self._services.info(), model.device.record.device_id, names) if may_run else [],
        )

    async def _modules(self, model: DeviceModel) -> list[_Module]:
        services, device_id = self._services, model.device.record.device_id
        if model.device.identity is None:
            return []
        found = []
        identities = await services.registry.list_modules(services.hub, device_id)
        agent: Mapping[str, Any] = {}
        if any(identity.name.module_id == EDGE_MODULES[0] for identity in identities):
            agent = services.twins.get(services.hub, IdentityName(device_id, EDGE_MODULES[0])).reported.value
        for identity in identities:
            twin = services.twins.get(services.hub, identity.name)
            reported = await asyncio.to_thread(json_text, twin.reported.value)
            presence = services.presence.of(services.hub, identity.name)
            runtime = _runtime(agent, identity.name.module_id or "")
            found.append(_Module(identity, presence, reported, twin.reported.version, runtime))
        return found


def _runtime(agent: Mapping[str, Any], module_id: str) -> tuple[str, str, str]:
    """What the Edge agent says of a module; its own two stand apart, without the dollar sign."""
    section = agent.get("systemModules" if module_id.startswith("$") else "modules")
    said = section.get(module_id.lstrip("$")) if isinstance(section, Mapping) else None
    if not isinstance(said, Mapping):
        return "", "", ""
    settings = said.get("settings")
    image = settings.get("image", "") if isinstance(settings, Mapping) else ""
    texts = (said.get("runtimeStatus", ""), image, said.get("statusDescription", ""))
    status, image, description = (text[:200] if isinstance(text, str) else "" for text in texts)
    return status, image, description


def _credential(identity: Identity | None) -> str:
    if identity is None:
        return "None yet: it has not registered"
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
