"""The application as one ASGI app: find the page, see who it is, call its handler, say no in words."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from moorage.accounts.audit import ACTING
from moorage.dialects.http_errors import http_error
from moorage.errors import Forbidden, Invalid, NotFound, Refusal, TooLarge, Unauthenticated, Unavailable
from moorage.ids import new_tracking_id
from moorage.web.appearance import appearance_pages, look_of
from moorage.web.application_file import application_file_pages
from moorage.web.attempts import attempt_pages
from moorage.web.audit import audit_pages
from moorage.web.chains import chain_pages
from moorage.web.connect import connect_pages
from moorage.web.dashboards import dashboard_pages
from moorage.web.device_acts import act_pages
from moorage.web.device_aliases import alias_pages
from moorage.web.device_certificate import device_certificate_pages
from moorage.web.device_code import device_code_pages
from moorage.web.device_commands import command_pages
from moorage.web.device_connection import connection_pages
from moorage.web.device_data import data_pages
from moorage.web.device_files import file_pages
from moorage.web.device_gateways import gateway_pages
from moorage.web.device_groups import device_group_pages
from moorage.web.device_list import device_list_pages
from moorage.web.device_templates import template_pages
from moorage.web.device_twin import twin_pages
from moorage.web.device_views import device_view_pages
from moorage.web.device_work import device_work_pages
from moorage.web.explorer import explorer_pages
from moorage.web.exports import export_pages
from moorage.web.forecast import forecast_pages
from moorage.web.groups import group_pages
from moorage.web.help import help_pages
from moorage.web.jobs import job_pages
from moorage.web.manifests import manifest_pages
from moorage.web.organizations import organization_pages
from moorage.web.pages import NOBODY, Page, Visit, check_same_site, secure
from moorage.web.rehearsal import rehearsal_pages
from moorage.web.rendering import Renderer
from moorage.web.retyping import retyped_of
from moorage.web.roles import role_pages
from moorage.web.rules import rule_pages
from moorage.web.search import search_pages
from moorage.web.services import WebServices
from moorage.web.sign_in import COOKIE, sign_in_pages
from moorage.web.static_files import static_pages
from moorage.web.template_editor import editor_pages
from moorage.web.template_guess import guess_pages
from moorage.web.template_views import template_view_pages
from moorage.web.tokens import token_pages
from moorage.web.users import user_pages

__all__ = ["Web", "build_web"]

log = logging.getLogger("moorage.web")

_THEMES: Final = ("light", "dark")


def build_web(services: WebServices) -> Web:
    """The ASGI app of the port for people."""
    renderer = Renderer(services.clock, services.hub_name, look_of(services.customization))
    pages = [
        *static_pages(),
        *sign_in_pages(services, renderer),
        *device_list_pages(services, renderer),
        *device_work_pages(services, renderer),
        *data_pages(services, renderer),
        *device_view_pages(services, renderer),
        *command_pages(services, renderer),
        *alias_pages(services, renderer),
        *file_pages(services, renderer),
        *connection_pages(services, renderer),
        *gateway_pages(services, renderer),
        *twin_pages(services, renderer),
        *act_pages(services, renderer),
        *connect_pages(services, renderer),
        *device_certificate_pages(services, renderer),
        *device_code_pages(services, renderer),
        *forecast_pages(services, renderer),
        *chain_pages(services, renderer),
        *rehearsal_pages(services, renderer),
        *template_pages(services, renderer),
        *editor_pages(services, renderer),
        *template_view_pages(services, renderer),
        *guess_pages(services, renderer),
        *group_pages(services, renderer),
        *rule_pages(services, renderer),
        *export_pages(services, renderer),
        *job_pages(services, renderer),
        *manifest_pages(services, renderer),
        *device_group_pages(services, renderer),
        *explorer_pages(services, renderer),
        *dashboard_pages(services, renderer),
        *attempt_pages(services, renderer),
        *user_pages(services, renderer),
        *role_pages(services, renderer),
        *organization_pages(services, renderer),
        *token_pages(services, renderer),
        *audit_pages(services, renderer),
        *appearance_pages(services, renderer),
        *application_file_pages(services),
        *search_pages(services, renderer),
        *help_pages(services, renderer),
    ]
    return Web(services, renderer, pages)


@dataclass(frozen=True, slots=True)
class _Found:
    page: Page
    parameters: dict[str, str]


class _NoSuchMethod(NotFound):
    """A page that is there, and is asked for otherwise (RFC 9110 15.5.6)."""

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__("route.method", f"this page has no {method[:16]}, only {', '.join(allowed)}")
        self.allowed = allowed


class Web:
    """An ASGI app; see `build_web`."""

    def __init__(self, services: WebServices, renderer: Renderer, pages: list[Page]) -> None:
        self._services = services
        self._renderer = renderer
        self.pages = tuple(pages)
        self._routes = [(Route(page.pattern, _never, methods=[page.method]), page) for page in pages]
        self._mounted: dict[str, ASGIApp] = {}

    def mount(self, path: str, app: ASGIApp) -> None:
        """Leave everything below `/path` to `app`, which asks for a credential of its own: no cookie is one.

        `path` is in lower case.
        """
        self._mounted[path] = app

    async def warm(self) -> None:
        """Be as quick at the first page as at all others. It takes its time; cancel it where it is not over."""
        await self._renderer.warm()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"this app speaks http, not {scope['type']}")
        asked = scope["path"].strip("/").lower()
        for path, app in self._mounted.items():
            if asked == path or asked.startswith(path + "/"):
                await app(scope, receive, send)
                return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
            if request.method == "HEAD" and isinstance(response, StreamingResponse):
                # A stream whose body nobody is sent would go on for ever.
                response = Response(headers=response.headers)
        except ClientDisconnect:
            # Nobody is left to answer.
            return
        finally:
            # Files of its form.
            await request.close()
        await secure(response)(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        visit = self._visit(request)
        try:
            found = self._find(request)
            request.scope["path_params"] = found.parameters
            self._admit(visit, found.page)
            if visit.session is not None and found.page.gate != "public":
                self._services.let_in(_peer(request))
                await self._services.accounts.seen(visit.session)
            ACTING.set(visit.actor.name)
            return await found.page.handler(visit)
        except _NoSuchMethod as refusal:
            response = self._refused(visit, refusal)
            response.headers["allow"] = ", ".join(refusal.allowed)
            return response
        except Unauthenticated as refusal:
            if refusal.reason != "page.session":
                return self._refused(visit, refusal)
            return await self._to_sign_in(visit)
        except Refusal as refusal:
            return self._refused(visit, refusal)
        except ClientDisconnect:
            raise
        except Exception:
            tracking_id = new_tracking_id()
            log.exception("page_failed path=%r tracking=%s", request.scope["path"], tracking_id)
            return self._refused(
                visit, Unavailable("api.failed", f"this is a fault of moorage; its log has the details ({tracking_id})")
            )

    def _visit(self, request: Request) -> Visit:
        cookie = request.cookies.get(COOKIE, "")
        accounts = self._services.accounts
        known = accounts.session(cookie) if cookie else None
        theme = request.cookies.get("theme", "")
        return Visit(
            request,
            None if known is None else known[1],
            None if known is None else known[0],
            theme if theme in _THEMES else "auto",
            NOBODY if known is None else accounts.actor(known[1]),
            was_here=known is None and bool(cookie) and accounts.was_here(cookie),
        )

    def _find(self, request: Request) -> _Found:
        """Raises `NotFound` (`route.unknown`, `route.method`)."""
        method = "GET" if request.method == "HEAD" else request.method
        allowed: list[str] = []
        for route, page in self._routes:
            match, child = route.matches(request.scope)
            if match is Match.NONE:
                continue
            if page.method == method:
                return _Found(page, child["path_params"])
            allowed += ["GET", "HEAD"] if page.method == "GET" else ["POST"]
        if allowed:
            raise _NoSuchMethod(request.method, sorted(set(allowed)))
        raise NotFound("route.unknown", "there is no such page")

    def _admit(self, visit: Visit, page: Page) -> None:
        """Raises `Forbidden` (`page.foreign`, `page.permission`), `Unauthenticated` (`page.session`)."""
        check_same_site(visit.request)
        if page.gate == "public":
            return
        if visit.user is None:
            raise Unauthenticated("page.session", "nobody is signed in here, or not any more")
        if page.gate != "signed in" and not visit.may(page.gate):
            raise Forbidden(
                "page.permission", f"the role {visit.actor.role} has no permission {page.gate}, which this takes"
            )

    async def _to_sign_in(self, visit: Visit) -> Response:
        """The door, which leads back to the page that was asked for, or to what was typed (retyping.py)."""
        request = visit.request
        if visit.is_fragment:
            # The page that asked stays as it is: it may have something typed in it (page.js).
            return Response(status_code=HTTPStatus.UNAUTHORIZED)
        if request.method == "POST" and self._find(request).page.keeps:
            try:
                retyped = await retyped_of(visit)
            except TooLarge as refusal:
                told = (
                    "you are not signed in any more, and this is more than is kept meanwhile: "
                    "go back, sign in in another tab, and send it once more"
                )
                return self._refused(visit, TooLarge(refusal.reason, told))
            except Invalid as refusal:
                return self._refused(visit, refusal)
            if retyped is not None:
                return await self._renderer.long_page(
                    visit,
                    "sign_in.html",
                    HTTPStatus.UNAUTHORIZED,
                    login="",
                    next="",
                    problem=None,
                    provider=self._services.single_sign_on.name,
                    retyped=retyped,
                )
        asked = request.scope["query_string"].decode("latin-1")
        here = quote(visit.here) + (f"?{asked}" if asked else "")
        there = "/sign-in" + (f"?next={quote(here, safe='')}" if request.method == "GET" and here != "/" else "")
        return RedirectResponse(there, HTTPStatus.SEE_OTHER)

    def _refused(self, visit: Visit, refusal: Refusal) -> Response:
        status = http_error(refusal).status
        # Whoever is not signed in has neither pages nor a search to go to.
        whole = "refusal.html" if visit.user is not None else "refusal_at_door.html"
        template = "refusal_part.html" if visit.is_fragment else whole
        response = self._renderer.page(visit, template, status, refusal=refusal)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            response.headers["connection"] = "close"
        return response


def _peer(request: Request) -> str:
    client = request.client
    return f"{client.host}:{client.port}" if client else ""


async def _never(_request: Request) -> Response:
    raise AssertionError("pages are called by Web, not by their routes")
