"""Data exports and their destinations over REST, as preview versions have them (contract/central.md 16, 23)."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_exports import DESTINATION, DESTINATION_CHANGE, EXPORT, EXPORT_CHANGE
from moorage.automation.export_runner import ExportHealth
from moorage.automation.exports import DataExport, Destination, DestinationId, parse_export_id
from moorage.dialects.central_exports import (
    DESTINATION_MEMBERS,
    EXPORT_MEMBERS,
    changed_destination,
    changed_export,
    destination_json,
    export_json,
)
from moorage.errors import Invalid, NotFound
from moorage.fleet.model import TemplateId
from moorage.ids import ETag, Secret

__all__ = ["export_routes"]

_VIEW: Final[Permission] = "exports.view"
_MANAGE: Final[Permission] = "exports.manage"


def export_routes(services: CentralServices) -> list[Route]:
    destinations, exports = _Destinations(services), _Exports(services)
    routes: list[Route] = []
    for path, api, what, shown, change in (
        ("/dataExport/destinations", destinations, "destination", DESTINATION, DESTINATION_CHANGE),
        ("/dataExport/exports", exports, "data export", EXPORT, EXPORT_CHANGE),
    ):
        one = path + "/{id}"
        answer = {200: shown}
        routes += [
            central_route(
                "GET", path, api.list, _VIEW, f"Each {what}.", answers={200: page_schema(shown)}, is_preview=True
            ),
            central_route("GET", one, api.get, _VIEW, f"One {what}.", answers=answer, is_preview=True),
            central_route(
                "PUT",
                one,
                api.put,
                _MANAGE,
                f"Create or replace a {what}.",
                body=change,
                answers=answer,
                is_preview=True,
            ),
            central_route(
                "PATCH", one, api.patch, _MANAGE, f"Change a {what}.", body=change, answers=answer, is_preview=True
            ),
            central_route(
                "DELETE", one, api.delete, _MANAGE, f"Delete a {what}.", answers={204: None}, is_preview=True
            ),
        ]
    return routes


class _Destinations:
    def __init__(self, services: CentralServices) -> None:
        self._services = services
        self._exports = services.exports

    async def list(self, call: ActorCall) -> Response:
        found = sorted(self._exports.destinations(call.actor), key=_destination_id)
        return await page_of(call, found, _destination_id, lambda each: self._json(call, each))

    async def get(self, call: ActorCall) -> Response:
        found = self._exports.get_destination(call.actor, call.path["id"])
        return json_response(self._json(call, found))

    async def put(self, call: ActorCall) -> Response:
        destination_id, body = DestinationId(parse_export_id(call.path["id"])), await call.members(*DESTINATION_MEMBERS)
        if not body.get("displayName") or not body.get("type"):
            raise Invalid("body.member", "displayName and type have to be there")
        now = self._services.clock.now()
        blank = Destination(
            self._services.hub, destination_id, "", "webhook", Secret(""), now, organization=call.actor.organization
        )
        try:
            present = self._exports.get_destination(call.actor, destination_id)
        except NotFound:
            wanted = self._checked(call, changed_destination(blank, body))
            return json_response(self._json(call, await self._exports.create_destination(call.actor, wanted)))
        # A credential that comes back as it is shown stays.
        base = Destination(
            present.hub,
            present.destination_id,
            "",
            present.kind,
            present.address,
            present.created,
            present.credential if "*****" in str(body) else Secret(""),
            organization=present.organization,
            version=present.version,
        )
        wanted = changed_destination(base, {**body, "url": "" if body.get("url") is None else body["url"]})
        return await self._update(call, self._checked(call, wanted), body)

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*DESTINATION_MEMBERS)
        present = self._exports.get_destination(call.actor, call.path["id"])
        wanted = self._checked(call, changed_destination(present, body))
        # What was read just now is what is changed.
        return await self._update(call, wanted, body, present.etag)

    async def delete(self, call: ActorCall) -> Response:
        await self._exports.delete_destination(call.actor, call.path["id"])
        return no_content()

    def _checked(self, call: ActorCall, wanted: Destination) -> Destination:
        self._services.organizations.choose(call.actor, wanted.organization)
        return wanted

    async def _update(
        self, call: ActorCall, wanted: Destination, body: dict[str, Any], read: ETag | None = None
    ) -> Response:
        held = etag_in(call, body) or read
        changed = await self._exports.update_destination(call.actor, wanted, if_match=held)
        return json_response(self._json(call, changed))

    def _json(self, call: ActorCall, destination: Destination) -> dict[str, Any]:
        runner = self._services.export_runner
        health = [
            runner.health(export.export_id, destination.destination_id)
            for export in self._exports.all(call.actor)
            if any(use.destination_id == destination.destination_id for use in export.destinations)
        ]
        return destination_json(destination, health, reveal=call.actor.may(_MANAGE))


class _Exports:
    def __init__(self, services: CentralServices) -> None:
        self._services = services
        self._exports = services.exports

    async def list(self, call: ActorCall) -> Response:
        found = sorted(self._exports.all(call.actor), key=_export_id)
        return await page_of(call, found, _export_id, self._json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(self._json(self._exports.get(call.actor, call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        export_id, body = parse_export_id(call.path["id"]), await call.members(*EXPORT_MEMBERS)
        if not body.get("displayName") or not body.get("source") or not body.get("destinations"):
            raise Invalid("body.member", "displayName, source and destinations have to be there")
        now = self._services.clock.now()
        blank = DataExport(
            self._services.hub, export_id, "", "telemetry", now, now, organization=call.actor.organization
        )
        try:
            present = self._exports.get(call.actor, export_id)
        except NotFound:
            made = await self._exports.create(call.actor, self._changed(call, blank, body))
            return json_response(self._json(made))
        base = DataExport(
            present.hub,
            export_id,
            "",
            present.source,
            present.created,
            present.switched,
            organization=present.organization,
            version=present.version,
        )
        return await self._update(call, self._changed(call, base, body), body)

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*EXPORT_MEMBERS)
        present = self._exports.get(call.actor, call.path["id"])
        # What was read just now is what is changed.
        return await self._update(call, self._changed(call, present, body), body, present.etag)

    async def delete(self, call: ActorCall) -> Response:
        await self._exports.delete(call.actor, call.path["id"])
        return no_content()

    def _changed(self, call: ActorCall, base: DataExport, body: dict[str, Any]) -> DataExport:
        wanted = changed_export(base, body, self._is_cloud)
        self._services.organizations.choose(call.actor, wanted.organization)
        return wanted

    async def _update(
        self, call: ActorCall, wanted: DataExport, body: dict[str, Any], read: ETag | None = None
    ) -> Response:
        changed = await self._exports.update(call.actor, wanted, if_match=etag_in(call, body) or read)
        return json_response(self._json(changed))

    def _is_cloud(self, template: TemplateId, path: str) -> bool:
        interface = self._services.templates.interface_of(template)
        return interface is not None and any(each.name == path for each in interface.cloud_properties)

    def _json(self, export: DataExport) -> dict[str, Any]:
        runner = self._services.export_runner
        health: list[ExportHealth] = [
            runner.health(export.export_id, use.destination_id) for use in export.destinations
        ]
        return export_json(export, health)


def _destination_id(destination: Destination) -> str:
    return destination.destination_id


def _export_id(export: DataExport) -> str:
    return export.export_id
