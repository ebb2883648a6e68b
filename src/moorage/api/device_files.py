"""File uploads over the HTTPS device API: begun, and ended (contract/devices.md 5). The file itself: `api/blobs.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from moorage.api.blobs import CONTAINER
from moorage.api.device_door import DeviceDoor, presented_by
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.files import UPLOAD, UPLOAD_BEGUN, UPLOAD_ENDED
from moorage.dialects.members import get_text
from moorage.dialects.upload_json import begun_json, parse_success
from moorage.errors import Invalid
from moorage.hub.upload_standing import begun_by
from moorage.hub.uploads import UploadService
from moorage.ids import DeviceId

__all__ = ["blob_uri", "device_file_routes"]

_MAX_BODY_BYTES: Final = 16 * 1024


def device_file_routes(door: DeviceDoor, uploads: UploadService, host_of: Callable[[str], str]) -> list[Route]:
    """`host_of` is told the Host header, and says with which name and port the blob endpoint is reached."""
    api = _DeviceFiles(door, uploads, host_of)
    path = "/devices/{id}/files"
    return [
        Route(
            "POST",
            path,
            api.begin,
            "device",
            "device",
            summary="Begin an upload: where to put the file, and with which signature.",
            body=UPLOAD,
            answers={200: UPLOAD_BEGUN},
            max_body_bytes=_MAX_BODY_BYTES,
        ),
        *(
            Route(
                "POST",
                f"{path}/notifications{more}",
                api.finish,
                "device",
                "device",
                summary="Say how an upload ended; its correlation id is good once.",
                body=UPLOAD_ENDED,
                answers={204: None},
                max_body_bytes=_MAX_BODY_BYTES,
            )
            for more in ("", "/{correlation}")
        ),
    ]


def blob_uri(host: str, blob_name: str) -> str:
    """Where a blob is: an address without a signature, which opens nothing."""
    return f"https://{host}/{CONTAINER}/{quote(blob_name)}"


class _DeviceFiles:
    def __init__(self, door: DeviceDoor, uploads: UploadService, host_of: Callable[[str], str]) -> None:
        self._door = door
        self._uploads = uploads
        self._host_of = host_of

    async def begin(self, call: Call) -> Response:
        self._door.admit(call)
        name = get_text(await call.json_object(), "blobName")
        if not name:
            raise Invalid("body.member", "blobName is missing")
        # Once more, since the body may have come for long: no change to what is trusted falls between.
        who = self._door.admit(call)
        begun = await self._uploads.begin(who.identity.name.device_id, name, begun_by(who, presented_by(call).chain))
        host = self._host_of(call.request.headers.get("host", ""))
        return json_response(begun_json(begun, host, CONTAINER))

    async def finish(self, call: Call) -> Response:
        device_id = self._admit(call)
        document = await call.json_object()
        correlation_id = call.path.get("correlation") or get_text(document, "correlationId")
        if not correlation_id:
            raise Invalid("body.member", "correlationId is missing")
        await self._uploads.finish(device_id, correlation_id, is_success=parse_success(document))
        return Response(status_code=204)

    def _admit(self, call: Call) -> DeviceId:
        return self._door.admit(call).identity.name.device_id
