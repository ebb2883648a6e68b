"""Users: who may sign in, invited by a link, with one role each."""

from __future__ import annotations

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import UserId
from moorage.accounts.roles import BUILT_IN
from moorage.errors import Conflict, Invalid, Refusal, TooLarge
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["user_pages"]

_PAGE: Final = 50


def user_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Users(services, renderer)
    return [
        Page("GET", "/users", pages.all, "users.manage"),
        Page("POST", "/users", pages.invite, "users.manage"),
        Page("POST", "/users/{user_id}/role", pages.change_role, "users.manage"),
        Page("POST", "/users/{user_id}/disable", pages.disable, "users.manage"),
        Page("POST", "/users/{user_id}/enable", pages.enable, "users.manage"),
        Page("POST", "/users/{user_id}/link", pages.link, "users.manage"),
        Page("POST", "/users/{user_id}/delete", pages.delete, "users.manage"),
    ]


class _Users:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._accounts = services.accounts
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def invite(self, visit: Visit) -> Response:
        fields = await visit.form()
        login, role = fields.get("login", ""), fields.get("role", "")
        try:
            user, token = await self._accounts.invite(visit.actor, login, role)
        except (Invalid, Conflict, TooLarge) as refusal:
            return await self._page(visit, problem=refusal, login=login, role=role)
        return await self._page(visit, link=self._link_url(token.reveal()), linked=user.login)

    async def change_role(self, visit: Visit) -> Response:
        role = (await visit.form()).get("role", "")
        return await self._changed(visit, self._accounts.change(visit.actor, _id(visit), role=role))

    async def disable(self, visit: Visit) -> Response:
        return await self._changed(visit, self._accounts.change(visit.actor, _id(visit), is_disabled=True))

    async def enable(self, visit: Visit) -> Response:
        return await self._changed(visit, self._accounts.change(visit.actor, _id(visit), is_disabled=False))

    async def link(self, visit: Visit) -> Response:
        user = self._accounts.get(visit.actor, _id(visit))
        token = await self._accounts.make_link(visit.actor, user.login)
        return await self._page(visit, link=self._link_url(token.reveal()), linked=user.login)

    async def delete(self, visit: Visit) -> Response:
        return await self._changed(visit, self._accounts.delete(visit.actor, _id(visit)))

    async def _changed(self, visit: Visit, change: Awaitable[object]) -> Response:
        try:
            await change
        except Conflict as refusal:
            return await self._page(visit, problem=refusal)
        return RedirectResponse("/users", HTTPStatus.SEE_OTHER)

    async def _page(
        self,
        visit: Visit,
        *,
        problem: Refusal | None = None,
        login: str = "",
        role: str = "operator",
        link: str = "",
        linked: str = "",
    ) -> Response:
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        users = await self._accounts.users_after(visit.actor, visit.query.get("after", ""), _PAGE + 1)
        return await self._renderer.long_page(
            visit,
            "users.html",
            status,
            users=users[:_PAGE],
            after=users[_PAGE - 1].login if len(users) > _PAGE else "",
            roles=list(BUILT_IN.values()),
            problem=problem,
            login=login,
            role=role,
            link=link,
            linked=linked,
        )

    def _link_url(self, token: str) -> str:
        """By the hub's own name: the `Host` header is whatever the browser, or somebody before it, wrote."""
        return f"{self._services.info().web_url}sign-in/link/{token}"


def _id(visit: Visit) -> UserId:
    return UserId(visit.path["user_id"])
