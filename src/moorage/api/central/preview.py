"""What only preview versions of the API have: queries over telemetry, edge manifests (contract/central.md 23, 17)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import MAX_BODY_BYTES, Route
from moorage.api.schemas.central_preview import MANIFEST, MANIFEST_CHANGE, MANIFEST_GIVEN, QUERY, RESULTS
from moorage.automation.manifests import Manifest, parse_manifest_id
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import check_same, get_object, get_text
from moorage.dialects.merge_patch import merge_patch
from moorage.dialects.times import format_time
from moorage.errors import Invalid, NotFound
from moorage.ids import ETag, parse_device_id

__all__ = ["preview_routes"]

_MANIFEST_MEMBERS: Final = ("id", "displayName", "data", "organizations", "scopes", "etag")


def preview_routes(services: CentralServices) -> list[Route]:
    return [_query_route(services), *_manifest_routes(services)]


# -- queries -------------------------------------------------------------------------------------------------------


def _query_route(services: CentralServices) -> Route:
    async def answer(call: ActorCall) -> Response:
        body = await call.members("query")
        text = get_text(body, "query")
        if not text:
            raise Invalid("body.member", "query is missing: SELECT ... FROM the id of a template")
        rows = await services.queries.rows(call.actor, text)
        # There may be ten thousand.
        return encoded_response(await asyncio.to_thread(_encoded, rows))

    return central_route(
        "POST",
        "/query",
        answer,
        "data.view",
        "Telemetry and properties of the devices of a template.",
        body=QUERY,
        answers={200: RESULTS},
        is_preview=True,
    )


def _encoded(rows: Sequence[Mapping[str, Any]]) -> bytes:
    plain = [
        {name: format_time(value) if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows
    ]
    return encode_json({"results": plain})


# -- edge manifests ------------------------------------------------------------------------------------------------


def _manifest_routes(services: CentralServices) -> list[Route]:
    api, one = _Manifests(services), "/deploymentManifests/{id}"
    view: Permission = "manifests.view"
    manage: Permission = "manifests.manage"
    most, shown = MAX_BODY_BYTES, MANIFEST
    return [
        central_route(
            "GET",
            "/deploymentManifests",
            api.list,
            view,
            "Edge manifests.",
            answers={200: page_schema(shown)},
            is_preview=True,
        ),
        central_route("GET", one, api.get, view, "One edge manifest.", answers={200: shown}, is_preview=True),
        central_route(
            "PUT",
            one,
            api.put,
            manage,
            "Create or replace one; devices that have it go on with what they run.",
            body=MANIFEST_CHANGE,
            answers={200: shown},
            is_preview=True,
            max_body_bytes=most,
        ),
        central_route(
            "PATCH",
            one,
            api.patch,
            manage,
            "Change one.",
            body=MANIFEST_CHANGE,
            answers={200: shown},
            is_preview=True,
            max_body_bytes=most,
        ),
        central_route("DELETE", one, api.delete, manage, "Delete one.", answers={204: None}, is_preview=True),
        central_route(
            "POST",
            "/devices/{id}/applyDeploymentManifest",
            api.give,
            "devices.manage",
            "Give an edge device a manifest by its id, or content of its own.",
            body=MANIFEST_GIVEN,
            answers={204: None},
            is_preview=True,
            max_body_bytes=most,
        ),
    ]


class _Manifests:
    def __init__(self, services: CentralServices) -> None:
        self._manifests = services.manifests
        self._giving = services.giving
        self._fleet = services.fleet
        self._organizations = services.organizations

    async def list(self, call: ActorCall) -> Response:
        found = sorted(await self._manifests.all(call.actor), key=_id_of)
        return await page_of(call, found, _id_of, _manifest_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(_manifest_json(self._manifests.get(call.actor, call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        manifest_id, body = parse_manifest_id(call.path["id"]), await _body(call)
        check_same(body, "id", manifest_id)
        name, data = get_text(body, "displayName"), get_object(body, "data")
        if not name or data is None:
            raise Invalid("body.member", "displayName and data have to be there")
        try:
            present = self._manifests.get(call.actor, manifest_id)
        except NotFound:
            where = parse_organizations(body)
            if where is not None:
                self._organizations.choose(call.actor, where)
            return json_response(
                _manifest_json(await self._manifests.create(call.actor, manifest_id, name, data, where))
            )
        return await self._change(call, present, body, name, data, etag_in(call, body))

    async def patch(self, call: ActorCall) -> Response:
        body = await _body(call)
        present = self._manifests.get(call.actor, call.path["id"])
        merged = merge_patch(_manifest_json(present), body)
        name, data = get_text(merged, "displayName"), get_object(merged, "data")
        # What was read just now is what is changed.
        held = etag_in(call, body) or present.etag
        return await self._change(call, present, body, name, data, held)

    async def delete(self, call: ActorCall) -> Response:
        await self._manifests.delete(call.actor, call.path["id"])
        return no_content()

    async def give(self, call: ActorCall) -> Response:
        device_id = self._fleet.get(call.actor, parse_device_id(call.path["id"])).record.device_id
        body = await call.members("id", "data")
        manifest_id, data = get_text(body, "id"), get_object(body, "data")
        if (manifest_id is None) is (data is None):
            raise Invalid("body.member", "id names a manifest, or data is the content for this device alone")
        if manifest_id is not None:
            await self._giving.assign(call.actor, device_id, manifest_id)
        elif data is not None:
            await self._giving.customise(call.actor, device_id, data)
        return no_content()

    async def _change(
        self,
        call: ActorCall,
        present: Manifest,
        body: Mapping[str, Any],
        name: str | None,
        data: Mapping[str, Any] | None,
        held: ETag | None,
    ) -> Response:
        if parse_organizations(body) not in (None, present.organization):
            raise Invalid("body.member", "the organization of a manifest is fixed once it is made; copy it instead")
        changed = await self._manifests.update(
            call.actor, present.manifest_id, if_match=held, display_name=name, content=data
        )
        return json_response(_manifest_json(changed))


async def _body(call: ActorCall) -> dict[str, Any]:
    """`scopes` is what older previews call organizations."""
    body = await call.members(*_MANIFEST_MEMBERS)
    return {"organizations": body["scopes"], **body} if "scopes" in body else body


def _manifest_json(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": manifest.manifest_id,
        "displayName": manifest.display_name,
        "data": manifest.content,
        "etag": manifest.etag,
    }
    return {**document, "organizations": [manifest.organization]} if manifest.organization else document


def _id_of(manifest: Manifest) -> str:
    return manifest.manifest_id
