"""Back ends over AMQP (contract/services.md 3): messages to devices in, feedback and file notifications out."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from moorage.dialects.amqp_address import Address
from moorage.dialects.amqp_service import document_message, draft_of, recipients
from moorage.errors import NotFound, PreconditionFailed, Refusal
from moorage.hub.held_queue import MAX_BATCH, HeldQueue
from moorage.hub.messages import MAX_MESSAGE_BYTES, MessageService
from moorage.ids import HubId
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.performatives import Accepted, DeliveryState, Rejected
from moorage.servers.amqp.authorized import SERVICE_CONNECT, AuthorizedLink, AuthorizedLinks
from moorage.servers.amqp.nodes import LinkHandler
from moorage.servers.amqp.stream import AMQPStream

__all__ = ["DeviceBoundNode", "QueueNode"]

log = logging.getLogger(__name__)

# Messages that one back end may have on their way to queues.
_CREDIT: Final = 100
# Body and properties, and what AMQP needs around them.
_MAX_DELIVERY_BYTES: Final = MAX_MESSAGE_BYTES + 16 * 1024
_DEVICE_BOUND: Final = ("messages", "devicebound")


class DeviceBoundNode:
    """`/messages/devicebound`: each message is accepted once it is durable in the queue of its device."""

    door: Final = "service"

    def __init__(self, hub: HubId, messages: MessageService, links: AuthorizedLinks) -> None:
        self.hub = hub
        self.messages = messages
        self._links = links

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return is_receiver and address.words == _DEVICE_BOUND

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        handler = _DeviceBoundLink(self, self._links, peer, link)
        peer.accept(link, credit=_CREDIT, max_message_bytes=_MAX_DELIVERY_BYTES)
        return handler


class _DeviceBoundLink(AuthorizedLink):
    __slots__ = ("_node",)

    def __init__(self, node: DeviceBoundNode, links: AuthorizedLinks, peer: AMQPStream, link: Link) -> None:
        super().__init__(links, peer, link, "/".join(_DEVICE_BOUND), SERVICE_CONNECT)
        self._node = node

    def delivered(self, delivery: Delivery) -> None:
        message = delivery.message
        self.peer.run(lambda: self._enqueue(delivery, message))

    async def _enqueue(self, delivery: Delivery, message: Message) -> None:
        try:
            await self._put(message)
        except Refusal as refusal:
            self.peer.reject(delivery, refusal)
            return
        self.peer.settle(delivery, Accepted())

    async def _put(self, message: Message) -> None:
        draft = draft_of(message)
        *others, last = recipients(message)
        for name in others:
            try:
                await self._node.messages.enqueue(self._node.hub, name, draft)
            except NotFound:
                # Clients disagree about percent-encoding ids: the text as it stands may be one.
                continue
            return
        await self._node.messages.enqueue(self._node.hub, last, draft)


class QueueNode:
    """Records that wait for a back end, at `words`: a batch is held by whoever receives it until it has an outcome.

    `encode` makes the document of a batch's records, which is sent as `content_type`.
    """

    door: Final = "service"

    def __init__(
        self,
        hub: HubId,
        hub_name: str,
        words: tuple[str, ...],
        queue: HeldQueue[Any, Any],
        encode: Callable[[Sequence[Any]], Any],
        content_type: str,
        links: AuthorizedLinks,
        *,
        batch: int = MAX_BATCH,
    ) -> None:
        self.hub = hub
        self.hub_name = hub_name
        self.queue = queue
        self.encode = encode
        self.content_type = content_type
        self.batch = batch
        self.words = words
        self._links = links

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return not is_receiver and address.words == self.words

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        handler = _QueueLink(self, self._links, peer, link)
        peer.accept(link)
        return handler

    def waiting(self) -> None:
        """Something came into the queue."""
        for link in self._links:
            if isinstance(link, _QueueLink) and link.node is self:
                link.take()


class _QueueLink(AuthorizedLink):
    __slots__ = ("_is_gone", "_is_taking", "node")

    def __init__(self, node: QueueNode, links: AuthorizedLinks, peer: AMQPStream, link: Link) -> None:
        super().__init__(links, peer, link, "/".join(node.words), SERVICE_CONNECT)
        self.node = node
        self._is_taking = False
        self._is_gone = False

    def credited(self) -> None:
        self.take()

    def tick(self) -> None:
        """What another taker let go of is not told."""
        self.take()

    def drain_requested(self) -> None:
        self.peer.run(self._drain)

    def gone(self) -> None:
        self._is_gone = True

    def take(self) -> None:
        if self._is_taking or self._is_gone or not self.peer.sendable(self.link):
            return
        self._is_taking = True
        self.peer.run(self._take)

    async def _take(self) -> None:
        node = self.node
        try:
            while not self._is_gone and self.peer.sendable(self.link):
                held = await node.queue.take(node.hub, node.batch)
                if held is None:
                    return
                if self._is_gone or not self.peer.sendable(self.link):
                    await node.queue.abandon(node.hub, held.lock)
                    return
                document = node.encode(held.records)
                payload = document_message(document, node.content_type, node.hub_name, held.records[0].recorded)
                sent = self.peer.send(self.link, payload, tag=uuid.UUID(held.lock).bytes_le, context=held.lock)
                if sent.settled:
                    await node.queue.complete(node.hub, held.lock)
        finally:
            self._is_taking = False

    async def _drain(self) -> None:
        await self._take()
        if not self._is_gone:
            self.peer.drained(self.link)

    def settled(self, sent: Sent, state: DeliveryState | None) -> None:
        if state is not None:
            self.peer.run(lambda: self._settle(sent, state))

    async def _settle(self, sent: Sent, state: DeliveryState) -> None:
        node = self.node
        try:
            if isinstance(state, Accepted | Rejected):
                await node.queue.complete(node.hub, sent.context)
            else:
                await node.queue.abandon(node.hub, sent.context)
        except PreconditionFailed as refusal:
            log.info("settled_late reason=%s queue=%s", refusal.reason, "/".join(node.words))
        if not self._is_gone:
            self.peer.settle(sent, state)
            self.take()
