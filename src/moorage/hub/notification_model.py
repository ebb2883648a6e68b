"""What the hub has to tell back ends, as values, and the port to those that wait to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, get_args

from moorage.errors import Invalid
from moorage.identities.model import LifecycleTable
from moorage.ids import HubId, IdentityName, new_tracking_id

__all__ = ["SOURCES", "Notification", "NotificationTable", "Source", "Sources", "parse_source"]

Source = Literal[
    "twinChangeEvents",
    "deviceLifecycleEvents",
    "deviceConnectionStateEvents",
    "digitalTwinChangeEvents",
    "deviceJobLifecycleEvents",
]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)


@dataclass(frozen=True, slots=True)
class Sources:
    """Which events a hub tells of: what was switched by hand, else what routes, exports or the setting ask for.

    A source that is switched off by hand is told of to nobody, whatever routes and exports say.
    """

    by_default: frozenset[Source] = frozenset()
    switched: Mapping[Source, bool] = field(default_factory=dict)
    routed: frozenset[Source] = frozenset()
    exported: frozenset[Source] = frozenset()

    @property
    def wanted(self) -> frozenset[Source]:
        return frozenset(
            source
            for source in SOURCES
            if self.switched.get(source, source in self.by_default | self.routed | self.exported)
        )


@dataclass(frozen=True, slots=True)
class Notification:
    """One event. `at` is None when the moment of telling has to do; a job's `name` is None."""

    source: Source
    operation: str
    name: IdentityName | None
    at: datetime | None
    facts: Mapping[str, Any]
    correlation_id: str = field(default_factory=new_tracking_id)


class NotificationTable(LifecycleTable, Protocol):
    """Notifications that wait to be told, in the order of their commits."""

    def sources(self, hub: HubId) -> Sources: ...

    def put_sources(self, hub: HubId, sources: Sources) -> None: ...

    def wants(self, hub: HubId, source: Source) -> bool: ...

    def add(self, hub: HubId, notification: Notification) -> None: ...

    def first(self, hub: HubId, limit: int) -> list[tuple[int, Notification]]:
        """The oldest, each with its place in the order."""

    def is_waiting(self, hub: HubId) -> bool:
        """Whether there is any. Cheap."""

    def trim(self, hub: HubId, keep: int) -> int:
        """Take away the oldest until `keep` are left; how many those were."""

    def delete_through(self, hub: HubId, place: int) -> None:
        """Take away what lies up to this place."""

    def next_epoch(self, hub: HubId) -> int:
        """A number that was never given before and is greater than all that were."""


def parse_source(text: str) -> Source:
    """In any case, as control planes spell them. Raises `Invalid` (`events.source`)."""
    for source in SOURCES:
        if source.lower() == text.lower():
            return source
    raise Invalid("events.source", f"{text[:60]!r} is no source of events; there are {', '.join(SOURCES)}")
