"""What stands at the end of an AMQP link: the port between a connection and what it serves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal, Protocol

from moorage.dialects.amqp_address import Address
from moorage.errors import TooLarge
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.performatives import DeliveryState, Error

if TYPE_CHECKING:
    from moorage.servers.amqp.stream import AMQPStream

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "LinkHandler", "Node", "Outbox"]

# Messages that wait on one link for credit, and their bytes: a few of the largest twins.
MAX_WAITING: Final = 256
MAX_WAITING_BYTES: Final = 256 * 1024


class LinkHandler:
    """One attached link. A subclass does what its direction needs; nothing here may wait."""

    __slots__ = ()

    # Whether a connection with this link has a reason to stay open. Links to `$cbs` have none of their own.
    keeps_open = True

    def delivered(self, delivery: Delivery) -> None:
        """A message came; settle it unless it is settled. Raises `Refusal`: the link is detached with it."""

    def credited(self) -> None:
        """More may be sent than before."""

    def drain_requested(self) -> None:
        """Send what there is, then call `AMQPStream.drained`."""

    def settled(self, sent: Sent, state: DeliveryState | None) -> None:
        """The peer gave what was sent an outcome, or settled it without one."""

    def detached(self, error: Error | None) -> None:
        """The link is gone, by the peer or with the connection; not after our own detach."""

    def refreshed(self, path: tuple[str, ...]) -> None:
        """A token came for `path` (lower case) or what is below it. Raises `Refusal` where it does not open this."""


class Outbox(LinkHandler):
    """A link on which messages go out settled, each as soon as the peer gives credit for it."""

    __slots__ = ("_number", "_waiting", "link", "peer", "waiting_bytes")

    def __init__(self, peer: AMQPStream, link: Link) -> None:
        self.peer = peer
        self.link = link
        # None while nothing waits.
        self._waiting: deque[bytes] | None = None
        self.waiting_bytes = 0
        self._number = 0

    def say(self, payload: bytes) -> None:
        """Raises `TooLarge` (`link.answers`) when the peer leaves too many where they are."""
        if self._waiting is None:
            if self.peer.sendable(self.link):
                self._send(payload)
                return
            self._waiting = deque()
        elif len(self._waiting) >= MAX_WAITING or self.waiting_bytes >= MAX_WAITING_BYTES:
            raise TooLarge(
                "link.answers",
                f"{len(self._waiting)} messages of {self.waiting_bytes} bytes wait for the peer's credit, and no "
                "more can",
            )
        self._waiting.append(payload)
        self._count(len(payload))

    def credited(self) -> None:
        while self._waiting and self.peer.sendable(self.link):
            payload = self._waiting.popleft()
            self._count(-len(payload))
            self._send(payload)
        if not self._waiting:
            self._waiting = None

    def _count(self, size: int) -> None:
        self.waiting_bytes += size
        self.peer.waiting_bytes += size

    def _send(self, payload: bytes) -> None:
        self._number += 1
        self.peer.send(self.link, payload, tag=self._number.to_bytes(8, "big"), settled=True)

    def drain_requested(self) -> None:
        self.credited()
        self.peer.drained(self.link)


class Node(Protocol):
    """A kind of address. `door` is where an attempt to get in by it is made (`attempts.model`)."""

    @property
    def door(self) -> Literal["hub", "dps", "service"]: ...

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        """Whether a link to `address` is for this node. `is_receiver`: we receive on it."""

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        """Take a link: authorize it, and call `peer.accept`.

        Raises:
            Refusal: the link is refused with it; nothing of it is left.
        """
