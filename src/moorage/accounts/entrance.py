"""Coming in, and staying in: passwords, links, providers, sessions.

    link ──► choose a password ──► session (a cookie) ──► signed out, idle, too old, disabled, another password: gone

A browser holds 32 random bytes; what is stored is their SHA-256. Whether a login exists is told to nobody: a wrong
login and a wrong password take as long and read the same. Every act is a line of the audit log.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv6Network, ip_address
from typing import Final, ParamSpec, TypeVar

from moorage.accounts.model import (
    OWNER,
    Actor,
    Link,
    Login,
    OrganizationId,
    RoleId,
    Session,
    User,
    UserId,
    parse_login,
)
from moorage.accounts.organizations import ROOT
from moorage.accounts.passwords import hash_password, is_password, parse_password
from moorage.accounts.roles import ADMINISTRATOR, RoleDefinition, known_role
from moorage.accounts.tables import AccountTables, actor_of
from moorage.accounts.throttle import (
    MAX_WRONG,
    Budget,
    SignInThrottle,
    budgets_of,
    is_known_browser,
    make_known_browser,
)
from moorage.accounts.user_rows import digest_of, grant, new_user, put_changed, tell
from moorage.clock import Clock
from moorage.errors import Conflict, Exhausted, Forbidden, NotFound, Unauthenticated
from moorage.events import Event
from moorage.ids import HubId, Secret
from moorage.store import Store

__all__ = ["MAX_HASHES", "MAX_SESSIONS", "SESSION_IDLE", "SESSION_LIFETIME", "Comer", "Entrance", "SignedIn"]

SESSION_LIFETIME: Final = timedelta(days=7)
SESSION_IDLE: Final = timedelta(hours=12)
# How exactly it is known when a session was last seen: a page must not cost a commit.
_SEEN_EVERY: Final = timedelta(minutes=5)
# How long a session that ended is known: a page that was left open may send as much as one that was not.
_LEFT_OPEN: Final = timedelta(days=7)
MAX_SESSIONS: Final = 20
_MAX_AGENT: Final = 200
# Each takes 64 MiB while it runs.
_HASHES_AT_ONCE: Final = 2
# A second or two of waiting.
MAX_HASHES: Final = 32
# A setting: whoever knows it may try ten passwords more, no more than that.
_BROWSER_KEY: Final = "sign_in_browsers"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`cookie` is told once, to the browser; `known` is what it keeps to be no stranger next time (throttle.py)."""

    user: User
    cookie: Secret
    known: str


@dataclass(frozen=True, slots=True)
class Comer:
    """Whoever comes through a provider.

    `subject` is the issuer and its own name of them; `grant` the role and organisation that rules give, None where no
    rules are; `is_verified` whether the provider vouches that the login is an address of theirs.
    """

    subject: str
    login: Login
    grant: tuple[str, OrganizationId] | None
    is_verified: bool


