"""What is decided inside a transaction of accounts, and how acts on users are told."""

from __future__ import annotations

import hashlib
import logging
import secrets
import shlex
from datetime import datetime
from typing import Final

from moorage.accounts.model import Actor, Login, OrganizationId, RoleId, User, UserId
from moorage.accounts.roles import ADMINISTRATOR, RoleDefinition, check_grant, check_reach, find_role, known_role
from moorage.accounts.tables import AccountTables
from moorage.errors import Conflict, NotFound, TooLarge
from moorage.events import Event
from moorage.ids import HubId

__all__ = [
    "MAX_USERS",
    "check_reach_of",
    "digest_of",
    "get_user",
    "grant",
    "new_user",
    "put_changed",
    "tell",
]

audit = logging.getLogger("moorage.audit")

MAX_USERS: Final = 1000


def new_user(
    tables: AccountTables, hub: HubId, login: Login, role: RoleId, organization: OrganizationId, now: datetime
) -> User:
    """A user who has no password yet, not stored. Raises `Conflict` (`account.taken`), `TooLarge`."""
    if tables.users.find_login(hub, login) is not None:
        raise Conflict(
            "account.taken", f"there is a user '{login}' already", fix=f"moorage user link {shlex.quote(login)}"
        )
    if len(tables.users.all(hub)) >= MAX_USERS:
        raise TooLarge("account.number", f"a hub has at most {MAX_USERS} users")
    return User(hub, UserId(secrets.token_hex(8)), login, role, "", now, organization=organization)


def get_user(tables: AccountTables, hub: HubId, actor: Actor, user_id: UserId) -> User:
    """One that the actor sees. Raises `NotFound` (`account.unknown`)."""
    user = tables.users.find(hub, user_id)
    if user is None or not actor.sees(user.organization):
        raise NotFound("account.unknown", f"there is no user '{user_id[:60]}'", fix="moorage user list")
    return user


def grant(tables: AccountTables, hub: HubId, actor: Actor, role: str, organization: OrganizationId) -> RoleDefinition:
    """The role that is meant, if the actor may give it there.

    Raises `Invalid` (`account.role`, `account.role_kind`), `Forbidden` (`account.beyond`), `NotFound`
    (`organization.unknown`).
    """
    definition = find_role(tables.roles, hub, role)
    check_grant(actor, definition, organization)
    if organization and tables.organizations.find(hub, organization) is None:
        raise NotFound("organization.unknown", f"there is no organization '{organization[:60]}'")
    return definition


def check_reach_of(tables: AccountTables, hub: HubId, actor: Actor, role: RoleId, organization: OrganizationId) -> None:
    """Nobody changes, deletes or lets in somebody who may more. Raises `Forbidden` (`account.beyond`)."""
    known = known_role(tables.roles, hub, role)
    if known is not None:
        check_reach(actor, known, organization)


def put_changed(tables: AccountTables, hub: HubId, present: User, changed: User) -> User:
    """Store a change; whoever is disabled by it is out. Raises `Conflict` (`account.last_administrator`)."""
    others = (each for each in tables.users.all(hub) if each.user_id != present.user_id)
    if _administers(present) and not _administers(changed) and not any(map(_administers, others)):
        raise Conflict("account.last_administrator", f"'{present.login}' is the last administrator who can sign in")
    tables.users.put(changed)
    if changed.is_disabled:
        tables.users.delete_sessions_of(hub, changed.user_id)
    tables.outbox.emit(Event("user.changed", hub, changed.user_id))
    return changed


def digest_of(token: str) -> str:
    """What is kept of a cookie or a link."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def tell(hub: HubId, event: str, **facts: object) -> None:
    """A line of the audit log."""
    told = {name: str(value) for name, value in {"hub": hub, **facts}.items()}
    line = " ".join(f"{name}=%s" for name in told)
    audit.info(f"{event} {line}", *told.values(), extra={"event": event, "facts": told})


def _administers(user: User) -> bool:
    return user.role == ADMINISTRATOR and not user.is_disabled and bool(user.password or user.subject)
