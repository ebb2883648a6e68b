"""The users of an application: who they are, where they belong, and what each may do.

How they come in is `entrance`; both are one object to those who call them.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from moorage.accounts.entrance import Entrance
from moorage.accounts.model import (
    INVITATION_LIFETIME,
    LINK_LIFETIME,
    OWNER,
    Actor,
    Link,
    OrganizationId,
    User,
    UserId,
    parse_login,
)
from moorage.accounts.organizations import ROOT
from moorage.accounts.roles import ADMINISTRATOR, RoleDefinition
from moorage.accounts.tables import AccountTables
from moorage.accounts.user_rows import check_reach_of, digest_of, get_user, grant, new_user, put_changed, tell
from moorage.errors import Conflict, NotFound, PreconditionFailed
from moorage.ids import Secret

__all__ = ["Accounts"]


class Accounts(Entrance):
    """The users of one hub's application."""

    def users(self) -> list[User]:
        return self._store.read().users.all(self._hub)

    async def users_after(self, actor: Actor, login: str, limit: int) -> list[User]:
        """The first so many that the actor sees and whose names come behind that one."""
        found = await self._store.scan(lambda tables: tables.users.all(self._hub))
        return [user for user in found if user.login > login and actor.sees(user.organization)][:limit]

    def get(self, actor: Actor, user_id: UserId) -> User:
        """Raises `NotFound` (`account.unknown`)."""
        return get_user(self._store.read(), self._hub, actor, user_id)

    async def first_link(self) -> Secret | None:
        """A link for the first administrator; None where somebody can sign in already."""
        if any(user.password for user in self.users()):
            return None
        return await self.make_link(replace(OWNER, name="start"), None)

    async def make_link(self, actor: Actor, login: str | None) -> Secret:
        """A link for that user, or for a new administrator.

        Raises `NotFound` (`account.unknown`), `Forbidden` (`account.beyond`): whoever has a link is that user.
        """
        token = Secret(secrets.token_urlsafe(32))
        expires = self._clock.now() + LINK_LIFETIME

        def work(tables: AccountTables) -> None:
            user = None if login is None else tables.users.find_login(self._hub, parse_login(login))
            if login is not None and (user is None or not actor.sees(user.organization)):
                raise NotFound("account.unknown", f"there is no user '{login[:80]}'", fix="moorage user list")
            role, where = (ADMINISTRATOR, ROOT) if user is None else (user.role, user.organization)
            check_reach_of(tables, self._hub, actor, role, where)
            tables.users.put_link(
                Link(self._hub, digest_of(token.reveal()), UserId("") if user is None else user.user_id, expires)
            )

        await self._store.write(work)
        tell(self._hub, "user.link_made", login=login or "(a new administrator)", by=actor.name)
        return token

    async def invite(
        self,
        actor: Actor,
        login: str,
        role: str,
        organization: OrganizationId = ROOT,
        *,
        user_id: UserId | None = None,
    ) -> tuple[User, Secret]:
        """A new user, and the link by which they choose a password. `role` is an id or a built-in one's short word,
        `user_id` the caller's own choice.

        Raises:
            Invalid: `account.login`, `account.role`, `account.role_kind`.
            Forbidden: `account.beyond`.
            NotFound: `organization.unknown`.
            Conflict: `account.taken`.
            TooLarge: `account.number`.
        """
        named = parse_login(login)
        token = Secret(secrets.token_urlsafe(32))
        expires = self._clock.now() + INVITATION_LIFETIME

        def work(tables: AccountTables) -> tuple[User, RoleDefinition]:
            definition = grant(tables, self._hub, actor, role, organization)
            user = new_user(tables, self._hub, named, definition.role_id, organization, self._clock.now())
            if user_id is not None:
                if tables.users.find(self._hub, user_id) is not None:
                    raise Conflict("account.taken", f"there is a user with the id '{user_id}' already")
                user = replace(user, user_id=user_id)
            tables.users.put(user)
            tables.users.put_link(Link(self._hub, digest_of(token.reveal()), user.user_id, expires))
            return user, definition

        user, definition = await self._store.write(work)
        tell(
            self._hub,
            "user.invited",
            login=user.login,
            role=definition.display_name,
            organization=organization or "(the root)",
            by=actor.name,
        )
        return user, token

    async def change(
        self,
        actor: Actor,
        user_id: UserId,
        *,
        role: str | None = None,
        organization: OrganizationId | None = None,
        is_disabled: bool | None = None,
        if_was: tuple[str, str] | None = None,
    ) -> User:
        """Another role, another organisation, shut out or let in again (USR-2, in place).

        `if_was` is the role and the organisation that the caller saw.

        Raises:
            Invalid: `account.role`, `account.role_kind`.
            NotFound: `account.unknown`, `organization.unknown`.
            Forbidden: `account.beyond`.
            Conflict: `account.last_administrator`.
            PreconditionFailed: `etag.stale`.
        """

        def work(tables: AccountTables) -> tuple[User, User]:
            before = get_user(tables, self._hub, actor, user_id)
            check_reach_of(tables, self._hub, actor, before.role, before.organization)
            _check_was(before, if_was)
            there = before.organization if organization is None else organization
            given = before.role
            if role is not None or organization is not None:
                given = grant(tables, self._hub, actor, before.role if role is None else role, there).role_id
            shut = before.is_disabled if is_disabled is None else is_disabled
            wanted = replace(before, role=given, organization=there, is_disabled=shut)
            return before, put_changed(tables, self._hub, before, wanted)

        before, changed = await self._store.write(work)
        tell(
            self._hub,
            "user.changed",
            login=changed.login,
            role_before=self.role_of(before),
            role=self.role_of(changed),
            organization_before=before.organization or "(the root)",
            organization=changed.organization or "(the root)",
            disabled_before=before.is_disabled,
            disabled=changed.is_disabled,
            by=actor.name,
        )
        return changed

    async def delete(self, actor: Actor, user_id: UserId, *, if_was: tuple[str, str] | None = None) -> None:
        """Raises `NotFound` (`account.unknown`), `Forbidden` (`account.beyond`), and the rest as `change`."""

        def work(tables: AccountTables) -> User:
            user = get_user(tables, self._hub, actor, user_id)
            check_reach_of(tables, self._hub, actor, user.role, user.organization)
            _check_was(user, if_was)
            put_changed(tables, self._hub, user, replace(user, is_disabled=True))
            tables.users.delete(self._hub, user_id)
            return user

        user = await self._store.write(work)
        tell(self._hub, "user.deleted", login=user.login, by=actor.name)


def _check_was(user: User, if_was: tuple[str, str] | None) -> None:
    if if_was is not None and if_was != (user.role, user.organization):
        raise PreconditionFailed(
            "etag.stale", f"somebody else has changed the role of '{user.login}' since you saw it; look again"
        )
