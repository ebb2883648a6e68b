"""Where messages go, how far each endpoint has come, and what it did not take (port: `hub/routing_model.py`)."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

import sqlalchemy as sa

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.sealing import Sealer
from moorage.adapters.sqlite.statements import (
    compile_sql,
    delete_by,
    insert_into,
    limited,
    parameter,
    select_by,
    upsert,
)
from moorage.adapters.sqlite.values import fold, from_json, from_micros, to_json, to_micros
from moorage.hub.routing_model import DeadLetter, Endpoint, Enrichment, Fallback, MessageRoute, Routing
from moorage.ids import HubId, Secret

__all__ = ["RoutingRows"]

_R, _C, _D = schema.routing, schema.routing_cursors, schema.dead_letters
_LOAD = select_by(_R, [_R.c.document, _R.c.sealed], "hub_id")
_SAVE = upsert(_R)
_CURSOR = select_by(_C, [_C.c.place], "hub_id", "endpoint")
_PUT_CURSOR = upsert(_C)
_DELETE_CURSOR = delete_by(_C, "hub_id", "endpoint")
_BURY = insert_into(_D)
_DEAD = compile_sql(
    limited(
        sa.select(_D.c.number, _D.c.endpoint, _D.c.at, _D.c.device_id, _D.c.place, _D.c.reason, _D.c.body)
        .where(_D.c.hub_id == parameter("hub_id"), _D.c.endpoint == parameter("endpoint"))
        .order_by(_D.c.number)
    ),
    "hub_id",
    "endpoint",
    "limit",
)
_COUNT = compile_sql(
    sa.select(sa.func.count()).where(_D.c.hub_id == parameter("hub_id"), _D.c.endpoint == parameter("endpoint")),
    "hub_id",
    "endpoint",
)
_DELETE_DEAD = delete_by(_D, "hub_id", "endpoint", "number")
_DELETE_ALL_DEAD = delete_by(_D, "hub_id", "endpoint")
_DELETE_OLDEST = (
    "DELETE FROM dead_letters WHERE number IN (SELECT number FROM dead_letters WHERE hub_id = ? AND endpoint = ?"
    " ORDER BY number DESC LIMIT -1 OFFSET ?)"
)
_NOTHING: Final = Routing()


class RoutingRows:
    """Port: `hub.routing_model.RoutingTable`. Endpoints are found by their folded names."""

    __slots__ = ("_connection", "_sealer")

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def load(self, hub: HubId) -> Routing:
        row = self._connection.execute(_LOAD, (hub,)).fetchone()
        if row is None:
            return _NOTHING
        document = from_json(row[0])
        secrets = {} if row[1] is None else json.loads(self._sealer.open(row[1], _R.name, hub)[0].reveal())
        return Routing(
            tuple(
                Endpoint(
                    **{**each, "options": each["options"]},
                    address=Secret(secrets[each["name"]][0]),
                    credential=Secret(secrets[each["name"]][1]),
                )
                for each in document["endpoints"]
            ),
            tuple(MessageRoute(**{**each, "endpoints": tuple(each["endpoints"])}) for each in document["routes"]),
            tuple(Enrichment(**{**each, "endpoints": tuple(each["endpoints"])}) for each in document["enrichments"]),
            Fallback(document["fallback"]["is_enabled"], tuple(document["fallback"]["endpoints"])),
        )

    def save(self, hub: HubId, routing: Routing) -> None:
        secrets = {each.name: [each.address.reveal(), each.credential.reveal()] for each in routing.endpoints}
        document: dict[str, Any] = {
            "endpoints": [
                {name: getattr(each, name) for name in ("name", "kind", "options", "batch", "retry_s")}
                for each in routing.endpoints
            ],
            "routes": [
                {name: getattr(each, name) for name in ("name", "endpoints", "source", "condition", "is_enabled")}
                for each in routing.routes
            ],
            "enrichments": [
                {name: getattr(each, name) for name in ("key", "value", "endpoints")} for each in routing.enrichments
            ],
            "fallback": {"is_enabled": routing.fallback.is_enabled, "endpoints": routing.fallback.endpoints},
        }
        sealed = self._sealer.seal(Secret(json.dumps(secrets)), Secret(""), _R.name, hub) if secrets else None
        self._connection.execute(_SAVE, (hub, to_json(document), sealed))

    def cursor(self, hub: HubId, endpoint: str) -> int | None:
        row = self._connection.execute(_CURSOR, (hub, fold(endpoint))).fetchone()
        return None if row is None else row[0]

    def put_cursor(self, hub: HubId, endpoint: str, offset: int) -> None:
        self._connection.execute(_PUT_CURSOR, (hub, fold(endpoint), offset))

    def forget(self, hub: HubId, endpoint: str) -> None:
        self._connection.execute(_DELETE_CURSOR, (hub, fold(endpoint)))
        self._connection.execute(_DELETE_ALL_DEAD, (hub, fold(endpoint)))

    def bury(self, hub: HubId, letter: DeadLetter, keep: int) -> None:
        row = (
            None,
            hub,
            fold(letter.endpoint),
            to_micros(letter.at),
            letter.device_id,
            letter.offset,
            letter.reason,
            letter.body,
        )
        self._connection.execute(_BURY, row)
        self._connection.execute(_DELETE_OLDEST, (hub, fold(letter.endpoint), keep))

    def dead(self, hub: HubId, endpoint: str, limit: int) -> list[tuple[int, DeadLetter]]:
        rows = self._connection.execute(_DEAD, (hub, fold(endpoint), limit)).fetchall()
        return [
            (number, DeadLetter(of, from_micros(at), device_id, place, reason, body))
            for number, of, at, device_id, place, reason, body in rows
        ]

    def count_dead(self, hub: HubId, endpoint: str) -> int:
        number: int = self._connection.execute(_COUNT, (hub, fold(endpoint))).fetchone()[0]
        return number

    def delete_dead(self, hub: HubId, endpoint: str, number: int) -> None:
        self._connection.execute(_DELETE_DEAD, (hub, fold(endpoint), number))
