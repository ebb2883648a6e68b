"""Users, roles, organisations and API tokens over REST (contract/central.md 18, 22.2)."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from moorage.accounts.model import OrganizationId, Permission, RoleId, UserId
from moorage.accounts.organizations import parse_organization_id, parse_organization_name
from moorage.accounts.token_model import parse_token_id
from moorage.api.calls import ActorCall, no_content, page, page_of, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_people import (
    API_TOKEN,
    API_TOKEN_DRAFT,
    ORGANIZATION,
    ORGANIZATION_DRAFT,
    ROLE,
    USER,
    USER_CHANGE,
    USER_DRAFT,
)
from moorage.dialects.central_people import (
    ORGANIZATION_MEMBERS,
    TOKEN_MEMBERS,
    USER_MEMBERS,
    check_user_type,
    organization_json,
    parse_assignment,
    parse_expiry,
    role_json,
    token_json,
    user_json,
)
from moorage.dialects.members import check_same, get_text
from moorage.errors import Invalid, NotFound

__all__ = ["people_routes"]

_TOKENS: Final[Permission] = "tokens.manage"
_USERS: Final[Permission] = "users.manage"
# ID-10
_USER_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,48}")


def people_routes(services: CentralServices) -> list[Route]:
    return [*_token_routes(services), *_organization_routes(services), *_role_routes(services), *_user_routes(services)]


# -- API tokens ----------------------------------------------------------------------------------------------------


def _token_routes(services: CentralServices) -> list[Route]:
    api, one, gate = _Tokens(services), "/apiTokens/{id}", _TOKENS
    return [
        central_route("GET", "/apiTokens", api.list, gate, "API tokens.", answers={200: page_schema(API_TOKEN)}),
        central_route("GET", one, api.get, gate, "One API token.", answers={200: API_TOKEN}),
        central_route(
            "PUT",
            one,
            api.put,
            gate,
            "Make one; its text is told once.",
            body=API_TOKEN_DRAFT,
            answers={200: API_TOKEN},
        ),
        central_route("DELETE", one, api.delete, gate, "It opens nothing from now on.", answers={204: None}),
    ]


class _Tokens:
    def __init__(self, services: CentralServices) -> None:
        self._tokens = services.tokens

    async def list(self, call: ActorCall) -> Response:
        return await page_of(call, self._tokens.all(call.actor), lambda token: token.token_id, token_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(token_json(self._tokens.get(call.actor, parse_token_id(call.path["id"]))))

    async def put(self, call: ActorCall) -> Response:
        token_id, body = parse_token_id(call.path["id"]), await call.members(*TOKEN_MEMBERS)
        check_same(body, "id", token_id)
        given = parse_assignment(body)
        if given is None:
            raise Invalid("body.member", "roles is missing")
        expires = parse_expiry(body)
        token, text = await self._tokens.create(call.actor, token_id, given.role, given.organization, expires)
        return json_response(token_json(token, text.reveal()))

    async def delete(self, call: ActorCall) -> Response:
        await self._tokens.delete(call.actor, parse_token_id(call.path["id"]))
        return no_content()


# -- organisations -------------------------------------------------------------------------------------------------


def _organization_routes(services: CentralServices) -> list[Route]:
    api, one = _Organizations(services), "/organizations/{id}"
    view: Permission = "organizations.view"
    manage: Permission = "organizations.manage"
    draft, shown = ORGANIZATION_DRAFT, ORGANIZATION
    return [
        central_route("GET", "/organizations", api.list, view, "Organizations.", answers={200: page_schema(shown)}),
        central_route("GET", one, api.get, view, "One organization.", answers={200: shown}),
        central_route("PUT", one, api.put, manage, "Create or replace one.", body=draft, answers={200: shown}),
        central_route("PATCH", one, api.patch, manage, "Rename or move one.", body=draft, answers={200: shown}),
        central_route("DELETE", one, api.delete, manage, "Delete one that holds nothing.", answers={204: None}),
    ]


class _Organizations:
    def __init__(self, services: CentralServices) -> None:
        self._organizations = services.organizations

    async def list(self, call: ActorCall) -> Response:
        seen = [each for each in self._organizations.all() if call.actor.sees(each.organization_id)]
        return await page_of(call, seen, lambda each: each.organization_id, organization_json)

    async def get(self, call: ActorCall) -> Response:
        return json_response(organization_json(self._organizations.get(call.actor, OrganizationId(call.path["id"]))))

    async def put(self, call: ActorCall) -> Response:
        organization_id, body = parse_organization_id(call.path["id"]), await call.members(*ORGANIZATION_MEMBERS)
        check_same(body, "id", organization_id)
        name = parse_organization_name(get_text(body, "displayName") or organization_id)
        parent = self._organizations.choose(call.actor, get_text(body, "parent") or "")
        made = await self._organizations.put(call.actor, organization_id, name, parent)
        return json_response(organization_json(made))

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*ORGANIZATION_MEMBERS)
        stored = self._organizations.get(call.actor, OrganizationId(call.path["id"]))
        check_same(body, "id", stored.organization_id)
        name = get_text(body, "displayName")
        parent = stored.parent
        if "parent" in body:
            parent = self._organizations.choose(call.actor, get_text(body, "parent") or "")
        changed = await self._organizations.put(
            call.actor,
            stored.organization_id,
            stored.display_name if name is None else parse_organization_name(name),
            parent,
            # What was read just now is what is changed.
            if_match=stored.etag,
        )
        return json_response(organization_json(changed))

    async def delete(self, call: ActorCall) -> Response:
        await self._organizations.delete(call.actor, OrganizationId(call.path["id"]))
        return no_content()


# -- roles ---------------------------------------------------------------------------------------------------------


def _role_routes(services: CentralServices) -> list[Route]:
    async def list_all(call: ActorCall) -> Response:
        roles = sorted(services.roles.all(), key=lambda role: role.role_id)
        return await page_of(call, roles, lambda role: role.role_id, role_json)

    async def get(call: ActorCall) -> Response:
        return json_response(role_json(services.roles.get(RoleId(call.path["id"]))))

    return [
        central_route("GET", "/roles", list_all, _USERS, "Roles, built in and made.", answers={200: page_schema(ROLE)}),
        central_route("GET", "/roles/{id}", get, _USERS, "One role.", answers={200: ROLE}),
    ]


# -- users ---------------------------------------------------------------------------------------------------------


def _user_routes(services: CentralServices) -> list[Route]:
    api, one, gate = _Users(services), "/users/{id}", _USERS
    return [
        central_route("GET", "/users", api.list, gate, "Users.", answers={200: page_schema(USER)}),
        central_route("GET", one, api.get, gate, "One user.", answers={200: USER}),
        central_route(
            "PUT",
            one,
            api.put,
            gate,
            "Invite somebody, or give them another role; `moorage user link` lets them in.",
            body=USER_DRAFT,
            answers={200: USER},
        ),
        central_route("PATCH", one, api.patch, gate, "Another role.", body=USER_CHANGE, answers={200: USER}),
        central_route("DELETE", one, api.delete, gate, "They cannot sign in any more.", answers={204: None}),
    ]


class _Users:
    def __init__(self, services: CentralServices) -> None:
        self._accounts = services.accounts

    async def list(self, call: ActorCall) -> Response:
        return await page(
            call,
            lambda limit, after: self._accounts.users_after(call.actor, after, limit),
            lambda user: user.login,
            user_json,
        )

    async def get(self, call: ActorCall) -> Response:
        return json_response(user_json(self._accounts.get(call.actor, UserId(call.path["id"]))))

    async def put(self, call: ActorCall) -> Response:
        user_id, body = _user_id(call), await call.members(*USER_MEMBERS)
        check_same(body, "id", user_id)
        check_user_type(body)
        given, email = parse_assignment(body), get_text(body, "email")
        if given is None or not email:
            raise Invalid("body.member", "roles and email have to be there")
        try:
            present = self._accounts.get(call.actor, user_id)
        except NotFound:
            made, _ = await self._accounts.invite(call.actor, email, given.role, given.organization, user_id=user_id)
            return json_response(user_json(made))
        if email.strip().casefold() != present.login:
            raise Invalid("body.id", f"the user '{user_id}' is {present.login!r}; whoever that is cannot be changed")
        changed = await self._accounts.change(call.actor, user_id, role=given.role, organization=given.organization)
        return json_response(user_json(changed))

    async def patch(self, call: ActorCall) -> Response:
        user_id, body = _user_id(call), await call.members(*USER_MEMBERS)
        given = parse_assignment(body)
        if body.get("type") is not None:
            check_user_type(body)
        if given is None:
            return json_response(user_json(self._accounts.get(call.actor, user_id)))
        changed = await self._accounts.change(call.actor, user_id, role=given.role, organization=given.organization)
        return json_response(user_json(changed))

    async def delete(self, call: ActorCall) -> Response:
        await self._accounts.delete(call.actor, _user_id(call))
        return no_content()


def _user_id(call: ActorCall) -> UserId:
    """Raises `Invalid` (`account.id`)."""
    text = call.path["id"]
    if not _USER_ID.fullmatch(text):
        raise Invalid("account.id", f"{text[:60]!r} is no id of a user: 1 to 48 letters, digits, - and _")
    return UserId(text)
