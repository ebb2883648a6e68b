"""API tokens: what opens the REST API to a program, shown once when it is made (contract/central.md TOK-1 to TOK-5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import OrganizationId
from moorage.accounts.token_model import ApiToken, TokenId, parse_token_id
from moorage.accounts.tokens import LIFETIME
from moorage.errors import Conflict, Invalid, Refusal
from moorage.ids import Secret
from moorage.web.code import Act
from moorage.web.pages import TOLD, Page, Visit
from moorage.web.people_code import token_acts
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["token_pages"]

# A second one of the same name, so soon, is the first one sent twice.
_SAME_FORM: Final = timedelta(minutes=1)


def token_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Tokens(services, renderer)
    return [
        Page("GET", "/tokens", pages.all, "tokens.manage"),
        Page("GET", "/tokens/new", pages.new, "tokens.manage"),
        Page("POST", "/tokens", pages.create, "tokens.manage", keeps=True),
        Page("POST", "/tokens/{token_id}/delete", pages.delete, "tokens.manage"),
    ]


class _Tokens:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._tokens = services.tokens
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def new(self, visit: Visit) -> Response:
        last = f"{self._services.clock.now() + LIFETIME:%Y-%m-%d}"
        return await self._form(visit, {"role": "operator", "expires": last, "organization": visit.actor.organization})

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            token, text = await self._made(visit, fields)
        except TOLD as refusal:
            return await self._form(visit, fields, refusal)
        return await self._page(visit, made=token.token_id, text=text)

    async def _made(self, visit: Visit, fields: dict[str, str]) -> tuple[ApiToken, Secret]:
        token_id, end = parse_token_id(fields.get("name", "").strip()), _end_of(fields.get("expires", ""))
        role, organization = fields.get("role", ""), OrganizationId(fields.get("organization", ""))
        try:
            return await self._tokens.create(visit.actor, token_id, role, organization, end)
        except Conflict as refusal:
            if refusal.reason != "api_token.taken" or not self._was_just_made(visit, token_id, role, organization, end):
                raise
            # The same form, sent twice: the browser shows this answer alone, so the text has to be in it.
            await self._tokens.delete(visit.actor, token_id)
            return await self._tokens.create(visit.actor, token_id, role, organization, end)

    def _was_just_made(
        self, visit: Visit, token_id: TokenId, role: str, organization: OrganizationId, end: datetime | None
    ) -> bool:
        present = next((each for each in self._tokens.all(visit.actor) if each.token_id == token_id), None)
        given = None if present is None else self._services.accounts.role(present.role)
        return (
            present is not None
            and (present.created_by, present.organization) == (visit.actor.name, organization)
            and given is not None
            and given.is_called(role)
            # Where none was typed it is a year from when it was made.
            and end in (None, present.expires)
            and self._services.clock.now() - present.created < _SAME_FORM
        )

    async def delete(self, visit: Visit) -> Response:
        await self._tokens.delete(visit.actor, TokenId(visit.path["token_id"]))
        return RedirectResponse("/tokens", HTTPStatus.SEE_OTHER)

    async def _form(self, visit: Visit, fields: dict[str, str], problem: Refusal | None = None) -> Response:
        services = self._services
        roles = services.roles.assignable(visit.actor)
        return await self._renderer.long_page(
            visit,
            "people/token_new.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            fields=fields,
            roles=roles,
            organizations=services.organizations.seen_by(visit.actor),
            acts=self._acts(visit, fields.get("name", "").strip()),
            problem=problem,
        )

    def _acts(self, visit: Visit, name: str = "") -> list[Act]:
        roles = self._services.roles.assignable(visit.actor)
        return token_acts(self._services.info(), roles[-1], visit.actor.organization, name) if roles else []

    async def _page(self, visit: Visit, *, made: str = "", text: Secret | None = None) -> Response:
        services = self._services
        return await self._renderer.long_page(
            visit,
            "people/tokens.html",
            tokens=[(token, services.accounts.role(token.role)) for token in self._tokens.all(visit.actor)],
            acts=self._acts(visit),
            names={each.organization_id: each.display_name for each in services.organizations.all()},
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
