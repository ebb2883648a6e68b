"""Hears what exports may take and no log holds: the audit trail, what becomes of devices, templates, cloud properties.

    logger "moorage.audit" ──► audit entries; of devices also their life cycle: registered, disabled, migrated ...
    the hub's events       ──► identities made and deleted: provisioned, deleted; cloud properties set; what devices
                               have of a template: created, updated, deleted

A device is told to be deleted once, although both speak of it. What a back end does by the hub's own API is heard where
it makes or deletes an identity.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from moorage.accounts.audit import ACTING
from moorage.automation.exports import ExportEvent, ExportSource
from moorage.clock import Clock
from moorage.events import Bus, Event
from moorage.ids import HubId

__all__ = ["ExportEars"]

_AUDIT: Final = "moorage.audit"
_LIFE: Final = {
    "device.registered": "registered",
    "device.blocked": "disabled",
    "device.unblocked": "enabled",
    "device.approved": "enabled",
    "device.migrated": "deviceTemplateChanged",
    "device.deleted": "deleted",
}
# Devices whose end was told a moment ago.
_REMEMBERED: Final = 1000


class ExportEars:
    """`take` is called on the loop, for sources of which `hears` says that somebody wants them."""

    def __init__(
        self,
        hub: HubId,
        bus: Bus,
        clock: Clock,
        hears: Callable[[], frozenset[ExportSource]],
        take: Callable[[ExportEvent], None],
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._clock = clock
        self._hears = hears
        self._take = take
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._handler = _Handler(self._audited)
        self._end: Callable[[], None] = _nothing

    def open(self) -> None:
        """From now on, on the running loop."""
        self._handler.loop = asyncio.get_running_loop()
        logging.getLogger(_AUDIT).addHandler(self._handler)
        self._end = self._bus.subscribe(self._heard)

    def close(self) -> None:
        logging.getLogger(_AUDIT).removeHandler(self._handler)
        self._end()

    def _heard(self, event: Event) -> None:
        if event.hub != self._hub:
            return
        match event.kind:
            case "identity.created" if "/" not in event.subject:
                self._live(event.subject, "provisioned")
            case "identity.deleted" if "/" not in event.subject:
                self._gone[event.subject] = None
                while len(self._gone) > _REMEMBERED:
                    self._gone.popitem(last=False)
                self._live(event.subject, "deleted")
            case "device.cloud_properties":
                found = [{"name": name, "value": value} for name, value in event.data["patch"].items()]
                facts = {"messageType": "cloudPropertyChange", "properties": found}
                self._tell("properties", event.subject, facts)
            case "template.changed" if "published" in event.data:
                facts = {"messageType": event.data["published"], "templateId": event.subject}
                self._tell("deviceTemplateLifecycle", "", facts)

    def _audited(self, name: str, facts: dict[str, Any]) -> None:
        if facts.get("hub", self._hub) != self._hub:
            return
        device_id = str(facts.get("device") or (facts.get("name", "") if name.startswith("device.") else ""))
        if "audit" in self._hears():
            told = {str(key): str(value)[:500] for key, value in facts.items() if key not in ("hub", "by")}
            actor = str(facts.get("by", ""))
            body = {"actor": actor, "action": name, "resource": {"type": name.partition(".")[0], **told}}
            self._tell("audit", device_id, body)
        if name in _LIFE and device_id:
            if name == "device.deleted" and device_id in self._gone:
                del self._gone[device_id]
                return
            self._live(device_id, _LIFE[name])
        elif name == "device.changed" and "display_name" in facts:
            self._live(device_id, "displayNameChanged")

    def _live(self, device_id: str, kind: str) -> None:
        self._tell("deviceLifecycle", device_id, {"messageType": kind})

    def _tell(self, source: ExportSource, device_id: str, facts: dict[str, Any]) -> None:
        if source in self._hears():
            self._take(ExportEvent(source, self._clock.now(), device_id, facts))


class _Handler(logging.Handler):
    """Lines of the audit log, from whichever thread, on the loop."""

    def __init__(self, heard: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__()
        self._heard = heard
        self.loop: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        event, facts = getattr(record, "event", None), getattr(record, "facts", None)
        if self.loop is None or self.loop.is_closed() or not isinstance(event, str) or not isinstance(facts, dict):
            return
        told = dict(facts)
        if "by" not in told and (acting := ACTING.get()):
            told["by"] = acting
        self.loop.call_soon_threadsafe(self._heard, event, told)


def _nothing() -> None:
    """It hears nothing yet."""
