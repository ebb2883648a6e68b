"""File uploads, files and their notifications in JSON (contract/devices.md 5, services.md 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.upload_model import FileNotification, StoredFile
from moorage.hub.uploads import Begun

__all__ = ["FILE_NOTIFICATION_TYPE", "begun_json", "file_json", "file_notification_json", "parse_success"]

FILE_NOTIFICATION_TYPE: Final = "application/vnd.microsoft.iothub.filenotification.json"

# What would end the path of the URL that devices make of a name without a look at it.
_NOT_IN_A_PATH: Final = "%?#"
_AS_IT_IS: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in _NOT_IN_A_PATH)


def begun_json(begun: Begun, host: str, container: str) -> dict[str, Any]:
    """What a device joins to `https://{hostName}/{containerName}/{blobName}{sasToken}`."""
    upload = begun.upload
    expires = quote(format_time(upload.expires), safe="")
    return {
        "correlationId": upload.correlation_id,
        "hostName": host,
        "containerName": container,
        "blobName": quote(upload.blob_name, safe=_AS_IT_IS),
        "sasToken": f"?sv=2021-12-02&sr=b&sp=w&se={expires}&sig={begun.signature.reveal()}",
    }


def parse_success(document: Mapping[str, Any]) -> bool:
    """Raises `Invalid` (`upload.status`)."""
    success = document.get("isSuccess")
    if not isinstance(success, bool):
        raise Invalid("upload.status", f"isSuccess is {str(success)[:40]!r}, it has to be true or false")
    return success


def file_notification_json(records: Sequence[FileNotification]) -> dict[str, Any]:
    """One notification, the same over HTTP and AMQP."""
    (record,) = records
    return {
        "deviceId": record.device_id,
        "blobUri": record.blob_uri,
        "blobName": record.blob_name,
        "lastUpdatedTime": format_time(record.updated),
        "blobSizeInBytes": record.size,
        "enqueuedTimeUtc": format_time(record.recorded),
    }


def file_json(file: StoredFile) -> dict[str, Any]:
    """A file in our own API."""
    return {"name": file.name, "sizeInBytes": file.size, "lastModified": format_time(file.modified)}
