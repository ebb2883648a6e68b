"""What the hub keeps for an identity: its twin, the messages that wait for it, and its MQTT session."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from moorage.hub.notification_model import NotificationTable
from moorage.identities.model import Identity, RegistryTables
from moorage.ids import HubId, IdentityName
from moorage.query.syntax import Expression
from moorage.store import SettingTable

__all__ = [
    "Activity",
    "ActivityTable",
    "Candidates",
    "CloudMessage",
    "CloudMessageTable",
    "Document",
    "FeedbackRequest",
    "HubTables",
    "MqttSession",
    "MqttSessionTable",
    "QueryTable",
    "Section",
    "StoredTwin",
    "Twin",
    "TwinRows",
    "TwinTable",
]


@dataclass(frozen=True, slots=True)
class Document:
    """Desired or reported properties: user members, the metadata that mirrors them, and their `$version`.

    `metadata` is the tree of contract/services.md T-2, without the members themselves. Treat both as immutable.
    """

    value: Mapping[str, Any]
    metadata: Mapping[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class Twin:
    """One identity's document. `version` counts every change of any part; the etag is made from it (T-3, T-6)."""

    hub: HubId
    name: IdentityName
    version: int
    tags: Mapping[str, Any]
    desired: Document
    reported: Document
    model_id: str | None = None


FeedbackRequest = Literal["none", "positive", "negative", "full"]


@dataclass(frozen=True, slots=True)
class CloudMessage:
    """One cloud-to-device message in the queue of `name`. `sequence` orders the queue and never repeats in a hub."""

    hub: HubId
    name: IdentityName
    sequence: int
    message_id: str
    enqueued: datetime
    expires: datetime
    body: bytes
    properties: Mapping[str, str] = field(default_factory=dict)
    correlation_id: str | None = None
    user_id: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    ack: FeedbackRequest = "none"
    delivery_count: int = 0


@dataclass(frozen=True, slots=True)
class MqttSession:
    """What outlives a connection with clean session 0: topic filter to granted QoS."""

    hub: HubId
    name: IdentityName
    subscriptions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Activity:
    """What live state last left behind for queries: written coalesced, up to a flush behind (decisions S5).

    `connected` and `last_activity` are None when nothing was ever seen.
    """

    hub: HubId
    name: IdentityName
    updated: datetime
    connected: bool | None = None
    last_activity: datetime | None = None


class TwinTable(Protocol):
    """One row an identity. A twin that was never written does not exist here: see `hub.twins.fresh_twin`."""

    def find(self, hub: HubId, name: IdentityName) -> Twin | None: ...

    def put(self, twin: Twin) -> None: ...


class CloudMessageTable(Protocol):
    """Queues of waiting messages, one an identity."""

    def next_sequence(self, hub: HubId) -> int: ...

    def put(self, message: CloudMessage) -> None: ...

    def waiting(self, hub: HubId, name: IdentityName, limit: int) -> list[CloudMessage]:
        """In queue order, expired ones included."""

    def find(self, hub: HubId, name: IdentityName, sequence: int) -> CloudMessage | None: ...

    def expired(self, hub: HubId, now: datetime, limit: int) -> list[CloudMessage]:
        """Of all queues, those that expired first."""

    def count(self, hub: HubId, name: IdentityName) -> int: ...

    def delete(self, hub: HubId, name: IdentityName, sequence: int) -> bool:
        """False when it was not there any more."""


class MqttSessionTable(Protocol):
    def find(self, hub: HubId, name: IdentityName) -> MqttSession | None: ...

    def put(self, session: MqttSession) -> None: ...

    def delete(self, hub: HubId, name: IdentityName) -> None: ...


class ActivityTable(Protocol):
    """One row an identity that was ever seen."""

    def find(self, hub: HubId, name: IdentityName) -> Activity | None: ...

    def put_many(self, activities: Iterable[Activity]) -> None:
        """Insert or replace; those of identities that are gone are left out."""


TwinRows = Literal["devices", "devices.modules"]
Section = Literal["desired", "reported"]


class StoredTwin(Protocol):
    """One identity and its twin, read as far as somebody asks. For use within the scan that found it."""

    @property
    def name(self) -> IdentityName: ...

    def identity(self) -> Identity:
        """Without its keys, which no query shows."""

    def tags(self) -> Mapping[str, Any]: ...

    def members(self, section: Section) -> Mapping[str, Any]:
        """What the section holds, without what begins with `$`."""

    def version(self, section: Section) -> int: ...

    def twin(self) -> Twin:
        """All of it."""

    def configurations(self) -> Mapping[str, str]:
        """The status of each configuration that it has (contract/services.md T-13)."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """In order of their names; `resume` is the name to go on behind, None when nothing is left."""

    found: Sequence[StoredTwin]
    resume: IdentityName | None


class QueryTable(Protocol):
    """Identities and twins, selected by what a condition says, as far as the store has indexes for it.

    `connected` are the identities whose `connectionState` is Connected, as the store itself does not know; None when
    nobody knows.
    """

    def find(self, hub: HubId, name: IdentityName) -> StoredTwin | None: ...

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
        """At most `limit` behind `after`; all that may satisfy `where` are among those of all calls.

        `shown` is what else is asked of every row, to be read along with it.

        There may be fewer, or none, and more behind.
        """

    def count(
        self,
        hub: HubId,
        rows: TwinRows,
        where: Expression | None,
        connected: Collection[IdentityName] | None = None,
    ) -> int | None:
        """How many satisfy `where`, when an index tells exactly; None when it takes looking at them."""


class HubTables(RegistryTables, Protocol):
    """What the hub needs of a store."""

    def savepoint(self) -> AbstractContextManager[None]:
        """What is written inside is undone alone, events included, when it raises."""

    @property
    def notifications(self) -> NotificationTable: ...

    @property
    def settings(self) -> SettingTable: ...

    @property
    def twins(self) -> TwinTable: ...

    @property
    def messages(self) -> CloudMessageTable: ...

    @property
    def mqtt_sessions(self) -> MqttSessionTable: ...

    @property
    def activity(self) -> ActivityTable: ...

    @property
    def queries(self) -> QueryTable: ...
