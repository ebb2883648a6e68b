"""What the control plane tells of a hub beside the resource itself: figures, health, consumer groups (section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from moorage.dialects.members import check_same, get_object
from moorage.dialects.times import format_http_date
from moorage.errors import Refusal
from moorage.hub.consumer_groups import ConsumerGroup

__all__ = [
    "OPERATIONS",
    "check_consumer_group_body",
    "consumer_group_json",
    "health_json",
    "quotas_json",
    "statistics_json",
    "usages_json",
]

_HUB = "Microsoft.Devices/IotHubs"
_DPS = "Microsoft.Devices/provisioningServices"
_OPERATIONS: Final = (
    (_HUB, "IotHubs", "Read", "Get IotHub(s)"),
    (_HUB, "IotHubs", "Write", "Update IotHub Resource"),
    (f"{_HUB}/iotHubStats", "IotHubs", "Read", "Get IotHub Statistics"),
    (f"{_HUB}/skus", "IotHubs", "Read", "Get valid IotHub Skus"),
    (f"{_HUB}/quotaMetrics", "IotHubs", "Read", "Get Quota Metrics"),
    (f"{_HUB}/routingEndpointsHealth", "IotHubs", "Read", "Get Endpoint Health"),
    (f"{_HUB}/listkeys", "IotHubs", "Action", "Get all IotHub Keys"),
    (f"{_HUB}/iotHubKeys/listkeys", "IotHubs", "Action", "Get IotHub Key for the given name"),
    (f"{_HUB}/eventHubEndpoints/consumerGroups", "IotHubs", "Read", "Get EventHub Consumer Group"),
    (f"{_HUB}/eventHubEndpoints/consumerGroups", "IotHubs", "Write", "Create EventHub Consumer Group"),
    (f"{_HUB}/eventHubEndpoints/consumerGroups", "IotHubs", "Delete", "Delete EventHub Consumer Group"),
    (f"{_HUB}/exportDevices", "IotHubs", "Action", "Export Devices"),
    (f"{_HUB}/importDevices", "IotHubs", "Action", "Import Devices"),
    (f"{_HUB}/jobs", "IotHubs", "Read", "Get Job(s) on IotHub"),
    (f"{_HUB}/certificates", "IotHubs", "Read", "Get Certificate"),
    (f"{_HUB}/certificates", "IotHubs", "Write", "Create or Update Certificate"),
    (f"{_HUB}/certificates", "IotHubs", "Delete", "Delete Certificate"),
    (f"{_HUB}/certificates/generateVerificationCode", "IotHubs", "Action", "Generate Verification Code"),
    (f"{_HUB}/certificates/verify", "IotHubs", "Action", "Verify Certificate"),
    (_DPS, "provisioningServices", "Read", "Get IotDps Resource"),
    (_DPS, "provisioningServices", "Write", "Update IotDps Resource"),
    (f"{_DPS}/skus", "provisioningServices", "Read", "Get valid IotDps Skus"),
    (f"{_DPS}/listkeys", "provisioningServices", "Action", "Get all IotDps Keys"),
    (f"{_DPS}/keys/listkeys", "provisioningServices", "Action", "Get IotDps Key for the given name"),
    (f"{_DPS}/certificates", "provisioningServices", "Read", "Get Certificate"),
    (f"{_DPS}/certificates", "provisioningServices", "Write", "Create or Update Certificate"),
    (f"{_DPS}/certificates", "provisioningServices", "Delete", "Delete Certificate"),
    (f"{_DPS}/certificates/generateVerificationCode", "provisioningServices", "Action", "Generate Verification Code"),
    (f"{_DPS}/certificates/verify", "provisioningServices", "Action", "Verify Certificate"),
)
# What `/providers/Microsoft.Devices/operations` lists: what is served.
OPERATIONS: Final[dict[str, Any]] = {
    "value": [
        {
            "name": f"{kind}/{verb}",
            "display": {
                "provider": "Microsoft Devices",
                "resource": resource,
                "operation": operation,
                "description": operation,
            },
        }
        for kind, resource, verb, operation in _OPERATIONS
    ]
}


def statistics_json(total: int, enabled: int) -> dict[str, Any]:
    """Devices, modules not counted."""
    return {"totalDeviceCount": total, "enabledDeviceCount": enabled, "disabledDeviceCount": total - enabled}


def quotas_json(messages_today: int, devices: int) -> dict[str, Any]:
    """What is used. Nothing is limited by a quota, so there is no greatest value."""
    figures = {"TotalMessages": messages_today, "TotalDeviceCount": devices}
    return {"value": [{"name": name, "currentValue": value, "maxValue": None} for name, value in figures.items()]}


def usages_json(subscription: str) -> dict[str, Any]:
    """How many hubs there may be and are: one."""
    kind = "Microsoft.Devices/usages"
    entry = {
        "id": f"/subscriptions/{subscription}/providers/{kind}/paidHubCount",
        "type": kind,
        "unit": "Count",
        "currentValue": 1,
        "limit": 1,
        "name": {"value": "paidHubCount", "localizedValue": "Paid Hub Count"},
    }
    return {"value": [entry]}


def health_json(failed: Refusal | None, now: datetime) -> dict[str, Any]:
    """The built-in endpoint: telemetry is on disk or it is not."""
    entry: dict[str, Any] = {"endpointId": "events", "healthStatus": "healthy"}
    if failed is not None:
        entry |= {
            "healthStatus": "unhealthy",
            "lastKnownError": f"{failed.reason}: {failed.message}",
            "lastKnownErrorTime": format_http_date(now),
        }
    return {"value": [entry]}


def consumer_group_json(group: ConsumerGroup, path: str) -> dict[str, Any]:
    """`path` is that of the endpoint."""
    return {
        "id": f"{path}/ConsumerGroups/{group.name}",
        "name": group.name,
        "type": f"{_HUB}/EventHubEndpoints/ConsumerGroups",
        "etag": None,
        "properties": {} if group.created is None else {"created": format_http_date(group.created)},
    }


def check_consumer_group_body(body: Mapping[str, Any], name: str) -> None:
    """Raises `Invalid` (`body.member`, `body.id`) when it is for another group than the path."""
    properties = get_object(body, "properties")
    if properties is not None:
        check_same(properties, "name", name)
