"""Uploaded files in our own API: which there are, what is in one, and whether back ends are told of new ones."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response, StreamingResponse

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.files import FILES, UPLOAD_SWITCH
from moorage.api.schemas.words import ANYTHING, Content, whole
from moorage.dialects.upload_json import file_json
from moorage.errors import Invalid
from moorage.hub.uploads import UploadService

__all__ = ["file_routes"]

_MAX_PAGE: Final = 1000


def file_routes(uploads: UploadService) -> list[Route]:
    """For the owner."""
    api = _Files(uploads)
    switch = "/moorage/v1/file-uploads"
    return [
        Route(
            "GET",
            "/moorage/v1/files",
            api.list,
            "owner",
            "own",
            summary="Files that devices have uploaded, in order of their names.",
            query={
                "prefix": "Only names that begin with it; those of a device begin with its id and a slash.",
                "after": "The `next` of the page before.",
                "limit": whole(f"At most so many; up to {_MAX_PAGE}.", least=1, most=_MAX_PAGE),
            },
            answers={200: FILES},
        ),
        Route(
            "GET",
            "/moorage/v1/files/{file...}",
            api.read,
            "owner",
            "own",
            summary="What is in a file.",
            answers={200: Content("application/octet-stream", ANYTHING)},
        ),
        Route("GET", switch, api.switch, "owner", "own", summary="What there is to set.", answers={200: UPLOAD_SWITCH}),
        Route(
            "PATCH",
            switch,
            api.set_switch,
            "owner",
            "own",
            summary="Tell back ends of new files, or do not.",
            body=UPLOAD_SWITCH,
            answers={200: UPLOAD_SWITCH},
        ),
    ]


class _Files:
    def __init__(self, uploads: UploadService) -> None:
        self._uploads = uploads

    async def list(self, call: Call) -> Response:
        limit = call.count("limit", default=100, least=1, most=_MAX_PAGE)
        found = await self._uploads.files(call.query.get("prefix", ""), call.query.get("after", ""), limit)
        next_one = found[-1].name if len(found) == limit else ""
        return json_response({"files": [file_json(each) for each in found], "next": next_one})

    async def read(self, call: Call) -> Response:
        file, pieces = await self._uploads.read(call.path["file"])
        headers = {"content-length": str(file.size)}
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    async def switch(self, call: Call) -> Response:
        return json_response({"notifications": self._uploads.notifies})

    async def set_switch(self, call: Call) -> Response:
        on = (await call.json_object()).get("notifications")
        if not isinstance(on, bool):
            raise Invalid("body.member", "notifications has to be true or false")
        await self._uploads.set_notifies(on, by=call.principal)
        return await self.switch(call)
