"""Import and export jobs and the lines they refused (ports in `hub/transfer_model.py`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import (
    from_json,
    from_micros,
    maybe_from_micros,
    maybe_to_micros,
    to_json,
    to_micros,
)
from moorage.hub.transfer_model import Checkpoint, RefusedLine, Transfer
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId

__all__ = ["Transfers"]

_T = schema.transfers.c
_R = schema.refused_lines.c
_I = schema.identities.c
_OF_A_TRANSFER = (_R.hub_id == parameter("hub_id"), _R.job_id == parameter("job_id"))

_COLUMNS = [column for column in schema.transfers.c if column.name != "hub_id"]
_FIND = select_by(schema.transfers, _COLUMNS, "hub_id", "job_id")
_PUT = upsert(schema.transfers)
_ALL = compile_sql(
    sa.select(*_COLUMNS).where(_T.hub_id == parameter("hub_id")).order_by(_T.created.desc(), _T.job_id), "hub_id"
)
_DELETE = delete_by(schema.transfers, "hub_id", "job_id")
_PUT_REFUSED = upsert(schema.refused_lines)
_FORGET_REFUSED = delete_by(schema.refused_lines, "hub_id", "job_id", "line")
_CLEAR_REFUSED = delete_by(schema.refused_lines, "hub_id", "job_id")
_REFUSED = compile_sql(
    limited(
        sa.select(_R.line, _R.report, _R.waits).where(*_OF_A_TRANSFER, _R.line > parameter("after")).order_by(_R.line)
    ),
    "hub_id",
    "job_id",
    "after",
    "limit",
)
_WAITING = compile_sql(
    sa.select(_R.line).where(
        *_OF_A_TRANSFER,
        _R.line >= parameter("first"),
        _R.line <= parameter("last"),
        _R.waits == sa.literal_column("1"),
    ),
    "hub_id",
    "job_id",
    "first",
    "last",
)
_COUNT_REFUSED = compile_sql(
    sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_R.waits), sa.literal_column("0"))).where(*_OF_A_TRANSFER),
    "hub_id",
    "job_id",
)
LIST_IDENTITIES = compile_sql(
    limited(
        sa.select(_I.device_id, _I.module_id)
        .where(
            _I.hub_id == parameter("hub_id"),
            sa.tuple_(_I.device_id, _I.module_id) > sa.tuple_(parameter("device_id"), parameter("module_id")),
        )
        .order_by(_I.device_id, _I.module_id)
    ),
    "hub_id",
    "device_id",
    "module_id",
    "limit",
)


class Transfers:
    """Port: `hub.transfer_model.TransferTable`."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def find(self, hub: HubId, job_id: str) -> Transfer | None:
        row = self._connection.execute(_FIND, (hub, job_id)).fetchone()
        return None if row is None else self._transfer(hub, *row)

    def put(self, transfer: Transfer) -> None:
        place = ("transfers", transfer.hub, transfer.job_id)
        self._connection.execute(
            _PUT,
            (
                transfer.hub,
                transfer.job_id,
                transfer.kind,
                transfer.status,
                to_micros(transfer.created),
                maybe_to_micros(transfer.ended),
                transfer.input_blob,
                transfer.output_blob,
                transfer.with_keys,
                transfer.progress,
                transfer.failure,
                to_json(asdict(transfer.checkpoint)),
                self._sealer.seal(transfer.input, transfer.output, *place),
            ),
        )

    def all(self, hub: HubId) -> list[Transfer]:
        return [self._transfer(hub, *row) for row in self._connection.execute(_ALL, (hub,)).fetchall()]

    def delete(self, hub: HubId, job_id: str) -> None:
        self._connection.execute(_CLEAR_REFUSED, (hub, job_id))
        self._connection.execute(_DELETE, (hub, job_id))

    def put_refused(self, hub: HubId, job_id: str, lines: Iterable[RefusedLine]) -> None:
        rows = ((hub, job_id, line.line, line.report, line.waits) for line in lines)
        self._connection.executemany(_PUT_REFUSED, rows)

    def forget_refused(self, hub: HubId, job_id: str, line: int) -> None:
        self._connection.execute(_FORGET_REFUSED, (hub, job_id, line))

    def clear_refused(self, hub: HubId, job_id: str) -> None:
        self._connection.execute(_CLEAR_REFUSED, (hub, job_id))

    def refused(self, hub: HubId, job_id: str, after: int, limit: int) -> list[RefusedLine]:
        rows = self._connection.execute(_REFUSED, (hub, job_id, after, limit)).fetchall()
        return [RefusedLine(line, report, waits == 1) for line, report, waits in rows]

    def waiting(self, hub: HubId, job_id: str, first: int, last: int) -> set[int]:
        return {line for (line,) in self._connection.execute(_WAITING, (hub, job_id, first, last))}

    def count_refused(self, hub: HubId, job_id: str) -> tuple[int, int]:
        refused, waiting = self._connection.execute(_COUNT_REFUSED, (hub, job_id)).fetchone()
        return refused, waiting

    def list_identities(self, hub: HubId, limit: int, after: IdentityName | None) -> list[IdentityName]:
        where = ("", "") if after is None else (after.device_id, after.module_id or "")
        return [
            IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None)
            for device_id, module_id in self._connection.execute(LIST_IDENTITIES, (hub, *where, limit)).fetchall()
        ]

    def _transfer(self, hub: HubId, *row: Any) -> Transfer:
        (
            job_id,
            kind,
            status,
            created,
            ended,
            input_blob,
            output_blob,
            with_keys,
            progress,
            failure,
            checkpoint,
            sealed,
        ) = row
        containers = self._sealer.open(sealed, "transfers", hub, job_id)
        return Transfer(
            hub,
            job_id,
            kind,
            status,
            from_micros(created),
            containers[1],
            output_blob,
            containers[0],
            input_blob,
            with_keys == 1,
            maybe_from_micros(ended),
            progress,
            failure,
            Checkpoint(**from_json(checkpoint)),
        )
