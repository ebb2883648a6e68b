"""Consumer groups of the built-in endpoint: names under which back ends read telemetry side by side.

Every hub has `$Default`, which is stored nowhere and stays. The others are kept until they are deleted. Names are told
apart without case, as Event Hubs does, and keep the spelling they were made with.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from moorage.errors import Conflict, Invalid, NotFound, TooLarge
from moorage.ids import HubId
from moorage.store import Store

__all__ = [
    "DEFAULT_CONSUMER_GROUP",
    "MAX_CONSUMER_GROUPS",
    "ConsumerGroup",
    "ConsumerGroupTable",
    "ConsumerGroupTables",
    "ConsumerGroups",
]

audit = logging.getLogger("moorage.audit")

DEFAULT_CONSUMER_GROUP: Final = "$Default"
# As many as a namespace of Event Hubs gives in its standard tier, the fixed one included.
MAX_CONSUMER_GROUPS: Final = 20
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._]{0,48}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """`created` is None for the one that every hub has."""

    hub: HubId
    name: str
    created: datetime | None = None


class ConsumerGroupTable(Protocol):
    """Keyed by hub and name, compared without case."""

    def find(self, hub: HubId, name: str) -> ConsumerGroup | None: ...

    def all(self, hub: HubId) -> list[ConsumerGroup]:
        """In order of their names."""

    def put(self, group: ConsumerGroup) -> None: ...

    def delete(self, hub: HubId, name: str) -> None: ...


class ConsumerGroupTables(Protocol):
    """What this module needs of a store."""

    @property
    def consumer_groups(self) -> ConsumerGroupTable: ...


class ConsumerGroups:
    """The consumer groups of every hub in one store; `by` says who asks, for the audit log."""

    def __init__(self, store: Store[ConsumerGroupTables]) -> None:
        self._store = store

    def all(self, hub: HubId) -> list[ConsumerGroup]:
        """`$Default` first."""
        return [ConsumerGroup(hub, DEFAULT_CONSUMER_GROUP), *self._store.read().consumer_groups.all(hub)]

    def get(self, hub: HubId, name: str) -> ConsumerGroup:
        """Raises `NotFound` (`consumer_group.unknown`)."""
        if _is_default(name):
            return ConsumerGroup(hub, DEFAULT_CONSUMER_GROUP)
        return _get(self._store.read(), hub, name)

    async def create(self, hub: HubId, name: str, now: datetime, *, by: object = "") -> ConsumerGroup:
        """Make it, unless it is there.

        Raises:
            Invalid: `consumer_group.name`.
            TooLarge: `consumer_group.too_many`.
        """
        if _is_default(name):
            return self.get(hub, name)
        if not _NAME.fullmatch(name):
            raise Invalid(
                "consumer_group.name",
                f"{name[:80]!r} cannot be a consumer group's name: it takes 1 to 50 letters, digits, - . _, and begins "
                "and ends with a letter or digit",
            )

        def work(tables: ConsumerGroupTables) -> tuple[ConsumerGroup, bool]:
            known = tables.consumer_groups.find(hub, name)
            if known is not None:
                return known, False
            present = 1 + len(tables.consumer_groups.all(hub))
            if present >= MAX_CONSUMER_GROUPS:
                raise TooLarge(
                    "consumer_group.too_many",
                    f"there are {present} consumer groups, at most {MAX_CONSUMER_GROUPS} are allowed",
                )
            group = ConsumerGroup(hub, name, now)
            tables.consumer_groups.put(group)
            return group, True

        group, is_new = await self._store.write(work)
        if is_new:
            _audit("consumer_group.created", group, by)
        return group

    async def delete(self, hub: HubId, name: str, *, by: object = "") -> None:
        """Raises `NotFound` (`consumer_group.unknown`) and `Conflict` (`consumer_group.fixed`)."""
        if _is_default(name):
            raise Conflict("consumer_group.fixed", f"every hub has the consumer group {DEFAULT_CONSUMER_GROUP}")

        def work(tables: ConsumerGroupTables) -> ConsumerGroup:
            group = _get(tables, hub, name)
            tables.consumer_groups.delete(hub, name)
            return group

        _audit("consumer_group.deleted", await self._store.write(work), by)


def _is_default(name: str) -> bool:
    return name.lower() == DEFAULT_CONSUMER_GROUP.lower()


def _get(tables: ConsumerGroupTables, hub: HubId, name: str) -> ConsumerGroup:
    group = tables.consumer_groups.find(hub, name)
    if group is None:
        known = [DEFAULT_CONSUMER_GROUP, *(each.name for each in tables.consumer_groups.all(hub))]
        raise NotFound(
            "consumer_group.unknown", f"there is no consumer group {name[:64]!r}; there are {', '.join(known)}"
        )
    return group


def _audit(event: str, group: ConsumerGroup, by: object) -> None:
    facts = {"hub": group.hub, "name": group.name, "by": str(by)}
    audit.info("%s hub=%s name=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})
