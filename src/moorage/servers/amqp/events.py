"""The Event Hubs-compatible endpoint: readers of telemetry over AMQP (contract/services.md 4).

    .../messages/events...                             a redirect to the entity, which this hub serves itself
    [{entity}/]$management                             what partitions there are, and what each holds
    {entity}/ConsumerGroups/{group}/Partitions/{n}     a reader of one partition

A reader holds a place in the log and nothing else: it reads on when the peer has given credit and takes what is sent,
at most a page at a time, so a slow one costs no memory. Readers of one partition in one consumer group are told apart
by their epochs: a newer or equal one takes over, one without gives way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from moorage.dialects.amqp_address import Address
from moorage.dialects.amqp_events import Start, event_hub_facts, partition_facts, start_of, stored_message
from moorage.dialects.refusals import wire_error
from moorage.errors import Conflict, Invalid, NotFound, Refusal, Unavailable
from moorage.hub.consumer_groups import ConsumerGroups
from moorage.hub.telemetry_log import LogCorrupt, Page, TelemetryLog
from moorage.ids import HubId
from moorage.protocols.amqp.errors import Condition
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.performatives import Accepted, DeliveryState, Error
from moorage.protocols.amqp.types import Int
from moorage.servers.amqp.authorized import SERVICE_CONNECT, AuthorizedLink, AuthorizedLinks
from moorage.servers.amqp.cbs import Replies, answer_to, replies_beside
from moorage.servers.amqp.nodes import LinkHandler
from moorage.servers.amqp.stream import AMQPStream, error_of

__all__ = ["EventsParts", "ManagementNode", "ReaderNode", "RedirectNode"]

log = logging.getLogger(__name__)

_EVENTS: Final = ("messages", "events")
_MANAGEMENT: Final = ("$management",)
_CREDIT: Final = 100
_MAX_REQUEST_BYTES: Final = 16 * 1024
# Readers without an epoch of one partition in one group (4.4).
_MAX_WITHOUT_EPOCH: Final = 5
# Messages that are read and encoded at once, if the log gives so many, and that are sent before others have their turn.
_PAGE: Final = 256
_TURN: Final = 64
# Fewer are encoded on the loop at once; more in a thread (decisions S8).
_FEW_BYTES: Final = 16 * 1024
_EPOCH: Final = "com.microsoft:epoch"


@dataclass(frozen=True, slots=True)
class EventsParts:
    """`entities` are the names that the endpoint answers to, the first one being its own; `created` is told to readers.

    `where` gives the host and port that a client is redirected to.
    """

    hub: HubId
    entities: Collection[str]
    log: TelemetryLog
    groups: ConsumerGroups
    links: AuthorizedLinks
    created: Callable[[], datetime]
    where: Callable[[], tuple[str, int]]

    @property
    def entity(self) -> str:
        return next(iter(self.entities))


class RedirectNode:
    """`/messages/events`, on which older clients ask where to read."""

    door: Final = "service"

    def __init__(self, parts: EventsParts) -> None:
        self._parts = parts

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return not is_receiver and address.words[:2] == _EVENTS

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        parts = self._parts
        peer.let_in(peer.authorize("/".join(_EVENTS), SERVICE_CONNECT))
        host, port = parts.where()
        rest = "/".join(address.segments[2:])
        peer.accept(link)
        peer.detach(
            link,
            Error(
                Condition.LINK_REDIRECT,
                "telemetry is read from the Event Hubs-compatible endpoint",
                {
                    "hostname": host,
                    "network-host": host,
                    "port": Int(port),
                    "address": f"amqps://{host}:{port}/{parts.entity}/{rest}",
                },
            ),
        )
        return _Redirected()


class _Redirected(LinkHandler):
    __slots__ = ()

    keeps_open = False


class ManagementNode:
    """`$management`: a pair of links in a session, one for questions and one for answers."""

    door: Final = "service"

    def __init__(self, parts: EventsParts) -> None:
        self.parts = parts

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return address.words[-1:] == _MANAGEMENT and len(address.words) <= 2

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        if not link.is_receiver:
            peer.accept(link)
            return Replies(peer, link, _MANAGEMENT, keeps_open=False)
        handler = _Questions(self.parts, peer, link)
        peer.accept(link, credit=_CREDIT, max_message_bytes=_MAX_REQUEST_BYTES)
        return handler


class _Questions(AuthorizedLink):
    __slots__ = ("_parts",)

    def __init__(self, parts: EventsParts, peer: AMQPStream, link: Link) -> None:
        super().__init__(parts.links, peer, link, f"{parts.entity}/{_MANAGEMENT[0]}", SERVICE_CONNECT)
        self._parts = parts

    def delivered(self, delivery: Delivery) -> None:
        question = delivery.message
        self.peer.settle(delivery, Accepted())
        self.peer.run(lambda: self._answer(question))

    async def _answer(self, question: Message) -> None:
        try:
            answer = answer_to(question, 200, "OK", await self._facts(question))
        except Refusal as refusal:
            error = wire_error(refusal)
            told = f"{refusal.reason}: {refusal.message}"
            answer = answer_to(question, error.status, told, condition=error.condition)
        properties = question.properties
        replies = replies_beside(self.link, _MANAGEMENT, None if properties is None else properties.reply_to)
        if replies is not None:
            replies.say(answer.encode())

    async def _facts(self, question: Message) -> dict[str, object]:
        parts, asked = self._parts, question.application_properties
        operation, kind, name = asked.get("operation"), asked.get("type"), asked.get("name")
        if operation != "READ" or kind not in ("com.microsoft:eventhub", "com.microsoft:partition"):
            raise Invalid("reader.question", f"$management reads an event hub or a partition, not {str(kind)[:80]!r}")
        _check_entity(parts, str(name))
        if kind == "com.microsoft:eventhub":
            return event_hub_facts(str(name), parts.log.partitions, parts.created())
        state = await parts.log.latest(_partition(parts, str(asked.get("partition"))))
        return partition_facts(str(name), state)


class ReaderNode:
    """The partitions of the entity, in every consumer group."""

    door: Final = "service"

    def __init__(self, parts: EventsParts) -> None:
        self.parts = parts
        self._readers: dict[tuple[str, int], list[_Reader]] = {}

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        words = address.words
        return not is_receiver and len(words) == 5 and (words[1], words[3]) == ("consumergroups", "partitions")

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        parts = self.parts
        entity, _, group, _, partition = address.segments
        resource = f"{entity}/ConsumerGroups/{group}/Partitions/{partition}"
        peer.authorize(resource, SERVICE_CONNECT)
        _check_entity(parts, entity)
        place = (parts.groups.get(parts.hub, group).name.lower(), _partition(parts, partition))
        start = start_of(link.source)
        epoch = _epoch((link.attach.properties or {}).get(_EPOCH))
        evicted = self._evicted(place, epoch)
        reader = _Reader(self, peer, link, resource, place, start, epoch)
        for other in evicted:
            other.stolen()
        self._readers.setdefault(place, []).append(reader)
        peer.accept(link)
        reader.begin()
        return reader

    def left(self, reader: _Reader) -> None:
        others = self._readers.get(reader.place, [])
        if reader in others:
            others.remove(reader)
        if not others:
            self._readers.pop(reader.place, None)

    def _evicted(self, place: tuple[str, int], epoch: int | None) -> list[_Reader]:
        """Whom a newcomer takes over from. Raises `Conflict` where somebody is there whom it does not."""
        there = self._readers.get(place, [])
        highest = max((reader.epoch for reader in there if reader.epoch is not None), default=None)
        where = f"partition {place[1]} in consumer group {place[0]!r}"
        if epoch is None:
            if highest is not None:
                raise Conflict("reader.epoch", f"{where} has a reader with epoch {highest}, and this one has none")
            if len(there) >= _MAX_WITHOUT_EPOCH:
                raise Conflict("reader.too_many", f"{where} has {len(there)} readers, as many as may be without epoch")
            return []
        if highest is not None and epoch < highest:
            raise Conflict("reader.epoch", f"{where} has a reader with epoch {highest}, this one has {epoch}")
        return list(there)


class _Reader(AuthorizedLink):
    __slots__ = ("_drains", "_more", "_next", "_node", "_page", "_task", "epoch", "place")

    def __init__(
        self,
        node: ReaderNode,
        peer: AMQPStream,
        link: Link,
        resource: str,
        place: tuple[str, int],
        start: Start,
        epoch: int | None,
    ) -> None:
        super().__init__(node.parts.links, peer, link, resource, SERVICE_CONNECT)
        self.place = place
        self.epoch = epoch
        self._node = node
        self._next = Start(offset=node.parts.log.durable_end) if start.is_latest else start
        self._more = asyncio.Event()
        self._drains = False
        # Messages of the next page: as many as the peer takes at once.
        self._page = _PAGE
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._read())
        self._task.add_done_callback(self._ended)

    def credited(self) -> None:
        self._more.set()

    def drain_requested(self) -> None:
        self._drains = True
        self._more.set()

    def settled(self, sent: Sent, state: DeliveryState | None) -> None:
        if not sent.settled:
            self.peer.settle(sent, state)

    def stolen(self) -> None:
        """Another reader took over."""
        self.gone()
        self.peer.detach(self.link, Error(Condition.STOLEN, f"a reader with another epoch took over {self.place[1]}"))
        self._links.discard(self)

    def gone(self) -> None:
        self._node.left(self)
        if self._task is not None:
            self._task.cancel()

    async def _read(self) -> None:
        telemetry = self._node.parts.log
        while True:
            await self._room()
            try:
                page = await telemetry.read(
                    self.place[1],
                    from_sequence=self._next.sequence,
                    from_offset=self._next.offset,
                    from_time=self._next.time_ms,
                    limit=min(self._page, self.link.credit),
                )
            except LogCorrupt as damage:
                # Told in the log once by whoever found it; the reader misses what nobody can read any more.
                self._next = self._next._replace(offset=damage.resume_offset)
                continue
            if not await self._send(page) or not page.at_end:
                continue
            if self._drains:
                self._drained()
                continue
            await self._wait_beyond(page.next_offset)

    async def _room(self) -> None:
        """Until something may be sent. Credit that is used up is drained, too."""
        while not self.peer.sendable(self.link):
            if self._drains and not self.link.credit:
                self._drained()
            self._more.clear()
            await self._more.wait()

    def _drained(self) -> None:
        self._drains = False
        self.peer.drained(self.link)

    async def _send(self, page: Page) -> bool:
        """Whether the peer took all of it; what it did not is read again, and a shorter page of it."""
        messages = page.messages
        if sum(len(message.body) for message in messages) + 256 * len(messages) > _FEW_BYTES:
            payloads = await asyncio.to_thread(lambda: [stored_message(message) for message in messages])
        else:
            payloads = [stored_message(message) for message in messages]
        for number, (message, payload) in enumerate(zip(messages, payloads, strict=True)):
            if not self.peer.sendable(self.link):
                self._page = max(1, number)
                return False
            self.peer.send(self.link, payload, tag=message.offset.to_bytes(8, "big"))
            self._next = Start(offset=message.offset + 1)
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
        # Where it begins may be a place that is not there yet.
        self._next = self._next._replace(offset=page.next_offset)
        self._page = min(_PAGE, 2 * self._page)
        return True

    async def _wait_beyond(self, offset: int) -> None:
        """For more to be stored, or for a drain to be asked for."""
        self._more.clear()
        stored = asyncio.ensure_future(self._node.parts.log.wait_beyond(offset))
        asked = asyncio.ensure_future(self._more.wait())
        try:
            await asyncio.wait((stored, asked), return_when=asyncio.FIRST_COMPLETED)
            if stored.done():
                stored.result()
        finally:
            stored.cancel()
            asked.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, Refusal):
            log.error("reader_failed partition=%d", self.place[1], exc_info=error)
            error = Unavailable("api.failed", "this is a fault of moorage; its log has the details")
        self.gone()
        self._links.discard(self)
        self.peer.detach(self.link, error_of(error))


def _check_entity(parts: EventsParts, name: str) -> None:
    if name.lower() not in {entity.lower() for entity in parts.entities}:
        raise NotFound("reader.entity", f"there is no entity {name[:80]!r} here; the endpoint's is {parts.entity!r}")


def _partition(parts: EventsParts, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) < parts.log.partitions:
        return int(text)
    raise NotFound("reader.partition", f"there is no partition {text[:20]!r}; they are 0 to {parts.log.partitions - 1}")


def _epoch(value: Any) -> int | None:
    """Raises `Invalid` (`reader.epoch_value`)."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid("reader.epoch_value", f"an epoch is a number, not a {type(value).__name__}")
    if value < 0:
        raise Invalid("reader.epoch_value", f"an epoch is 0 or more, not {value}")
    return int(value)
