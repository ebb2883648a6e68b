"""How a device comes by its template (contract/central.md 6.2).

    registers with {"modelId": ...} ──► in the transaction that admits it (`admission.py`)
    connects with a model id ─────────► `Adopter.heard`, in the background: a CONNECT waits for nothing

Both ask `StoredTemplates`: the published template of that model, else one is made of a model that lies ready.
A device that has a template keeps it (TPL-1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from moorage.clock import Clock
from moorage.fleet.admission import adopt_in
from moorage.fleet.model import UNASSIGNED, FleetTables, TemplateId
from moorage.fleet.service import Templates
from moorage.fleet.template_model import ModelSource
from moorage.fleet.templates import template_for_model
from moorage.ids import DeviceId, HubId, IdentityName
from moorage.store import Store

__all__ = ["Adopter", "StoredTemplates"]

audit = logging.getLogger("moorage.audit")

_BATCH: Final = 100


class StoredTemplates:
    """Port: `fleet.service.Templates`."""

    def __init__(self, hub: HubId, models: ModelSource, clock: Clock) -> None:
        self._hub = hub
        self._models = models
        self._clock = clock

    def is_published(self, tables: Any, template: TemplateId) -> bool:
        found = tables.templates.find(self._hub, template)
        return found is not None and found.published is not None

    def for_model(self, tables: Any, model_id: str) -> TemplateId:
        return template_for_model(tables, self._hub, model_id, self._models, self._clock.now())

    def published(self, tables: Any) -> Sequence[tuple[TemplateId, str]]:
        return [
            (each.template_id, each.display_name) for each in tables.templates.summaries(self._hub) if each.is_published
        ]


class Adopter:
    """Gives devices that connect with a model id, and have no template, the one of that model."""

    def __init__(self, hub: HubId, store: Store[FleetTables], templates: Templates) -> None:
        self._hub = hub
        self._store = store
        self._templates = templates
        # The newest model of each device that waits: at most as many as there are devices.
        self._waiting: dict[DeviceId, str] = {}
        self._woken = asyncio.Event()

    def heard(self, hub: HubId, name: IdentityName, model_id: str) -> None:
        """`name` connected and said which model it is. Costs one point read."""
        if hub != self._hub or name.module_id is not None:
            return
        record = self._store.read().devices.find(hub, name.device_id)
        if record is not None and record.template == UNASSIGNED:
            self._waiting[name.device_id] = model_id
            self._woken.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                batch = [self._waiting.popitem() for _ in range(min(_BATCH, len(self._waiting)))]
                for device_id, template in await self._store.write(self._adopt(batch)):
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
