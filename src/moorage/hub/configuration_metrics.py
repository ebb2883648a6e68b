"""How far configurations have come: counts of identities, by the queries that everybody can ask (services.md 2.10).

Every configuration has system metrics: how many identities it targets, and to how many of them it was applied; an edge
deployment also how many devices reported success and failure. Their texts are queries in the service's words, which
clients run to see who is counted. Those two that the store knows by itself are counted there; the others, and the
operator's own, are run.

Results are kept for a while, and new ones are made one after another, in a task of their own: whoever lists a hundred
configurations does not set off hundreds of walks through all twins, and does not wait for them either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from moorage.clock import Clock
from moorage.errors import Invalid, Refusal
from moorage.hub.configuration_model import (
    MAX_CONFIGURATIONS,
    Configuration,
    ConfigurationId,
    ConfigurationTables,
)
from moorage.hub.queries import MAX_PAGE, QueryService
from moorage.ids import HubId
from moorage.query.parser import parse_query
from moorage.store import Store

__all__ = ["ConfigurationMetrics", "Counts", "MetricQueries", "QueryCounts", "system_queries"]

log = logging.getLogger(__name__)

Tables = TypeVar("Tables")

# How old a result may be for whoever looks at one configuration, and at all of them.
_FRESH_S: Final = 1.0
_LISTED_S: Final = 60.0
# A query that took long is not run again before so many times as long has passed.
_REST_FACTOR: Final = 20
# How long somebody who asks waits for new results.
_PATIENCE_S: Final = 2.0
# What the store counts by itself.
_TALLIED: Final = ("targetedCount", "appliedCount")


class MetricQueries(Protocol):
    """Whole queries, as metrics are made of."""

    def check(self, text: str) -> None:
        """Raises `Invalid` (`query.*`), pointing at the token, when `text` is no query."""

    async def count(self, hub: HubId, text: str) -> int:
        """How many rows the query has; of a query for one number, that number. Raises `Invalid` (`query.*`)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Results by the metric's name. A metric whose query cannot be run has none."""

    system: Mapping[str, int]
    custom: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Kept:
    created: datetime
    version: int
    at: float
    took_s: float
    counted: Mapping[str | tuple[str, str], int]


def system_queries(configuration: Configuration) -> dict[str, str]:
    """The texts of the system metrics, by name."""
    is_applied = f"configurations.[[{configuration.id}]].status = 'Applied'"
    if configuration.kind == "edge":
        agents = f"SELECT deviceId FROM devices.modules WHERE moduleId = '$edgeAgent' AND {is_applied}"
        reported = f"{agents} AND properties.desired.$version = properties.reported.lastDesiredVersion"
        return {
            "targetedCount": _select("deviceId", "devices", configuration.selection),
            "appliedCount": agents,
            "reportedSuccessfulCount": f"{reported} AND properties.reported.lastDesiredStatus.code = 200",
            "reportedFailedCount": f"{reported} AND properties.reported.lastDesiredStatus.code != 200",
        }
    shown, rows = ("deviceId", "devices")
    if configuration.kind == "module":
        shown, rows = ("deviceId, moduleId", "devices.modules")
    return {
        "targetedCount": _select(shown, rows, configuration.selection),
        "appliedCount": _select(shown, rows, is_applied),
    }


def _select(shown: str, rows: str, condition: str | None) -> str:
    if condition is None:
        # Nobody: every row has an id.
        condition = "deviceId = ''"
    return f"SELECT {shown} FROM {rows}" + (f" WHERE {condition}" if condition != "*" else "")


class QueryCounts(Generic[Tables]):
    """Port: `MetricQueries`."""

    def __init__(self, queries: QueryService[Tables]) -> None:
        self._queries = queries

    def check(self, text: str) -> None:
        parse_query(text)

    async def count(self, hub: HubId, text: str) -> int:
        is_aggregate = (await self._queries.parse(text)).is_aggregate
        rows = 0
        continuation: str | None = None
        while True:
            page = await self._queries.page(hub, text, MAX_PAGE, continuation, _whole if is_aggregate else _nothing)
            continuation = page.continuation
            rows += len(page.items)
            if continuation is None:
                break
        if is_aggregate and rows == 1:
            (number, *others) = page.items[0].values() or [None]
            if isinstance(number, int) and not isinstance(number, bool) and not others:
                return number
        return rows


