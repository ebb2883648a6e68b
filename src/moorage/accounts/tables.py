"""What people, their roles, organisations and tokens are kept in."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from moorage.accounts.model import OWNER, Actor, Maker, Permission, User, UserId, UserTable
from moorage.accounts.organizations import ROOT, OrganizationTable, Tree
from moorage.accounts.roles import RoleTable, known_role
from moorage.accounts.token_model import ApiToken, TokenId, TokenTable
from moorage.errors import Forbidden
from moorage.events import Outbox
from moorage.ids import HubId

__all__ = ["AccountTables", "Settings", "acting_in", "actor_of"]


class Settings(Protocol):
    """Small lasting texts, by key."""

    def get(self, key: str, hub: HubId, /) -> str | None: ...

    def put(self, key: str, value: str, hub: HubId, /) -> None: ...


class AccountTables(Protocol):
    @property
    def users(self) -> UserTable: ...

    @property
    def roles(self) -> RoleTable: ...

    @property
    def organizations(self) -> OrganizationTable: ...

    @property
    def api_tokens(self) -> TokenTable: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def outbox(self) -> Outbox: ...


def actor_of(tables: AccountTables, hub: HubId, who: User | ApiToken) -> Actor:
    """What they may and see now.

    A role that is gone permits nothing, an organisation that is gone shows nothing.
    """
    name = f"user:{who.login}" if isinstance(who, User) else f"token:{who.token_id}"
    role = known_role(tables.roles, hub, who.role)
    permissions: frozenset[Permission] = frozenset() if role is None else role.permissions
    called = "no role" if role is None else role.display_name
    if who.organization == ROOT:
        return Actor(name, permissions, role=called, key=who.key)
    tree = Tree(tables.organizations.all(hub))
    seen = tree.subtree(who.organization) if who.organization in tree.nodes else frozenset()
    return Actor(name, permissions, who.organization, seen, called, who.key)


def acting_in(tables: AccountTables, hub: HubId, maker: Maker, now: datetime) -> Actor:
    """For whom something goes on, with what they may and see now: not with what they might when they made it.

    Raises `Forbidden` when they are nobody any more: `maker.gone`, `maker.disabled`, `maker.expired`.
    """
    if maker.key == OWNER.key:
        return OWNER
    kind, _, rest = maker.key.partition(":")
    name = rest.rpartition(":")[0]
    found: User | ApiToken | None = None
    if kind == "user":
        found = tables.users.find(hub, UserId(name))
    elif kind == "token":
        found = tables.api_tokens.find(hub, TokenId(name))
    if found is None or found.key != maker.key:
        raise Forbidden("maker.gone", f"{maker.name}, for whom this goes on, was deleted")
    if isinstance(found, User) and found.is_disabled:
        raise Forbidden("maker.disabled", f"{maker.name}, for whom this goes on, is disabled")
    if isinstance(found, ApiToken) and now >= found.expires:
        raise Forbidden(
            "maker.expired", f"{maker.name}, for which this goes on, ended at {found.expires:%Y-%m-%d %H:%M:%S} UTC"
        )
    return actor_of(tables, hub, found)
