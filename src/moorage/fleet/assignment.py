"""How a device comes by its template (contract/central.md 6.2).

    registers with {"modelId": ...} ──► in the transaction that admits it (`admission.py`)
    connects with a model id ─────────► `Adopter.heard`, in the background: a CONNECT waits for nothing
    the model is published later ─────► `Adopter.told`, in the background, for all that said so and have no template

A device that has a template keeps it (TPL-1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from moorage.errors import Unavailable
from moorage.events import Event
from moorage.fleet.admission import adopt_in
from moorage.fleet.model import UNASSIGNED, FleetTables, TemplateId
from moorage.fleet.service import Templates
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["Adopter"]

log = logging.getLogger("moorage.fleet")
audit = logging.getLogger("moorage.audit")

_BATCH: Final = 100


class Adopter:
    """Gives devices that connect with a model id, and have no template, the one of that model."""

    def __init__(self, hub: HubId, store: Store[FleetTables], templates: Templates) -> None:
        self._hub = hub
        self._store = store
        self._templates = templates
        # The newest model of each device that waits: at most as many as there are devices.
        self._waiting: dict[DeviceId, str] = {}
        # Models whose first template was published, and whose devices were not looked for yet.
        self._published: list[str] = []
        self._woken = asyncio.Event()

    def heard(self, hub: HubId, name: IdentityName, model_id: str) -> None:
        """`name` connected and said which model it is. Costs one point read."""
        if hub != self._hub or name.module_id is not None:
            return
        record = self._store.read().devices.find(hub, name.device_id)
        if record is not None and record.template == UNASSIGNED:
            self._waiting[name.device_id] = model_id
            self._woken.set()

    def told(self, event: Event) -> None:
        """An event of the store: a template may be the first one of its model. Who was unassigned by hand later than
        that stays so until it connects."""
        if event.kind == "template.changed" and event.hub == self._hub and event.data.get("published") == "created":
            self._published.append(event.data["model"])
            self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                await self._give([self._waiting.popitem() for _ in range(min(_BATCH, len(self._waiting)))])
            while self._published:
                await self._give_all(self._published.pop())

    async def _give_all(self, model_id: str) -> None:
        after = ""
        while batch := await self._unassigned(model_id, after):
            await self._give([(device_id, model_id) for device_id in batch])
            after = batch[-1]

    async def _unassigned(self, model_id: str, after: str) -> list[DeviceId]:
        return await self._store.scan(lambda tables: tables.devices.unassigned(self._hub, model_id, _BATCH, after))

    async def _give(self, batch: Sequence[tuple[DeviceId, str]]) -> None:
        try:
            adopted = await self._store.write(self._adopt(batch))
        except Unavailable as refusal:
            # They are heard of again when they connect the next time.
            log.warning("templates_not_assigned devices=%d reason=%s", len(batch), refusal.reason)
            return
        for device_id, template in adopted:
            facts = {"hub": self._hub, "name": device_id, "template": template, "by": "moorage"}
            audit.info(
                "device.assigned hub=%s name=%s template=%s by=%s",
                *facts.values(),
                extra={"event": "device.assigned", "facts": facts},
            )

    def _adopt(
        self, batch: Sequence[tuple[DeviceId, str]]
    ) -> Callable[[FleetTables], list[tuple[DeviceId, TemplateId]]]:
        def work(tables: FleetTables) -> list[tuple[DeviceId, TemplateId]]:
            found = [(device_id, self._templates.for_model(tables, model_id)) for device_id, model_id in batch]
            return [each for each in found if adopt_in(tables, self._hub, *each)]

        return work
