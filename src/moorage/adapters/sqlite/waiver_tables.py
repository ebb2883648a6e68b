"""Waivers that are given (port: `certificates/model.py`)."""

from __future__ import annotations

import sqlite3

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.statements import delete_by, insert_into, select_by
from moorage.ids import HubId
from moorage.pki.waivers import WAIVERS, Waiver, Waivers

__all__ = ["WaiverRows"]

_GIVEN = select_by(schema.waivers, [schema.waivers.c.name], "hub_id")
_PUT = insert_into(schema.waivers)
_DELETE = delete_by(schema.waivers, "hub_id", "name")


class WaiverRows:
    """Port: `certificates.model.WaiverTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def given(self, hub: HubId) -> Waivers:
        names = {name for (name,) in self._connection.execute(_GIVEN, (hub,)).fetchall()}
        return frozenset(waiver for waiver in WAIVERS if waiver in names)

    def put(self, hub: HubId, waiver: Waiver) -> None:
        self._connection.execute(_PUT, (hub, waiver))

    def delete(self, hub: HubId, waiver: Waiver) -> None:
        self._connection.execute(_DELETE, (hub, waiver))
