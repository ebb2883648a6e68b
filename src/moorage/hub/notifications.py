"""What the hub itself has to tell back ends: twins that changed, identities that came and went, jobs that ended.

A notification is written in the transaction of the change that it tells of, so it is told exactly when that was
committed; `hub/notifier.py` puts it into the telemetry log and only then takes it away. A hub that dies in between
tells it again: at least once, with the same correlation id.

Nothing is written of a source that nobody wants to hear of (`Sources`): what it costs then is one point read.

    twinChangeEvents          updateTwin, replaceTwin
    deviceLifecycleEvents     createDeviceIdentity, deleteDeviceIdentity
    digitalTwinChangeEvents   patchDigitalTwin, of identities that have announced a model
    deviceJobLifecycleEvents  jobCompleted, jobFailed, jobCancelled
    deviceConnectionStateEvents   not here: see `hub/connection_events.py`

`Notification.facts` are what the message's body is made of (`dialects/hub_events.py`): plain values, JSON-able.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from moorage.hub.merging import difference, is_same
from moorage.hub.model import Document, Twin
from moorage.hub.notification_model import Notification, NotificationTable
from moorage.ids import HubId

__all__ = ["TellingTables", "changes", "tell_of_job", "tell_of_twin", "twin_facts"]


class TellingTables(Protocol):
    @property
    def notifications(self) -> NotificationTable: ...


def tell_of_twin(tables: TellingTables, before: Twin, after: Twin, operation: str, now: datetime) -> None:
    """Remember a change of a twin, inside its transaction. `operation` is `updateTwin` or `replaceTwin`."""
    notifications, hub, name = tables.notifications, after.hub, after.name
    if notifications.wants(hub, "twinChangeEvents"):
        facts = twin_facts(after) if operation == "replaceTwin" else changes(before, after)
        notifications.add(hub, Notification("twinChangeEvents", operation, name, now, facts))
    if after.model_id and notifications.wants(hub, "digitalTwinChangeEvents"):
        facts = {"before": twin_facts(before), "after": twin_facts(after)}
        notifications.add(hub, Notification("digitalTwinChangeEvents", "patchDigitalTwin", name, now, facts))


def tell_of_job(tables: TellingTables, hub: HubId, operation: str, facts: Mapping[str, Any], now: datetime) -> None:
    """Remember that a job has ended, inside the transaction in which it did."""
    if tables.notifications.wants(hub, "deviceJobLifecycleEvents"):
        tables.notifications.add(hub, Notification("deviceJobLifecycleEvents", operation, None, now, facts))


def twin_facts(twin: Twin) -> dict[str, Any]:
    """The whole twin."""
    return {
        "version": twin.version,
        "modelId": twin.model_id,
        "tags": twin.tags,
        "desired": _document_facts(twin.desired),
        "reported": _document_facts(twin.reported),
    }


def changes(before: Twin, after: Twin) -> dict[str, Any]:
    """What was written: members, those that were deleted as None, and their metadata; sections that stayed are absent.

    A member that was written counts also when it is what it was before: its metadata tells.
    """
    facts: dict[str, Any] = {"version": after.version}
    if not is_same(before.tags, after.tags):
        facts["tags"] = difference(before.tags, after.tags)
    for section, old, new in (
        ("desired", before.desired, after.desired),
        ("reported", before.reported, after.reported),
    ):
        if old.version != new.version:
            value, metadata = _written(old.value, new.value, old.metadata, new.metadata)
            facts[section] = _document_facts(replace(new, value=value, metadata=metadata))
    return facts


def _document_facts(document: Document) -> dict[str, Any]:
    return {"value": document.value, "metadata": document.metadata, "version": document.version}


def _written(old: Any, new: Any, old_metadata: Any, new_metadata: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(members, metadata) of what a write touched below one object."""
    value: dict[str, Any] = {key: None for key in _keys(old) if key not in new}
    metadata = {key: stamp for key, stamp in new_metadata.items() if key.startswith("$")}
    for key, member in new.items():
        stamped, stamp = _at(old_metadata, key), new_metadata.get(key, {})
        present = _at(old, key)
        if stamped == stamp and is_same(present, member):
            continue
        if isinstance(member, Mapping) and isinstance(present, Mapping):
            value[key], metadata[key] = _written(present, member, stamped, stamp)
        else:
            value[key], metadata[key] = member, stamp
    return value, metadata


def _keys(value: Any) -> Iterable[str]:
    return value.keys() if isinstance(value, Mapping) else ()


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
