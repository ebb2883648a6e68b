"""Cloud-to-device messages: a short durable queue an identity (contract/devices.md 2.6 and 9.2).

What is enqueued must be deliverable on every transport, so the rules of the narrowest one (a property bag in an MQTT
topic) are applied when the back end sends, not when the device listens. A message leaves the queue when the device
settles it, when it expires, or when the queue is purged; each of these is on disk before it is answered, together with
the feedback that its sender asked for (`hub/feedback.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from moorage.clock import Clock
from moorage.errors import Invalid, TooLarge
from moorage.events import Event
from moorage.hub.feedback import FeedbackTables, Outcome, record_outcome
from moorage.hub.model import CloudMessage, FeedbackRequest, HubTables
from moorage.identities.registry import find_in
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = [
    "DEFAULT_TTL",
    "MAX_DELIVERIES",
    "MAX_MESSAGE_BYTES",
    "MAX_TTL",
    "MAX_WAITING",
    "MessageDraft",
    "MessageService",
    "check_draft",
    "count_waiting",
]

MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_WAITING: Final = 50
DEFAULT_TTL: Final = timedelta(hours=1)
MAX_TTL: Final = timedelta(days=2)
# contract/devices.md 9.2: what was abandoned so often is given up.
MAX_DELIVERIES: Final = 10
_MAX_ID_CHARACTERS = 128
# An MQTT topic name has at most 65,535 bytes; the rest is for its levels with two ids of 128 and `%24.to`.
_MAX_BAG_BYTES = 65_535 - 2_048
# The bag writes system properties under these names, so that a property of the same name would be taken for one.
_RESERVED_PREFIXES = ("$.", "iothub-connection-")
_RESERVED_NAMES = frozenset({"iothub-ack"})
# Messages that a sweep drops in one transaction.
_SWEPT: Final = 200


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message as a back end sends it. `expires` None means the default time to live."""

    body: bytes
    properties: Mapping[str, str] = field(default_factory=dict)
    message_id: str | None = None
    correlation_id: str | None = None
    user_id: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    expires: datetime | None = None
    ack: FeedbackRequest = "none"


def check_draft(draft: MessageDraft, *, now: datetime) -> None:
    """Raises `Invalid` (`message.property`, `.id`, `.expiry`) or `TooLarge` (`message.size`, `.bag`)."""
    system = {
        "messageId": draft.message_id,
        "correlationId": draft.correlation_id,
        "userId": draft.user_id,
        "contentType": draft.content_type,
        "contentEncoding": draft.content_encoding,
    }
    for name, value in system.items():
        if value is not None and not 1 <= len(value) <= _MAX_ID_CHARACTERS:
            raise Invalid("message.id", f"{name} has {len(value)} characters, it takes 1 to {_MAX_ID_CHARACTERS}")
    for name, value in draft.properties.items():
        _check_property(name, value)
    size = len(draft.body) + sum(len(name.encode()) + len(value.encode()) for name, value in draft.properties.items())
    if size > MAX_MESSAGE_BYTES:
        raise TooLarge(
            "message.size", f"body and properties take {size} bytes, at most {MAX_MESSAGE_BYTES} are allowed"
        )
    bag = sum(len(quote(name, safe="")) + len(quote(value, safe="")) + 2 for name, value in draft.properties.items())
    bag += sum(len(quote(value, safe="")) + 10 for value in system.values() if value is not None)
    if bag > _MAX_BAG_BYTES:
        raise TooLarge(
            "message.bag",
            f"the properties take {bag} bytes once percent-encoded, an MQTT topic has room for {_MAX_BAG_BYTES}",
        )
    if draft.expires is not None and not now < draft.expires <= now + MAX_TTL:
        raise Invalid(
            "message.expiry",
            f"expiry {draft.expires.isoformat()} has to lie after now ({now.isoformat()}) and at most two days ahead",
        )


