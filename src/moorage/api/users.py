"""Users of the application, over our own REST: for the hub's owner, who needs no browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from moorage.accounts.model import User, UserId, parse_role
from moorage.accounts.service import Accounts
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.users import LINK, LINK_DRAFT, USER, USER_CHANGES, USER_DRAFT, USERS
from moorage.dialects.members import get_boolean, get_text
from moorage.dialects.users_json import user_json
from moorage.errors import Conflict
from moorage.hub_info import HubInfo
from moorage.ids import Secret

__all__ = ["user_routes"]

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
        return json_response({"users": [user_json(user) for user in self._accounts.users()]})

    async def invite(self, call: Call) -> Response:
        body = await call.json_object()
        role = parse_role(get_text(body, "role") or "operator")
        url = self._web_url()
        user, token = await self._accounts.invite(get_text(body, "login") or "", role, by=call.principal)
        return _link_response(url, token, user)

    async def change(self, call: Call) -> Response:
        body = await call.json_object()
        role = get_text(body, "role")
        user = await self._accounts.change(
            UserId(call.path["user"]),
            role=None if role is None else parse_role(role),
            is_disabled=get_boolean(body, "disabled", "disabled", default=None),
            by=call.principal,
        )
        return json_response(user_json(user))

    async def delete(self, call: Call) -> Response:
        await self._accounts.delete(UserId(call.path["user"]), by=call.principal)
        return Response(status_code=204)

    async def link(self, call: Call) -> Response:
        body = await call.json_object()
        url = self._web_url()
        return _link_response(url, await self._accounts.make_link(get_text(body, "login"), by=call.principal), None)

    def _web_url(self) -> str:
        """Raises `Conflict` (`web.none`): a link to nowhere lets nobody in."""
        url = self._info().web_url
        if url is None:
            raise Conflict(
                "web.none",
                "this hub serves no application, so there is nothing to sign in to",
                fix="moorage up --web-port 8080",
            )
        return url


def _link_response(url: str, token: Secret, user: User | None) -> Response:
    document = {"link": f"{url}sign-in/link/{token.reveal()}", "user": None if user is None else user_json(user)}
    return json_response(document, 201)
