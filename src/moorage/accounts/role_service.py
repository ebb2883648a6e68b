"""Roles that people make: copied from another, changed, deleted when nobody has them any more (USR-5 to USR-7)."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from moorage.accounts.model import Actor, RoleId
from moorage.accounts.roles import (
    BUILT_IN,
    MAX_ROLES,
    RoleDefinition,
    RoleKind,
    check_unused,
    known_role,
    parse_permissions,
    parse_role_name,
)
from moorage.accounts.tables import AccountTables
from moorage.errors import Conflict, Forbidden, NotFound, TooLarge
from moorage.events import Event
from moorage.ids import HubId, check_etag
from moorage.store import Store

__all__ = ["Roles"]

audit = logging.getLogger("moorage.audit")

_MAX_DESCRIPTION: Final = 300


class Roles:
    """The roles of one hub's application, built in and made."""

    def __init__(self, hub: HubId, store: Store[AccountTables]) -> None:
        self._hub = hub
        self._store = store

    def all(self) -> list[RoleDefinition]:
        """The built-in ones first; those of organisations only once there is an organisation (USR-4)."""
        tables = self._store.read()
        has_organizations = bool(tables.organizations.all(self._hub))
        built_in = [role for role in BUILT_IN.values() if role.kind == "application" or has_organizations]
        return [*built_in, *tables.roles.all(self._hub)]

    def assignable(self, actor: Actor) -> list[RoleDefinition]:
        """Those that the actor may give somewhere."""
        return [role for role in self.all() if role.permissions <= actor.permissions]

    def get(self, role_id: RoleId) -> RoleDefinition:
        """Raises `NotFound` (`role.unknown`)."""
        role = known_role(self._store.read().roles, self._hub, RoleId(role_id[:64]))
        if role is None:
            raise NotFound("role.unknown", f"there is no role '{role_id[:64]}'")
        return role

    def used(self) -> Mapping[RoleId, int]:
        """How many users and tokens have each."""
        tables = self._store.read()
        return Counter(
            [user.role for user in tables.users.all(self._hub)]
            + [token.role for token in tables.api_tokens.all(self._hub)]
        )

    async def create(
        self,
        actor: Actor,
        name: str,
        kind: RoleKind,
        permissions: Iterable[str],
        description: str = "",
        *,
        role_id: RoleId | None = None,
    ) -> RoleDefinition:
        """`role_id` is the caller's own choice.

        Raises `Invalid` (`role.*`), `Forbidden` (`account.beyond`), `Conflict` (`role.taken`), `TooLarge`.
        """
        role = RoleDefinition(
            role_id or RoleId(str(uuid.uuid4())),
            parse_role_name(name),
            kind,
            parse_permissions(permissions, kind),
            description=" ".join(description.split())[:_MAX_DESCRIPTION],
        )
        _check_own(actor, role)

        def work(tables: AccountTables) -> None:
            self._check_free(tables, role)
            if tables.roles.find(self._hub, role.role_id) is not None:
                raise Conflict("role.taken", f"there is a role with the id '{role.role_id}' already")
            if len(tables.roles.all(self._hub)) >= MAX_ROLES:
                raise TooLarge("role.number", f"an application has at most {MAX_ROLES} roles of its own")
            tables.roles.put(self._hub, role)

        await self._store.write(work)
        self._tell("role.created", actor, role, kind=kind, permissions=", ".join(sorted(role.permissions)))
        return role

    async def change(
        self,
        actor: Actor,
        role_id: RoleId,
        name: str,
        permissions: Iterable[str],
        description: str = "",
        *,
        if_match: str | None = None,
    ) -> RoleDefinition:
        """Whoever has it may something else from now on; its kind stays.

        Raises:
            NotFound: `role.unknown`.
            Invalid: `role.*`.
            Forbidden: `account.beyond`, now or before it holds what the actor may not do.
            Conflict: `role.built_in`, `role.taken`.
            PreconditionFailed: `etag.stale`.
        """
        named, wanted = parse_role_name(name), list(permissions)

        def work(tables: AccountTables) -> tuple[RoleDefinition, RoleDefinition]:
            before = self._made(tables, actor, role_id)
            check_etag(f"the role {before.display_name}", if_match, before.etag)
            role = replace(
                before,
                display_name=named,
                permissions=parse_permissions(wanted, before.kind),
                description=" ".join(description.split())[:_MAX_DESCRIPTION],
                version=before.version + 1,
            )
            _check_own(actor, role)
            self._check_free(tables, role)
            tables.roles.put(self._hub, role)
            tables.outbox.emit(Event("roles.changed", self._hub, role_id))
            return before, role

        before, role = await self._store.write(work)
        self._tell(
            "role.changed",
            actor,
            role,
            name_before=before.display_name,
            permissions_before=", ".join(sorted(before.permissions)),
            permissions=", ".join(sorted(role.permissions)),
        )
        return role

    async def delete(self, actor: Actor, role_id: RoleId, *, if_match: str | None = None) -> None:
        """Raises `NotFound` (`role.unknown`), `Conflict` (`role.built_in`, `role.in_use`), `Forbidden`,
        `PreconditionFailed` (`etag.stale`).
        """

        def work(tables: AccountTables) -> RoleDefinition:
            role = self._made(tables, actor, role_id)
            check_etag(f"the role {role.display_name}", if_match, role.etag)
            users = sum(user.role == role_id for user in tables.users.all(self._hub))
            tokens = sum(token.role == role_id for token in tables.api_tokens.all(self._hub))
            check_unused(role, users, tokens)
            tables.roles.delete(self._hub, role_id)
            return role

        self._tell("role.deleted", actor, await self._store.write(work))

    def _made(self, tables: AccountTables, actor: Actor, role_id: RoleId) -> RoleDefinition:
        if role_id in BUILT_IN:
            raise Conflict(
                "role.built_in", f"{BUILT_IN[role_id].display_name} is built in; copy it and change the copy"
            )
        role = tables.roles.find(self._hub, role_id)
        if role is None:
            raise NotFound("role.unknown", f"there is no role '{role_id[:64]}'")
        _check_own(actor, role)
        return role

    def _check_free(self, tables: AccountTables, wanted: RoleDefinition) -> None:
        name = wanted.display_name.casefold()
        for role in (*BUILT_IN.values(), *tables.roles.all(self._hub)):
            if role.role_id != wanted.role_id and role.display_name.casefold() == name:
                raise Conflict("role.taken", f"there is a role {role.display_name!r} already")

    def _tell(self, event: str, actor: Actor, role: RoleDefinition, **more: str) -> None:
        facts = {"hub": self._hub, "role": role.display_name, "id": role.role_id, **more, "by": actor.name}
        line = " ".join(f"{name}=%s" for name in facts)
        audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})


def _check_own(actor: Actor, role: RoleDefinition) -> None:
    """Roles belong to the whole application, so whoever belongs to an organisation makes none."""
    more = role.permissions - actor.permissions
    if more or actor.organizations is not None:
        what = f"may not {', '.join(sorted(more)[:5])} themselves" if more else "belongs to an organization"
        raise Forbidden("account.beyond", f"{actor.name} {what}, so this role is not theirs to make or change")
