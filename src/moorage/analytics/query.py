"""Answers to queries over what devices of a template sent (contract/central.md PRE-1).

    devices of the template, by conditions on facts and properties
        ├─ aggregates of telemetry alone ──► rollups by minute: any number of messages
        ├─ conditions on telemetry, single messages ──► the log, by the places of each device's messages
        └─ no telemetry at all ──► a row for each device

Which names are properties the model says; every other is telemetry. Aggregates of rollups begin
at a whole minute, over long times at a whole hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from moorage.accounts.model import Actor
from moorage.analytics.explorer import fitting_step
from moorage.analytics.projector import ReadValues
from moorage.analytics.query_language import Function, Item, SeriesQuery, parse_series_query
from moorage.analytics.rollups import EPOCH, Bucket, Key
from moorage.analytics.series import MAX_DEVICES, Series
from moorage.clock import Clock
from moorage.dtdl.model import Interface
from moorage.errors import Invalid, NotFound
from moorage.fleet.group_query import FACTS, device_row
from moorage.fleet.groups import GroupTables
from moorage.fleet.model import DeviceFilter, DeviceRecord, TemplateId
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage, TelemetryLog
from moorage.ids import HubId, IdentityName
from moorage.query.evaluator import Evaluate, compile_expression
from moorage.query.syntax import Expression, Logical, Path, walk
from moorage.store import Store

__all__ = ["MAX_DEVICE_ROWS", "MAX_ROWS", "SeriesQueries"]

# central.md PRE-2
MAX_ROWS: Final = 10_000
MAX_DEVICE_ROWS: Final = 1_000
# Devices whose telemetry one query looks at, and messages that it reads.
MAX_ASKED: Final = 1_000
MAX_READ: Final = 10_000
_TIME: Final = "$ts"
_PIECE: Final = 500
_OFFSETS: Final = 500

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A device, and what queries can ask of it."""

    record: DeviceRecord
    row: Mapping[str, Any]


