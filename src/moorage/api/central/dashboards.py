"""Dashboards over REST, as preview versions have them (contract/central.md 13, 23)."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import OrganizationId, Permission
from moorage.analytics.boards import Board, Dashboard, parse_board_id
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_dashboards import DASHBOARD, DASHBOARD_CHANGE
from moorage.dialects.central_dashboards import DASHBOARD_MEMBERS, dashboard_json, parse_tiles
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.members import check_same, get_boolean, get_text
from moorage.errors import Invalid, NotFound
from moorage.fleet.groups import DeviceGroupId
from moorage.ids import ETag

__all__ = ["dashboard_routes"]

# One's own takes no more than seeing them; those of an organisation are the service's to refuse.
_GATE: Final[Permission] = "dashboards.view"


def dashboard_routes(services: CentralServices) -> list[Route]:
    api, one = _Dashboards(services), "/dashboards/{id}"
    answer = {200: DASHBOARD}
    return [
        central_route(
            "GET", "/dashboards", api.list, _GATE, "Dashboards.", answers={200: page_schema(DASHBOARD)}, is_preview=True
        ),
        central_route("GET", one, api.get, _GATE, "One dashboard.", answers=answer, is_preview=True),
        central_route(
            "PUT",
            one,
            api.put,
            _GATE,
            "Create or replace one; of an organization's it takes dashboards.manage.",
            body=DASHBOARD_CHANGE,
            answers=answer,
            is_preview=True,
        ),
        central_route(
            "PATCH", one, api.patch, _GATE, "Change one.", body=DASHBOARD_CHANGE, answers=answer, is_preview=True
        ),
        central_route("DELETE", one, api.delete, _GATE, "Delete one.", answers={204: None}, is_preview=True),
    ]


class _Dashboards:
    def __init__(self, services: CentralServices) -> None:
        self._services = services
        self._boards = services.dashboards

    async def list(self, call: ActorCall) -> Response:
        found = sorted(await self._boards.list(call.actor), key=_id_of)
        return await page_of(call, found, _id_of, dashboard_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(dashboard_json(self._boards.get(call.actor, call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        board_id, body = parse_board_id(call.path["id"]), await call.members(*DASHBOARD_MEMBERS)
        if not body.get("displayName"):
            raise Invalid("body.member", "displayName has to be there")
        try:
            present: Board[Dashboard] | None = self._boards.get(call.actor, board_id)
        except NotFound:
            present = None
        place = call.actor.organization if present is None else present.organization
        is_personal = False if present is None else present.is_personal
        return await self._put(call, board_id, body, Dashboard(), place, is_personal, etag_in(call, body))

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*DASHBOARD_MEMBERS)
        present = self._boards.get(call.actor, call.path["id"])
        named = {"displayName": present.display_name, **body}
        # What was read just now is what is changed.
        held = etag_in(call, body) or present.etag
        return await self._put(
            call, present.board_id, named, present.content, present.organization, present.is_personal, held
        )

    async def delete(self, call: ActorCall) -> Response:
        await self._boards.delete(call.actor, call.path["id"])
        return no_content()

    async def _put(
        self,
        call: ActorCall,
        board_id: str,
        body: dict[str, Any],
        content: Dashboard,
        place: OrganizationId,
        is_personal: bool,
        held: ETag | None,
    ) -> Response:
        check_same(body, "id", board_id)
        if body.get("tiles") is not None:
            content = parse_tiles(body["tiles"], lambda group, path: self._split(call, group, path))
        organization = parse_organizations(body)
        stored = await self._boards.put(
            call.actor,
            board_id,
            get_text(body, "displayName") or "",
            content,
            is_personal=get_boolean(body, "personal", "personal", default=is_personal),
            organization=place if organization is None else organization,
            if_match=held,
        )
        return json_response(dashboard_json(stored))

    def _split(self, call: ActorCall, group: str, path: str) -> tuple[str, str]:
        """A component has its name in front; so has a member of an object. Raises `NotFound` for the group."""
        first, dot, rest = path.partition(".")
        if not group or not dot:
            return "", path
        template = self._services.groups.get(call.actor, DeviceGroupId(group)).parsed.template
        interface = self._services.templates.interface_of(template)
        is_component = interface is not None and interface.part(first) is not None
        return (first, rest) if is_component else ("", path)


def _id_of(board: Board[Dashboard]) -> str:
    return board.board_id