class Entrance:
    """How people come into one hub's application."""

    def __init__(self, hub: HubId, store: Store[AccountTables], clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self._throttle = SignInThrottle()
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)
        # Of those that run or wait for their turn.
        self._hashes = 0

    def actor(self, user: User) -> Actor:
        """Whom a user is when something is done."""
        return actor_of(self._store.read(), self._hub, user)

    def role(self, role_id: RoleId) -> RoleDefinition | None:
        """None for one that is gone."""
        return known_role(self._store.read().roles, self._hub, role_id)

    def role_of(self, user: User) -> str:
        """The name of a user's role."""
        role = self.role(user.role)
        return "no role" if role is None else role.display_name

    async def sign_in(self, login: str, password: str, *, address: str, agent: str, known: str = "") -> SignedIn:
        """`known` is what the browser keeps since it was let in last (`SignedIn.known`), '' where it never was.

        Raises `Unauthenticated` (`account.refused`), `Exhausted` (`account.too_many`, `account.crowd`).
        """
        named = login.strip().casefold()[:256]
        key = self._browser_key()
        is_known = key is not None and is_known_browser(key, named, known)
        budgets = budgets_of(named, _network_of(address), known[:200] if is_known else "")
        self._throttle.check(budgets, self._clock.monotonic())
        # Counted before it is known, so that many at once are not tried for nothing.
        self._throttle.failed(budgets, self._clock.monotonic())
        user = self._store.read().users.find_login(self._hub, Login(named))
        is_right = await self._hash(is_password, password, user.password if user else "")
        if user is None or not is_right or user.is_disabled:
            # Only names that there are: people type their password where the name belongs.
            self.tell_of_refusal(user.login if user else "(unknown)", address, "account.refused")
            raise Unauthenticated("account.refused", "no user has this name and password")
        self._throttle.succeeded(budgets, self._clock.monotonic())
        signed_in = await self._begin(user.user_id, address, agent, password=user.password)
        tell(self._hub, "user.signed_in", login=user.login, address=address, by=f"user:{user.login}")
        return signed_in

    def tell_of_refusal(self, login: str, address: str, reason: str) -> None:
        """Somebody was not let in; `login` is never what a stranger typed."""
        tell(self._hub, "user.refused", login=login, address=address, reason=reason, by="")

    async def come_in(self, comer: Comer, *, address: str, agent: str) -> SignedIn:
        """Let somebody in for whom a provider vouches.

        Who came before is known by the subject. Somebody new is taken for the user of that name only where that user
        was invited, has no password yet, and the name is an address that the provider has verified.

        Raises:
            Unauthenticated: `account.refused`, that user is disabled.
            Forbidden: `oidc.no_role`, nobody assigned them a role here, and no rule does.
            Conflict: `oidc.taken`, `account.last_administrator`.
            Invalid: `account.role`, `account.role_kind`; `NotFound`: `organization.unknown`: of a rule.
            TooLarge: `account.number`.
        """

        def work(tables: AccountTables) -> tuple[User | None, User]:
            user = tables.users.find_subject(self._hub, comer.subject)
            namesake = tables.users.find_login(self._hub, comer.login)
            if user is None and namesake is not None:
                if namesake.password or namesake.subject or not comer.is_verified:
                    raise Conflict(
                        "oidc.taken",
                        f"there is a user '{comer.login}' already who signs in otherwise",
                        fix=f"moorage user delete {shlex.quote(comer.login)}",
                    )
                user = namesake
            given = None if comer.grant is None else grant(tables, self._hub, OWNER, *comer.grant)
            if user is None:
                if comer.grant is None or given is None:
                    raise Forbidden(
                        "oidc.no_role",
                        f"nobody gave '{comer.login}' a role here",
                        fix=f"moorage user invite {shlex.quote(comer.login)}",
                    )
                user = new_user(tables, self._hub, comer.login, given.role_id, comer.grant[1], self._clock.now())
                made = replace(user, subject=comer.subject)
                tables.users.put(made)
                return None, made
            changed = replace(user, subject=comer.subject)
            if comer.grant is not None and given is not None:
                changed = replace(changed, role=given.role_id, organization=comer.grant[1])
            if user.is_disabled:
                raise Unauthenticated("account.refused", f"the user '{user.login}' is shut out here")
            if changed != user:
                put_changed(tables, self._hub, user, changed)
            return user, changed

        before, user = await self._store.write(work)
        if before is None or (before.role, before.organization) != (user.role, user.organization):
            tell(
                self._hub,
                "user.changed" if before else "user.came",
                login=user.login,
                **({} if before is None else {"role_before": self.role_of(before)}),
                role=self.role_of(user),
                organization=user.organization or "(the root)",
                by="provider",
            )
        signed_in = await self._begin(user.user_id, address, agent)
        tell(
            self._hub, "user.signed_in", login=user.login, address=address, through="provider", by=f"user:{user.login}"
        )
        return signed_in

    def find_link(self, token: str) -> tuple[Link, User | None]:
        """What a link is good for: the first administrator, or a user who chooses a password.

        Raises `NotFound` (`account.link`).
        """
        tables = self._store.read()
        link = tables.users.find_link(self._hub, digest_of(token))
        user = tables.users.find(self._hub, link.user_id) if link is not None and link.user_id else None
        if link is None or link.expires <= self._clock.now() or (link.user_id and user is None):
            raise NotFound(
                "account.link",
                "this link was used, has expired, or never was one",
                fix="moorage user link",
            )
        return link, user

    async def redeem(self, token: str, login: str, password: str, *, address: str, agent: str) -> SignedIn:
        """Use a link up: its user has the password from now on, and is signed in. `login` is for a first administrator.

        Raises:
            NotFound: `account.link`.
            Invalid: `account.login`, `account.password_length`, `account.password_is_name`.
            Conflict: `account.taken`.
        """
        link, user = self.find_link(token)
        named = user.login if user is not None else parse_login(login)
        chosen = parse_password(password, named)
        encoded = await self._hash(hash_password, chosen)

        def work(tables: AccountTables) -> User:
            if tables.users.find_link(self._hub, link.digest) is None:
                raise NotFound("account.link", "this link was used a moment ago", fix="moorage user link")
            tables.users.delete_link(self._hub, link.digest)
            # An older one that somebody else found opens nothing any more; so with those of earlier starts.
            tables.users.delete_links_of(self._hub, link.user_id)
            present = tables.users.find(self._hub, link.user_id) if link.user_id else None
            if present is None:
                if link.user_id:
                    raise NotFound("account.link", "the user of this link was deleted", fix="moorage user link")
                present = new_user(tables, self._hub, named, ADMINISTRATOR, ROOT, self._clock.now())
            changed = replace(present, password=encoded)
            tables.users.put(changed)
            # Whoever had the old password does not stay.
            tables.users.delete_sessions_of(self._hub, changed.user_id)
            tables.outbox.emit(Event("user.changed", self._hub, changed.user_id))
            return changed

        changed = await self._store.write(work)
        tell(self._hub, "user.password_chosen", login=changed.login, address=address, by=f"user:{changed.login}")
        return await self._begin(changed.user_id, address, agent)

    async def change_password(self, session: Session, user: User, present: str, wanted: str, *, address: str) -> None:
        """Another password for who is signed in and knows the one they have; their other browsers are signed out.

        Raises:
            Unauthenticated: `account.refused`, the present one is wrong.
            Exhausted: `account.too_many`, `account.crowd`.
            Invalid: `account.password_length`, `account.password_is_name`.
        """
        chosen = parse_password(wanted, user.login)
        budgets = (Budget(f"password of {user.user_id}", MAX_WRONG),)
        self._throttle.check(budgets, self._clock.monotonic())
        self._throttle.failed(budgets, self._clock.monotonic())
        if not await self._hash(is_password, present, user.password):
            raise Unauthenticated("account.refused", "this is not the password that you have")
        self._throttle.succeeded(budgets, self._clock.monotonic())
        encoded = await self._hash(hash_password, chosen)

        def work(tables: AccountTables) -> User:
            stored = tables.users.find(self._hub, user.user_id)
            if stored is None or stored.is_disabled or stored.password != user.password:
                raise Unauthenticated("account.refused", "this is not the password that you have")
            tables.users.put(replace(stored, password=encoded))
            tables.users.delete_sessions_of(self._hub, stored.user_id, but=session.digest)
            tables.outbox.emit(Event("user.changed", self._hub, stored.user_id))
            return stored

        changed = await self._store.write(work)
        tell(self._hub, "user.password_chosen", login=changed.login, address=address, by=f"user:{changed.login}")

    async def sign_out_elsewhere(self, session: Session, user: User) -> None:
        """Every browser of that user but this one."""
        await self._store.write(
            lambda tables: tables.users.delete_sessions_of(self._hub, user.user_id, but=session.digest)
        )
        tell(self._hub, "user.signed_out", login=user.login, where="everywhere else", by=f"user:{user.login}")

    def session(self, cookie: str) -> tuple[Session, User] | None:
        """Whose browser it is, as long as the session and the user are good."""
        users = self._store.read().users
        session = users.find_session(self._hub, digest_of(cookie))
        if session is None:
            return None
        if not self._is_good(session):
            return None
        user = users.find(self._hub, session.user_id)
        return None if user is None or user.is_disabled else (session, user)

    def was_here(self, cookie: str) -> bool:
        """Whether somebody was signed in by this cookie, until now or until some days ago."""
        return self._store.read().users.find_session(self._hub, digest_of(cookie)) is not None

    async def seen(self, session: Session) -> None:
        """The session was used; written down from time to time."""
        now = self._clock.now()
        if now - session.seen < _SEEN_EVERY:
            return

        def work(tables: AccountTables) -> None:
            if tables.users.find_session(self._hub, session.digest) is not None:
                tables.users.put_session(replace(session, seen=now))

        await self._store.write(work)

    async def sign_out(self, session: Session) -> None:
        user = self._store.read().users.find(self._hub, session.user_id)
        await self._store.write(lambda tables: tables.users.delete_session(self._hub, session.digest))
        login = session.user_id if user is None else user.login
        tell(self._hub, "user.signed_out", login=login, address=session.address, by=f"user:{login}")

    def sessions_of(self, user: User) -> list[Session]:
        """Those that are good, the newest first."""
        return [each for each in self._store.read().users.sessions_of(self._hub, user.user_id) if self._is_good(each)]

    async def sweep(self) -> None:
        """Forget links that nobody can use any more, and sessions some days after that."""
        now = self._clock.now()
        await self._store.write(
            lambda tables: tables.users.forget(
                self._hub, sessions_seen_before=now - SESSION_IDLE - _LEFT_OPEN, links_ended_before=now
            )
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _is_good(self, session: Session) -> bool:
        return self._clock.now() < min(session.created + SESSION_LIFETIME, session.seen + SESSION_IDLE)

    async def _hash(self, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Do `work` in a thread, a few at a time. Raises `Exhausted` (`account.crowd`) where too many wait already."""
        if self._hashes >= MAX_HASHES:
            raise Exhausted(
                "account.crowd", f"{self._hashes} people try to sign in at this moment; try again", retry_after_s=5
            )
        self._hashes += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(work, *arguments, **named)
        finally:
            self._hashes -= 1

    async def _begin(self, user_id: UserId, address: str, agent: str, *, password: str | None = None) -> SignedIn:
        """A session of that user; with `password`, as long as that is theirs: another may have been chosen while the
        one that was typed was looked at, and whoever knew the old one does not stay.
        """
        cookie = Secret(secrets.token_urlsafe(32))
        now = self._clock.now()

        def work(tables: AccountTables) -> SignedIn:
            user = tables.users.find(self._hub, user_id)
            if user is None or user.is_disabled or password not in (None, user.password):
                raise Unauthenticated("account.refused", "no user has this name and password")
            user = replace(user, signed_in=now)
            tables.users.put(user)
            for old in tables.users.sessions_of(self._hub, user_id)[MAX_SESSIONS - 1 :]:
                tables.users.delete_session(self._hub, old.digest)
            tables.users.put_session(
                Session(self._hub, digest_of(cookie.reveal()), user_id, now, now, address, agent[:_MAX_AGENT])
            )
            key = tables.settings.get(_BROWSER_KEY, self._hub)
            if key is None:
                key = secrets.token_hex(32)
                tables.settings.put(_BROWSER_KEY, key, self._hub)
            return SignedIn(user, cookie, make_known_browser(bytes.fromhex(key), user.login))

        return await self._store.write(work)

    def _browser_key(self) -> bytes | None:
        """What marks of browsers are made with; None before the first came in."""
        key = self._store.read().settings.get(_BROWSER_KEY, self._hub)
        return None if key is None else bytes.fromhex(key)


def _network_of(address: str) -> str:
    """What one customer of a provider has: an IPv4 address, or the first 64 bits of an IPv6 address."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(IPv6Network((int(ip) >> 64 << 64, 64)))
