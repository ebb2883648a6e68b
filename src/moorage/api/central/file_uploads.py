"""Where files of devices go, over REST (contract/central.md 19, 22.2).

A hub has a store from its first day, so there is nothing to connect before devices can upload. Which one it is, is said
where the hub is started: it is shown here, and changed there.
"""

from __future__ import annotations

import hashlib
from typing import NoReturn

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.calls import ActorCall
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_settings import FILE_UPLOAD
from moorage.errors import Invalid

__all__ = ["file_upload_routes"]

_GATE: Permission = "settings.manage"


def file_upload_routes(services: CentralServices) -> list[Route]:
    api = _FileUploads(services.upload_store, services.upload_minutes)
    change = "Refused: the setting upload_store says where files go."
    return [
        central_route("GET", "/fileUploads", api.get, _GATE, "Where files go.", answers={200: FILE_UPLOAD}),
        central_route("PUT", "/fileUploads", api.refuse, _GATE, change, body=FILE_UPLOAD, answers={}),
        central_route("PATCH", "/fileUploads", api.refuse, _GATE, change, body=FILE_UPLOAD, answers={}),
        central_route("DELETE", "/fileUploads", api.refuse, _GATE, change, answers={}),
    ]


class _FileUploads:
    def __init__(self, store: str | None, minutes: int) -> None:
        document = {
            "account": "moorage",
            "container": "uploads",
            "connectionString": store or "built-in store",
            "sasTtl": f"PT{minutes}M",
            "state": "succeeded",
        }
        etag = hashlib.sha256(repr((store, minutes)).encode()).hexdigest()[:16]
        self._document = {**document, "etag": etag}

    async def get(self, _call: ActorCall) -> Response:
        return json_response(self._document)

    async def refuse(self, _call: ActorCall) -> NoReturn:
        raise Invalid(
            "resource.fixed",
            "where files of devices go is the setting upload_store of the hub, read when it starts",
            fix="moorage up --upload-store URL",
        )
