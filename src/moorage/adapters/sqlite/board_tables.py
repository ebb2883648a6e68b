"""Dashboards, saved queries and pictures (ports: `analytics.boards`)."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from moorage.accounts.model import OrganizationId
from moorage.adapters.sqlite import application_schema as schema
from moorage.adapters.sqlite.documents import made, plain
from moorage.adapters.sqlite.statements import compile_sql, delete_by, insert_into, parameter, select_by, upsert
from moorage.adapters.sqlite.values import from_json, from_micros, to_json, to_micros
from moorage.analytics.boards import Board, Dashboard, Image, SavedQuery
from moorage.ids import HubId

__all__ = ["BoardRows", "ImageRows"]


class _Statements:
    """SQL of one table of boards."""

    def __init__(self, table: sa.Table) -> None:
        key = list(table.primary_key)[1].name
        columns = [column for column in table.c if column.name != "hub_id"]
        of_hub = table.c.hub_id == parameter("hub_id")
        self.put = upsert(table)
        self.find = select_by(table, columns, "hub_id", key)
        self.all = compile_sql(sa.select(*columns).where(of_hub).order_by(table.c.display_name, table.c[key]), "hub_id")
        self.count = compile_sql(sa.select(sa.func.count()).select_from(table).where(of_hub), "hub_id")
        self.delete = delete_by(table, "hub_id", key)


_STATEMENTS = {table.name: _Statements(table) for table in (schema.dashboards, schema.explorer_queries)}


class BoardRows:
    """Port: `analytics.boards.BoardTable`; `kind` is what a board of this table holds."""

    __slots__ = ("_connection", "_kind", "_sql")

    def __init__(self, connection: sqlite3.Connection, table: sa.Table, kind: type[Any]) -> None:
        self._connection = connection
        self._kind = kind
        self._sql = _STATEMENTS[table.name]

    def find(self, hub: HubId, board_id: str) -> Board[Any] | None:
        row = self._connection.execute(self._sql.find, (hub, board_id)).fetchone()
        return None if row is None else self._board(hub, *row)

    def all(self, hub: HubId) -> list[Board[Any]]:
        return [self._board(hub, *row) for row in self._connection.execute(self._sql.all, (hub,)).fetchall()]

    def count(self, hub: HubId) -> int:
        (count,) = self._connection.execute(self._sql.count, (hub,)).fetchone()
        return int(count)

    def put(self, board: Board[Any]) -> None:
        self._connection.execute(
            self._sql.put,
            (
                board.hub,
                board.board_id,
                board.display_name,
                board.owner,
                board.organization,
                to_json(plain(board.content, [])),
                to_micros(board.created),
                board.version,
            ),
        )

    def delete(self, hub: HubId, board_id: str) -> None:
        self._connection.execute(self._sql.delete, (hub, board_id))

    def _board(
        self,
        hub: HubId,
        board_id: str,
        display_name: str,
        owner: str,
        organization: str,
        document: str,
        created: int,
        version: int,
    ) -> Board[Any]:
        content = _content(self._kind.__name__, document)
        return Board(
            hub, board_id, display_name, owner, OrganizationId(organization), content, from_micros(created), version
        )


_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Dashboard, SavedQuery)}


@lru_cache(maxsize=128)
def _content(kind: str, document: str) -> Any:
    """A hundred tiles take some milliseconds to make, and an open dashboard asks for its tiles one by one."""
    return made(_KINDS[kind], from_json(document), [])


_I = schema.dashboard_images.c
_PUT_IMAGE = insert_into(schema.dashboard_images)
_FIND_IMAGE = select_by(schema.dashboard_images, [_I.kind, _I.content, _I.created], "hub_id", "image_id")
_COUNT_IMAGES = compile_sql(
    sa.select(sa.func.count()).select_from(schema.dashboard_images).where(_I.hub_id == parameter("hub_id")),
    "hub_id",
)
_OLD_IMAGES = compile_sql(
    sa.select(_I.image_id).where(_I.hub_id == parameter("hub_id"), _I.created < parameter("before")),
    "hub_id",
    "before",
)
_DELETE_IMAGE = delete_by(schema.dashboard_images, "hub_id", "image_id")


class ImageRows:
    """Port: `analytics.boards.ImageTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, image_id: str) -> Image | None:
        row = self._connection.execute(_FIND_IMAGE, (hub, image_id)).fetchone()
        return None if row is None else Image(hub, image_id, row[0], row[1], from_micros(row[2]))

    def put(self, image: Image) -> None:
        self._connection.execute(
            _PUT_IMAGE, (image.hub, image.image_id, image.kind, image.content, to_micros(image.created))
        )

    def count(self, hub: HubId) -> int:
        (count,) = self._connection.execute(_COUNT_IMAGES, (hub,)).fetchone()
        return int(count)

    def keep_only(self, hub: HubId, image_ids: frozenset[str], before: datetime) -> int:
        old = [row[0] for row in self._connection.execute(_OLD_IMAGES, (hub, to_micros(before))).fetchall()]
        gone = [image_id for image_id in old if image_id not in image_ids]
        for image_id in gone:
            self._connection.execute(_DELETE_IMAGE, (hub, image_id))
        return len(gone)
