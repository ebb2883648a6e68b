"""Uploads and files (contract/devices.md 5, services.md 3.5)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, TIME, Content, list_of, members, named, text, whole
from moorage.dialects.upload_json import FILE_NOTIFICATION_TYPE

__all__ = ["FILES", "FILE_NOTIFICATION", "UPLOAD", "UPLOAD_BEGUN", "UPLOAD_ENDED", "UPLOAD_SWITCH"]

UPLOAD: Final = named("FileUploadRequest", members({"blobName": text("What the device calls the file.", most=894)}))
UPLOAD_BEGUN: Final = named(
    "FileUploadSasUri",
    members(
        {
            "correlationId": text("To be given back when the upload ends."),
            "hostName": text(),
            "containerName": text(),
            "blobName": text("The device's id, a slash, and its name for the file."),
            "sasToken": text(
                "Begins with `?`. The four join to `https://{hostName}/{containerName}/{blobName}{sasToken}`."
            ),
        }
    ),
)
UPLOAD_ENDED: Final = named(
    "FileUploadCompletion",
    members(
        {"isSuccess": FLAG},
        {"correlationId": text(), "statusCode": whole("As the blob endpoint answered."), "statusDescription": text()},
    ),
)
FILE_NOTIFICATION: Final = Content(
    FILE_NOTIFICATION_TYPE,
    members(
        {
            "deviceId": text(),
            "blobUri": text("Without a signature."),
            "blobName": text(),
            "lastUpdatedTime": TIME,
            "blobSizeInBytes": whole(),
            "enqueuedTimeUtc": TIME,
        }
    ),
)
FILES: Final = members(
    {
        "files": list_of(
            named("File", members({"name": text(), "sizeInBytes": whole(), "lastModified": TIME})),
        ),
        "next": text("The name to go on behind; empty on the last page."),
    }
)
UPLOAD_SWITCH: Final = named("FileUploadSettings", members({"notifications": FLAG}))
