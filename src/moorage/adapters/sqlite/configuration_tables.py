"""Configurations, what identities have of them, and what is still to be looked at (port: `hub.configuration_model`)."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.hub.configuration_model import Applied, Configuration, ConfigurationId, Phase, Status, Work, hears_reports
from moorage.hub.merging import Path
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["Configurations"]

_C, _T = schema.configurations.c, schema.twin_configurations.c
_M, _W = schema.configuration_marks.c, schema.configuration_work.c
_KEY = ("hub_id", "device_id", "module_id")
_VALUES = [column for column in schema.configurations.c if column.name not in ("hub_id", "hears_reports")]
_IS_SHOWN = sa.or_(_T.is_deployed == sa.literal_column("0"), _T.module_id == sa.literal_column("''"))

_FIND = select_by(schema.configurations, _VALUES, "hub_id", "id")
_ALL = compile_sql(sa.select(*_VALUES).where(_C.hub_id == parameter("hub_id")).order_by(_C.id), "hub_id")
_VERSIONS = compile_sql(
    sa.select(_C.id, _C.version, _C.created).where(_C.hub_id == parameter("hub_id")).order_by(_C.id), "hub_id"
)
_COUNT = compile_sql(sa.select(sa.func.count()).where(_C.hub_id == parameter("hub_id")), "hub_id")
_PUT = upsert(schema.configurations)
_DELETE = delete_by(schema.configurations, "hub_id", "id")


def _counter(name: str, *, reads: bool) -> str:
    table = schema.counters
    where = (table.c.hub_id == parameter("hub_id"), table.c.name == sa.literal_column(f"'{name}'"))
    if reads:
        return compile_sql(sa.select(table.c.value).where(*where), "hub_id")
    adding = insert(table).values(
        hub_id=parameter("hub_id"), name=sa.literal_column(f"'{name}'"), value=sa.literal_column("1")
    )
    one_more = adding.on_conflict_do_update(
        index_elements=["hub_id", "name"], set_={"value": table.c.value + sa.literal_column("1")}
    )
    return compile_sql(one_more.returning(table.c.value), "hub_id")


_REVISION = _counter("configuration_revision", reads=True)
_NEXT_REVISION = _counter("configuration_revision", reads=False)
_NEXT_WORK = _counter("configuration_work", reads=False)

_STATUSES = select_by(schema.twin_configurations, [_T.configuration_id, _T.status], *_KEY)
_APPLIED = select_by(schema.twin_configurations, [_T.configuration_id, _T.status, _T.holds, _T.is_deployed], *_KEY)
_PUT_APPLIED = upsert(schema.twin_configurations)
_DELETE_APPLIED = delete_by(schema.twin_configurations, *_KEY, "configuration_id")
_HOLDERS = compile_sql(
    limited(
        sa.select(_T.device_id, _T.module_id)
        .where(
            _T.hub_id == parameter("hub_id"),
            _T.configuration_id == parameter("configuration_id"),
            sa.tuple_(_T.device_id, _T.module_id) > sa.tuple_(parameter("after_device"), parameter("after_module")),
        )
        .order_by(_T.device_id, _T.module_id)
    ),
    "hub_id",
    "configuration_id",
    "after_device",
    "after_module",
    "limit",
)
_TALLY = compile_sql(
    sa.select(_T.configuration_id, sa.func.count(), sa.func.sum(_T.status == sa.literal_column("'Applied'")))
    .where(_T.hub_id == parameter("hub_id"), _IS_SHOWN)
    .group_by(_T.configuration_id),
    "hub_id",
)

_MARKED = compile_sql(
    limited(sa.select(_M.device_id, _M.module_id).where(_M.hub_id == parameter("hub_id"))), "hub_id", "limit"
)
_UNMARK = delete_by(schema.configuration_marks, *_KEY)
_NEXT = compile_sql(
    limited(sa.select(*schema.configuration_work.c).where(_W.hub_id == parameter("hub_id")).order_by(_W.sequence)),
    "hub_id",
    "limit",
)
_BEGIN = upsert(schema.configuration_work)
_GO_ON = compile_sql(
    sa.update(schema.configuration_work)
    .where(
        _W.hub_id == parameter("of_hub"),
        _W.configuration_id == parameter("of_configuration"),
        _W.sequence == parameter("of_sequence"),
    )
    .values(
        {
            "phase": parameter("to_phase"),
            "after_device": parameter("to_device"),
            "after_module": parameter("to_module"),
        }
    ),
    "to_phase",
    "to_device",
    "to_module",
    "of_hub",
    "of_configuration",
    "of_sequence",
)
_END = delete_by(schema.configuration_work, "hub_id", "configuration_id", "sequence")


class Configurations:
    """Port: `hub.configuration_model.ConfigurationTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # -- configurations ------------------------------------------------------------------------------------------------

    def find(self, hub: HubId, configuration: ConfigurationId) -> Configuration | None:
        row = self._connection.execute(_FIND, (hub, configuration)).fetchone()
        return None if row is None else _configuration(hub, row)

    def all(self, hub: HubId) -> list[Configuration]:
        return [_configuration(hub, row) for row in self._connection.execute(_ALL, (hub,)).fetchall()]

    def versions(self, hub: HubId) -> list[tuple[ConfigurationId, int, datetime]]:
        rows = self._connection.execute(_VERSIONS, (hub,)).fetchall()
        return [(ConfigurationId(name), version, from_micros(created)) for name, version, created in rows]

    def count(self, hub: HubId) -> int:
        return int(self._connection.execute(_COUNT, (hub,)).fetchone()[0])

    def put(self, configuration: Configuration) -> None:
        row = (
            configuration.hub,
            configuration.id,
            configuration.version,
            configuration.schema_version,
            to_json(configuration.content),
            configuration.target_condition,
            configuration.priority,
            to_json(configuration.labels),
            to_json(configuration.metrics),
            to_micros(configuration.created),
            to_micros(configuration.updated),
            hears_reports(configuration),
        )
        self._connection.execute(_PUT, row)
        self._count(_NEXT_REVISION, configuration.hub)

    def delete(self, hub: HubId, configuration: ConfigurationId) -> None:
        self._connection.execute(_DELETE, (hub, configuration))
        self._count(_NEXT_REVISION, hub)

    def revision(self, hub: HubId) -> int:
        row = self._connection.execute(_REVISION, (hub,)).fetchone()
        return 0 if row is None else int(row[0])

    # -- what identities have of them ----------------------------------------------------------------------------------

    def statuses(self, hub: HubId, name: IdentityName) -> dict[str, Status]:
        return dict(self._connection.execute(_STATUSES, _key(hub, name)).fetchall())

    def applied(self, hub: HubId, name: IdentityName) -> dict[ConfigurationId, Applied]:
        return {
            ConfigurationId(configuration): Applied(status, _paths(holds), is_deployed == 1)
            for configuration, status, holds, is_deployed in self._connection.execute(_APPLIED, _key(hub, name))
        }

    def put_applied(self, hub: HubId, name: IdentityName, configuration: ConfigurationId, applied: Applied) -> None:
        row = (*_key(hub, name), configuration, applied.status, to_json(applied.holds), applied.is_deployed)
        self._connection.execute(_PUT_APPLIED, row)

    def delete_applied(self, hub: HubId, name: IdentityName, configuration: ConfigurationId) -> None:
        self._connection.execute(_DELETE_APPLIED, (*_key(hub, name), configuration))

    def holders(
        self, hub: HubId, configuration: ConfigurationId, after: IdentityName | None, limit: int
    ) -> list[IdentityName]:
        behind = ("", "") if after is None else (after.device_id, after.module_id or "")
        rows = self._connection.execute(_HOLDERS, (hub, configuration, *behind, limit)).fetchall()
        return [_name(*row) for row in rows]

    def tally(self, hub: HubId) -> dict[ConfigurationId, tuple[int, int]]:
        """Reads an index entry an identity and configuration: belongs in a `scan`."""
        rows = self._connection.execute(_TALLY, (hub,)).fetchall()
        return {ConfigurationId(configuration): (targeted, applied) for configuration, targeted, applied in rows}

    # -- what is to be looked at ---------------------------------------------------------------------------------------

    def marked(self, hub: HubId, limit: int) -> list[IdentityName]:
        return [_name(*row) for row in self._connection.execute(_MARKED, (hub, limit)).fetchall()]

    def unmark(self, hub: HubId, name: IdentityName) -> None:
        self._connection.execute(_UNMARK, _key(hub, name))

    def begin_work(self, hub: HubId, configuration: ConfigurationId) -> None:
        row = (hub, configuration, self._count(_NEXT_WORK, hub), "leaving", None, None)
        self._connection.execute(_BEGIN, row)

    def next_work(self, hub: HubId) -> Work | None:
        row = self._connection.execute(_NEXT, (hub, 1)).fetchone()
        if row is None:
            return None
        _, configuration, sequence, phase, device, module = row
        after = None if device is None else _name(device, module)
        return Work(hub, ConfigurationId(configuration), sequence, cast(Phase, phase), after)

    def put_work(self, work: Work) -> None:
        """Nothing happens when it was begun again since."""
        after = (None, None) if work.after is None else (work.after.device_id, work.after.module_id or "")
        self._connection.execute(_GO_ON, (work.phase, *after, work.hub, work.configuration, work.sequence))

    def end_work(self, work: Work) -> None:
        """Nothing happens when it was begun again since."""
        self._connection.execute(_END, (work.hub, work.configuration, work.sequence))

    def _count(self, counter: str, hub: HubId) -> int:
        return int(self._connection.execute(counter, (hub,)).fetchone()[0])


def _configuration(hub: HubId, row: Any) -> Configuration:
    name, version, schema_version, content, condition, priority, labels, metrics, created, updated = row
    return Configuration(
        hub,
        ConfigurationId(name),
        version,
        schema_version,
        from_json(content),
        condition,
        priority,
        from_json(labels),
        from_json(metrics),
        from_micros(created),
        from_micros(updated),
    )


def _key(hub: HubId, name: IdentityName) -> tuple[str, str, str]:
    return hub, name.device_id, name.module_id or ""


def _name(device: str, module: str) -> IdentityName:
    return IdentityName(DeviceId(device), ModuleId(module) if module else None)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(map(tuple, from_json(text)))
