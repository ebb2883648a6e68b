"""Identities and twins as candidates of a query (port: `hub.model.QueryTable`).

    a condition ─► the index with the fewest names ─► rows by name, narrowed by SQL ─► candidates, in order
                └► no index ─► stretches of all identities, narrowed by SQL ────────────┘

Rows come in order of their names, from behind the one before, so every page is found by a key. An index that gives many
names, and not in their order, is no way in: collecting them would cost more than finding the next few by a scan. What a
condition does not ask for is not read: documents lie outside of the row's page as soon as they are large.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

from moorage.adapters.sqlite.identity_rows import IDENTITY_REST, identity_of
from moorage.adapters.sqlite.query_plan import ALL, Cover, Driver, asks_if_connected, cover, drivers, without_connected
from moorage.adapters.sqlite.values import from_json, to_json
from moorage.hub.model import Candidates, Document, Section, StoredTwin, Twin, TwinRows
from moorage.hub.twins import fresh_twin
from moorage.identities.model import Identity
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId, Secret
from moorage.query.syntax import Expression, Logical, Path, walk

__all__ = ["Queries"]

_NO_KEY: Final = Secret("")
_IDENTITY: Final = ", ".join(column.name for column in IDENTITY_REST)
_TWIN: Final = (
    "version, tags, desired, desired_metadata, desired_version, reported, reported_metadata, reported_version, model_id"
)
_OF_KEY: Final = "WHERE hub_id = ? AND device_id = ? AND module_id = ?"
_FIND_IDENTITY: Final = f"SELECT {_IDENTITY} FROM identities {_OF_KEY}"
_FIND_TWIN: Final = f"SELECT {_TWIN} FROM twins {_OF_KEY}"
_STATUSES: Final = f"SELECT configuration_id, status FROM twin_configurations {_OF_KEY} ORDER BY configuration_id"
_EXISTS: Final = f"SELECT 1 FROM identities {_OF_KEY}"

_JOIN_TWIN: Final = "LEFT JOIN twins AS t USING (hub_id, device_id, module_id) "
_AMONG_NAMES: Final = (
    "FROM json_each(?) AS n CROSS JOIN identities AS i"
    " ON i.hub_id = ? AND i.device_id = n.value ->> 0 AND i.module_id = n.value ->> 1"
)
_KIND: Final[dict[TwinRows, str]] = {"devices": "i.module_id = ''", "devices.modules": "i.module_id != ''"}
# Names of an index that are worth no further comparison, and those that are too many to be put in order.
_FEW: Final = 100
_MANY: Final = 5_000
# The same for a count, which needs no order: beyond it, going through all identities is as well.
_COUNTED: Final = 50_000
# Names that are handed to one statement.
_SOME_NAMES: Final = 2_000
# Whoever writes more conditions than this has the rest looked at.
_MOST_WAYS: Final = 8
# Identities that one statement of a scan goes through for each row that is wanted: where most of them fit, few are
# enough, and where hardly any does, more are wanted at the next turn. 20,000 take SQLite some tens of milliseconds,
# outside of the interpreter.
_STRETCH: Final = 10

# The columns that answer for a member of a twin, beside the name.
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "tags": ("tags",),
    "desired": ("desired", "desired_version"),
    "reported": ("reported", "reported_version"),
}


class Queries:
    """Port: `hub.model.QueryTable`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, hub: HubId, name: IdentityName) -> StoredTwin | None:
        if self._connection.execute(_EXISTS, (hub, name.device_id, name.module_id or "")).fetchone() is None:
            return None
        return _Stored(self._connection, hub, name, {})

    def candidates(
        self,
        hub: HubId,
        rows: TwinRows,
        where: Expression | None,
        after: IdentityName | None,
        limit: int,
        connected: Collection[IdentityName] | None = None,
        shown: Sequence[Expression] = (),
    ) -> Candidates:
        asked = _asked_for(shown if where is None else (where, *shown))
        search = _Search(hub, rows, ALL if where is None else cover(where, hub, rows), asked, after, limit)
        if where is not None:
            if connected is not None and asks_if_connected(where):
                behind = (name for name in connected if _is_behind(name, rows, after))
                return self._among(search, heapq.nsmallest(limit, behind, key=_sorted_by))
            way = self._way_in(where, hub, rows)
            if way is not None:
                return self._among(search, self._names(way, rows, after, limit))
        return self._scanned(search)

    def count(
        self,
        hub: HubId,
        rows: TwinRows,
        where: Expression | None,
        connected: Collection[IdentityName] | None = None,
    ) -> int | None:
        if where is None:
            return self._counted(hub, rows, Cover("1", is_exact=True))
        ways = drivers(where, hub, rows)
        for way in ways:
            if all(driver.is_exact for driver in way):
                sql, parameters = _union(way)
                return int(self._connection.execute(f"SELECT count(*) FROM ({sql})", parameters).fetchone()[0])
        if connected is not None and (left := without_connected(where)) is not None:
            return self._counted_among(hub, rows, left, connected)
        covered = cover(where, hub, rows, for_count=True)
        if not covered.is_exact:
            return None
        estimates = [(sum(self._estimate(driver, _COUNTED) for driver in way), way) for way in ways[:_MOST_WAYS]]
        fewest, best = min(estimates, key=lambda each: each[0], default=(_COUNTED, ()))
        if covered.collects and fewest < _MANY:
            # So few are looked at sooner than all that satisfy the other part are collected.
            return None
        return self._counted(hub, rows, covered, best if fewest < _COUNTED else ())

    def _counted(self, hub: HubId, rows: TwinRows, covered: Cover, way: tuple[Driver, ...] = ()) -> int:
        join = _JOIN_TWIN if covered.needs_twin else ""
        source, parameters = "identities AS i", tuple[Any, ...]()
        if way:
            names, parameters = _union(way)
            source = f"({names}) AS n CROSS JOIN identities AS i USING (device_id, module_id)"
        sql = f"SELECT count(*) FROM {source} {join}WHERE i.hub_id = ? AND {_KIND[rows]} AND {covered.sql}"
        return int(self._connection.execute(sql, (*parameters, hub, *covered.parameters)).fetchone()[0])

    def _counted_among(
        self, hub: HubId, rows: TwinRows, left: tuple[Expression, ...], names: Collection[IdentityName]
    ) -> int | None:
        """Those of the names that satisfy all of `left`."""
        covered = cover(Logical("AND", left), hub, rows, for_count=True) if left else Cover("1", is_exact=True)
        if not covered.is_exact:
            return None
        join, count = _JOIN_TWIN if covered.needs_twin else "", 0
        waiting = iter(names)
        while some := [(name.device_id, name.module_id or "") for name in islice(waiting, _SOME_NAMES)]:
            sql = f"SELECT count(*) {_AMONG_NAMES} {join}WHERE {_KIND[rows]} AND {covered.sql}"
            (found,) = self._connection.execute(sql, (to_json(some), hub, *covered.parameters)).fetchone()
            count += found
        return count

    # -- ways in -------------------------------------------------------------------------------------------------------

    def _way_in(self, where: Expression, hub: HubId, rows: TwinRows) -> tuple[Driver, ...] | None:
        """The index, or the union of several, that gives the fewest names; None when a scan is better."""
        ways = drivers(where, hub, rows)[:_MOST_WAYS]
        if len(ways) == 1 and len(ways[0]) == 1 and ways[0][0].is_ordered:
            return ways[0]
        best: tuple[int, bool, tuple[Driver, ...]] | None = None
        for way in ways:
            is_costly = len(way) > 1 or not way[0].is_ordered
            judged = (sum(map(self._estimate, way)), is_costly, way)
            if best is None or judged[:2] < best[:2]:
                best = judged
            if best[0] <= _FEW:
                break
        if best is None or (best[0] >= _MANY and best[1]):
            return None
        return best[2]

    def _estimate(self, driver: Driver, most: int = _MANY) -> int:
        """How many names it gives, counted no further than `most`."""
        sql = f"SELECT count(*) FROM ({driver.sql} LIMIT {most})"
        return int(self._connection.execute(sql, driver.parameters).fetchone()[0])

    def _names(
        self, way: tuple[Driver, ...], rows: TwinRows, after: IdentityName | None, limit: int
    ) -> list[IdentityName]:
        sql, parameters = _union(way, *_behind("x", rows, after))
        found = self._connection.execute(f"{sql} ORDER BY 1, 2 LIMIT ?", (*parameters, limit)).fetchall()
        return [_name(*row) for row in found]

    def _among(self, search: _Search, names: Sequence[IdentityName]) -> Candidates:
        """Those of the names that the search covers; a full list of names has more behind it."""
        listed = to_json([(name.device_id, name.module_id or "") for name in names])
        found = self._found(
            search,
            f"{_AMONG_NAMES} {search.join}WHERE {search.covered.sql}",
            (listed, search.hub, *search.covered.parameters),
        )
        return Candidates(found, names[-1] if len(names) == search.limit else None)

    # -- scans ---------------------------------------------------------------------------------------------------------

    def _scanned(self, search: _Search) -> Candidates:
        """The next of all identities, looked at in stretches that SQLite gets through in a moment."""
        behind, parameters = _behind("i", search.rows, search.after)
        where = f"WHERE i.hub_id = ? AND {_KIND[search.rows]}{behind}"
        end: IdentityName | None = None
        until, bound = "", ()
        if search.covered.sql != "1":
            row = self._connection.execute(
                f"SELECT i.device_id, i.module_id FROM identities AS i {where} "
                "ORDER BY i.device_id, i.module_id LIMIT 1 OFFSET ?",
                (search.hub, *parameters, _STRETCH * search.limit),
            ).fetchone()
            if row is not None:
                end = _name(*row)
                until, bound = " AND (i.device_id, i.module_id) <= (?, ?)", tuple(row)
        found = self._found(
            search,
            f"FROM identities AS i {search.join}{where}{until} AND {search.covered.sql} "
            "ORDER BY i.device_id, i.module_id LIMIT ?",
            (search.hub, *parameters, *bound, *search.covered.parameters, search.limit),
        )
        return Candidates(found, found[-1].name if len(found) == search.limit else end)

    def _found(self, search: _Search, sql: str, parameters: tuple[Any, ...]) -> list[_Stored]:
        columns = search.columns
        select = ", ".join(["i.device_id", "i.module_id", *(f"t.{column}" for column in columns)])
        stored = [
            _Stored(self._connection, search.hub, _name(*row[:2]), dict(zip(columns, row[2:], strict=True)))
            for row in self._connection.execute(f"SELECT {select} {sql}", parameters).fetchall()
        ]
        # As the index gave them; the names of the two tables are compared alike, so this finds them sorted.
        stored.sort(key=lambda each: _sorted_by(each.name))
        return stored


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for, and what of it is read."""

    hub: HubId
    rows: TwinRows
    covered: Cover
    columns: tuple[str, ...]
    after: IdentityName | None
    limit: int

    @property
    def join(self) -> str:
        return _JOIN_TWIN if self.columns or self.covered.needs_twin else ""


def _union(way: tuple[Driver, ...], behind: str = "", more: tuple[Any, ...] = ()) -> tuple[str, tuple[Any, ...]]:
    """One SELECT of all names that the drivers give, each once, and its parameters."""
    sql = " UNION ".join(f"{driver.sql}{behind}" for driver in way)
    return sql, tuple(part for driver in way for part in (*driver.parameters, *more))


def _behind(table: str, rows: TwinRows, after: IdentityName | None) -> tuple[str, tuple[str, ...]]:
    if after is None:
        return "", ()
    if rows == "devices":
        return f" AND {table}.device_id > ?", (after.device_id,)
    return f" AND ({table}.device_id, {table}.module_id) > (?, ?)", (after.device_id, after.module_id or "")


def _is_behind(name: IdentityName, rows: TwinRows, after: IdentityName | None) -> bool:
    if (name.module_id is None) != (rows == "devices"):
        return False
    return after is None or _sorted_by(name) > _sorted_by(after)


def _sorted_by(name: IdentityName) -> tuple[str, str]:
    return name.device_id, name.module_id or ""


def _asked_for(expressions: Sequence[Expression]) -> tuple[str, ...]:
    """The columns of twins that the expressions look at."""
    asked: set[str] = set()
    for node in (node for expression in expressions for node in walk(expression)):
        if isinstance(node, Path):
            match node.names:
                case ("tags", *_):
                    asked.add("tags")
                case ("properties", "desired" | "reported" as section, *_):
                    asked.add(section)
    return tuple(column for part in sorted(asked) for column in _COLUMNS[part])


def _name(device_id: str, module_id: str) -> IdentityName:
    return IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None)


class _Stored:
    """Port: `hub.model.StoredTwin`. `columns` of the twin were read with it; a twin never written has nulls."""

    __slots__ = ("_columns", "_connection", "_hub", "_parsed", "name")

    def __init__(self, connection: sqlite3.Connection, hub: HubId, name: IdentityName, columns: dict[str, Any]) -> None:
        self._connection = connection
        self._hub = hub
        self._columns = columns
        self._parsed: dict[str, Any] = {}
        self.name = name

    def identity(self) -> Identity:
        row = self._connection.execute(_FIND_IDENTITY, self._key()).fetchone()
        return identity_of(self._hub, self.name, row, _no_keys)

    def tags(self) -> Mapping[str, Any]:
        return self._document("tags")

    def members(self, section: Section) -> Mapping[str, Any]:
        return self._document(section)

    def version(self, section: Section) -> int:
        return cast(int, self._column(f"{section}_version") or 1)

    def twin(self) -> Twin:
        row = self._connection.execute(_FIND_TWIN, self._key()).fetchone()
        if row is None:
            return fresh_twin(self._hub, self.name)
        version, tags, desired, desired_meta, desired_version, reported, reported_meta, reported_version, model = row
        return Twin(
            self._hub,
            self.name,
            version,
            from_json(tags),
            Document(from_json(desired), from_json(desired_meta), desired_version),
            Document(from_json(reported), from_json(reported_meta), reported_version),
            model,
        )

    def configurations(self) -> Mapping[str, str]:
        return dict(self._connection.execute(_STATUSES, self._key()).fetchall())

    def _document(self, column: str) -> Mapping[str, Any]:
        if column not in self._parsed:
            text = self._column(column)
            self._parsed[column] = {} if text is None or text == "{}" else from_json(text)
        return cast(Mapping[str, Any], self._parsed[column])

    def _column(self, column: str) -> Any:
        if column not in self._columns:
            names = tuple(name for each in _COLUMNS.values() for name in each)
            row = self._connection.execute(f"SELECT {', '.join(names)} FROM twins {_OF_KEY}", self._key()).fetchone()
            self._columns.update(zip(names, row or (None,) * len(names), strict=True))
        return self._columns[column]

    def _key(self) -> tuple[str, str, str]:
        return self._hub, self.name.device_id, self.name.module_id or ""


def _no_keys(_hub: HubId, _name: IdentityName, _sealed: bytes) -> tuple[Secret, Secret]:
    """No query tells a key, so none is unsealed."""
    return _NO_KEY, _NO_KEY
