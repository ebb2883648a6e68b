"""What the hub has still to tell back ends (port: `hub/notification_model.py`)."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.hub_tables import Twins
from moorage.adapters.sqlite.statements import compile_sql, insert_into, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_json, maybe_from_micros, maybe_to_micros, to_json
from moorage.hub.notification_model import Notification, Source, Sources
from moorage.hub.notifications import twin_facts
from moorage.hub.twins import fresh_twin
from moorage.identities.model import Identity
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["Notifications"]

_SOURCES_KEY: Final = "notification_sources"
_WANTED_KEY: Final = "notification_wanted"
_EPOCH: Final = "notification_epoch"

_T = schema.notifications
_ADD = insert_into(_T)
_FIRST = compile_sql(
    limited(
        sa.select(*(column for column in _T.c if column.name != "hub_id")).where(_T.c.hub_id == parameter("hub_id"))
    ).order_by(_T.c.sequence),
    "hub_id",
    "limit",
)
_ANY = compile_sql(
    limited(sa.select(sa.literal_column("1")).where(_T.c.hub_id == parameter("hub_id"))), "hub_id", "limit"
)
# The newest of those that are too many.
_BEYOND = compile_sql(
    sa.select(_T.c.sequence)
    .where(_T.c.hub_id == parameter("hub_id"))
    .order_by(_T.c.sequence.desc())
    .limit(sa.literal_column("1"))
    .offset(parameter("keep")),
    "hub_id",
    "keep",
)
_DELETE_THROUGH = compile_sql(
    sa.delete(_T).where(_T.c.hub_id == parameter("hub_id"), _T.c.sequence <= parameter("sequence")),
    "hub_id",
    "sequence",
)
_GET_SETTING = select_by(schema.settings, [schema.settings.c.value], "hub_id", "key")
_PUT_SETTING = upsert(schema.settings)
_NEXT_EPOCH = compile_sql(
    insert(schema.counters)
    .values(hub_id=parameter("hub_id"), name=sa.literal_column(f"'{_EPOCH}'"), value=sa.literal_column("1"))
    .on_conflict_do_update(
        index_elements=["hub_id", "name"], set_={"value": schema.counters.c.value + sa.literal_column("1")}
    )
    .returning(schema.counters.c.value),
    "hub_id",
)


class Notifications:
    """Port: `hub.notification_model.NotificationTable`."""

    __slots__ = ("_connection", "_twins")

    def __init__(self, connection: sqlite3.Connection, twins: Twins) -> None:
        self._connection = connection
        self._twins = twins

    # -- which are wanted ----------------------------------------------------------------------------------------------

    def sources(self, hub: HubId) -> Sources:
        row = self._connection.execute(_GET_SETTING, (hub, _SOURCES_KEY)).fetchone()
        if row is None:
            return Sources()
        kept = from_json(row[0])
        routed, exported = (frozenset(kept.get(name, ())) for name in ("routed", "exported"))
        return Sources(frozenset(kept["default"]), kept["switched"], routed, exported)

    def put_sources(self, hub: HubId, sources: Sources) -> None:
        kept = {
            "default": sorted(sources.by_default),
            "switched": dict(sources.switched),
            "routed": sorted(sources.routed),
            "exported": sorted(sources.exported),
        }
        self._connection.execute(_PUT_SETTING, (hub, _SOURCES_KEY, to_json(kept)))
        # Asked for by every write of a twin, and not to be worked out there.
        self._connection.execute(_PUT_SETTING, (hub, _WANTED_KEY, " ".join(sorted(sources.wanted))))

    def wants(self, hub: HubId, source: Source) -> bool:
        row = self._connection.execute(_GET_SETTING, (hub, _WANTED_KEY)).fetchone()
        return row is not None and source in row[0].split()

    # -- what waits ----------------------------------------------------------------------------------------------------

    def add(self, hub: HubId, notification: Notification) -> None:
        name = notification.name or IdentityName(DeviceId(""))
        row = (
            None,
            hub,
            notification.source,
            notification.operation,
            name.device_id,
            name.module_id or "",
            maybe_to_micros(notification.at),
            notification.correlation_id,
            to_json(notification.facts),
        )
        self._connection.execute(_ADD, row)

    def created(self, identity: Identity, now: datetime) -> None:
        self._lifecycle(identity, "createDeviceIdentity", now)

    def deleted(self, identity: Identity) -> None:
        self._lifecycle(identity, "deleteDeviceIdentity", None)

    def first(self, hub: HubId, limit: int) -> list[tuple[int, Notification]]:
        rows = self._connection.execute(_FIRST, (hub, limit)).fetchall()
        return [
            (
                sequence,
                Notification(
                    source,
                    operation,
                    IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None)
                    if device_id
                    else None,
                    maybe_from_micros(at),
                    from_json(facts),
                    correlation_id,
                ),
            )
            for sequence, source, operation, device_id, module_id, at, correlation_id, facts in rows
        ]

    def is_waiting(self, hub: HubId) -> bool:
        return self._connection.execute(_ANY, (hub, 1)).fetchone() is not None

    def trim(self, hub: HubId, keep: int) -> int:
        row = self._connection.execute(_BEYOND, (hub, keep)).fetchone()
        return 0 if row is None else self._connection.execute(_DELETE_THROUGH, (hub, row[0])).rowcount

    def delete_through(self, hub: HubId, place: int) -> None:
        self._connection.execute(_DELETE_THROUGH, (hub, place))

    def next_epoch(self, hub: HubId) -> int:
        number: int = self._connection.execute(_NEXT_EPOCH, (hub,)).fetchone()[0]
        return number

    def _lifecycle(self, identity: Identity, operation: str, at: datetime | None) -> None:
        hub, name = identity.hub, identity.name
        if self.wants(hub, "deviceLifecycleEvents"):
            twin = self._twins.find(hub, name) or fresh_twin(hub, name)
            self.add(hub, Notification("deviceLifecycleEvents", operation, name, at, twin_facts(twin)))
