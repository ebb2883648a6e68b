"""More of a device: mapped aliases (MAP-1..4), files that it uploaded (DEV-9, 19), modules (DEV-10), its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response, StreamingResponse

from moorage.attempts.model import Attempt
from moorage.dialects.hub_json import Presence
from moorage.errors import Invalid, NotFound, Refusal
from moorage.fleet.aliases import encode_path
from moorage.fleet.device_models import DeviceModel
from moorage.hub.upload_model import StoredFile
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, Identity
from moorage.identities.registry import EDGE_MODULES
from moorage.ids import DeviceId, IdentityName
from moorage.pki.certificates import Certificate
from moorage.web.device_page import DevicePage, device_of, path_of
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.values import json_text

__all__ = ["thing_pages"]

_ATTEMPTS_SHOWN: Final = 20
_FILES_SHOWN: Final = 100
# What browsers draw by themselves and cannot run.
_PICTURES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
_TEXTS: Final = (".txt", ".log", ".csv", ".json", ".xml", ".yaml", ".yml", ".md", ".ini", ".toml")
_PREVIEW_BYTES: Final = 16 * 1024


class _File(NamedTuple):
    """`name` is without the device's folder."""

    name: str
    stored: StoredFile
    kind: str


class _Module(NamedTuple):
    """`runtime` is what the Edge agent reports of it: (status, image, description); '' where it says nothing."""

    identity: Identity
    presence: Presence
    reported: str
    version: int
    runtime: tuple[str, str, str]


def thing_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Things(services, renderer)
    one = "/devices/{device_id}"
    return [
        Page("GET", one + "/aliases", pages.aliases, "data.view"),
        Page("POST", one + "/aliases", pages.put_alias, "devices.manage"),
        Page("POST", one + "/aliases/delete", pages.delete_alias, "devices.manage"),
        Page("GET", one + "/files", pages.files, "data.view"),
        Page("GET", one + "/files/content", pages.file, "data.view"),
        Page("POST", one + "/files/delete", pages.delete_file, "devices.manage"),
        Page("GET", one + "/modules", pages.modules, "devices.view"),
        Page("GET", one + "/connection", pages.connection, "devices.view"),
    ]


class _Things:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    # -- aliases -------------------------------------------------------------------------------------------------------

    async def aliases(self, visit: Visit) -> Response:
        return await self._aliases(visit, visit.query.get("alias", ""), visit.query.get("path", ""))

    async def put_alias(self, visit: Visit) -> Response:
        fields = await visit.form()
        alias, path = fields.get("alias", ""), fields.get("path", "")
        try:
            await self._services.aliases.put(visit.actor, device_of(visit), alias, path)
        except Refusal as refusal:
            status = HTTPStatus.NOT_FOUND if isinstance(refusal, NotFound) else HTTPStatus.BAD_REQUEST
            return await self._aliases(visit, alias, path, refusal, status)
        return RedirectResponse(path_of(device_of(visit)) + "/aliases", HTTPStatus.SEE_OTHER)

    async def delete_alias(self, visit: Visit) -> Response:
        fields = await visit.form()
        await self._services.aliases.delete(visit.actor, device_of(visit), fields.get("alias", ""))
        return RedirectResponse(path_of(device_of(visit)) + "/aliases", HTTPStatus.SEE_OTHER)

    async def _aliases(
        self,
        visit: Visit,
        alias: str,
        path: str,
        problem: Refusal | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        model = self._page.find(visit)
        found = self._services.aliases.of_device(visit.actor, device_of(visit))
        return await self._page.page(
            visit,
            model,
            "device/aliases.html",
            tab="aliases",
            status=status,
            aliases=[(each.alias, encode_path(each.path)) for each in found],
            alias=alias,
            path=path,
            problem=problem,
        )

    # -- files ---------------------------------------------------------------------------------------------------------

    async def files(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        folder = _folder(device_of(visit))
        after = visit.query.get("after", "")[:1024]
        problem: Refusal | None = None
        found: list[StoredFile] = []
        try:
            found = await self._services.uploads.files(folder, folder + after if after else "", _FILES_SHOWN + 1)
        except Refusal as refusal:
            problem = refusal
        more, found = len(found) > _FILES_SHOWN, found[:_FILES_SHOWN]
        files = [_File(each.name.removeprefix(folder), each, _kind_of(each)) for each in found]
        return await self._page.page(
            visit,
            model,
            "device/files.html",
            tab="files",
            files=files,
            is_first=not after,
            next=files[-1].name if more else "",
            problem=problem,
        )

    async def file(self, visit: Visit) -> Response:
        """What is in it: to be kept, or with `show` to be looked at where that is harmless."""
        self._page.find(visit)
        name = visit.query.get("name", "")
        file, pieces = await self._services.uploads.read(_folder(device_of(visit)) + name)
        headers = {"content-length": str(file.size)}
        kind = _kind_of(file)
        if visit.query.get("show") == "1" and kind == "picture":
            media_type = _PICTURES[PurePosixPath(file.name).suffix.lower()]
            return StreamingResponse(pieces, headers=headers, media_type=media_type)
        if visit.query.get("show") == "1" and kind == "text":
            headers["content-length"] = str(min(file.size, _PREVIEW_BYTES))
            return StreamingResponse(_first(pieces), headers=headers, media_type="text/plain; charset=utf-8")
        last = quote(PurePosixPath(name).name, safe="")
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{last}"
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    async def delete_file(self, visit: Visit) -> Response:
        self._page.find(visit)
        fields = await visit.form()
        name = _folder(device_of(visit)) + fields.get("name", "")
        try:
            await self._services.uploads.delete(name, by=visit.actor.name)
        except NotFound:
            # Somebody was there before: it is gone, which is what was asked for.
            pass
        return RedirectResponse(path_of(device_of(visit)) + "/files", HTTPStatus.SEE_OTHER)

    # -- modules -------------------------------------------------------------------------------------------------------

    async def modules(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        modules = await self._modules(model)
        return await self._page.page(
            visit, model, "device/modules.html", tab="modules", modules=modules, may_run=visit.may("commands.run")
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

    # -- connection ----------------------------------------------------------------------------------------------------

    async def connection(self, visit: Visit) -> Response:
        """How it gets in, and who tried to under its name."""
        model, services = self._page.find(visit), self._services
        device_id = model.device.record.device_id
        attempts = await services.attempts.find(
            services.hub, device=device_id, thumbprint=None, tracking_id=None, limit=_ATTEMPTS_SHOWN
        )
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
            sessions=services.sessions.of_device(device_id),
        )


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


def _folder(device_id: DeviceId) -> str:
    return f"{device_id}/"


def _kind_of(file: StoredFile) -> str:
    """`picture` and `text` can be looked at; '' is anything."""
    suffix = PurePosixPath(file.name).suffix.lower()
    if suffix in _PICTURES:
        return "picture"
    return "text" if suffix in _TEXTS else ""


async def _first(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    left = _PREVIEW_BYTES
    async for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


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
