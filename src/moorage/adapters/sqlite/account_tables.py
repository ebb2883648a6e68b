"""Users of the application, their sessions and links (port: `accounts.model.UserTable`)."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from moorage.accounts.model import Link, Login, OrganizationId, RoleId, Session, User, UserId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_micros, maybe_from_micros, maybe_to_micros, to_micros
from moorage.ids import HubId

__all__ = ["Users", "delete_owned"]

_U, _S, _L = schema.users.c, schema.web_sessions.c, schema.sign_in_links.c
_USER = [column for column in _U if column.name != "hub_id"]
_SESSION = [column for column in _S if column.name != "hub_id"]
_PUT_USER = upsert(schema.users)
_FIND_USER = select_by(schema.users, _USER, "hub_id", "user_id")
_FIND_LOGIN = select_by(schema.users, _USER, "hub_id", "login")
_FIND_SUBJECT = select_by(schema.users, _USER, "hub_id", "subject")
_ALL_USERS = compile_sql(sa.select(*_USER).where(_U.hub_id == parameter("hub_id")).order_by(_U.login), "hub_id")
_DELETE_USER = delete_by(schema.users, "hub_id", "user_id")
_PUT_SESSION = upsert(schema.web_sessions)
_FIND_SESSION = select_by(schema.web_sessions, _SESSION, "hub_id", "digest")
_SESSIONS_OF = compile_sql(
    sa.select(*_SESSION)
    .where(_S.hub_id == parameter("hub_id"), _S.user_id == parameter("user_id"))
    .order_by(_S.created.desc()),
    "hub_id",
    "user_id",
)
_DELETE_SESSION = delete_by(schema.web_sessions, "hub_id", "digest")
_DELETE_SESSIONS_OF = compile_sql(
    sa.delete(schema.web_sessions).where(
        _S.hub_id == parameter("hub_id"), _S.user_id == parameter("user_id"), _S.digest != parameter("but")
    ),
    "hub_id",
    "user_id",
    "but",
)
_FORGET_SESSIONS = compile_sql(
    sa.delete(schema.web_sessions).where(_S.hub_id == parameter("hub_id"), _S.seen < parameter("seen")),
    "hub_id",
    "seen",
)
_PUT_LINK = upsert(schema.sign_in_links)
_FIND_LINK = select_by(schema.sign_in_links, [_L.user_id, _L.expires], "hub_id", "digest")
_DELETE_LINK = delete_by(schema.sign_in_links, "hub_id", "digest")
_DELETE_LINKS_OF = delete_by(schema.sign_in_links, "hub_id", "user_id")
_DELETE_OWNED = [
    delete_by(table, "hub_id", "owner") for table in schema.users.metadata.sorted_tables if "owner" in table.c
]
_FORGET_LINKS = compile_sql(
    sa.delete(schema.sign_in_links).where(_L.hub_id == parameter("hub_id"), _L.expires <= parameter("expires")),
    "hub_id",
    "expires",
)


def delete_owned(connection: sqlite3.Connection, hub: HubId, key: str) -> None:
    """What was of that actor alone, in every table that has an owner."""
    for statement in _DELETE_OWNED:
        connection.execute(statement, (hub, key))


class Users:
    """Port: `accounts.model.UserTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, user_id: UserId) -> User | None:
        row = self._connection.execute(_FIND_USER, (hub, user_id)).fetchone()
        return None if row is None else _user(hub, *row)

    def find_login(self, hub: HubId, login: Login) -> User | None:
        row = self._connection.execute(_FIND_LOGIN, (hub, login)).fetchone()
        return None if row is None else _user(hub, *row)

    def find_subject(self, hub: HubId, subject: str) -> User | None:
        row = self._connection.execute(_FIND_SUBJECT, (hub, subject)).fetchone()
        return None if row is None else _user(hub, *row)

    def all(self, hub: HubId) -> list[User]:
        return [_user(hub, *row) for row in self._connection.execute(_ALL_USERS, (hub,)).fetchall()]

    def put(self, user: User) -> None:
        self._connection.execute(
            _PUT_USER,
            (
                user.hub,
                user.user_id,
                user.login,
                user.role,
                user.password,
                to_micros(user.created),
                maybe_to_micros(user.signed_in),
                int(user.is_disabled),
                user.organization,
                user.subject,
            ),
        )

    def delete(self, hub: HubId, user_id: UserId) -> None:
        user = self.find(hub, user_id)
        if user is not None:
            delete_owned(self._connection, hub, user.key)
        self.delete_sessions_of(hub, user_id)
        self._connection.execute(_DELETE_LINKS_OF, (hub, user_id))
        self._connection.execute(_DELETE_USER, (hub, user_id))

    def find_session(self, hub: HubId, digest: str) -> Session | None:
        row = self._connection.execute(_FIND_SESSION, (hub, digest)).fetchone()
        return None if row is None else _session(hub, *row)

    def sessions_of(self, hub: HubId, user_id: UserId) -> list[Session]:
        return [_session(hub, *row) for row in self._connection.execute(_SESSIONS_OF, (hub, user_id)).fetchall()]

    def put_session(self, session: Session) -> None:
        self._connection.execute(
            _PUT_SESSION,
            (
                session.hub,
                session.digest,
                session.user_id,
                to_micros(session.created),
                to_micros(session.seen),
                session.address,
                session.agent,
            ),
        )

    def delete_session(self, hub: HubId, digest: str) -> None:
        self._connection.execute(_DELETE_SESSION, (hub, digest))

    def delete_sessions_of(self, hub: HubId, user_id: UserId, *, but: str = "") -> None:
        self._connection.execute(_DELETE_SESSIONS_OF, (hub, user_id, but))

    def find_link(self, hub: HubId, digest: str) -> Link | None:
        row = self._connection.execute(_FIND_LINK, (hub, digest)).fetchone()
        return None if row is None else Link(hub, digest, row[0], from_micros(row[1]))

    def put_link(self, link: Link) -> None:
        self._connection.execute(_PUT_LINK, (link.hub, link.digest, link.user_id, to_micros(link.expires)))

    def delete_link(self, hub: HubId, digest: str) -> None:
        self._connection.execute(_DELETE_LINK, (hub, digest))

    def delete_links_of(self, hub: HubId, user_id: UserId) -> None:
        self._connection.execute(_DELETE_LINKS_OF, (hub, user_id))

    def forget(self, hub: HubId, *, sessions_seen_before: datetime, links_ended_before: datetime) -> None:
        self._connection.execute(_FORGET_SESSIONS, (hub, to_micros(sessions_seen_before)))
        self._connection.execute(_FORGET_LINKS, (hub, to_micros(links_ended_before)))


def _user(
    hub: HubId,
    user_id: UserId,
    login: Login,
    role: RoleId,
    password: str,
    created: int,
    signed_in: int | None,
    is_disabled: int,
    organization: OrganizationId,
    subject: str,
) -> User:
    return User(
        hub,
        user_id,
        login,
        role,
        password,
        from_micros(created),
        maybe_from_micros(signed_in),
        bool(is_disabled),
        organization,
        subject,
    )


def _session(hub: HubId, digest: str, user_id: UserId, created: int, seen: int, *rest: Any) -> Session:
    return Session(hub, digest, user_id, from_micros(created), from_micros(seen), *rest)
