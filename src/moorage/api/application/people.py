"""Roles that people make, users let in and shut out, organizations that are emptied, over REST (central.md 18).

What IoT Central's API has of them (users and their roles, the tree of organizations, API tokens) is there.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from moorage.accounts.model import LINK_LIFETIME, OrganizationId, Permission, RoleId, User, UserId
from moorage.accounts.roles import RoleDefinition, parse_role_id
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.application_people import LINK, MOVE_DEVICES, MOVED, ROLE, ROLE_DRAFT
from moorage.api.schemas.users import USER
from moorage.api.users import sign_in_link, web_url_of
from moorage.dialects.members import get_text
from moorage.dialects.roles_json import parse_role, role_json
from moorage.dialects.times import format_time
from moorage.dialects.users_json import user_json
from moorage.errors import Invalid, NotFound

__all__ = ["people_routes"]

_USERS: Final[Permission] = "users.manage"
_ORGANIZATIONS: Final[Permission] = "organizations.manage"


def people_routes(services: OwnServices) -> list[Route]:
    return [*_role_routes(services), *_user_routes(services), *_organization_routes(services)]


# -- roles -------------------------------------------------------------------------------------------------------------


def _role_routes(services: OwnServices) -> list[Route]:
    api, one = _Roles(services), "/roles/{id}"
    return [
        own_route("GET", "/roles", api.list, _USERS, "Roles, with what they may do.", answers={200: page_schema(ROLE)}),
        own_route("GET", one, api.get, _USERS, "One role.", answers={200: ROLE}),
        own_route(
            "PUT",
            one,
            api.put,
            _USERS,
            "Make a role, or put another in its place; whoever makes one may do all of it themselves.",
            body=ROLE_DRAFT,
            answers={200: ROLE},
            is_guarded=True,
        ),
        own_route(
            "DELETE", one, api.delete, _USERS, "Delete one that nobody has.", answers={204: None}, is_guarded=True
        ),
    ]


class _Roles:
    def __init__(self, services: OwnServices) -> None:
        self._roles = services.roles

    async def list(self, call: ActorCall) -> Response:
        found = sorted(self._roles.all(), key=lambda role: role.role_id)
        return await page_of(call, found, lambda role: role.role_id, role_json)

    async def get(self, call: ActorCall) -> Response:
        return _role(self._roles.get(RoleId(call.path["id"])))

    async def put(self, call: ActorCall) -> Response:
        role_id, body = parse_role_id(call.path["id"]), await call.json_object()
        wanted, held = parse_role(role_id, body), etag_in(call, body)
        try:
            present = self._roles.get(role_id)
        except NotFound:
            if held is not None:
                # What the caller read is gone.
                raise
            made = await self._roles.create(
                call.actor,
                wanted.display_name,
                wanted.kind or "application",
                wanted.permissions,
                wanted.description,
                role_id=role_id,
            )
            return _role(made)
        if wanted.kind not in (None, present.kind):
            raise Invalid("body.member", f"kind is {wanted.kind!r}; that of a role stays, and is {present.kind!r}")
        changed = await self._roles.change(
            call.actor, role_id, wanted.display_name, wanted.permissions, wanted.description, if_match=held
        )
        return _role(changed)

    async def delete(self, call: ActorCall) -> Response:
        await self._roles.delete(call.actor, RoleId(call.path["id"]), if_match=etag_in(call, {}))
        return no_content()


def _role(role: RoleDefinition) -> Response:
    return json_response(role_json(role))


# -- users -------------------------------------------------------------------------------------------------------------


def _user_routes(services: OwnServices) -> list[Route]:
    api, one = _Users(services), "/users/{id}"
    return [
        own_route("GET", one, api.get, _USERS, "A user, with when they last came in.", answers={200: USER}),
        own_route(
            "POST", f"{one}/link", api.link, _USERS, "A link by which they choose a new password.", answers={200: LINK}
        ),
        own_route("POST", f"{one}/disable", api.disable, _USERS, "Shut them out, at once.", answers={200: USER}),
        own_route("POST", f"{one}/enable", api.enable, _USERS, "Let them in again.", answers={200: USER}),
    ]


class _Users:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._accounts = services.accounts

    async def get(self, call: ActorCall) -> Response:
        return self._answer(self._accounts.get(call.actor, UserId(call.path["id"])))

    async def link(self, call: ActorCall) -> Response:
        user = self._accounts.get(call.actor, UserId(call.path["id"]))
        url = web_url_of(self._services.info())
        expires = self._services.clock.now() + LINK_LIFETIME
        token = await self._accounts.make_link(call.actor, user.login)
        return json_response({"link": sign_in_link(url, token), "expires": format_time(expires)})

    async def disable(self, call: ActorCall) -> Response:
        return self._answer(await self._accounts.change(call.actor, UserId(call.path["id"]), is_disabled=True))

    async def enable(self, call: ActorCall) -> Response:
        return self._answer(await self._accounts.change(call.actor, UserId(call.path["id"]), is_disabled=False))

    def _answer(self, user: User) -> Response:
        return json_response(user_json(user, self._accounts.role(user.role)))


# -- organizations -----------------------------------------------------------------------------------------------------


def _organization_routes(services: OwnServices) -> list[Route]:
    organizations, one = services.organizations, "/organizations/{id}"

    async def move_devices(call: ActorCall) -> Response:
        body = await call.members("to")
        to = get_text(body, "to")
        if to is None:
            raise Invalid("body.member", "to is missing: the id of an organization, or an empty text for the root")
        moved = await organizations.move_devices(call.actor, OrganizationId(call.path["id"]), OrganizationId(to))
        return json_response({"devices": moved})

    async def delete(call: ActorCall) -> Response:
        to = call.query.get("moveTo")
        place = None if to is None else OrganizationId(to)
        await organizations.delete(call.actor, OrganizationId(call.path["id"]), move_to=place)
        return no_content()

    return [
        own_route(
            "POST",
            f"{one}/moveDevices",
            move_devices,
            _ORGANIZATIONS,
            "Give all devices of an organization to another.",
            body=MOVE_DEVICES,
            answers={200: MOVED},
        ),
        own_route(
            "DELETE",
            one,
            delete,
            _ORGANIZATIONS,
            "Delete an organization; what it holds, and those below it, go to another.",
            query={"moveTo": "The id of that other one, empty for the root; without it only what is empty is deleted."},
            answers={204: None},
        ),
    ]
