"""Coming in and going out: the form, the link that works once, and the cookie."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from moorage.accounts.entrance import SESSION_LIFETIME, SignedIn
from moorage.accounts.passwords import MIN_CHARACTERS
from moorage.errors import Conflict, Exhausted, Forbidden, Invalid, NotFound, Refusal, Unauthenticated, Unavailable
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.retyping import MAX_RETYPED_BYTES, Retyped, retyped_in
from moorage.web.services import WebServices

__all__ = ["COOKIE", "KNOWN_COOKIE", "SSO_COOKIE", "sign_in_pages"]

# Of this host alone, over TLS alone, out of reach of scripts (RFC 6265bis 4.1.3.2).
COOKIE: Final = "__Host-moorage"
KNOWN_COOKIE: Final = "__Host-moorage-known"
# While somebody is at the provider's.
SSO_COOKIE: Final = "__Host-moorage-sso"
_SSO_S: Final = 600
_MAX_NEXT: Final = 1000
_YEAR_S: Final = 365 * 86_400


def sign_in_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _SignIn(services, renderer)
    return [
        Page("GET", "/sign-in", pages.form, "public"),
        Page("POST", "/sign-in", pages.sign_in, "public"),
        Page("POST", "/sign-in/on", pages.go_on, "public"),
        Page("GET", "/sign-in/link/{token}", pages.link_form, "public"),
        Page("POST", "/sign-in/link/{token}", pages.redeem, "public"),
        Page("GET", "/sign-in/sso", pages.begin, "public"),
        Page("GET", "/sign-in/sso/back", pages.come_back, "public"),
        Page("POST", "/sign-out", pages.sign_out, "signed in"),
        Page("POST", "/theme", pages.choose_theme, "public"),
    ]


class _SignIn:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._accounts = services.accounts
        self._single_sign_on = services.single_sign_on
        self._renderer = renderer

    async def form(self, visit: Visit) -> Response:
        if visit.user is not None:
            return RedirectResponse(_inside(visit.query.get("next", "")), HTTPStatus.SEE_OTHER)
        return await self._door(visit, visit.query.get("next", ""))

    async def sign_in(self, visit: Visit) -> Response:
        """To where they came from, or on with what they had typed (retyping.py)."""
        visit.form_limit = MAX_RETYPED_BYTES
        fields = await visit.form()
        login, there = fields.get("login", ""), fields.get("next", "")
        retyped = retyped_in(await visit.fields())
        try:
            signed_in = await self._accounts.sign_in(
                login,
                fields.get("password", ""),
                address=visit.address,
                agent=_agent(visit),
                known=visit.request.cookies.get(KNOWN_COOKIE, ""),
            )
        except (Unauthenticated, Exhausted) as refusal:
            status = HTTPStatus.UNAUTHORIZED if isinstance(refusal, Unauthenticated) else HTTPStatus.TOO_MANY_REQUESTS
            return await self._door(visit, there, login, problem=refusal, status=status, retyped=retyped)
        await self._leave(visit)
        return _come_in(signed_in, there if retyped is None else await self._go_on(visit, retyped))

    async def go_on(self, visit: Visit) -> Response:
        """Back to what they had typed, for who signed in elsewhere in this browser meanwhile."""
        visit.form_limit = MAX_RETYPED_BYTES
        retyped = retyped_in(await visit.fields())
        if retyped is None or visit.user is None:
            return await self._door(visit, "", status=HTTPStatus.UNAUTHORIZED, retyped=retyped)
        return await self._go_on(visit, retyped)

    async def link_form(self, visit: Visit) -> Response:
        _link, user = self._accounts.find_link(visit.path["token"])
        return self._link_page(visit, "" if user is None else user.login, is_new=user is None)

    async def redeem(self, visit: Visit) -> Response:
        token = visit.path["token"]
        fields = await visit.form()
        _link, user = self._accounts.find_link(token)
        login = fields.get("login", "") if user is None else user.login
        try:
            if fields.get("password", "") != fields.get("again", ""):
                raise Invalid("account.passwords_differ", "the two passwords are not the same")
            signed_in = await self._accounts.redeem(
                token, login, fields.get("password", ""), address=visit.address, agent=_agent(visit)
            )
        except (Invalid, Conflict, Exhausted) as refusal:
            return self._link_page(visit, login, is_new=user is None, problem=refusal, status=HTTPStatus.BAD_REQUEST)
        await self._leave(visit)
        return _come_in(signed_in, "")

    async def begin(self, visit: Visit) -> Response:
        """Off to the provider, from the host that it sends people back to: cookies stay with theirs."""
        own = urlsplit(self._web_url())
        there = visit.query.get("next", "")
        if visit.request.headers.get("host", "").lower() != own.netloc.lower() and "here" not in visit.query:
            return RedirectResponse(f"{self._web_url()}sign-in/sso?{urlencode({'here': 1, 'next': there})}")
        try:
            began = await self._single_sign_on.begin(self._back())
        except Unavailable as refusal:
            return await self._door(visit, there, problem=refusal, status=HTTPStatus.SERVICE_UNAVAILABLE)
        response = RedirectResponse(began.url, HTTPStatus.SEE_OTHER)
        kept = f"{began.cookie}.{urlsafe_b64encode(there[:_MAX_NEXT].encode()).decode()}"
        # Lax: it comes back from another site, by a link.
        response.set_cookie(SSO_COOKIE, kept, max_age=_SSO_S, secure=True, httponly=True, samesite="lax")
        return response

    async def come_back(self, visit: Visit) -> Response:
        cookie, _, packed = visit.request.cookies.get(SSO_COOKIE, "").partition(".")
        try:
            there = urlsafe_b64decode(packed).decode()
        except ValueError:
            there = ""
        try:
            signed_in = await self._single_sign_on.finish(
                self._back(), cookie, visit.query, address=visit.address, agent=_agent(visit)
            )
        except Refusal as refusal:
            response = await self._door(visit, there, problem=refusal, status=_status_of(refusal))
        else:
            await self._leave(visit)
            response = _come_in(signed_in, there)
        response.delete_cookie(SSO_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return response

    async def sign_out(self, visit: Visit) -> Response:
        if visit.session is not None:
            await self._accounts.sign_out(visit.session)
        response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        # Nothing that the browser kept of these pages outlives the session.
        response.headers["clear-site-data"] = '"cache"'
        return response

    async def choose_theme(self, visit: Visit) -> Response:
        fields = await visit.form()
        theme = fields.get("theme", "")
        response = RedirectResponse(_inside(fields.get("next", "")), HTTPStatus.SEE_OTHER)
        if theme in ("light", "dark"):
            response.set_cookie("theme", theme, max_age=_YEAR_S, secure=True, httponly=True, samesite="lax")
        else:
            response.delete_cookie("theme", secure=True, httponly=True, samesite="lax")
        return response

    async def _go_on(self, visit: Visit, retyped: Retyped) -> Response:
        if _inside(retyped.path) != retyped.path:
            return RedirectResponse(_inside(retyped.path), HTTPStatus.SEE_OTHER)
        return await self._renderer.long_page(visit, "go_on.html", retyped=retyped)

    async def _door(
        self,
        visit: Visit,
        there: str,
        login: str = "",
        *,
        problem: Refusal | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        retyped: Retyped | None = None,
    ) -> Response:
        return await self._renderer.long_page(
            visit,
            "sign_in.html",
            status,
            login=login,
            next=there,
            problem=problem,
            provider=self._single_sign_on.name,
            retyped=retyped,
        )

    def _web_url(self) -> str:
        """By the hub's own name: the `Host` header is whatever somebody wrote."""
        return self._services.info().web_url or "/"

    def _back(self) -> str:
        return f"{self._web_url()}sign-in/sso/back"

    async def _leave(self, visit: Visit) -> None:
        """Whoever was signed in in this browser before: its cookie is overwritten, so nobody could end the session."""
        if visit.session is not None:
            await self._accounts.sign_out(visit.session)

    def _link_page(
        self,
        visit: Visit,
        login: str,
        *,
        is_new: bool,
        problem: Refusal | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        return self._renderer.page(
            visit, "link.html", status, login=login, is_new=is_new, problem=problem, least=MIN_CHARACTERS
        )


def _come_in(signed_in: SignedIn, there: str | Response) -> Response:
    response = RedirectResponse(_inside(there), HTTPStatus.SEE_OTHER) if isinstance(there, str) else there
    response.set_cookie(
        COOKIE,
        signed_in.cookie.reveal(),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        secure=True,
        httponly=True,
        samesite="lax",
    )
    # Outlives the session: strangers who guess at this name do not keep this browser waiting.
    response.set_cookie(KNOWN_COOKIE, signed_in.known, max_age=_YEAR_S, secure=True, httponly=True, samesite="strict")
    return response


def _inside(there: str) -> str:
    """Only a path of this host: `//elsewhere` and `https://elsewhere` lead out."""
    try:
        parts = urlsplit(there.replace("\\", "/"))
    except ValueError:
        return "/devices"
    if (
        parts.scheme
        or parts.netloc
        or not there.isprintable()
        or not there.startswith("/")
        or there.startswith(("//", "/\\", "/sign-in"))
    ):
        return "/devices"
    return there


def _status_of(refusal: Refusal) -> HTTPStatus:
    match refusal:
        case Unauthenticated():
            return HTTPStatus.UNAUTHORIZED
        case Forbidden():
            return HTTPStatus.FORBIDDEN
        case NotFound():
            return HTTPStatus.NOT_FOUND
        case Exhausted():
            return HTTPStatus.TOO_MANY_REQUESTS
        case Unavailable():
            return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST


def _agent(visit: Visit) -> str:
    return visit.request.headers.get("user-agent", "")
