"""Queries: pages of rows, and conditions over twins, by the language's own evaluator (contract/services.md 2.9).

    text ─► tree ─► candidates of the collection, piece by piece ─► evaluator ─► projection or groups ─► page

A page begins behind the last row of the one before it, so the hundredth costs what the first did, and what is written
meanwhile neither repeats nor hides rows that stay. Every piece is one scan in a thread: between two of them the store's
threads serve others, and no moment of the database is held on to. A page that has looked at rows for `PAGE_S` ends
early, with what it found and a continuation; aggregates, which cannot, are refused after `AGGREGATE_S`. At most
`_AT_ONCE` queries look at rows at the same time, the others wait for their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from moorage.clock import Clock
from moorage.errors import Invalid
from moorage.hub.query_rows import Key, RowSource
from moorage.hub.query_tokens import Resume, encode_token, parse_token
from moorage.ids import HubId
from moorage.query.aggregates import Grouping, projector
from moorage.query.evaluator import Evaluate, compile_expression
from moorage.query.parser import parse_query
from moorage.query.syntax import Aggregate, CollectionName, Expression, Row, Select
from moorage.store import Store

__all__ = ["AGGREGATE_S", "MAX_PAGE", "PAGE_S", "Page", "QueryService"]

Tables = TypeVar("Tables")
Item = TypeVar("Item")

MAX_PAGE: Final = 1000
PAGE_S: Final = 10.0
AGGREGATE_S: Final = 60.0
_AT_ONCE = 4
# Rows that one scan looks at: few where most are shown and encoded, more as fewer are.
_PIECE = 100
_LARGEST_PIECE = 2_000
# Parsing this much takes some milliseconds, which the loop does not have (decisions S8).
_LONG_TEXT = 1_000


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`item_type` is that of `x-ms-item-type`; `continuation` is None on the last page."""

    items: Sequence[Item]
    item_type: str
    continuation: str | None


class QueryService(Generic[Tables]):
    """Answers queries over the collections that `sources` has the rows of."""

    def __init__(self, store: Store[Tables], clock: Clock, sources: Mapping[CollectionName, RowSource[Tables]]) -> None:
        self._store = store
        self._clock = clock
        self._sources = sources
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def parse(self, text: str) -> Select:
        """Raises `Invalid` (`query.*`), pointing at the token."""
        return (await self._prepared(text))[0]

    async def page(
        self,
        hub: HubId,
        text: str,
        size: int,
        continuation: str | None,
        encode: Callable[[Mapping[str, Any]], Item],
    ) -> Page[Item]:
        """Up to `size` rows behind `continuation`; `encode` is called for each in a thread.

        Raises `Invalid`: `query.*`, pointing at the token where the text is wrong.
        """
        select, condition = await self._prepared(text)
        resume = Resume(remaining=select.top) if continuation is None else parse_token(continuation, hub, text)
        size = max(1, min(size, MAX_PAGE))
        async with self._turns:
            if select.is_aggregate:
                return await self._groups(hub, text, select, condition, size, resume, encode)
            return await self._rows(hub, text, select, condition, size, resume, encode)

    async def _prepared(self, text: str) -> tuple[Select, Evaluate | None]:
        return await asyncio.to_thread(_prepare, text) if len(text) > _LONG_TEXT else _prepare(text)

    async def _rows(
        self,
        hub: HubId,
        text: str,
        select: Select,
        condition: Evaluate | None,
        size: int,
        resume: Resume,
        encode: Callable[[Mapping[str, Any]], Item],
    ) -> Page[Item]:
        source = self._sources[select.collection]
        wanted = size if resume.remaining is None else min(size, resume.remaining)
        shape = source.whole if select.projections is None else projector(select.projections)
        found: list[tuple[Key, Item]] = []
        looking = _Looking(resume.after, _looked_at(select))
        # One more than is shown tells whether there is another page; where TOP ends it, there is none.
        enough = wanted if wanted == resume.remaining else wanted + 1
        until = self._clock.monotonic() + PAGE_S
        while not looking.is_done and len(found) < enough and self._clock.monotonic() < until:
            most = min(_PIECE, enough - len(found))

            def work(tables: Tables, most: int = most) -> list[tuple[Key, Item]]:
                taken: list[tuple[Key, Item]] = []
                for key, row in looking.rows(source, tables, hub, select):
                    if condition is None or condition(row) is True:
                        taken.append((key, encode(shape(row))))
                        if len(taken) == most:
                            looking.stop_at(key)
                            break
                return taken

            found += await self._store.scan(work)
        item_type = source.item_type if select.projections is None else "Raw"
        return Page(
            [item for _, item in found[:wanted]],
            item_type,
            self._next_token(hub, text, resume, found, wanted, looking),
        )

    def _next_token(
        self,
        hub: HubId,
        text: str,
        resume: Resume,
        found: Sequence[tuple[Key, Any]],
        wanted: int,
        looking: _Looking,
    ) -> str | None:
        shown = min(len(found), wanted)
        remaining = None if resume.remaining is None else resume.remaining - shown
        if remaining == 0 or (len(found) <= wanted and looking.is_done):
            return None
        after = found[wanted - 1][0] if len(found) > wanted else looking.after
        return encode_token(Resume(after=after, remaining=remaining), hub, text)

    async def _groups(
        self,
        hub: HubId,
        text: str,
        select: Select,
        condition: Evaluate | None,
        size: int,
        resume: Resume,
        encode: Callable[[Mapping[str, Any]], Item],
    ) -> Page[Item]:
        grouping = await self._grouped(hub, select, condition)
        begin = resume.offset
        end = begin + (size if select.top is None else min(size, max(0, select.top - begin)))

        def work(tables: Tables) -> tuple[list[Item], bool]:
            rows = list(grouping.rows())
            return [encode(row) for row in rows[begin:end]], len(rows) > end and end != select.top

        items, has_more = await self._store.scan(work)
        token = encode_token(Resume(offset=end), hub, text) if has_more else None
        return Page(items, "Raw", token)

    async def _grouped(self, hub: HubId, select: Select, condition: Evaluate | None) -> Grouping:
        source = self._sources[select.collection]
        grouping = Grouping(select)
        if _counts_alone(select):
            count = await self._store.scan(lambda tables: source.count(tables, hub, select.where))
            if count is not None:
                grouping.add_count(count)
                return grouping
        looking = _Looking(None, _looked_at(select))
        until = self._clock.monotonic() + AGGREGATE_S
        while not looking.is_done:
            await self._store.scan(
                lambda tables: _group_piece(looking, source, tables, hub, select, condition, grouping)
            )
            if not looking.is_done and self._clock.monotonic() >= until:
                raise Invalid(
                    "query.time",
                    f"after {AGGREGATE_S:.0f} s of looking at {looking.seen} rows the query had not come to its end",
                    fix="select fewer rows with WHERE, by a member that has an index",
                )
        return grouping


