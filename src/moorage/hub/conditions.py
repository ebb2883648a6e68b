"""Conditions over the twins of a hub (port: `hub.targets.Targets`), with the rows and the evaluator of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from moorage.hub.model import HubTables, TwinRows
from moorage.hub.query_rows import Key, RowSource
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId
from moorage.query.evaluator import Evaluate, compile_expression
from moorage.query.parser import Condition, parse_condition
from moorage.query.syntax import Row
from moorage.store import Store

__all__ = ["ConditionTargets", "TwinRowSource"]

# Rows that one scan looks at.
_PIECE = 500
# As the parser has it.
_REMEMBERED_CHARS = 4096


class TwinRowSource(RowSource[HubTables], Protocol):
    """A collection of twins, where one can also be found by its name."""

    def find(self, tables: HubTables, hub: HubId, name: IdentityName) -> Row | None: ...


class ConditionTargets:
    """Port: `hub.targets.Targets`."""

    def __init__(self, store: Store[HubTables], sources: Mapping[TwinRows, TwinRowSource]) -> None:
        self._store = store
        self._sources = sources

    def check(self, condition: str, collection: TwinRows) -> None:
        _compiled(condition, collection)

    def matches(self, tables: HubTables, hub: HubId, condition: str, collection: TwinRows, name: IdentityName) -> bool:
        parsed, is_satisfied = _compiled(condition, collection)
        if parsed.is_empty:
            return False
        row = self._sources[collection].find(tables, hub, name)
        return row is not None and (is_satisfied is None or is_satisfied(row) is True)

    async def select(
        self, hub: HubId, condition: str, collection: TwinRows, *, after: IdentityName | None, limit: int
    ) -> Sequence[IdentityName]:
        parsed, is_satisfied = _compiled(condition, collection)
        source = self._sources[collection]
        found: list[IdentityName] = []
        resume = None if after is None else _key(after)
        is_done = parsed.is_empty

        def work(tables: HubTables) -> tuple[list[IdentityName], Key | None]:
            piece = source.piece(tables, hub, parsed.where, resume, _PIECE)
            return [
                _name(key) for key, row in piece.rows if is_satisfied is None or is_satisfied(row) is True
            ], piece.resume

        while not is_done and len(found) < limit:
            names, resume = await self._store.scan(work)
            found += names
            is_done = resume is None
        return found[:limit]


def _compiled(condition: str, collection: TwinRows) -> tuple[Condition, Evaluate | None]:
    """Raises `Invalid` (`query.*`)."""
    return (_remembered if len(condition) <= _REMEMBERED_CHARS else _compile)(condition, collection)


def _compile(condition: str, collection: TwinRows) -> tuple[Condition, Evaluate | None]:
    parsed = parse_condition(condition, collection)
    return parsed, None if parsed.where is None else compile_expression(parsed.where)


_remembered = lru_cache(256)(_compile)


def _key(name: IdentityName) -> Key:
    return (name.device_id,) if name.module_id is None else (name.device_id, name.module_id)


def _name(key: Key) -> IdentityName:
    return IdentityName(DeviceId(key[0]), ModuleId(key[1]) if len(key) > 1 else None)