class SeriesQueries:
    """Answers for whoever asks, about the devices that they see. `read_values` says what a message holds."""

    def __init__(
        self,
        hub: HubId,
        store: Store[GroupTables],
        series: Series,
        log: TelemetryLog,
        read_values: ReadValues,
        interface_of: Callable[[TemplateId], Interface | None],
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._series = series
        self._log = log
        self._read_values = read_values
        self._interface_of = interface_of
        self._clock = clock

    async def rows(self, actor: Actor, text: str) -> list[Row]:
        """Columns by their names; a time is an aware datetime, and what has no value is left out.

        Raises:
            Invalid: `query.*` pointing at the place, `query.rows` for what takes too many devices or messages.
            NotFound: `template.unknown`.
        """
        query = parse_series_query(text)
        interface = self._interface_of(query.template)
        if interface is None:
            raise NotFound("template.unknown", f"there is no published template {query.template[:140]!r}")
        properties = _properties(interface)
        of_device, of_message = _split(query.where, properties)
        devices = await self._devices(actor, query.template, of_device)
        asked = {item.path for item in query.items if item.path} | set(query.group_by)
        telemetry = {path for path in asked if path not in properties and path != _TIME}
        is_counting = any(item.function and not item.path for item in query.items)
        if not telemetry and of_message is None and not is_counting and query.window is None and _TIME not in asked:
            rows = self._of_devices(query, devices)
        elif (
            query.is_aggregate
            and of_message is None
            and not is_counting
            and telemetry.isdisjoint(query.group_by)
            # Rollups know no properties; of messages each has those of its device.
            and not any(item.function and item.path in properties for item in query.items)
        ):
            rows = await self._from_rollups(query, devices, interface)
        else:
            rows = await self._from_messages(query, devices, of_message)
        return (await asyncio.to_thread(_ordered, query, rows))[: min(query.top or MAX_ROWS, MAX_ROWS)]

    async def _devices(self, actor: Actor, template: TemplateId, condition: Expression | None) -> list[_Chosen]:
        wanted = DeviceFilter(template=template, organizations=actor.organizations)
        fits: Evaluate = (lambda row: True) if condition is None else compile_expression(condition)
        found: list[_Chosen] = []
        after = ""
        while True:

            def work(tables: GroupTables, after: str = after) -> tuple[list[_Chosen], str]:
                ids = tables.devices.ids(self._hub, wanted, _PIECE, after)
                chosen = []
                for record in tables.devices.find_many(self._hub, ids):
                    twin = tables.twins.find(self._hub, IdentityName(record.device_id))
                    cloud = tables.devices.cloud_properties(self._hub, record.device_id)
                    row = _flat(device_row(record, twin, cloud))
                    if fits(row) is True:
                        chosen.append(_Chosen(record, row))
                return chosen, ids[-1] if len(ids) == _PIECE else ""

            chosen, after = await self._store.scan(work)
            found += chosen
            if len(found) > MAX_ASKED:
                raise Invalid(
                    "query.rows",
                    f"more than {MAX_ASKED} devices fit; a query looks at no more",
                    fix="choose fewer with a condition on $id or on a property",
                )
            if not after:
                return found

    # -- three ways ----------------------------------------------------------------------------------------------------

    def _of_devices(self, query: SeriesQuery, devices: Sequence[_Chosen]) -> list[Row]:
        if not query.is_aggregate:
            return [_shown(query.items, each.row) for each in devices[:MAX_DEVICE_ROWS]]
        groups = _Groups(query)
        for each in devices:
            groups.add(each.row, None)
        return groups.rows()

    async def _from_rollups(self, query: SeriesQuery, devices: Sequence[_Chosen], interface: Interface) -> list[Row]:
        until = self._clock.now()
        since = until - query.within
        keys: dict[str, Key] = {item.path: _key(item.path, interface) for item in query.items if item.function}
        wanted = 0 if query.window is None else int(query.window.total_seconds() // 60)
        groups = _Groups(query)
        for begin in range(0, len(devices), MAX_DEVICES):
            some = devices[begin : begin + MAX_DEVICES]
            # The shorter, the nearer to the moment that the window begins at.
            step = wanted or fitting_step(query.within, len(some), len(keys), 1)
            ids = [each.record.device_id for each in some]
            found = await self._series.many_buckets(
                ids, list(keys.values()), since, until, timedelta(minutes=step), is_first_whole=False
            )
            # Of many devices by the minute this is some hundred milliseconds, which are not the loop's.
            await asyncio.to_thread(_gather, groups, some, keys, found)
        return groups.rows()

    async def _from_messages(
        self, query: SeriesQuery, devices: Sequence[_Chosen], condition: Expression | None
    ) -> list[Row]:
        since_ms = int((self._clock.now() - query.within).timestamp() * 1000)
        fits: Evaluate = (lambda row: True) if condition is None else compile_expression(condition)
        groups = _Groups(query) if query.is_aggregate else None
        # Of these a message has at least one; what every message has is shown of each.
        named = [item.path for item in query.items if not item.path.startswith("$")]
        rows: list[Row] = []
        read = 0
        for each in devices:
            before: int | None = None
            while True:
                offsets = await self._series.recent_offsets(each.record.device_id, before, _OFFSETS)
                offsets = [offset for offset in offsets if offset >= self._log.durable_start]
                is_done = len(offsets) < _OFFSETS
                for offset in offsets:
                    if read == MAX_READ:
                        raise Invalid(
                            "query.rows",
                            f"after {read} messages the query had not come to its end",
                            fix="ask for a shorter WITHIN_WINDOW, for fewer devices, or for aggregates without "
                            "conditions on telemetry",
                        )
                    before = offset
                    message = await self._message(offset)
                    read += 1
                    if message is None or message.source.message_source != "Telemetry":
                        continue
                    if message.enqueued_ms < since_ms:
                        is_done = True
                        break
                    row = self._row(each, message)
                    if row is None or fits(row) is not True:
                        continue
                    if groups is not None:
                        groups.add(row, row[_TIME])
                    elif not named or any(path in row for path in named):
                        rows.append(_shown(query.items, row))
                if is_done:
                    break
        return rows if groups is None else groups.rows()

    async def _message(self, offset: int) -> StoredMessage | None:
        try:
            page = await self._log.read(from_offset=offset, limit=1)
        except LogCorrupt:
            return None
        return page.messages[0] if page.messages and page.messages[0].offset == offset else None

    def _row(self, device: _Chosen, message: StoredMessage) -> Row | None:
        readings = self._read_values(message)
        if readings is None:
            return None
        row: Row = dict(device.row)
        row[_TIME] = EPOCH + timedelta(milliseconds=readings.at_ms)
        for (component, name), value in readings.values:
            path = f"{component}.{name}" if component else name
            # Who it is and when it was is not for the device's body to say.
            if not path.startswith("$"):
                row[path] = value
        return row


class _Groups:
    """Rows of an aggregate query while they gather."""

    def __init__(self, query: SeriesQuery) -> None:
        self._query = query
        self._columns = [item for item in query.items if item.function]
        self._found: dict[tuple[Any, ...], dict[Item, Bucket]] = {}

    def add(self, row: Mapping[str, Any], at: datetime | None) -> None:
        buckets = self._buckets(row, at)
        for item in self._columns:
            value = row.get(item.path) if item.path else 1
            if value is not None and not isinstance(value, (dict, list)):
                buckets.setdefault(item, Bucket()).add(value)

    def add_bucket(self, row: Mapping[str, Any], path: str, start: datetime, bucket: Bucket) -> None:
        buckets = self._buckets(row, start)
        for item in self._columns:
            if item.path == path:
                buckets.setdefault(item, Bucket()).merge(bucket)

    def _buckets(self, row: Mapping[str, Any], at: datetime | None) -> dict[Item, Bucket]:
        window = self._query.window
        begin = None if window is None or at is None else EPOCH + (at - EPOCH) // window * window
        place = (begin, *(_hashable(row.get(path)) for path in self._query.group_by))
        if place not in self._found and len(self._found) >= MAX_ROWS:
            raise Invalid("query.rows", f"the query makes more than {MAX_ROWS} groups")
        return self._found.setdefault(place, {})

    def rows(self) -> list[Row]:
        rows = []
        for (begin, *values), buckets in self._found.items():
            row: Row = dict(zip(self._query.group_by, values, strict=True))
            if begin is not None:
                row[_TIME] = begin
            shown = {item.alias: row.get(item.path) for item in self._query.items if item.function is None}
            shown |= {item.alias: _figure(item.function, buckets[item]) for item in self._columns if item in buckets}
            shown |= row
            rows.append({name: value for name, value in shown.items() if value is not None})
        return rows


def _gather(
    groups: _Groups,
    devices: Sequence[_Chosen],
    keys: Mapping[str, Key],
    found: Mapping[str, Mapping[Key, Mapping[datetime, Bucket]]],
) -> None:
    for each in devices:
        lines = found[each.record.device_id]
        for path, key in keys.items():
            for start, bucket in lines[key].items():
                groups.add_bucket(each.row, path, start, bucket)


def _figure(function: Function | None, bucket: Bucket) -> float | None:
    match function:
        case "AVG":
            return bucket.average
        case "SUM":
            return bucket.total
        case "MAX":
            return bucket.greatest
        case "MIN":
            return bucket.least
        case "COUNT":
            return bucket.count
        case "FIRST":
            return bucket.first
        case "LAST":
            return bucket.last
    return None


def _shown(items: Sequence[Item], row: Mapping[str, Any]) -> Row:
    return {item.alias: row[item.path] for item in items if row.get(item.path) is not None}


def _ordered(query: SeriesQuery, rows: list[Row]) -> list[Row]:
    if not query.order and not query.is_aggregate:
        # The newest first, where they have a time.
        return _by(rows, _TIME, is_descending=True) if any(_TIME in row for row in rows) else rows
    for order in reversed(query.order):
        rows = _by(rows, order.alias, is_descending=order.is_descending)
    return rows


def _by(rows: list[Row], name: str, *, is_descending: bool) -> list[Row]:
    return sorted(rows, key=lambda row: _rank(row.get(name)), reverse=is_descending)


def _rank(value: Any) -> tuple[int, Any]:
    """Values of different types have an order, too."""
    if isinstance(value, datetime):
        return 3, value
    if isinstance(value, (int, float)):
        return 1, value
    return (2, value) if isinstance(value, str) else (0, 0)


def _properties(interface: Interface) -> set[str]:
    names = {each.name for each in (*interface.properties, *interface.cloud_properties)}
    for component in interface.components:
        names |= {f"{component.name}.{each.name}" for each in component.schema.properties}
    return names | set(FACTS)


def _split(where: Expression | None, properties: set[str]) -> tuple[Expression | None, Expression | None]:
    """(what is asked of the device, what is asked of a message)."""
    parts: tuple[Expression, ...] = () if where is None else (where,)
    if isinstance(where, Logical) and where.operator == "AND":
        parts = where.operands
    of_device: list[Expression] = []
    of_message: list[Expression] = []
    for part in parts:
        paths = {node.names[0] for node in walk(part) if isinstance(node, Path)}
        (of_device if paths <= properties else of_message).append(part)
    return _joined(of_device), _joined(of_message)


def _joined(parts: Sequence[Expression]) -> Expression | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Logical("AND", tuple(parts), parts[0].at)


def _flat(row: Mapping[str, Any]) -> Row:
    """Components' members under their whole names."""
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{member}": each for member, each in value.items()}
        flat[name] = value
    return flat


def _key(path: str, interface: Interface) -> Key:
    """A component's name in front, or a place within an object of the device itself."""
    first, dot, rest = path.partition(".")
    return (first, rest) if dot and any(each.name == first for each in interface.components) else ("", path)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
