"""API tokens: what opens the REST API to a program, shown once when it is made (contract/central.md TOK-1 to TOK-5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.accounts.token_model import TokenId, parse_token_id
from moorage.accounts.tokens import LIFETIME
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, Refusal, TooLarge
from moorage.ids import Secret
from moorage.web.pages import Page, Visit
from moorage.web.people_code import token_acts
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["token_pages"]


def token_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Tokens(services, renderer)
    return [
        Page("GET", "/tokens", pages.all, "tokens.manage"),
        Page("POST", "/tokens", pages.create, "tokens.manage"),
        Page("POST", "/tokens/{token_id}/delete", pages.delete, "tokens.manage"),
    ]


class _Tokens:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._tokens = services.tokens
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            token, text = await self._tokens.create(
                visit.actor,
                parse_token_id(fields.get("name", "").strip()),
                fields.get("role", ""),
                OrganizationId(fields.get("organization", "")),
                _end_of(fields.get("expires", "")),
            )
        except (Invalid, Conflict, Forbidden, NotFound, TooLarge) as refusal:
            return await self._page(visit, fields=fields, problem=refusal)
        return await self._page(visit, made=token.token_id, text=text)

    async def delete(self, visit: Visit) -> Response:
        await self._tokens.delete(visit.actor, TokenId(visit.path["token_id"]))
        return RedirectResponse("/tokens", HTTPStatus.SEE_OTHER)

    async def _page(
        self,
        visit: Visit,
        *,
        fields: dict[str, str] | None = None,
        problem: Refusal | None = None,
        made: str = "",
        text: Secret | None = None,
    ) -> Response:
        services = self._services
        now = services.clock.now()
        roles = services.roles.assignable(visit.actor)
        fallback = {"role": "operator", "expires": f"{now + LIFETIME:%Y-%m-%d}"}
        return await self._renderer.long_page(
            visit,
            "people/tokens.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            tokens=[(token, services.accounts.role(token.role)) for token in self._tokens.all(visit.actor)],
            roles=roles,
            acts=token_acts(services.info(), roles[-1], visit.actor.organization, (fields or {}).get("name", "").strip())
            if roles
            else [],
            organizations=services.organizations.seen_by(visit.actor),
            names={each.organization_id: each.display_name for each in services.organizations.all()},
            fields=fallback if fields is None else fields,
            problem=problem,
            made=made,
            # Shown here and nowhere else (TOK-1).
            text="" if text is None else text.reveal(),
        )


def _end_of(day: str) -> datetime | None:
    """The last second of that day in UTC; None where no day is given. Raises `Invalid` (`api_token.expiry`)."""
    if not day.strip():
        return None
    try:
        return datetime.strptime(day.strip(), "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1, seconds=-1)
    except (ValueError, OverflowError):
        raise Invalid("api_token.expiry", f"{day[:40]!r} is no day such as 2027-03-31") from None