def _prepare(text: str) -> tuple[Select, Evaluate | None]:
    select = parse_query(text)
    return select, None if select.where is None else compile_expression(select.where)


class _Looking:
    """How far through a collection a query has come. Used by one thread at a time."""

    def __init__(self, after: Key | None, shown: Sequence[Expression] = ()) -> None:
        self.after = after
        self._shown = shown
        self.is_done = False
        self.seen = 0
        self._limit = _PIECE

    def rows(self, source: RowSource[Tables], tables: Tables, hub: HubId, select: Select) -> Sequence[tuple[Key, Row]]:
        """The next candidates. All of them count as looked at, unless `stop_at` is called."""
        piece = source.piece(tables, hub, select.where, self.after, self._limit, self._shown)
        self.after, self.is_done = piece.resume, piece.resume is None
        self.seen += len(piece.rows)
        self._limit = min(2 * self._limit, _LARGEST_PIECE)
        return piece.rows

    def stop_at(self, key: Key) -> None:
        """The rows behind `key` were not looked at."""
        self.after, self.is_done = key, False
        self._limit = _PIECE


def _group_piece(
    looking: _Looking,
    source: RowSource[Tables],
    tables: Tables,
    hub: HubId,
    select: Select,
    condition: Evaluate | None,
    grouping: Grouping,
) -> None:
    for _, row in looking.rows(source, tables, hub, select):
        if condition is None or condition(row) is True:
            grouping.add(row)


def _looked_at(select: Select) -> list[Expression]:
    """What is asked of every row that is selected."""
    values = [
        each.value.argument if isinstance(each.value, Aggregate) else each.value for each in select.projections or ()
    ]
    return [*select.group_by, *(value for value in values if value is not None)]


def _counts_alone(select: Select) -> bool:
    """Whether nothing is asked but how many rows there are."""
    return not select.group_by and all(
        isinstance(each.value, Aggregate) and each.value.kind == "COUNT" and each.value.argument is None
        for each in select.projections or ()
    )
