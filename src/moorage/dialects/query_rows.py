"""Twins as rows of a query: the document of services.md 2.7, its members made when they are asked for.

`SELECT *` shows what a GET of the twin shows. A condition mostly asks for one member of one section, so nothing else is
read or made for a row that is looked at and not shown. `connectionState` and `lastActivityTime` are those of now
(decisions S5), and `configurations` is what T-13 says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from moorage.clock import Clock
from moorage.dialects.hub_json import Presence, twin_json
from moorage.hub.messages import count_waiting
from moorage.hub.model import HubTables, Section, StoredTwin, TwinRows
from moorage.hub.query_rows import Key, Piece
from moorage.hub.twins import fresh_twin
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId
from moorage.query.syntax import UNDEFINED, Expression, Path, Row, walk

__all__ = ["PresenceSource", "TwinRow", "TwinSource"]

# Members that follow from the identity alone.
_OF_IDENTITY: Final = frozenset(
    (
        "deviceEtag",
        "status",
        "statusReason",
        "statusUpdateTime",
        "authenticationType",
        "x509Thumbprint",
        "capabilities",
        "deviceScope",
        "parentScopes",
    )
)


class PresenceSource(Protocol):
    """Who is connected. Called from threads too."""

    def of(self, hub: HubId, name: IdentityName) -> Presence: ...

    def connected(self, hub: HubId) -> Collection[IdentityName]:
        """All that are connected now."""


class TwinSource:
    """Port: `hub.query_rows.RowSource`, of devices or of modules."""

    item_type = "Twin"

    def __init__(self, rows: TwinRows, presence: PresenceSource, clock: Clock) -> None:
        self._rows = rows
        self._presence = presence
        self._clock = clock

    def piece(
        self,
        tables: HubTables,
        hub: HubId,
        where: Expression | None,
        after: Key | None,
        limit: int,
        shown: Sequence[Expression] = (),
    ) -> Piece:
        behind = None if after is None else _name(after)
        connected = self._connected(hub, where)
        candidates = tables.queries.candidates(hub, self._rows, where, behind, limit, connected, shown)
        resume = candidates.resume
        return Piece(
            [(_key(stored.name), self._row(tables, hub, stored)) for stored in candidates.found],
            None if resume is None else _key(resume),
        )

    def whole(self, row: Row) -> Mapping[str, Any]:
        assert isinstance(row, TwinRow)  # this source makes no other
        return row.whole()

    def count(self, tables: HubTables, hub: HubId, where: Expression | None) -> int | None:
        return tables.queries.count(hub, self._rows, where, self._connected(hub, where))

    def find(self, tables: HubTables, hub: HubId, name: IdentityName) -> Row | None:
        """The row of one identity, inside of a transaction too; None when there is no such identity in here."""
        if (name.module_id is None) != (self._rows == "devices"):
            return None
        stored = tables.queries.find(hub, name)
        return None if stored is None else self._row(tables, hub, stored)

    def _row(self, tables: HubTables, hub: HubId, stored: StoredTwin) -> TwinRow:
        return TwinRow(stored, tables, hub, self._presence, self._clock)

    def _connected(self, hub: HubId, where: Expression | None) -> Collection[IdentityName] | None:
        asks = where is not None and any(
            isinstance(node, Path) and node.names[0] == "connectionState" for node in walk(where)
        )
        return self._presence.connected(hub) if asks else None


class TwinRow(Mapping[str, Any]):
    """One twin. Valid within the scan that read it."""

    __slots__ = ("_clock", "_hub", "_identity_members", "_made", "_presence", "_stored", "_tables", "_whole")

    def __init__(
        self, stored: StoredTwin, tables: HubTables, hub: HubId, presence: PresenceSource, clock: Clock
    ) -> None:
        self._stored = stored
        self._tables = tables
        self._hub = hub
        self._presence = presence
        self._clock = clock
        self._made: dict[str, Any] = {}
        self._identity_members: Mapping[str, Any] | None = None
        self._whole: Mapping[str, Any] | None = None

    def whole(self) -> Mapping[str, Any]:
        """The plain document."""
        if self._whole is None:
            stored, hub, tables = self._stored, self._hub, self._tables
            self._whole = twin_json(
                stored.twin(),
                stored.identity(),
                self._presence.of(hub, stored.name),
                count_waiting(tables, hub, stored.name, self._clock.now()),
                stored.configurations(),
            )
        return self._whole

    def get(self, name: str, default: Any = None) -> Any:
        made = self._made
        if name not in made:
            made[name] = self._make(name)
        return default if made[name] is UNDEFINED else made[name]

    def __getitem__(self, name: str) -> Any:
        value = self.get(name, UNDEFINED)
        if value is UNDEFINED:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())

    def _make(self, name: str) -> Any:
        """`UNDEFINED` for what a twin does not have."""
        stored = self._stored
        match name:
            case "deviceId":
                return stored.name.device_id
            case "moduleId" if stored.name.module_id is not None:
                return stored.name.module_id
            case "tags":
                return stored.tags()
            case "properties":
                return _Lazy(
                    {
                        "desired": lambda: _LazySection(stored, "desired"),
                        "reported": lambda: _LazySection(stored, "reported"),
                    }
                )
            case "configurations":
                statuses = stored.configurations()
                return {each: {"status": status} for each, status in statuses.items()} if statuses else UNDEFINED
        if name in _OF_IDENTITY:
            if self._identity_members is None:
                identity = stored.identity()
                self._identity_members = twin_json(fresh_twin(self._hub, stored.name), identity, Presence(), 0)
            return self._identity_members.get(name, UNDEFINED)
        return self.whole().get(name, UNDEFINED)


class _Lazy(Mapping[str, Any]):
    """An object whose members are made when they are asked for."""

    __slots__ = ("_makers",)

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Any:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class _LazySection(Mapping[str, Any]):
    """A section with its `$version`, and its `$metadata` when that is asked for."""

    __slots__ = ("_members", "_name", "_stored")

    def __init__(self, stored: StoredTwin, name: Section) -> None:
        self._stored = stored
        self._name = name
        self._members = stored.members(name)

    def __getitem__(self, name: str) -> Any:
        if name == "$version":
            return self._stored.version(self._name)
        if name == "$metadata":
            twin = self._stored.twin()
            return (twin.desired if self._name == "desired" else twin.reported).metadata
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._members
        yield from ("$metadata", "$version")

    def __len__(self) -> int:
        return len(self._members) + 2


def _key(name: IdentityName) -> Key:
    return (name.device_id,) if name.module_id is None else (name.device_id, name.module_id)


def _name(key: Key) -> IdentityName:
    return IdentityName(DeviceId(key[0]), ModuleId(key[1]) if len(key) > 1 else None)
