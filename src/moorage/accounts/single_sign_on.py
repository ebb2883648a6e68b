"""Signing in through an OpenID Connect provider: authorization code with PKCE (OpenID Connect Core 3.1, RFC 7636).

    /sign-in/sso ──► provider ──► /sign-in/sso/back?code&state ──► token endpoint ──► claims ──► role ──► session

The browser that began holds one random secret in a cookie. State, nonce and code verifier are made of it, so an answer
that another browser fetched, or that was meant for another sign-in, fits nothing here; the hub keeps nothing meanwhile.

Who somebody is stays with the issuer's own `sub`: a name or an address that changes hands there opens nobody's account
here. What they may do is said by rules over claims, or, without any, by whoever assigned them here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from moorage.accounts.entrance import Comer, Entrance, SignedIn
from moorage.accounts.model import OrganizationId, parse_login
from moorage.errors import Exhausted, Forbidden, Invalid, NotFound, Refusal, Unauthenticated

__all__ = ["MAX_COMING", "Began", "Provider", "RoleRule", "SingleSignOn", "grant_of", "parse_rules"]

_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
# claim:value=role, or claim:value=role@organisation.
_RULE: Final = re.compile(
    r"(?P<claim>[^\s:=]{1,100}):(?P<value>[^=]{1,200})=(?P<role>[A-Za-z0-9-]{1,64})(@(?P<org>[a-z0-9-]{2,48}))?"
)
_MAX_VALUES: Final = 2000
# Each costs a call or two to the provider.
MAX_COMING: Final = 32
# In the order of what reads best in the audit log.
_NAMES: Final = ("preferred_username", "email", "upn")


class Provider(Protocol):
    """The other side. Raises `Unavailable`, `Unauthenticated` as `finish` of `SingleSignOn` does."""

    @property
    def name(self) -> str:
        """For the button: the host of its issuer."""

    @property
    def issuer(self) -> str: ...

    async def start(self, back: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes."""

    async def finish(self, back: str, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        """The claims of the ID token that `code` is exchanged for, verified."""


class Began(NamedTuple):
    """Where the browser goes, and what its cookie holds until it comes back."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Whoever's `claim` is or holds `value` has `role` in `organization`; the value `*` is any."""

    claim: str
    value: str
    role: str
    organization: OrganizationId


def parse_rules(texts: Iterable[str]) -> tuple[RoleRule, ...]:
    """`groups:plant-admins=administrator`, `roles:line-1=org-operator@line-1`. Raises `Invalid` (`oidc.rule`)."""
    rules = []
    for text in texts:
        found = _RULE.fullmatch(text.strip())
        if found is None:
            raise Invalid("oidc.rule", f"{text[:100]!r} is no rule such as groups:plant-admins=administrator")
        rules.append(
            RoleRule(found["claim"], found["value"].strip(), found["role"], OrganizationId(found["org"] or ""))
        )
    return tuple(rules)


def grant_of(claims: Mapping[str, Any], rules: Iterable[RoleRule]) -> RoleRule | None:
    """The first rule that these claims fulfil."""
    for rule in rules:
        value = claims.get(rule.claim)
        held = value[:_MAX_VALUES] if isinstance(value, list) else [] if value is None else [value]
        if (rule.value == "*" and held) or any(isinstance(each, str) and each == rule.value for each in held):
            return rule
    return None


class SingleSignOn:
    """One provider for one hub's application. Without a provider nothing leads to one."""

    def __init__(self, accounts: Entrance, provider: Provider | None, rules: tuple[RoleRule, ...] = ()) -> None:
        self._accounts = accounts
        self._provider = provider
        self._rules = rules
        self._coming = 0

    @property
    def name(self) -> str:
        """For the button; '' where there is no provider."""
        return "" if self._provider is None else self._provider.name

    async def begin(self, back: str) -> Began:
        """`back` is the address that the provider sends the browser to.

        Raises `NotFound` (`oidc.off`), `Unavailable` (`oidc.provider`).
        """
        provider = self._the_provider()
        secret = secrets.token_urlsafe(32)
        url = await provider.start(back, *(_made_of(secret, what) for what in ("state", "nonce", "verifier")))
        return Began(url, secret)

    async def finish(self, back: str, cookie: str, answer: Mapping[str, str], *, address: str, agent: str) -> SignedIn:
        """`answer` is what the provider put into the address: code and state, or an error.

        Raises:
            NotFound: `oidc.off`.
            Unauthenticated: `oidc.state` (another browser, or too late), `oidc.denied`, `oidc.token`,
                `account.refused`.
            Forbidden: `oidc.no_role`.
            Conflict: `oidc.taken`, `account.last_administrator`.
            Exhausted: `account.crowd`.
            Unavailable: `oidc.provider`.
        """
        if self._coming >= MAX_COMING:
            raise Exhausted(
                "account.crowd", f"{self._coming} people come in at this moment; try again", retry_after_s=5
            )
        self._coming += 1
        try:
            return await self._finish(back, cookie, answer, address, agent)
        except Refusal as refusal:
            self._accounts.tell_of_refusal("(unknown)", address, refusal.reason)
            raise
        finally:
            self._coming -= 1

    async def _finish(self, back: str, cookie: str, answer: Mapping[str, str], address: str, agent: str) -> SignedIn:
        provider = self._the_provider()
        state = answer.get("state", "")
        if not _SECRET.fullmatch(cookie) or not hmac.compare_digest(_made_of(cookie, "state").encode(), state.encode()):
            raise Unauthenticated(
                "oidc.state",
                "this answer belongs to another sign-in, or to one that was begun too long ago; begin again",
            )
        if "error" in answer or not answer.get("code"):
            said = answer.get("error", "no code")[:80]
            raise Unauthenticated("oidc.denied", f"{provider.name} did not let you in; it says {said!r}")
        claims = await provider.finish(
            back, answer["code"][:4096], _made_of(cookie, "nonce"), _made_of(cookie, "verifier")
        )
        comer = self._comer(provider, claims)
        return await self._accounts.come_in(comer, address=address, agent=agent)

    def _comer(self, provider: Provider, claims: Mapping[str, Any]) -> Comer:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise Unauthenticated("oidc.token", f"the ID token of {provider.name} names nobody")
        name = next((claims[each] for each in _NAMES if isinstance(claims.get(each), str) and claims[each]), subject)
        try:
            login = parse_login(name[:255])
        except Invalid:
            login = parse_login(f"sso-{hashlib.sha256(subject.encode()).hexdigest()[:16]}")
        rule = grant_of(claims, self._rules)
        if self._rules and rule is None:
            raise Forbidden(
                "oidc.no_role", f"{provider.name} says nothing of '{login}' that a role here is given for (oidc_roles)"
            )
        email = claims.get("email")
        is_verified = claims.get("email_verified") is True and isinstance(email, str) and email.casefold() == login
        return Comer(
            f"{provider.issuer} {subject}",
            login,
            None if rule is None else (rule.role, rule.organization),
            is_verified=is_verified,
        )

    def _the_provider(self) -> Provider:
        if self._provider is None:
            raise NotFound("oidc.off", "nobody signs in through a provider here", fix="moorage up --oidc-issuer URL")
        return self._provider


def _made_of(secret: str, what: str) -> str:
    made = hmac.digest(secret.encode(), what.encode(), "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
