"""Twins, waiting messages, MQTT sessions and activity (ports in `hub/model.py`).

They hang on an identity. Writing one for an identity that is gone, because its deletion committed first, is refused.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import (
    from_json,
    from_micros,
    maybe_from_micros,
    maybe_to_micros,
    to_json,
    to_micros,
)
from moorage.errors import NotFound
from moorage.hub.model import Activity, CloudMessage, Document, MqttSession, Twin
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["Activities", "Messages", "MqttSessions", "Twins"]

_KEY = ("hub_id", "device_id", "module_id")


def _values_of(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if column.name not in _KEY]


def _put(connection: sqlite3.Connection, sql: str, name: IdentityName, row: tuple[Any, ...]) -> None:
    try:
        connection.execute(sql, row)
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            raise
        raise NotFound(
            "device.not_found" if name.module_id is None else "module.not_found",
            f"'{name}' is not registered (any more)",
            fix=f"moorage device create {shlex.quote(name.device_id)}",
        ) from error


FIND_TWIN = select_by(schema.twins, _values_of(schema.twins), *_KEY)
_PUT_TWIN = upsert(schema.twins)


class Twins:
    """Port: `hub.model.TwinTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: IdentityName) -> Twin | None:
        row = self._connection.execute(FIND_TWIN, (hub, name.device_id, name.module_id or "")).fetchone()
        if row is None:
            return None
        version, tags, desired, desired_meta, desired_version, reported, reported_meta, reported_version, model = row
        return Twin(
            hub,
            name,
            version,
            from_json(tags),
            Document(from_json(desired), from_json(desired_meta), desired_version),
            Document(from_json(reported), from_json(reported_meta), reported_version),
            model,
        )

    def put(self, twin: Twin) -> None:
        """Raises `NotFound` (`device.not_found`, `module.not_found`)."""
        row = (
            twin.hub,
            twin.name.device_id,
            twin.name.module_id or "",
            twin.version,
            to_json(twin.tags),
            to_json(twin.desired.value),
            to_json(twin.desired.metadata),
            twin.desired.version,
            to_json(twin.reported.value),
            to_json(twin.reported.metadata),
            twin.reported.version,
            twin.model_id,
        )
        _put(self._connection, _PUT_TWIN, twin.name, row)


_M = schema.messages.c
_OF_A_QUEUE = tuple(_M[key] == parameter(key) for key in _KEY)
WAITING = compile_sql(
    limited(sa.select(*_values_of(schema.messages)).where(*_OF_A_QUEUE).order_by(_M.sequence)), *_KEY, "limit"
)
_FIND_MESSAGE = select_by(schema.messages, _values_of(schema.messages), *_KEY, "sequence")
EXPIRED = compile_sql(
    limited(
        sa.select(_M.device_id, _M.module_id, *_values_of(schema.messages))
        .where(_M.hub_id == parameter("hub_id"), _M.expires <= parameter("now"))
        .order_by(_M.expires)
    ),
    "hub_id",
    "now",
    "limit",
)
COUNT_WAITING = compile_sql(sa.select(sa.func.count()).where(*_OF_A_QUEUE), *_KEY)
_PUT_MESSAGE = upsert(schema.messages)
_DELETE_MESSAGE = delete_by(schema.messages, *_KEY, "sequence")
_NEXT = compile_sql(
    insert(schema.counters)
    .values(hub_id=parameter("hub_id"), name=sa.literal_column("'message_sequence'"), value=sa.literal_column("1"))
    .on_conflict_do_update(
        index_elements=["hub_id", "name"], set_={"value": schema.counters.c.value + sa.literal_column("1")}
    )
    .returning(schema.counters.c.value),
    "hub_id",
)


class Messages:
    """Port: `hub.model.CloudMessageTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def next_sequence(self, hub: HubId) -> int:
        """Counts from 1."""
        number: int = self._connection.execute(_NEXT, (hub,)).fetchone()[0]
        return number

    def put(self, message: CloudMessage) -> None:
        """Raises `NotFound` (`device.not_found`, `module.not_found`)."""
        row = (
            message.hub,
            message.name.device_id,
            message.name.module_id or "",
            message.sequence,
            message.message_id,
            to_micros(message.enqueued),
            to_micros(message.expires),
            message.body,
            to_json(message.properties),
            message.correlation_id,
            message.user_id,
            message.content_type,
            message.content_encoding,
            message.ack,
            message.delivery_count,
        )
        _put(self._connection, _PUT_MESSAGE, message.name, row)

    def waiting(self, hub: HubId, name: IdentityName, limit: int) -> list[CloudMessage]:
        rows = self._connection.execute(WAITING, (hub, name.device_id, name.module_id or "", limit)).fetchall()
        return [_message(hub, name, *row) for row in rows]

    def find(self, hub: HubId, name: IdentityName, sequence: int) -> CloudMessage | None:
        key = (hub, name.device_id, name.module_id or "", sequence)
        row = self._connection.execute(_FIND_MESSAGE, key).fetchone()
        return None if row is None else _message(hub, name, *row)

    def expired(self, hub: HubId, now: datetime, limit: int) -> list[CloudMessage]:
        rows = self._connection.execute(EXPIRED, (hub, to_micros(now), limit)).fetchall()
        return [
            _message(hub, IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None), *row)
            for device_id, module_id, *row in rows
        ]

    def count(self, hub: HubId, name: IdentityName) -> int:
        found: int = self._connection.execute(COUNT_WAITING, (hub, name.device_id, name.module_id or "")).fetchone()[0]
        return found

    def delete(self, hub: HubId, name: IdentityName, sequence: int) -> bool:
        cursor = self._connection.execute(_DELETE_MESSAGE, (hub, name.device_id, name.module_id or "", sequence))
        return cursor.rowcount == 1


