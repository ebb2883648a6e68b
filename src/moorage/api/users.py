"""Users of the application, over our own REST: for the hub's owner, who needs no browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import OWNER, Actor, OrganizationId, User, UserId
from moorage.accounts.service import Accounts
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.users import LINK, LINK_DRAFT, USER, USER_CHANGES, USER_DRAFT, USERS
from moorage.dialects.members import get_boolean, get_text
from moorage.dialects.users_json import user_json
from moorage.errors import Conflict
from moorage.hub_info import HubInfo
from moorage.ids import Secret

__all__ = ["sign_in_link", "user_routes", "web_url_of"]

_PATH: Final = "/moorage/v1/users"
_ONE: Final = _PATH + "/{user}"


def user_routes(accounts: Accounts, info: Callable[[], HubInfo]) -> list[Route]:
    api = _Users(accounts, info)
    return [
        Route(
            "GET", _PATH, api.all, "owner", "own", summary="Who may sign in to the application.", answers={200: USERS}
        ),
        Route(
            "POST",
            _PATH,
            api.invite,
            "owner",
            "own",
            summary="Invite somebody: the link lets them choose a password, once.",
            body=USER_DRAFT,
            answers={201: LINK},
        ),
        Route(
            "PATCH",
            _ONE,
            api.change,
            "owner",
            "own",
            summary="Give a user another role, or shut them out; their sessions end.",
            body=USER_CHANGES,
            answers={200: USER},
        ),
        Route("DELETE", _ONE, api.delete, "owner", "own", summary="Delete a user.", answers={204: None}),
        Route(
            "POST",
            "/moorage/v1/sign-in-links",
            api.link,
            "owner",
            "own",
            summary="A link by which a user chooses a new password, or a new administrator one; good once.",
            body=LINK_DRAFT,
            answers={201: LINK},
        ),
    ]


class _Users:
    def __init__(self, accounts: Accounts, info: Callable[[], HubInfo]) -> None:
        self._accounts = accounts
        self._info = info

    async def all(self, call: Call) -> Response:
        return json_response({"users": [self._json(user) for user in self._accounts.users()]})

    async def invite(self, call: Call) -> Response:
        body = await call.json_object()
        role = get_text(body, "role") or "operator"
        url = web_url_of(self._info())
        user, token = await self._accounts.invite(
            _actor(call), get_text(body, "login") or "", role, _organization(get_text(body, "organization"))
        )
        return self._link_response(url, token, user)

    async def change(self, call: Call) -> Response:
        body = await call.json_object()
        organization = get_text(body, "organization")
        user = await self._accounts.change(
            _actor(call),
            UserId(call.path["user"]),
            role=get_text(body, "role"),
            organization=None if organization is None else _organization(organization),
            is_disabled=get_boolean(body, "disabled", "disabled", default=None),
        )
        return json_response(self._json(user))

    async def delete(self, call: Call) -> Response:
        await self._accounts.delete(_actor(call), UserId(call.path["user"]))
        return Response(status_code=204)

    async def link(self, call: Call) -> Response:
        body = await call.json_object()
        url = web_url_of(self._info())
        return self._link_response(url, await self._accounts.make_link(_actor(call), get_text(body, "login")), None)

    def _json(self, user: User) -> dict[str, Any]:
        return user_json(user, self._accounts.role(user.role))

    def _link_response(self, url: str, token: Secret, user: User | None) -> Response:
        document = {
            "link": sign_in_link(url, token),
            "user": None if user is None else self._json(user),
        }
        return json_response(document, 201)


def web_url_of(info: HubInfo) -> str:
    """Raises `Conflict` (`web.none`): a link to nowhere lets nobody in."""
    if info.web_url is None:
        raise Conflict(
            "web.none",
            "this hub serves no application, so there is nothing to sign in to",
            fix="moorage up --web-port 8080",
        )
    return info.web_url


def sign_in_link(url: str, token: Secret) -> str:
    """`url` is where the application is."""
    return f"{url}sign-in/link/{token.reveal()}"


def _actor(call: Call) -> Actor:
    return replace(OWNER, name=str(call.principal))


def _organization(text: str | None) -> OrganizationId:
    return OrganizationId(text or "")
