"""File uploads and the notifications of them (ports: `hub.upload_model.UploadTable`, `hub.held_queue.HeldTable`)."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.held_tables import HeldRows, HeldStatements
from moorage.adapters.sqlite.statements import compile_sql, delete_by, limited, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_micros, maybe_from_micros, maybe_to_micros, to_micros
from moorage.hub.upload_model import BegunBy, FileNotification, FileUpload
from moorage.ids import DeviceId, HubId, Thumbprint

__all__ = ["FileNotifications", "FileUploads"]

_U = schema.file_uploads.c
_COLUMNS = [column for column in _U if column.name != "hub_id"]
_PUT = upsert(schema.file_uploads)
_FIND = select_by(schema.file_uploads, _COLUMNS, "hub_id", "correlation_id")
FIND_SIGNED = select_by(schema.file_uploads, _COLUMNS, "hub_id", "signature")
_DELETE = delete_by(schema.file_uploads, "hub_id", "correlation_id")
COUNT_OPEN = compile_sql(
    sa.select(sa.func.count()).where(
        _U.hub_id == parameter("hub_id"), _U.device_id == parameter("device_id"), _U.expires > parameter("now")
    ),
    "hub_id",
    "device_id",
    "now",
)
EXPIRED = compile_sql(
    limited(
        sa.select(*_COLUMNS)
        .where(_U.hub_id == parameter("hub_id"), _U.expires <= parameter("now"))
        .order_by(_U.expires)
    ),
    "hub_id",
    "now",
    "limit",
)


class FileUploads:
    """Port: `hub.upload_model.UploadTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, correlation_id: str) -> FileUpload | None:
        row = self._connection.execute(_FIND, (hub, correlation_id)).fetchone()
        return None if row is None else _upload(hub, *row)

    def find_signed(self, hub: HubId, signature: str) -> FileUpload | None:
        row = self._connection.execute(FIND_SIGNED, (hub, signature)).fetchone()
        return None if row is None else _upload(hub, *row)

    def put(self, upload: FileUpload) -> None:
        self._connection.execute(
            _PUT,
            (
                upload.hub,
                upload.correlation_id,
                upload.device_id,
                upload.blob_name,
                upload.signature,
                to_micros(upload.created),
                to_micros(upload.expires),
                upload.size,
                maybe_to_micros(upload.committed),
                upload.commit_id,
                None if upload.begun_by is None else _encode(upload.begun_by),
            ),
        )

    def delete(self, hub: HubId, correlation_id: str) -> None:
        self._connection.execute(_DELETE, (hub, correlation_id))

    def count(self, hub: HubId, device_id: DeviceId, now: datetime) -> int:
        found: int = self._connection.execute(COUNT_OPEN, (hub, device_id, to_micros(now))).fetchone()[0]
        return found

    def expired(self, hub: HubId, before: datetime, limit: int) -> list[FileUpload]:
        found = self._connection.execute(EXPIRED, (hub, to_micros(before), limit)).fetchall()
        return [_upload(hub, *row) for row in found]


def _upload(hub: HubId, *row: Any) -> FileUpload:
    correlation_id, device_id, blob_name, signature, created, expires, size, committed, commit_id, begun_by = row
    return FileUpload(
        hub,
        correlation_id,
        DeviceId(device_id),
        blob_name,
        signature,
        from_micros(created),
        from_micros(expires),
        size,
        maybe_from_micros(committed),
        commit_id,
        None if begun_by is None else _decode(begun_by),
    )


def _encode(begun_by: BegunBy) -> str:
    return json.dumps({**asdict(begun_by), "path": [base64.b64encode(der).decode() for der in begun_by.path]})


def _decode(text: str) -> BegunBy:
    members = json.loads(text)
    return BegunBy(
        **{
            **members,
            "pins": tuple(map(Thumbprint, members["pins"])),
            "path": tuple(map(base64.b64decode, members["path"])),
            "waivers": tuple(members["waivers"]),
        }
    )


class FileNotifications(HeldRows[FileNotification]):
    """Port: `hub.held_queue.HeldTable`."""

    __slots__ = ()

    sql = HeldStatements(schema.file_notifications, "file_notification_sequence")

    def row(self, record: FileNotification) -> Sequence[Any]:
        return (
            record.hub,
            record.sequence,
            record.device_id,
            record.blob_uri,
            record.blob_name,
            record.size,
            to_micros(record.updated),
            to_micros(record.recorded),
            record.deliveries,
            record.lock,
            maybe_to_micros(record.locked_until),
        )

    def record(self, hub: HubId, *row: Any) -> FileNotification:
        sequence, device_id, blob_uri, blob_name, size, updated, recorded, deliveries, lock, locked_until = row
        return FileNotification(
            hub,
            sequence,
            DeviceId(device_id),
            blob_uri,
            blob_name,
            size,
            from_micros(updated),
            from_micros(recorded),
            deliveries,
            lock,
            maybe_from_micros(locked_until),
        )
