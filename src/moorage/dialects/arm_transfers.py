"""Import and export jobs as the control plane has them: other names for the members of 2.11 (services.md 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.dialects.members import get_text
from moorage.dialects.times import format_http_date
from moorage.dialects.transfer_json import parse_transfer
from moorage.errors import Invalid
from moorage.hub.transfer_model import Transfer
from moorage.hub.transfers import TransferDraft

__all__ = ["arm_transfer_json", "parse_export", "parse_import"]

_SAME: Final = {"authenticationType": "storageAuthenticationType", "includeConfigurations": "includeConfigurations"}
_EXPORT: Final = {
    "exportBlobContainerUri": "outputBlobContainerUri",
    "exportBlobName": "outputBlobName",
    "excludeKeys": "excludeKeysInExport",
    **_SAME,
}
_IMPORT: Final = {
    "inputBlobContainerUri": "inputBlobContainerUri",
    "outputBlobContainerUri": "outputBlobContainerUri",
    "inputBlobName": "inputBlobName",
    **_SAME,
}


def parse_export(body: Mapping[str, Any]) -> TransferDraft:
    """Raises `Invalid` as `parse_transfer`."""
    return _parsed("export", body, _EXPORT, ("exportBlobContainerUri",))


def parse_import(body: Mapping[str, Any]) -> TransferDraft:
    """Raises `Invalid` as `parse_transfer`."""
    return _parsed("import", body, _IMPORT, ("inputBlobContainerUri", "outputBlobContainerUri"))


def arm_transfer_json(transfer: Transfer) -> dict[str, Any]:
    """`JobResponse`."""
    return {
        "jobId": transfer.job_id,
        "type": transfer.kind,
        "status": transfer.status,
        "startTimeUtc": format_http_date(transfer.created),
        "endTimeUtc": None if transfer.ended is None else format_http_date(transfer.ended),
        "failureReason": transfer.failure,
        "statusMessage": f"{transfer.progress} percent",
        "parentJobId": None,
    }


def _parsed(kind: str, body: Mapping[str, Any], names: Mapping[str, str], needed: tuple[str, ...]) -> TransferDraft:
    for name in needed:
        if not get_text(body, name):
            raise Invalid("transfer.container", f"{name} is missing")
    return parse_transfer({"type": kind, **{other: body[name] for name, other in names.items() if name in body}})
