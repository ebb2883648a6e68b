"""The menus at the right of the top bar: help, what this application is, and who is signed in (NAV-22 to NAV-24)."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import Session, User
from moorage.accounts.passwords import MIN_CHARACTERS
from moorage.errors import Exhausted, Invalid, NotFound, Refusal, Unauthenticated
from moorage.web.pages import ORGANIZATION_COOKIE, Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["help_pages"]

_YEAR_S: Final = 365 * 24 * 3600


def help_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Help(services, renderer)
    return [
        Page("GET", "/help", pages.start, "signed in"),
        Page("GET", "/help/about", pages.about, "signed in"),
        Page("GET", "/ca-bundle.pem", pages.ca_bundle, "signed in"),
        Page("GET", "/profile", pages.profile, "signed in"),
        Page("POST", "/profile/password", pages.change_password, "signed in"),
        Page("POST", "/profile/organization", pages.choose_organization, "signed in", keeps=True),
        Page("POST", "/profile/sign-out", pages.sign_out_elsewhere, "signed in"),
    ]


class _Help:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._accounts = services.accounts
        self._renderer = renderer

    async def start(self, visit: Visit) -> Response:
        return self._renderer.page(visit, "help/start.html", info=self._services.info())

    async def about(self, visit: Visit) -> Response:
        return self._renderer.page(
            visit,
            "help/about.html",
            info=self._services.info(),
            version=version("moorage"),
            application_id=await self._services.customization.application_id(),
        )

    async def ca_bundle(self, visit: Visit) -> Response:
        """Whom devices trust when they trust this hub; it holds no secret."""
        text = await asyncio.to_thread(self._services.info().ca_bundle.read_text)
        return Response(text, media_type="application/x-pem-file")

    async def profile(self, visit: Visit) -> Response:
        return self._profile(visit)

    async def change_password(self, visit: Visit) -> Response:
        fields = await visit.form()
        user, session = _signed_in(visit)
        try:
            if fields.get("password", "") != fields.get("again", ""):
                raise Invalid("account.passwords_differ", "the two passwords are not the same")
            await self._accounts.change_password(
                session, user, fields.get("present", ""), fields.get("password", ""), address=visit.address
            )
        except (Invalid, Unauthenticated, Exhausted) as refusal:
            return self._profile(visit, refusal)
        return RedirectResponse("/profile?done=password", HTTPStatus.SEE_OTHER)

    async def choose_organization(self, visit: Visit) -> Response:
        """Where what they make begins, in this browser (ORG-6)."""
        fields = await visit.form()
        try:
            visit.check_in_time()
            chosen = self._services.organizations.choose(visit.actor, fields.get("organization", ""))
        except (Invalid, NotFound) as refusal:
            return self._profile(visit, refusal, fields.get("organization", ""))
        response = RedirectResponse("/profile?done=organization", HTTPStatus.SEE_OTHER)
        if chosen and chosen != visit.actor.organization:
            response.set_cookie(
                ORGANIZATION_COOKIE, chosen, max_age=_YEAR_S, secure=True, httponly=True, samesite="lax"
            )
        else:
            response.delete_cookie(ORGANIZATION_COOKIE, secure=True, httponly=True, samesite="lax")
        return response

    async def sign_out_elsewhere(self, visit: Visit) -> Response:
        user, session = _signed_in(visit)
        await self._accounts.sign_out_elsewhere(session, user)
        return RedirectResponse("/profile", HTTPStatus.SEE_OTHER)

    def _profile(self, visit: Visit, problem: Refusal | None = None, chosen: str | None = None) -> Response:
        user, session = _signed_in(visit)
        path = self._services.organizations.path(visit.actor.organization)
        return self._renderer.page(
            visit,
            "help/profile.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            path=[node for node in path if visit.actor.sees(node.organization_id)],
            sessions=[(each, each.digest == session.digest) for each in self._accounts.sessions_of(user)],
            is_changed=visit.query.get("done") == "password",
            at="password" if chosen is None else "organization",
            chosen=visit.default_organization if chosen is None else chosen,
            choices=self._services.organizations.seen_by(visit.actor),
            least=MIN_CHARACTERS,
            problem=problem,
        )


def _signed_in(visit: Visit) -> tuple[User, Session]:
    """Raises `Unauthenticated` (`page.session`)."""
    if visit.user is None or visit.session is None:
        raise Unauthenticated("page.session", "nobody is signed in here, or not any more")
    return visit.user, visit.session
