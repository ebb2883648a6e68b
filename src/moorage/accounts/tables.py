"""What people, their roles, organisations and tokens are kept in."""

from __future__ import annotations

from typing import Protocol

from moorage.accounts.model import Actor, OrganizationId, Permission, RoleId, UserTable
from moorage.accounts.organizations import ROOT, OrganizationTable, Tree
from moorage.accounts.roles import RoleTable, known_role
from moorage.accounts.token_model import TokenTable
from moorage.events import Outbox
from moorage.ids import HubId

__all__ = ["AccountTables", "Settings", "actor_of"]


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


def actor_of(tables: AccountTables, hub: HubId, name: str, role_id: RoleId, organization: OrganizationId) -> Actor:
    """Whom somebody with that role in that organisation is.

    A role that is gone permits nothing, an organisation that is gone shows nothing.
    """
    role = known_role(tables.roles, hub, role_id)
    permissions: frozenset[Permission] = frozenset() if role is None else role.permissions
    called = "no role" if role is None else role.display_name
    if organization == ROOT:
        return Actor(name, permissions, role=called)
    tree = Tree(tables.organizations.all(hub))
    seen = tree.subtree(organization) if organization in tree.nodes else frozenset()
    return Actor(name, permissions, organization, seen, called)
