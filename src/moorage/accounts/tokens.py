"""API tokens: made once, shown once, good until they end or are deleted."""

from __future__ import annotations

import hmac
import logging
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Final

from moorage.accounts.model import Actor, OrganizationId
from moorage.accounts.roles import RoleDefinition, check_grant, check_reach, find_role, known_role
from moorage.accounts.tables import AccountTables, actor_of
from moorage.accounts.token_model import (
    ApiToken,
    TokenId,
    digest_of,
    encode_token,
    parse_presented,
)
from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, TooLarge, Unauthenticated
from moorage.ids import HubId, Secret
from moorage.store import Store

__all__ = ["LIFETIME", "MAX_LIFETIME", "MAX_TOKENS", "Tokens", "application_id", "make_application_id"]

audit = logging.getLogger("moorage.audit")

# TOK-2: about a year.
LIFETIME: Final = timedelta(days=365)
MAX_LIFETIME: Final = timedelta(days=5 * 366)
MAX_TOKENS: Final = 200
_APPLICATION_ID: Final = "application_id"
# What is compared where there is no token, so that an answer takes as long.
_NOTHING: Final = "0" * 64


def application_id(tables: AccountTables, hub: HubId) -> str:
    """The application's own UUID, '' until something needed it."""
    return tables.settings.get(_APPLICATION_ID, hub) or ""


def make_application_id(tables: AccountTables, hub: HubId) -> str:
    """The application's own UUID, made when it is first asked for."""
    found = application_id(tables, hub)
    if not found:
        found = str(uuid.uuid4())
        tables.settings.put(_APPLICATION_ID, found, hub)
    return found


class Tokens:
    """The API tokens of one hub's application."""

    def __init__(self, hub: HubId, store: Store[AccountTables], clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock

    def all(self, actor: Actor) -> list[ApiToken]:
        """Those whose organisation the actor sees, in the order of their names."""
        found = self._store.read().api_tokens.all(self._hub)
        return [token for token in found if actor.sees(token.organization)]

    def get(self, actor: Actor, token_id: TokenId) -> ApiToken:
        """Raises `NotFound` (`api_token.missing`)."""
        return self._get(self._store.read(), actor, token_id)

    async def create(
        self,
        actor: Actor,
        token_id: TokenId,
        role: str,
        organization: OrganizationId,
        expires: datetime | None = None,
    ) -> tuple[ApiToken, Secret]:
        """A new token, and its text, which is told once.

        `role` is an id or the short word of a built-in one; `expires` is a year from now when it is not given.

        Raises:
            Invalid: `account.role`, `account.role_kind`, `api_token.expiry`.
            NotFound: `organization.unknown`.
            Forbidden: `account.beyond`.
            Conflict: `api_token.taken`.
            TooLarge: `api_token.number`.
        """
        now = self._clock.now()
        # Its text has whole seconds.
        ends = (expires or now + LIFETIME).replace(microsecond=0)
        if not now < ends <= now + MAX_LIFETIME:
            raise Invalid(
                "api_token.expiry",
                f"a token ends within {MAX_LIFETIME.days} days from now, not {ends:%Y-%m-%d %H:%M:%S} UTC",
            )

        def work(tables: AccountTables) -> tuple[ApiToken, RoleDefinition, Secret]:
            definition = find_role(tables.roles, self._hub, role)
            check_grant(actor, definition, organization)
            if organization and tables.organizations.find(self._hub, organization) is None:
                raise NotFound("organization.unknown", f"there is no organization '{organization[:60]}'")
            if tables.api_tokens.find(self._hub, token_id) is not None:
                raise Conflict("api_token.taken", f"there is an API token '{token_id}' already")
            if len(tables.api_tokens.all(self._hub)) >= MAX_TOKENS:
                raise TooLarge("api_token.number", f"an application has at most {MAX_TOKENS} API tokens")
            text = encode_token(make_application_id(tables, self._hub), token_id, ends, secrets.token_bytes(32))
            token = ApiToken(
                self._hub,
                token_id,
                definition.role_id,
                organization,
                now,
                ends,
                digest_of(parse_presented(text.reveal())),
                actor.name,
            )
            tables.api_tokens.put(token)
            return token, definition, text

        token, definition, text = await self._store.write(work)
        self._tell("api_token.created", actor, token, role=definition.display_name, expires=ends.isoformat())
        return token, text

    async def delete(self, actor: Actor, token_id: TokenId) -> None:
        """It opens nothing from now on. Raises `NotFound` (`api_token.missing`), `Forbidden` (`account.beyond`)."""

        def work(tables: AccountTables) -> ApiToken:
            token = self._get(tables, actor, token_id)
            role = known_role(tables.roles, self._hub, token.role)
            if role is not None:
                check_reach(actor, role, token.organization)
            tables.api_tokens.delete(self._hub, token_id)
            return token

        self._tell("api_token.deleted", actor, await self._store.write(work))

    def find(self, header: str, now: datetime) -> Actor:
        """Who calls with that `Authorization` header.

        Raises `Unauthenticated`: `api_token.malformed`, `api_token.unknown`, `api_token.expired`. No token of that
        name, another signature, another application and a changed end read the same (decisions T7).
        """
        presented = parse_presented(header)
        tables = self._store.read()
        token = tables.api_tokens.find(self._hub, TokenId(presented.token_id[:64]))
        is_right = hmac.compare_digest(digest_of(presented), _NOTHING if token is None else token.digest)
        if token is None or not is_right:
            raise Unauthenticated("api_token.unknown", "no API token of this application has this text")
        if now >= token.expires:
            raise Unauthenticated(
                "api_token.expired", f"the API token '{token.token_id}' ended at {token.expires:%Y-%m-%d %H:%M:%S} UTC"
            )
        return actor_of(tables, self._hub, token)

    def _get(self, tables: AccountTables, actor: Actor, token_id: TokenId) -> ApiToken:
        token = tables.api_tokens.find(self._hub, token_id)
        if token is None or not actor.sees(token.organization):
            raise NotFound("api_token.missing", f"there is no API token '{token_id[:60]}'")
        return token

    def _tell(self, event: str, actor: Actor, token: ApiToken, **more: str) -> None:
        facts = {
            "hub": self._hub,
            "token": token.token_id,
            "organization": token.organization or "(the root)",
            **more,
            "by": actor.name,
        }
        line = " ".join(f"{name}=%s" for name in facts)
        audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})
