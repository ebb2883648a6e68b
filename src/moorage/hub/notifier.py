"""Puts what the hub has to tell into the telemetry log, beside what devices send.

    notifications in the store ──┐
                                 ├──► encoded ──► the log ──► durable ──► taken away
    connection events in memory ─┘

It comes round `ROUND_S` after the last time it found nothing, so no change of a twin and no CONNECT waits for it. What
the log does not take stays where it is; when that goes on for long the oldest are given up, and said to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from moorage.errors import Unavailable
from moorage.hub.connection_events import ConnectionEvents
from moorage.hub.model import HubTables
from moorage.hub.notification_model import Notification
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import SourceHeader, partition_of
from moorage.ids import HubId
from moorage.store import Store

__all__ = ["MAX_WAITING", "Encode", "Notifier", "Told"]

log = logging.getLogger(__name__)

ROUND_S: Final = 0.05
_PAUSE_AFTER_FAILURE_S: Final = 1.0
# Of one round. Bodies are twins, some kilobytes as a rule.
_BATCH: Final = 200
# Notifications that may wait in the store while the log takes nothing.
MAX_WAITING: Final = 100_000


class Told(NamedTuple):
    """A notification as the log keeps it."""

    bag: bytes
    body: bytes


Encode = Callable[[Notification], Told]


class Notifier:
    """One hub's; a `Sender` of what it puts into the log. `encode` may be called from threads."""

    def __init__(
        self,
        hub: HubId,
        store: Store[HubTables],
        telemetry: TelemetryIntake,
        connections: ConnectionEvents,
        encode: Encode,
        partitions: int,
    ) -> None:
        self._hub = hub
        self._store = store
        self._telemetry = telemetry
        self._connections = connections
        self._encode = encode
        self._partitions = partitions
        # Handed to the log and not yet durable, and who waits for that.
        self._outstanding = 0
        self._settled: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Never returns."""
        epoch = await self._store.write(lambda tables: tables.notifications.next_epoch(self._hub))
        self._connections.begin(epoch)
        while True:
            try:
                found = await self.go_round()
                pause_s = 0.0 if found else ROUND_S
            except Unavailable as refusal:
                log.warning("events_not_told reason=%s message=%r", refusal.reason, refusal.message)
                await self._give_up_oldest()
                pause_s = _PAUSE_AFTER_FAILURE_S
            await asyncio.sleep(pause_s)

    async def go_round(self) -> int:
        """Tell what waits, up to a batch of each kind; how many were told. Raises `Unavailable`."""
        notifications = self._store.read().notifications
        self._connections.is_wanted = notifications.wants(self._hub, "deviceConnectionStateEvents")
        told = 0
        if notifications.is_waiting(self._hub):
            waiting = await self._store.scan(self._encoded)
            told = await self._tell([(notification, each) for _, notification, each in waiting])
            last = waiting[told - 1][0]
            await self._store.write(lambda tables: tables.notifications.delete_through(self._hub, last))
        if self._connections:
            events = self._connections.take(_BATCH)
            taken = 0
            try:
                taken = await self._tell([(event, self._encode(event)) for event in events])
            finally:
                self._connections.put_back(events[taken:])
            told += taken
        return told

    def _encoded(self, tables: HubTables) -> list[tuple[int, Notification, Told]]:
        found = tables.notifications.first(self._hub, _BATCH)
        return [(place, notification, self._encode(notification)) for place, notification in found]

    async def _tell(self, messages: Sequence[tuple[Notification, Told]]) -> int:
        """Returns how many of them, from the first on, are durable. Raises `Unavailable` when none is."""
        self._settled = asyncio.get_running_loop().create_future()
        told = 0
        try:
            for notification, (bag, body) in messages:
                name = notification.name
                device_id = "" if name is None else name.device_id
                module_id = None if name is None else name.module_id
                # How a device proved itself has nothing to do with what the hub says of it.
                source = SourceHeader(self._hub, notification.source, device_id, module_id, "", "", None).encode()
                partition = partition_of(device_id, self._partitions)
                self._telemetry.accept(self, source, partition, bag, body, acknowledge=True)
                self._outstanding += 1
                told += 1
        except Unavailable:
            if not told:
                raise
        if self._outstanding:
            await self._settled
        return told

    async def _give_up_oldest(self) -> None:
        try:
            lost = await self._store.write(lambda tables: tables.notifications.trim(self._hub, MAX_WAITING))
        except Unavailable as refusal:
            log.warning("events_not_trimmed reason=%s message=%r", refusal.reason, refusal.message)
            return
        if lost:
            log.error("events_given_up count=%d; the log has taken none for too long", lost)

    # -- as a `Sender` -------------------------------------------------------------------------------------------------

    def telemetry_durable(self, count: int) -> None:
        self._outstanding -= count
        if self._outstanding == 0 and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def telemetry_failed(self, refusal: Unavailable) -> None:
        self._outstanding = 0
        if self._settled is not None and not self._settled.done():
            self._settled.set_exception(refusal)

    def hold_reading(self, hold: bool) -> None:
        """It reads from no connection; a log over its limit refuses what comes."""