def _whole(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row


def _nothing(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rows that are counted are not kept."""
    return {}


class ConfigurationMetrics:
    """Counts for the configurations of one hub. Who asks waits for new ones for `patience_s`, no longer."""

    def __init__(
        self,
        hub: HubId,
        store: Store[ConfigurationTables],
        queries: MetricQueries,
        clock: Clock,
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._patience_s = patience_s
        self._hub = hub
        self._store = store
        self._queries = queries
        self._clock = clock
        self._kept: dict[ConfigurationId, _Kept] = {}
        self._tallies: dict[ConfigurationId, tuple[int, int]] = {}
        self._tallies_until = float("-inf")
        self._tallying = asyncio.Lock()
        # What has to be counted again, in the order in which it was asked for, and who waits for it.
        self._wanted: dict[ConfigurationId, tuple[Configuration, asyncio.Event]] = {}
        self._counting: asyncio.Task[None] | None = None

    async def of(self, configuration: Configuration) -> Counts:
        """Its counts; the custom ones may be those of before when counting takes longer than one waits."""
        return (await self._all([configuration], _FRESH_S))[0]

    async def of_all(self, configurations: list[Configuration]) -> list[Counts]:
        """The same; custom counts may be a minute old."""
        return await self._all(configurations, _LISTED_S)

    async def close(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _all(self, configurations: list[Configuration], oldest_s: float) -> list[Counts]:
        stale = [each for each in configurations if not self._is_fresh(each, oldest_s)]
        waiting = [self._want(configuration) for configuration in stale]
        try:
            async with asyncio.timeout(self._patience_s):
                for counted in waiting:
                    await counted.wait()
        except TimeoutError:
            log.info("configuration_metrics_take_long configurations=%d", len(self._wanted))
        tallies = await self._tally()
        return [self._counts(configuration, tallies.get(configuration.id, (0, 0))) for configuration in configurations]

    def _counts(self, configuration: Configuration, tally: tuple[int, int]) -> Counts:
        kept = self._kept.get(configuration.id)
        counted = kept.counted if kept is not None and kept.created == configuration.created else {}
        system = dict(zip(_TALLIED, tally, strict=True))
        system |= {name: counted[name] for name in system_queries(configuration) if name in counted}
        custom = {name: counted[name, text] for name, text in configuration.metrics.items() if (name, text) in counted}
        return Counts(system, custom)

    def _is_fresh(self, configuration: Configuration, oldest_s: float) -> bool:
        if not _to_count(configuration):
            return True
        kept = self._kept.get(configuration.id)
        if kept is None or kept.created != configuration.created or kept.version != configuration.version:
            return False
        return self._clock.monotonic() - kept.at <= max(oldest_s, _REST_FACTOR * kept.took_s)

    def _want(self, configuration: Configuration) -> asyncio.Event:
        _, counted = self._wanted.setdefault(configuration.id, (configuration, asyncio.Event()))
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count_wanted())
        return counted

    async def _count_wanted(self) -> None:
        while self._wanted:
            configuration, counted = next(iter(self._wanted.values()))
            try:
                await self._count(configuration)
            except Refusal as refusal:
                log.warning(
                    "configuration_not_counted id=%s reason=%s message=%r",
                    configuration.id,
                    refusal.reason,
                    refusal.message,
                )
            except Exception:
                log.exception("configuration_not_counted id=%s", configuration.id)
            finally:
                del self._wanted[configuration.id]
                counted.set()

    async def _count(self, configuration: Configuration) -> None:
        began = self._clock.monotonic()
        counted: dict[str | tuple[str, str], int] = {}
        for key, text in _to_count(configuration).items():
            try:
                counted[key] = await self._queries.count(self._hub, text)
            except Invalid as refusal:
                # It was a query when it came: what it asks for takes too long, or cannot be counted any more.
                log.warning("configuration_metric id=%s metric=%r message=%r", configuration.id, key, refusal.message)
        now = self._clock.monotonic()
        self._kept[configuration.id] = _Kept(configuration.created, configuration.version, now, now - began, counted)
        while len(self._kept) > MAX_CONFIGURATIONS:
            del self._kept[next(iter(self._kept))]

    async def _tally(self) -> Mapping[ConfigurationId, tuple[int, int]]:
        async with self._tallying:
            began = self._clock.monotonic()
            if began >= self._tallies_until:
                self._tallies = await self._store.scan(lambda tables: tables.configurations.tally(self._hub))
                now = self._clock.monotonic()
                self._tallies_until = now + _REST_FACTOR * (now - began)
            return self._tallies


def _to_count(configuration: Configuration) -> dict[str | tuple[str, str], str]:
    """Queries that have to be run, by the name of a system metric, or (name, text) of a custom one."""
    wanted: dict[str | tuple[str, str], str] = {
        name: text for name, text in system_queries(configuration).items() if name not in _TALLIED
    }
    return wanted | {(name, text): text for name, text in configuration.metrics.items()}
