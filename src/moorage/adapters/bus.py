"""A bus inside one process: several apps, each on its own event loop, hear the same events.

`publish` may be called on any thread; a store calls it on its writer's thread, in the order of its commits. A handler
runs on the loop on which it was subscribed, in the order of publishing. Because a loop runs what was handed to it from
outside first in, first out, a writer that publishes and then answers a caller is sure that the handlers on that
caller's loop have run before the caller goes on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from moorage.events import Event

__all__ = ["LocalBus"]

_log = logging.getLogger(__name__)


class LocalBus:
    """`events.Bus` for apps that share a process."""

    def __init__(self) -> None:
        # Held while an event is handed over, so that two publishers cannot reach two loops in different orders.
        self._lock = threading.Lock()
        self._subscriptions: tuple[_Subscription, ...] = ()

    def publish(self, event: Event) -> None:
        """Hand `event` to every subscriber; returns before they have run."""
        with self._lock:
            for subscription in self._subscriptions:
                subscription.hand_over(event)

    def subscribe(self, handler: Callable[[Event], None]) -> Callable[[], None]:
        """Call `handler` on the running loop for every event from now on; the function returned ends that at once.

        What a handler raises is logged and keeps nobody else from the event.
        """
        subscription = _Subscription(handler, asyncio.get_running_loop())
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)

        def unsubscribe() -> None:
            subscription.is_open = False
            with self._lock:
                self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

        return unsubscribe


class _Subscription:
    __slots__ = ("_handler", "_loop", "is_open")

    def __init__(self, handler: Callable[[Event], None], loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self.is_open = True

    def hand_over(self, event: Event) -> None:
        try:
            self._loop.call_soon_threadsafe(self._handle, event)
        except RuntimeError:
            # The loop is closed: its app is gone and took the subscription's purpose with it.
            _log.warning("bus.subscriber_gone kind=%s subject=%r", event.kind, event.subject)

    def _handle(self, event: Event) -> None:
        if not self.is_open:
            return
        try:
            self._handler(event)
        except Exception:
            _log.exception("bus.handler_failed kind=%s hub=%s subject=%r", event.kind, event.hub, event.subject)
