"""Edge manifests: a shelf of them, each with its modules and its JSON, and what one device is given (central.md 17)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.automation.manifests import Manifest, ManifestModule, modules_of, parse_manifest_id
from moorage.dialects.json_text import parse_object
from moorage.errors import Conflict, NotFound, PreconditionFailed, Refusal
from moorage.ids import ETag
from moorage.web.automation_code import device_manifest_acts, manifest_acts
from moorage.web.automation_forms import new_id
from moorage.web.device_page import DevicePage, path_of
from moorage.web.pages import TOLD, Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["manifest_pages"]

_EXAMPLE: Final = {
    "modulesContent": {
        "$edgeAgent": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
                "systemModules": {
                    "edgeAgent": {"type": "docker", "settings": {"image": "mcr.microsoft.com/azureiotedge-agent:1.5"}},
                    "edgeHub": {
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "always",
                        "settings": {"image": "mcr.microsoft.com/azureiotedge-hub:1.5"},
                    },
                },
                "modules": {},
            }
        },
        "$edgeHub": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "routes": {"upstream": "FROM /messages/* INTO $upstream"},
                "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
            }
        },
    }
}


def manifest_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Manifests(services, renderer)
    one, device = "/manifests/{manifest_id}", "/devices/{device_id}/manifest"
    return [
        Page("GET", "/manifests", pages.all, "manifests.view"),
        Page("GET", "/manifests/new", pages.new, "manifests.manage"),
        Page("POST", "/manifests", pages.create, "manifests.manage", keeps=True),
        Page("GET", one, pages.show, "manifests.view"),
        Page("POST", one, pages.save, "manifests.manage", keeps=True),
        Page("GET", one + "/manifest.json", pages.download, "manifests.view"),
        Page("POST", one + "/delete", pages.delete, "manifests.manage"),
        Page("GET", device, pages.of_device, "devices.manage"),
        Page("POST", device, pages.assign, "devices.manage", keeps=True),
        Page("POST", device + "/content", pages.customise, "devices.manage", keeps=True),
    ]


class _Manifests:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._manifests = services.automation.manifests
        self._giving = services.automation.giving
        self._renderer = renderer
        self._device = DevicePage(services, renderer)

    async def all(self, visit: Visit) -> Response:
        manifests = await self._manifests.all(visit.actor)
        return await self._renderer.long_page(
            visit,
            "manifests/list.html",
            rows=[(each, len(modules_of(each.content))) for each in manifests],
            organizations={each.organization_id: each.display_name for each in self._services.organizations.all()},
        )

    async def new(self, visit: Visit) -> Response:
        fields = {"id": new_id("manifest"), "organization": visit.default_organization}
        content: Any = _EXAMPLE
        if copied := visit.query.get("copy", ""):
            found = self._manifests.get(visit.actor, copied)
            fields["name"], content = f"Copy of {found.display_name}"[:100], found.content
        fields["json"] = await asyncio.to_thread(_pretty, content)
        return await self._page(visit, fields, None)

    async def create(self, visit: Visit) -> Response:
        fields, uploaded = await visit.form(), await visit.upload("file")
        try:
            visit.check_in_time()
            content = await _content(fields, uploaded)
            manifest_id = parse_manifest_id(fields.get("id", ""))
            organization = OrganizationId(fields.get("organization", ""))
            name = fields.get("name", "")
            try:
                made = await self._manifests.create(visit.actor, manifest_id, name, content, organization)
            except Conflict:
                # The same form, sent twice.
                made = self._manifests.get(visit.actor, manifest_id)
                if (made.display_name, made.content, made.organization) != (name.strip(), content, organization):
                    raise
        except TOLD as refusal:
            return await self._page(visit, await _kept(fields, uploaded), None, refusal)
        return _to(made)

    async def show(self, visit: Visit) -> Response:
        found = self._manifests.get(visit.actor, visit.path["manifest_id"])
        return await self._page(visit, await _fields(found), found)

    async def save(self, visit: Visit) -> Response:
        fields, uploaded = await visit.form(), await visit.upload("file")
        found = self._manifests.get(visit.actor, visit.path["manifest_id"])
        try:
            visit.check_in_time()
            content = await _content(fields, uploaded)
            changed = await self._manifests.update(
                visit.actor,
                found.manifest_id,
                if_match=ETag(fields.get("etag", "")),
                display_name=fields.get("name", ""),
                content=content,
            )
        except TOLD as refusal:
            kept = await _kept(fields, uploaded)
            if isinstance(refusal, PreconditionFailed):
                # What was typed stays; the next Save is a decision.
                kept["etag"] = found.etag
            return await self._page(visit, kept, found, refusal)
        return _to(changed)

    async def download(self, visit: Visit) -> Response:
        found = self._manifests.get(visit.actor, visit.path["manifest_id"])
        text = await asyncio.to_thread(_pretty, found.content)
        headers = {"content-disposition": f'attachment; filename="{found.manifest_id}.json"'}
        return Response(text, media_type="application/json", headers=headers)

    async def delete(self, visit: Visit) -> Response:
        await self._manifests.delete(visit.actor, visit.path["manifest_id"])
        return RedirectResponse("/manifests", HTTPStatus.SEE_OTHER)

    async def _page(
        self, visit: Visit, fields: Mapping[str, str], manifest: Manifest | None, problem: Refusal | None = None
    ) -> Response:
        return await self._renderer.long_page(
            visit,
            "manifests/edit.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            manifest=manifest,
            fields=fields,
            modules=[] if manifest is None else modules_of(manifest.content),
            nodes=self._services.organizations.seen_by(visit.actor),
            may_change=visit.may("manifests.manage"),
            acts=manifest_acts(self._services.info(), fields, is_new=manifest is None)
            if visit.may("manifests.manage")
            else [],
            problem=problem,
        )

    # -- one device ----------------------------------------------------------------------------------------------------

    async def of_device(self, visit: Visit) -> Response:
        return await self._device_page(visit)

    async def assign(self, visit: Visit) -> Response:
        fields = await visit.form()
        device_id = self._device.find(visit).device.record.device_id
        try:
            visit.check_in_time()
            if fields.get("manifest"):
                await self._giving.assign(visit.actor, device_id, fields["manifest"])
            else:
                await self._giving.unassign(visit.actor, device_id)
        except TOLD as refusal:
            return await self._device_page(visit, refusal, chosen=fields.get("manifest", ""))
        return RedirectResponse(f"{path_of(device_id)}/manifest", HTTPStatus.SEE_OTHER)

    async def customise(self, visit: Visit) -> Response:
        fields = await visit.form()
        device_id = self._device.find(visit).device.record.device_id
        try:
            visit.check_in_time()
            await self._giving.customise(visit.actor, device_id, await _content(fields, b""))
        except TOLD as refusal:
            return await self._device_page(visit, refusal, text=fields.get("json", ""))
        return RedirectResponse(f"{path_of(device_id)}/manifest", HTTPStatus.SEE_OTHER)

    async def _device_page(
        self, visit: Visit, problem: Refusal | None = None, *, chosen: str | None = None, text: str | None = None
    ) -> Response:
        model = self._device.find(visit)
        record = model.device.record
        if not record.is_edge:
            raise NotFound("route.unknown", f"'{record.device_id}' is no edge device, so it has no manifest")
        content = await self._giving.content_of(visit.actor, record.device_id)
        modules: list[ManifestModule] = [] if content is None else modules_of(content)
        return await self._device.page(
            visit,
            model,
            "manifests/device.html",
            tab="modules",
            status=HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            manifests=await self._manifests.names(visit.actor),
            chosen=record.manifest if chosen is None else chosen,
            modules=modules,
            text=text if text is not None else "" if content is None else await asyncio.to_thread(_pretty, content),
            acts=device_manifest_acts(self._services.info(), record.device_id, record.manifest),
            problem=problem,
        )


async def _content(fields: Mapping[str, str], uploaded: bytes) -> dict[str, Any]:
    """The file, if one was chosen, else what was typed. Raises `Invalid` (`json.*`)."""
    data = uploaded or fields.get("json", "").encode()
    return await asyncio.to_thread(lambda: parse_object(data, what="the manifest"))


async def _kept(fields: Mapping[str, str], uploaded: bytes) -> dict[str, str]:
    return {**fields, "json": uploaded.decode("utf-8", "replace")} if uploaded else dict(fields)


async def _fields(manifest: Manifest) -> dict[str, str]:
    return {
        "id": manifest.manifest_id,
        "name": manifest.display_name,
        "organization": manifest.organization,
        "etag": manifest.etag,
        "json": await asyncio.to_thread(_pretty, manifest.content),
    }


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=dict)


def _to(manifest: Manifest) -> Response:
    return RedirectResponse(f"/manifests/{segment(manifest.manifest_id)}", HTTPStatus.SEE_OTHER)
