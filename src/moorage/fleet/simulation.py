"""Simulated devices: telemetry that is invented by their templates and goes the way of all telemetry (REG-5, LIM-14).

While there is none, nothing runs but a wait for the first. Each device speaks every `PERIOD_S`, at a moment of its own,
once for the root of its model and once for each component that has telemetry.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from moorage.clock import Clock
from moorage.dtdl.model import Interface
from moorage.errors import Unavailable
from moorage.events import Bus, Event
from moorage.fleet.invention import invent_message
from moorage.fleet.model import DeviceRecord, FleetTables, TemplateId
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import partition_of
from moorage.identities.model import Identity
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["PERIOD_S", "Simulator"]

log = logging.getLogger("moorage.fleet")

PERIOD_S: Final = 10.0
_STEP_S: Final = 0.5

# (bag, body) of values; the encoded header of whoever sends.
EncodeMessage = Callable[[Mapping[str, Any], str], tuple[bytes, bytes]]
EncodeSource = Callable[[Identity, str], bytes]


class Interfaces(Protocol):
    """The models of templates."""

    def interface_of(self, template_id: TemplateId) -> Interface | None: ...


class Simulator:
    """A `Sender` that waits for no acknowledgement."""

    def __init__(
        self,
        hub: HubId,
        store: Store[FleetTables],
        interfaces: Interfaces,
        telemetry: TelemetryIntake,
        clock: Clock,
        bus: Bus,
        *,
        partitions: int,
        encode_message: EncodeMessage,
        encode_source: EncodeSource,
    ) -> None:
        self._hub = hub
        self._store = store
        self._interfaces = interfaces
        self._telemetry = telemetry
        self._clock = clock
        self._partitions = partitions
        self._encode_message = encode_message
        self._encode_source = encode_source
        self._dice = random.Random()
        # When each speaks next, by the monotonic clock.
        self._due: dict[DeviceId, float] = {}
        self._devices: list[DeviceRecord] = []
        self._is_held = False
        self._changed = asyncio.Event()
        # The first look is at those that there were before.
        self._changed.set()
        self._unsubscribe = bus.subscribe(self._hear)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if self._changed.is_set():
                self._changed.clear()
                self._devices = self._store.read().devices.simulated(self._hub)
            if not self._devices:
                await self._changed.wait()
                continue
            await self.speak()
            await asyncio.sleep(_STEP_S)

    async def speak(self) -> None:
        """Let those speak whose moment has come."""
        now_s = self._clock.monotonic()
        self._due = {each.device_id: self._due.get(each.device_id, _first(each, now_s)) for each in self._devices}
        for record in self._devices:
            if self._due[record.device_id] > now_s or self._is_held:
                continue
            self._due[record.device_id] = now_s + PERIOD_S
            try:
                self._speak_for(record)
            except Unavailable as refusal:
                log.warning("simulation_paused reason=%s message=%r", refusal.reason, refusal.message)
                return
            # A hundred at once would hold the event loop.
            await asyncio.sleep(0)

    def close(self) -> None:
        self._unsubscribe()
        self._telemetry.forget(self)

    def _speak_for(self, record: DeviceRecord) -> None:
        model = self._interfaces.interface_of(record.template) if record.template else None
        identity = self._store.read().identities.find(self._hub, IdentityName(record.device_id))
        if model is None or identity is None or identity.status == "disabled":
            return
        source = self._encode_source(identity, model.id)
        partition = partition_of(record.device_id, self._partitions)
        now = self._clock.now()
        for component, part in model.parts():
            values = invent_message(part, f"{record.device_id}/{component}", self._dice, now)
            if values:
                bag, body = self._encode_message(values, component)
                self._telemetry.accept(self, source, partition, bag, body, acknowledge=False)

    def _hear(self, event: Event) -> None:
        if event.kind == "device.changed" and event.hub == self._hub:
            self._changed.set()

    # -- as a `Sender` -------------------------------------------------------------------------------------------------

    def telemetry_durable(self, count: int) -> None:
        """Nobody asked."""

    def telemetry_failed(self, refusal: Unavailable) -> None:
        """What was invented can be invented again."""

    def hold_reading(self, hold: bool) -> None:
        self._is_held = hold


def _first(record: DeviceRecord, now_s: float) -> float:
    """Soon, and not all at one moment."""
    return now_s + zlib.crc32(record.device_id.encode()) % 20 / 10