def _message(hub: HubId, name: IdentityName, *row: Any) -> CloudMessage:
    sequence, message_id, enqueued, expires, body, properties, *rest = row
    return CloudMessage(
        hub, name, sequence, message_id, from_micros(enqueued), from_micros(expires), body, from_json(properties), *rest
    )


FIND_MQTT_SESSION = select_by(schema.mqtt_sessions, [schema.mqtt_sessions.c.subscriptions], *_KEY)
_PUT_MQTT_SESSION = upsert(schema.mqtt_sessions)
_DELETE_MQTT_SESSION = delete_by(schema.mqtt_sessions, *_KEY)


class MqttSessions:
    """Port: `hub.model.MqttSessionTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: IdentityName) -> MqttSession | None:
        row = self._connection.execute(FIND_MQTT_SESSION, (hub, name.device_id, name.module_id or "")).fetchone()
        return None if row is None else MqttSession(hub, name, from_json(row[0]))

    def put(self, session: MqttSession) -> None:
        """Raises `NotFound` (`device.not_found`, `module.not_found`)."""
        name = session.name
        row = (session.hub, name.device_id, name.module_id or "", to_json(session.subscriptions))
        _put(self._connection, _PUT_MQTT_SESSION, name, row)

    def delete(self, hub: HubId, name: IdentityName) -> None:
        self._connection.execute(_DELETE_MQTT_SESSION, (hub, name.device_id, name.module_id or ""))


_FIND_ACTIVITY = select_by(schema.activity, _values_of(schema.activity), *_KEY)


def _put_activity() -> str:
    """Insert or update, for identities that exist."""
    identity = schema.identities.c
    table = schema.activity
    values = ("connected", "last_activity", "updated")
    new = insert(table).from_select(
        list(table.c.keys()),
        sa.select(identity.hub_id, identity.device_id, identity.module_id, *(parameter(name) for name in values)).where(
            *(identity[key] == parameter(key) for key in _KEY)
        ),
    )
    upserting = new.on_conflict_do_update(index_elements=list(_KEY), set_={name: new.excluded[name] for name in values})
    return compile_sql(upserting, *values, *_KEY)


_PUT_ACTIVITY = _put_activity()


class Activities:
    """Port: `hub.model.ActivityTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: IdentityName) -> Activity | None:
        row = self._connection.execute(_FIND_ACTIVITY, (hub, name.device_id, name.module_id or "")).fetchone()
        if row is None:
            return None
        connected, last_activity, updated = row
        return Activity(
            hub,
            name,
            from_micros(updated),
            None if connected is None else connected == 1,
            maybe_from_micros(last_activity),
        )

    def put_many(self, activities: Iterable[Activity]) -> None:
        self._connection.executemany(
            _PUT_ACTIVITY,
            (
                (
                    activity.connected,
                    maybe_to_micros(activity.last_activity),
                    to_micros(activity.updated),
                    activity.hub,
                    activity.name.device_id,
                    activity.name.module_id or "",
                )
                for activity in activities
            ),
        )
