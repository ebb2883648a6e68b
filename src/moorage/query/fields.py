"""The collections a query can ask, and the fields of their rows.

Fields are found without regard to case; what lies below them is compared as it is written (contract/services.md 2.9).
Only these names are folded: any other is taken as it stands, and no row has it.
"""

from __future__ import annotations

from typing import Final

from moorage.query.syntax import CollectionName

__all__ = ["COLLECTIONS", "canonical_field", "is_field"]

COLLECTIONS: Final[tuple[CollectionName, ...]] = ("devices", "devices.modules", "devices.jobs")

_TWIN: Final = (
    "deviceId",
    "moduleId",
    "etag",
    "deviceEtag",
    "status",
    "statusReason",
    "statusUpdateTime",
    "connectionState",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "modelId",
    "version",
    "tags",
    "properties",
    "capabilities",
    "deviceScope",
    "parentScopes",
    "configurations",
)
_JOB: Final = (
    "deviceId",
    "jobId",
    "jobType",
    "status",
    "startTimeUtc",
    "endTimeUtc",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "outcome",
    "error",
)
_BY_FOLDED: Final[dict[CollectionName, dict[str, str]]] = {
    "devices": {name.lower(): name for name in _TWIN},
    "devices.modules": {name.lower(): name for name in _TWIN},
    # Conditions say createdTimeUtc, as the job itself does; its rows have the longer name.
    "devices.jobs": {name.lower(): name for name in _JOB} | {"createdtimeutc": "createdDateTimeUtc"},
}


def canonical_field(collection: CollectionName, name: str) -> str:
    """The row's own spelling of a field."""
    return _BY_FOLDED[collection].get(name.lower(), name)


def is_field(collection: CollectionName, name: str) -> bool:
    return name.lower() in _BY_FOLDED[collection]
