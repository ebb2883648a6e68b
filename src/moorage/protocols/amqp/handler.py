"""What a connection asks of whoever answers the peer."""

from __future__ import annotations

from typing import Protocol

from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.performatives import DeliveryState, Error, Open

__all__ = ["Handler"]


class Handler(Protocol):
    """Who answers the peer. A `PeerError` that leaves a callback closes the connection with its condition."""

    def opened(self, opened: Open) -> None:
        """The peer opened, and our open is on its way. `Connection.close(error)` refuses it."""
        ...

    def attached(self, link: Link) -> None:
        """The peer attached a link: `Connection.accept` or `refuse` it, now or later."""
        ...

    def delivered(self, link: Link, delivery: Delivery) -> None:
        """A message is there. Unless it is settled, `Connection.settle` it with an outcome, now or later."""
        ...

    def credited(self, link: Link) -> None:
        """We send on `link`, and `link.sendable` is more than 0 after something happened that could make it so."""
        ...

    def drain_requested(self, link: Link) -> None:
        """Send what there is within `link.credit`, then call `Connection.drained(link)`, now or later."""
        ...

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None:
        """The peer gave what we sent an outcome; None when it settled without one.

        It comes once for each. Where `sent.settled` is still false the peer waits for us to settle too: call
        `Connection.settle(sent, state)`, now or later.
        """
        ...

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None:
        """A link that `attached` was called for is gone: detached by the peer, or with its session or connection.

        Not called after our own `refuse` and `detach`. What was sent and not settled stays without an outcome.
        """
        ...

    def closed(self, error: Error | None) -> None:
        """The peer closed, after `detached` for each link. Not called after our own `close`, nor for a lost socket."""
        ...
