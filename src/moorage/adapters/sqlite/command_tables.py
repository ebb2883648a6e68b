"""Runs of commands (port: `fleet.commands.CommandTable`)."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.statements import compile_sql, insert_into, limited, parameter, select_by
from moorage.adapters.sqlite.values import (
    from_json,
    from_micros,
    maybe_from_micros,
    maybe_to_micros,
    to_json,
    to_micros,
)
from moorage.fleet.commands import CommandRun
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["CommandRows"]

_C = schema.command_runs.c
_COLUMNS = [column for column in _C if column.name != "hub_id"]
_KEYS = ("hub_id", "device_id", "module_id", "run_id")
_ADD = insert_into(schema.command_runs)
_FIND = select_by(schema.command_runs, _COLUMNS, *_KEYS)
_NEWEST_FIRST = (_C.started.desc(), _C.run_id.desc())
NEWEST = compile_sql(
    limited(
        sa.select(*_COLUMNS)
        .where(_C.hub_id == parameter("hub_id"), _C.device_id == parameter("device_id"))
        .order_by(*_NEWEST_FIRST)
    ),
    "hub_id",
    "device_id",
    "limit",
)
# The one behind the last that stays: it and what is older goes.
BEYOND = compile_sql(
    sa.select(_C.started, _C.run_id)
    .where(_C.hub_id == parameter("hub_id"), _C.device_id == parameter("device_id"))
    .order_by(*_NEWEST_FIRST)
    .limit(sa.literal_column("1"))
    .offset(sa.bindparam("keep")),
    "hub_id",
    "device_id",
    "keep",
)
FORGET = compile_sql(
    sa.delete(schema.command_runs).where(
        _C.hub_id == parameter("hub_id"),
        _C.device_id == parameter("device_id"),
        sa.tuple_(_C.started, _C.run_id) <= sa.tuple_(parameter("started"), parameter("last")),
    ),
    "hub_id",
    "device_id",
    "started",
    "last",
)
_END = compile_sql(
    sa.update(schema.command_runs)
    .where(*(_C[key] == parameter(f"{key}_is") for key in _KEYS))
    .values({name: parameter(name) for name in ("response", "status", "reason", "message", "ended")}),
    "response",
    "status",
    "reason",
    "message",
    "ended",
    *(f"{key}_is" for key in _KEYS),
)


class CommandRows:
    """Port: `fleet.commands.CommandTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, run: CommandRun, *, keep: int) -> None:
        self._connection.execute(
            _ADD,
            (
                run.hub,
                run.name.device_id,
                run.name.module_id or "",
                run.run_id,
                run.component,
                run.command,
                to_json(run.request),
                int(run.is_queued),
                to_micros(run.started),
                run.by,
                to_json(run.response),
                run.status,
                run.reason,
                run.message,
                maybe_to_micros(run.ended),
            ),
        )
        beyond = self._connection.execute(BEYOND, (run.hub, run.name.device_id, keep)).fetchone()
        if beyond is not None:
            self._connection.execute(FORGET, (run.hub, run.name.device_id, *beyond))

    def end(self, run: CommandRun) -> None:
        self._connection.execute(
            _END,
            (
                to_json(run.response),
                run.status,
                run.reason,
                run.message,
                maybe_to_micros(run.ended),
                run.hub,
                run.name.device_id,
                run.name.module_id or "",
                run.run_id,
            ),
        )

    def find(self, hub: HubId, name: IdentityName, run_id: str) -> CommandRun | None:
        row = self._connection.execute(_FIND, (hub, name.device_id, name.module_id or "", run_id)).fetchone()
        return None if row is None else _run(hub, *row)

    def newest(self, hub: HubId, device_id: DeviceId, limit: int) -> list[CommandRun]:
        return [_run(hub, *row) for row in self._connection.execute(NEWEST, (hub, device_id, limit)).fetchall()]


def _run(
    hub: HubId,
    device_id: str,
    module_id: str,
    run_id: str,
    component: str,
    command: str,
    request: str,
    is_queued: int,
    started: int,
    by: str,
    response: str,
    status: int | None,
    reason: str,
    message: str,
    ended: int | None,
) -> CommandRun:
    return CommandRun(
        hub=hub,
        name=IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None),
        run_id=run_id,
        component=component,
        command=command,
        request=from_json(request),
        is_queued=bool(is_queued),
        started=from_micros(started),
        by=by,
        response=from_json(response),
        status=status,
        reason=reason,
        message=message,
        ended=maybe_from_micros(ended),
    )