def _check_property(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not name:
        raise Invalid("message.property", "a property has no name")
    shown = name[:80]
    if name in _RESERVED_NAMES or name.startswith(_RESERVED_PREFIXES):
        raise Invalid("message.property", f"property {shown!r} has a name that is reserved for the hub")
    if not isinstance(value, str):
        raise Invalid("message.property", f"property {shown!r} is a {type(value).__name__}, it has to be a string")
    if not value:
        # Java's client throws on both spellings of "nothing"; C's drops them (devices.md 2.6).
        raise Invalid("message.property", f"property {shown!r} is empty; devices cannot read it, leave it out")


class MessageService:
    """The queues of a hub. Methods that name an identity raise `NotFound` (`device.not_found`, `module.not_found`)."""

    def __init__(self, store: Store[FeedbackTables], clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def enqueue(self, hub: HubId, name: IdentityName, draft: MessageDraft) -> CloudMessage:
        """Queue a message; returns it once it is durable.

        Raises as `check_draft`, and `TooLarge` (`message.queue_full`) when 50 messages wait that have not expired.
        """
        now = self._clock.now()
        check_draft(draft, now=now)
        message_id = draft.message_id or str(uuid4())
        expires = draft.expires or now + DEFAULT_TTL

        def work(tables: FeedbackTables) -> CloudMessage:
            find_in(tables, hub, name)
            if tables.messages.count(hub, name) >= MAX_WAITING:
                _drop_expired(tables, hub, name, now)
                waiting = tables.messages.count(hub, name)
                if waiting >= MAX_WAITING:
                    raise TooLarge(
                        "message.queue_full",
                        f"{waiting} messages wait for '{name}', at most {MAX_WAITING} may",
                        fix="connect the device, wait for them to expire, or purge the queue",
                    )
            message = CloudMessage(
                hub=hub,
                name=name,
                sequence=tables.messages.next_sequence(hub),
                message_id=message_id,
                enqueued=now,
                expires=expires,
                body=draft.body,
                properties=dict(draft.properties),
                correlation_id=draft.correlation_id,
                user_id=draft.user_id,
                content_type=draft.content_type,
                content_encoding=draft.content_encoding,
                ack=draft.ack,
            )
            tables.messages.put(message)
            tables.outbox.emit(Event("message.enqueued", hub, str(name), {"sequence": message.sequence}))
            return message

        return await self._store.write(work)

    def waiting(self, hub: HubId, name: IdentityName, limit: int = MAX_WAITING) -> list[CloudMessage]:
        """At most `limit` messages in queue order, without those that expired."""
        now = self._clock.now()
        live = [
            message for message in self._store.read().messages.waiting(hub, name, MAX_WAITING) if message.expires > now
        ]
        return live[:limit]

    def count(self, hub: HubId, name: IdentityName) -> int:
        """How many messages wait and have not expired."""
        return count_waiting(self._store.read(), hub, name, self._clock.now())

    async def complete(self, hub: HubId, name: IdentityName, sequence: int) -> bool:
        """The device took it: settle the message; False when it was not there any more."""
        return await self._settle(hub, name, sequence, "Success")

    async def reject(self, hub: HubId, name: IdentityName, sequence: int) -> bool:
        """The device does not want it: take it out of the queue; False when it was not there any more."""
        return await self._settle(hub, name, sequence, "Rejected")

    async def abandon(self, hub: HubId, name: IdentityName, sequence: int) -> bool:
        """The device gives it back: one delivery more, and after `MAX_DELIVERIES` the message is given up; False when
        it was not there any more."""
        now = self._clock.now()

        def work(tables: FeedbackTables) -> bool:
            message = tables.messages.find(hub, name, sequence)
            if message is None or message.expires <= now:
                return False
            if message.delivery_count + 1 >= MAX_DELIVERIES:
                return _take_out(tables, message, "DeliveryCountExceeded", now)
            tables.messages.put(replace(message, delivery_count=message.delivery_count + 1))
            tables.outbox.emit(Event("message.enqueued", hub, str(name), {"sequence": sequence}))
            return True

        return await self._store.write(work)

    async def purge(self, hub: HubId, name: IdentityName) -> int:
        """Drop everything that waits; returns how many messages that were. What expired is told as expired."""
        now = self._clock.now()

        def work(tables: FeedbackTables) -> int:
            find_in(tables, hub, name)
            _drop_expired(tables, hub, name, now)
            waiting = tables.messages.waiting(hub, name, MAX_WAITING)
            return sum(_take_out(tables, message, "Purged", now) for message in waiting)

        return await self._store.write(work)

    async def expire(self, hub: HubId, name: IdentityName) -> int:
        """Drop what expired; returns how many messages that were. No write when there is none."""
        now = self._clock.now()
        if all(message.expires > now for message in self._store.read().messages.waiting(hub, name, MAX_WAITING)):
            return 0
        return await self._store.write(lambda tables: _drop_expired(tables, hub, name, now))

    async def expire_all(self, hub: HubId) -> int:
        """Drop what expired, whatever queue it is in; how many messages that were, at most a few hundred a call."""
        now = self._clock.now()
        if not self._store.read().messages.expired(hub, now, 1):
            return 0

        def work(tables: FeedbackTables) -> int:
            return sum(
                _take_out(tables, message, "Expired", now) for message in tables.messages.expired(hub, now, _SWEPT)
            )

        return await self._store.write(work)

    async def _settle(self, hub: HubId, name: IdentityName, sequence: int, outcome: Outcome) -> bool:
        now = self._clock.now()

        def work(tables: FeedbackTables) -> bool:
            message = tables.messages.find(hub, name, sequence)
            return message is not None and _take_out(tables, message, outcome, now)

        return await self._store.write(work)


def count_waiting(tables: HubTables, hub: HubId, name: IdentityName, now: datetime) -> int:
    """How many messages wait for `name` and have not expired by `now`."""
    if not tables.messages.count(hub, name):
        return 0
    return sum(message.expires > now for message in tables.messages.waiting(hub, name, MAX_WAITING))


def _drop_expired(tables: FeedbackTables, hub: HubId, name: IdentityName, now: datetime) -> int:
    waiting = tables.messages.waiting(hub, name, MAX_WAITING)
    return sum(_take_out(tables, message, "Expired", now) for message in waiting if message.expires <= now)


def _take_out(tables: FeedbackTables, message: CloudMessage, outcome: Outcome, now: datetime) -> bool:
    """Whether it was still there; its sender hears what became of it, where it asked."""
    if not tables.messages.delete(message.hub, message.name, message.sequence):
        return False
    record_outcome(tables, message, outcome, now)
    return True
