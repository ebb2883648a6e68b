"""Organizations: the tree of tenants, with what each of them holds (contract/central.md ORG-1 to ORG-5, NAV-14)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.accounts.organizations import MAX_DEPTH, parse_organization_id, parse_organization_name
from moorage.errors import Refusal
from moorage.web.pages import TOLD, Page, Visit, segment
from moorage.web.people_code import organization_acts, organizations_acts
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["organization_pages"]

# What a form says where nothing is to be moved.
_NOWHERE: Final = "-"


def organization_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Organizations(services, renderer)
    one = "/organizations/{organization_id}"
    return [
        Page("GET", "/organizations", pages.all, "organizations.view"),
        Page("GET", "/organizations/new", pages.new, "organizations.manage"),
        Page("POST", "/organizations", pages.create, "organizations.manage", keeps=True),
        Page("GET", one, pages.show, "organizations.view"),
        Page("POST", one, pages.save, "organizations.manage", keeps=True),
        Page("POST", one + "/move", pages.move, "organizations.manage", keeps=True),
        Page("POST", one + "/delete", pages.delete, "organizations.manage", keeps=True),
    ]


class _Organizations:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._organizations = services.organizations
        self._info = services.info
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        nodes = self._organizations.seen_by(visit.actor)
        return await self._renderer.long_page(
            visit,
            "people/organizations.html",
            nodes=nodes,
            held=await self._organizations.all_held([node.organization_id for _depth, node in nodes]),
            most_depth=MAX_DEPTH,
            acts=organizations_acts(self._info(), {}, visit.actor.organization),
        )

    async def new(self, visit: Visit) -> Response:
        return await self._form(visit, {"parent": visit.query.get("parent", visit.actor.organization)})

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            created = await self._organizations.create(
                visit.actor,
                parse_organization_id(fields.get("id", "").strip()),
                parse_organization_name(fields.get("name", "")),
                OrganizationId(fields.get("parent", "")),
            )
        except TOLD as refusal:
            if refusal.reason == "organization.exists" and self._is_there(visit, fields):
                # The same form, sent twice.
                return _to(OrganizationId(fields["id"].strip()))
            return await self._form(visit, fields, refusal)
        return _to(created.organization_id)

    def _is_there(self, visit: Visit, fields: dict[str, str]) -> bool:
        return any(
            (node.organization_id, node.display_name, node.parent)
            == (fields.get("id", "").strip(), fields.get("name", "").strip(), fields.get("parent", ""))
            for _depth, node in self._organizations.seen_by(visit.actor)
        )

    async def _form(self, visit: Visit, fields: dict[str, str], problem: Refusal | None = None) -> Response:
        return await self._renderer.long_page(
            visit,
            "people/organization_new.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            nodes=self._organizations.seen_by(visit.actor),
            fields=fields,
            acts=organizations_acts(self._info(), fields, visit.actor.organization),
            problem=problem,
        )

    async def show(self, visit: Visit) -> Response:
        return await self._one(visit)

    async def save(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            await self._organizations.put(
                visit.actor,
                self._organizations.get(visit.actor, _id(visit)).organization_id,
                parse_organization_name(fields.get("name", "")),
                OrganizationId(fields.get("parent", "")),
                if_match=fields.get("etag", ""),
            )
        except TOLD as refusal:
            return await self._one(visit, fields, refusal)
        return _to(_id(visit))

    async def move(self, visit: Visit) -> Response:
        """Its devices go to another node; it stays, and so do its people."""
        fields = await visit.form()
        try:
            visit.check_in_time()
            await self._organizations.move_devices(visit.actor, _id(visit), OrganizationId(fields.get("to", "")))
        except TOLD as refusal:
            return await self._one(visit, problem=refusal, to=fields.get("to"))
        return _to(_id(visit))

    async def delete(self, visit: Visit) -> Response:
        to = (await visit.form()).get("to", _NOWHERE)
        try:
            visit.check_in_time()
            await self._organizations.delete(
                visit.actor, _id(visit), move_to=None if to == _NOWHERE else OrganizationId(to)
            )
        except TOLD as refusal:
            return await self._one(visit, problem=refusal, to=to)
        return RedirectResponse("/organizations", HTTPStatus.SEE_OTHER)

    async def _one(
        self,
        visit: Visit,
        fields: dict[str, str] | None = None,
        problem: Refusal | None = None,
        to: str | None = None,
    ) -> Response:
        node = self._organizations.get(visit.actor, _id(visit))
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        tree = self._organizations.tree()
        below = tree.subtree(node.organization_id)
        nodes = self._organizations.seen_by(visit.actor)
        held = await self._organizations.all_held([node.organization_id])
        elsewhere = [(depth, each) for depth, each in nodes if each.organization_id not in below]
        shown = fields or {"name": node.display_name, "parent": node.parent, "etag": node.etag}
        return await self._renderer.long_page(
            visit,
            "people/organization.html",
            status,
            to=to,
            node=node,
            path=[each for each in tree.path(node.organization_id)[:-1] if visit.actor.sees(each.organization_id)],
            children=[tree.nodes[each] for each in tree.children(node.organization_id)],
            elsewhere=elsewhere,
            places=[(depth, each) for depth, each in nodes if each.organization_id != node.organization_id],
            held=held[node.organization_id],
            acts=organization_acts(
                self._info(),
                node,
                shown.get("name", ""),
                shown.get("parent", ""),
                [each for _, each in elsewhere],
                has_devices=bool(held[node.organization_id].get("devices")),
            ),
            may_change=visit.may("organizations.manage") and visit.actor.organization != node.organization_id,
            fields=shown,
            problem=problem,
        )


def _id(visit: Visit) -> OrganizationId:
    return OrganizationId(visit.path["organization_id"])


def _to(organization_id: OrganizationId) -> Response:
    return RedirectResponse(f"/organizations/{segment(organization_id)}", HTTPStatus.SEE_OTHER)
