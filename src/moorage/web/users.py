"""Users: who may sign in, invited by a link, with one role in one organisation (contract/central.md USR-1, USR-2)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import INVITATION_LIFETIME, LINK_LIFETIME, OrganizationId, User, UserId
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.web.pages import Page, Visit
from moorage.web.people_code import user_acts
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["user_pages"]

_PAGE: Final = 50
# A second one of the same kind, so soon, is the first one sent twice.
_SAME_FORM: Final = timedelta(minutes=1)
_TOLD: Final = (Invalid, Conflict, Forbidden, PreconditionFailed, TooLarge)


def user_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Users(services, renderer)
    return [
        Page("GET", "/users", pages.all, "users.manage"),
        Page("GET", "/users/new", pages.new, "users.manage"),
        Page("POST", "/users", pages.invite, "users.manage", keeps=True),
        Page("POST", "/users/{user_id}/assignment", pages.assign, "users.manage", keeps=True),
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

    async def new(self, visit: Visit) -> Response:
        return await self._form(visit, {"role": "operator", "organization": visit.actor.organization})

    async def invite(self, visit: Visit) -> Response:
        fields = await visit.form()
        login, role, organization = (fields.get(name, "") for name in ("login", "role", "organization"))
        try:
            visit.check_in_time()
            user, token = await self._accounts.invite(visit.actor, login, role, OrganizationId(organization))
        except (*_TOLD, NotFound) as refusal:
            twin = self._just_invited(visit, fields) if refusal.reason == "account.taken" else None
            if twin is None:
                return await self._form(visit, fields, refusal)
            # The same form, sent twice: the browser shows this answer alone, so it has a link too.
            user, token = twin, await self._accounts.make_link(visit.actor, twin.login)
        days = f"{INVITATION_LIFETIME.days} days"
        return await self._page(visit, link=self._link_url(token.reveal()), linked=user.login, good_for=days)

    def _just_invited(self, visit: Visit, fields: Mapping[str, str]) -> User | None:
        for user in self._accounts.users():
            is_same = user.login == fields.get("login", "").strip().casefold() and not user.password
            role = self._accounts.role(user.role)
            is_same = is_same and role is not None and role.is_called(fields.get("role", ""))
            if is_same and visit.actor.sees(user.organization) and user.organization == fields.get("organization", ""):
                return user if self._services.clock.now() - user.created < _SAME_FORM else None
        return None

    async def assign(self, visit: Visit) -> Response:
        fields = await visit.form()
        organization = fields.get("organization")

        async def assign() -> None:
            visit.check_in_time()
            await self._accounts.change(
                visit.actor,
                _id(visit),
                role=fields.get("role", ""),
                organization=None if organization is None else OrganizationId(organization),
                if_was=_was(fields),
            )

        return await self._changed(visit, assign(), fields)

    async def disable(self, visit: Visit) -> Response:
        return await self._switch(visit, is_disabled=True)

    async def enable(self, visit: Visit) -> Response:
        return await self._switch(visit, is_disabled=False)

    async def _switch(self, visit: Visit, *, is_disabled: bool) -> Response:
        was = _was(await visit.form())
        change = self._accounts.change(visit.actor, _id(visit), is_disabled=is_disabled, if_was=was)
        return await self._changed(visit, change)

    async def link(self, visit: Visit) -> Response:
        user = self._accounts.get(visit.actor, _id(visit))
        try:
            token = await self._accounts.make_link(visit.actor, user.login)
        except Forbidden as refusal:
            return await self._page(visit, problem=refusal)
        minutes = f"{int(LINK_LIFETIME.total_seconds() // 60)} minutes"
        return await self._page(visit, link=self._link_url(token.reveal()), linked=user.login, good_for=minutes)

    async def delete(self, visit: Visit) -> Response:
        was = _was(await visit.form())
        return await self._changed(visit, self._accounts.delete(visit.actor, _id(visit), if_was=was))

    async def _changed(
        self, visit: Visit, change: Awaitable[object], fields: Mapping[str, str] | None = None
    ) -> Response:
        try:
            await change
        except (*_TOLD, NotFound) as refusal:
            if refusal.reason == "account.unknown":
                raise
            return await self._page(visit, problem=refusal, assigned=fields)
        return RedirectResponse("/users", HTTPStatus.SEE_OTHER)

    async def _form(self, visit: Visit, fields: Mapping[str, str], problem: Refusal | None = None) -> Response:
        services = self._services
        roles = services.roles.assignable(visit.actor)
        return await self._renderer.long_page(
            visit,
            "people/user_new.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            fields=fields,
            roles=roles,
            organizations=services.organizations.seen_by(visit.actor),
            acts=user_acts(services.info(), roles, visit.actor.organization, fields.get("login", "")),
            problem=problem,
        )

    async def _page(
        self,
        visit: Visit,
        *,
        problem: Refusal | None = None,
        assigned: Mapping[str, str] | None = None,
        link: str = "",
        linked: str = "",
        good_for: str = "",
    ) -> Response:
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        services = self._services
        roles = services.roles.assignable(visit.actor)
        users = await self._accounts.users_after(visit.actor, visit.query.get("after", ""), _PAGE + 1)
        return await self._renderer.long_page(
            visit,
            "people/users.html",
            status,
            users=[(user, self._accounts.role(user.role)) for user in users[:_PAGE]],
            after=users[_PAGE - 1].login if len(users) > _PAGE else "",
            roles=roles,
            acts=user_acts(services.info(), roles, visit.actor.organization, ""),
            organizations=services.organizations.seen_by(visit.actor),
            names={each.organization_id: each.display_name for each in services.organizations.all()},
            problem=problem,
            chosen=_id(visit) if assigned is not None else "",
            assigned=assigned or {},
            link=link,
            linked=linked,
            good_for=good_for,
        )

    def _link_url(self, token: str) -> str:
        """By the hub's own name: the `Host` header is whatever the browser, or somebody before it, wrote."""
        return f"{self._services.info().web_url}sign-in/link/{token}"


def _was(fields: Mapping[str, str]) -> tuple[str, str] | None:
    """The role and the organization that the page showed; None where it does not say."""
    role, space, organization = fields.get("was", "").partition(" ")
    return (role, organization) if space else None


def _id(visit: Visit) -> UserId:
    return UserId(visit.path["user_id"])
