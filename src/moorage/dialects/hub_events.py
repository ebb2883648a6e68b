"""What the hub tells back ends, in the shape of Azure's messages (contract/services.md 4.7).

A message is a property bag and a JSON body, as a device's would be: system properties by their keys of the bag, and the
application properties `hubName`, `deviceId`, `moduleId`, `operationTimestamp`, `iothub-message-schema`, `opType`.

What the contract leaves open and is ours: the body of `deviceJobLifecycleEvents`, and that the paths of
`digitalTwinChangeEvents` are those of the digital twin as GET shows it (JSON Patch, RFC 6902).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from moorage.dialects.digital_twin_json import digital_twin_json
from moorage.dialects.hub_json import section_json
from moorage.dialects.jobs_json import JOB_TYPES
from moorage.dialects.json_text import encode_json
from moorage.dialects.times import format_time
from moorage.hub.merging import is_same
from moorage.hub.model import Document, Twin
from moorage.hub.notification_model import Notification, Source
from moorage.hub.notifier import Told
from moorage.hub.twins import twin_etag
from moorage.ids import HubId, IdentityName

__all__ = ["encode_notification"]

_SCHEMAS: Final[Mapping[Source, str]] = {
    "twinChangeEvents": "twinChangeNotification",
    "deviceLifecycleEvents": "deviceLifecycleNotification",
    "deviceConnectionStateEvents": "deviceConnectionStateNotification",
    "digitalTwinChangeEvents": "digitalTwinChangeNotification",
    "deviceJobLifecycleEvents": "deviceJobLifecycleNotification",
}
# Names of `hub.job_model.Counts`, as the jobs API spells them (services.md 2.11).
_COUNTS: Final = {
    "devices": "deviceCount",
    "failed": "failedCount",
    "succeeded": "succeededCount",
    "running": "runningCount",
    "pending": "pendingCount",
}


def encode_notification(notification: Notification, hub: HubId, hub_name: str, now: datetime) -> Told:
    """`now` stands in for a moment that was not noted."""
    name, at = notification.name, notification.at or now
    body = _BODIES[notification.source](hub, notification)
    kind = "application/json-patch+json" if isinstance(body, list) else "application/json"
    properties = {
        "$.ct": kind,
        "$.ce": "utf-8",
        "$.cid": notification.correlation_id,
        "$.uid": hub_name,
        "hubName": hub_name,
        **({} if name is None else {"deviceId": name.device_id}),
        **({} if name is None or name.module_id is None else {"moduleId": name.module_id}),
        "operationTimestamp": format_time(at),
        "iothub-message-schema": _SCHEMAS[notification.source],
        "opType": notification.operation,
    }
    bag = "&".join(f"{quote(key, safe='$.-')}={quote(value, safe='')}" for key, value in properties.items())
    return Told(bag.encode(), encode_json(body))


def _twin_change(hub: HubId, notification: Notification) -> dict[str, Any]:
    facts = notification.facts
    if notification.operation == "replaceTwin":
        return _whole_twin(hub, notification)
    # As the service shows it (services.md T-3).
    body: dict[str, Any] = {"version": facts["version"] + 1}
    if "tags" in facts:
        body["tags"] = facts["tags"]
    sections = {name: section_json(Document(**facts[name])) for name in ("desired", "reported") if name in facts}
    return {**body, "properties": sections} if sections else body


def _whole_twin(hub: HubId, notification: Notification) -> dict[str, Any]:
    if notification.name is None:
        raise ValueError("a twin belongs to an identity")
    twin = _twin(hub, notification.name, notification.facts)
    return {
        "deviceId": twin.name.device_id,
        **({} if twin.name.module_id is None else {"moduleId": twin.name.module_id}),
        "etag": twin_etag(twin),
        "version": twin.version + 1,
        **({"tags": twin.tags} if twin.tags else {}),
        "properties": {"desired": section_json(twin.desired), "reported": section_json(twin.reported)},
    }


def _digital_twin_change(hub: HubId, notification: Notification) -> list[dict[str, Any]]:
    if notification.name is None:
        raise ValueError("a twin belongs to an identity")
    before, after = (
        digital_twin_json(_twin(hub, notification.name, notification.facts[when])) for when in ("before", "after")
    )
    return _patch(before, after, "")


def _connection_state(hub: HubId, notification: Notification) -> dict[str, Any]:
    return {"sequenceNumber": notification.facts["sequence"]}


def _job(hub: HubId, notification: Notification) -> dict[str, Any]:
    facts = notification.facts
    reason = facts["failure_reason"]
    return {
        "jobId": facts["job_id"],
        "type": JOB_TYPES[facts["kind"]],
        "status": facts["status"],
        **({} if reason is None else {"failureReason": reason}),
        "deviceJobStatistics": {shown: facts["counts"][name] for name, shown in _COUNTS.items()},
    }


_BODIES: Final[Mapping[Source, Callable[[HubId, Notification], Any]]] = {
    "twinChangeEvents": _twin_change,
    "deviceLifecycleEvents": _whole_twin,
    "deviceConnectionStateEvents": _connection_state,
    "digitalTwinChangeEvents": _digital_twin_change,
    "deviceJobLifecycleEvents": _job,
}


def _twin(hub: HubId, name: IdentityName, facts: Mapping[str, Any]) -> Twin:
    return Twin(
        hub,
        name,
        facts["version"],
        facts["tags"],
        Document(**facts["desired"]),
        Document(**facts["reported"]),
        facts["modelId"],
    )


def _patch(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """The operations that make `after` of `before`, members in order."""
    operations: list[dict[str, Any]] = []
    for key in [*after, *(key for key in before if key not in after)]:
        place = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in after:
            operations.append({"op": "remove", "path": place})
        elif key not in before:
            operations.append({"op": "add", "path": place, "value": after[key]})
        elif isinstance(before[key], Mapping) and isinstance(after[key], Mapping):
            operations += _patch(before[key], after[key], place)
        elif not is_same(before[key], after[key]):
            operations.append({"op": "replace", "path": place, "value": after[key]})
    return operations
