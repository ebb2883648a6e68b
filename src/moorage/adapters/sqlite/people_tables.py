"""Roles, organisations and API tokens (ports: `accounts.roles`, `accounts.organizations`, `accounts.token_model`)."""

from __future__ import annotations

import sqlite3
from typing import Final

import sqlalchemy as sa

from moorage.accounts.model import OrganizationId, RoleId
from moorage.accounts.organizations import Organization
from moorage.accounts.roles import RoleDefinition, RoleKind
from moorage.accounts.token_model import ApiToken, TokenId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.account_tables import delete_owned
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.ids import HubId

__all__ = ["ApiTokens", "OrganizationRows", "RoleRows"]

_R, _O, _T = schema.roles.c, schema.organizations.c, schema.api_tokens.c


def _of_a_hub(table: sa.Table, order: sa.Column[str]) -> tuple[list[sa.Column[object]], str]:
    """The columns behind `hub_id`, and the statement that reads all of a hub's rows in that order."""
    columns = [column for column in table.c if column.name != "hub_id"]
    return columns, compile_sql(
        sa.select(*columns).where(table.c.hub_id == parameter("hub_id")).order_by(order), "hub_id"
    )


_ROLE, _ALL_ROLES = _of_a_hub(schema.roles, _R.display_name)
_FIND_ROLE = select_by(schema.roles, _ROLE, "hub_id", "role_id")
_PUT_ROLE = upsert(schema.roles)
_DELETE_ROLE = delete_by(schema.roles, "hub_id", "role_id")

_ORGANIZATION, _ALL_ORGANIZATIONS = _of_a_hub(schema.organizations, _O.organization_id)
_FIND_ORGANIZATION = select_by(schema.organizations, _ORGANIZATION, "hub_id", "organization_id")
_PUT_ORGANIZATION = upsert(schema.organizations)
_DELETE_ORGANIZATION = delete_by(schema.organizations, "hub_id", "organization_id")

_TOKEN, _ALL_TOKENS = _of_a_hub(schema.api_tokens, _T.token_id)
_FIND_TOKEN = select_by(schema.api_tokens, _TOKEN, "hub_id", "token_id")
_PUT_TOKEN = upsert(schema.api_tokens)
_DELETE_TOKEN = delete_by(schema.api_tokens, "hub_id", "token_id")

# Where it is a key, it is of a sum that triggers keep.
_OWNED: Final = [
    table
    for table in schema.users.metadata.sorted_tables
    if "organization" in table.c and not table.c.organization.primary_key
]
_WORDS: Final = {"api_tokens": "API tokens"}


def _word(table: sa.Table) -> str:
    return _WORDS.get(table.name, table.name.replace("_", " "))


def _count(table: sa.Table) -> str:
    return compile_sql(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.hub_id == parameter("hub_id"), table.c.organization == parameter("organization")),
        "hub_id",
        "organization",
    )


def _move(table: sa.Table) -> str:
    """Whoever read it before the move must not write over it: its version goes up, where it has one."""
    values: dict[str, object] = {"organization": parameter("to")}
    if "version" in table.c:
        values["version"] = table.c.version + sa.literal_column("1")
    return compile_sql(
        sa.update(table)
        .where(table.c.hub_id == parameter("hub_id"), table.c.organization == parameter("from"))
        .values(values),
        "to",
        "hub_id",
        "from",
    )


_HELD: Final = [(_word(table), _count(table)) for table in _OWNED]
_MOVES: Final = [(_word(table), _move(table)) for table in _OWNED]


class RoleRows:
    """Port: `accounts.roles.RoleTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, role_id: RoleId) -> RoleDefinition | None:
        row = self._connection.execute(_FIND_ROLE, (hub, role_id)).fetchone()
        return None if row is None else _role(*row)

    def all(self, hub: HubId) -> list[RoleDefinition]:
        return [_role(*row) for row in self._connection.execute(_ALL_ROLES, (hub,)).fetchall()]

    def put(self, hub: HubId, role: RoleDefinition) -> None:
        permissions = to_json(sorted(role.permissions))
        self._connection.execute(
            _PUT_ROLE,
            (hub, role.role_id, role.display_name, role.kind, permissions, role.description, role.version),
        )

    def delete(self, hub: HubId, role_id: RoleId) -> None:
        self._connection.execute(_DELETE_ROLE, (hub, role_id))


class OrganizationRows:
    """Port: `accounts.organizations.OrganizationTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, organization_id: OrganizationId) -> Organization | None:
        row = self._connection.execute(_FIND_ORGANIZATION, (hub, organization_id)).fetchone()
        return None if row is None else Organization(hub, *row)

    def all(self, hub: HubId) -> list[Organization]:
        return [Organization(hub, *row) for row in self._connection.execute(_ALL_ORGANIZATIONS, (hub,)).fetchall()]

    def put(self, organization: Organization) -> None:
        self._connection.execute(
            _PUT_ORGANIZATION,
            (
                organization.hub,
                organization.organization_id,
                organization.display_name,
                organization.parent,
                organization.version,
            ),
        )

    def delete(self, hub: HubId, organization_id: OrganizationId) -> None:
        self._connection.execute(_DELETE_ORGANIZATION, (hub, organization_id))

    def held(self, hub: HubId, organization_id: OrganizationId) -> dict[str, int]:
        counts = {
            word: self._connection.execute(statement, (hub, organization_id)).fetchone()[0] for word, statement in _HELD
        }
        return {word: count for word, count in counts.items() if count}

    def move(self, hub: HubId, organization_id: OrganizationId, to: OrganizationId, *, only: str = "") -> None:
        for word, statement in _MOVES:
            if only in ("", word):
                self._connection.execute(statement, (to, hub, organization_id))


class ApiTokens:
    """Port: `accounts.token_model.TokenTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, token_id: TokenId) -> ApiToken | None:
        row = self._connection.execute(_FIND_TOKEN, (hub, token_id)).fetchone()
        return None if row is None else _token(hub, *row)

    def all(self, hub: HubId) -> list[ApiToken]:
        return [_token(hub, *row) for row in self._connection.execute(_ALL_TOKENS, (hub,)).fetchall()]

    def put(self, token: ApiToken) -> None:
        self._connection.execute(
            _PUT_TOKEN,
            (
                token.hub,
                token.token_id,
                token.role,
                token.organization,
                token.digest,
                token.created_by,
                to_micros(token.created),
                to_micros(token.expires),
            ),
        )

    def delete(self, hub: HubId, token_id: TokenId) -> None:
        token = self.find(hub, token_id)
        if token is not None:
            delete_owned(self._connection, hub, token.key)
        self._connection.execute(_DELETE_TOKEN, (hub, token_id))


def _role(
    role_id: RoleId, display_name: str, kind: RoleKind, permissions: str, description: str, version: int
) -> RoleDefinition:
    return RoleDefinition(
        role_id, display_name, kind, frozenset(from_json(permissions)), description=description, version=version
    )


def _token(
    hub: HubId,
    token_id: TokenId,
    role: RoleId,
    organization: OrganizationId,
    digest: str,
    created_by: str,
    created: int,
    expires: int,
) -> ApiToken:
    return ApiToken(hub, token_id, role, organization, from_micros(created), from_micros(expires), digest, created_by)
