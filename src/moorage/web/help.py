"""The menus at the right of the top bar: help, what this application is, and who is signed in (NAV-22 to NAV-24)."""

from __future__ import annotations

from importlib.metadata import version

from starlette.responses import Response

from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["help_pages"]


def help_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    async def start(visit: Visit) -> Response:
        return renderer.page(visit, "help/start.html", info=services.info())

    async def about(visit: Visit) -> Response:
        return renderer.page(
            visit,
            "help/about.html",
            info=services.info(),
            version=version("moorage"),
            application_id=await services.customization.application_id(),
        )

    async def profile(visit: Visit) -> Response:
        path = services.organizations.path(visit.actor.organization)
        return renderer.page(
            visit,
            "help/profile.html",
            path=[node for node in path if visit.actor.sees(node.organization_id)],
            sessions=services.accounts.sessions_of(visit.user) if visit.user else [],
        )

    return [
        Page("GET", "/help", start, "signed in"),
        Page("GET", "/help/about", about, "signed in"),
        Page("GET", "/profile", profile, "signed in"),
    ]
