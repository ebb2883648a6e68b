"""Files that a device uploaded: listed, looked at where that is harmless, kept, deleted (DEV-9, FIL-1 to FIL-4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response, StreamingResponse

from moorage.errors import NotFound, Refusal
from moorage.fleet.device_models import DeviceModel
from moorage.hub.device_files import DeviceFiles
from moorage.hub.upload_model import StoredFile
from moorage.web.device_form_code import file_acts
from moorage.web.device_page import DevicePage, device_of, path_of
from moorage.web.pages import Page, Visit
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["file_pages"]

_FILES_SHOWN: Final = 100
# What browsers draw by themselves and cannot run.
_PICTURES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
_TEXTS: Final = (".txt", ".log", ".csv", ".json", ".xml", ".yaml", ".yml", ".md", ".ini", ".toml")
_PREVIEW_BYTES: Final = 16 * 1024


class _File(NamedTuple):
    name: str
    stored: StoredFile
    kind: str


def file_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Files(services, renderer)
    one = "/devices/{device_id}/files"
    return [
        Page("GET", one, pages.files, "data.view"),
        Page("GET", one + "/content", pages.file, "data.view"),
        Page("POST", one + "/delete", pages.delete_file, "devices.manage"),
    ]


class _Files:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._page = DevicePage(services, renderer)

    async def files(self, visit: Visit) -> Response:
        model = self._page.find(visit)
        after = visit.query.get("after", "")[:1024]
        problem: Refusal | None = None
        found: list[StoredFile] = []
        try:
            found = await self._files(model).list(after, _FILES_SHOWN + 1)
        except Refusal as refusal:
            problem = refusal
        more, found = len(found) > _FILES_SHOWN, found[:_FILES_SHOWN]
        files = [_File(each.name, each, _kind_of(each)) for each in found]
        return await self._page.page(
            visit,
            model,
            "device/files.html",
            tab="files",
            files=files,
            is_first=not after,
            next=files[-1].name if more else "",
            as_code=file_acts(self._services.info(), device_of(visit), [each.name for each in files])
            if visit.may("devices.manage")
            else [],
            problem=problem,
        )

    async def file(self, visit: Visit) -> Response:
        """What is in it: to be kept, or with `show` to be looked at where that is harmless."""
        name = visit.query.get("name", "")
        file, pieces = await self._files(self._page.find(visit)).read(name)
        headers = {"content-length": str(file.size)}
        kind = _kind_of(file)
        if visit.query.get("show") == "1" and kind == "picture":
            media_type = _PICTURES[PurePosixPath(file.name).suffix.lower()]
            return StreamingResponse(pieces, headers=headers, media_type=media_type)
        if visit.query.get("show") == "1" and kind == "text":
            headers["content-length"] = str(min(file.size, _PREVIEW_BYTES))
            return StreamingResponse(_first(pieces), headers=headers, media_type="text/plain; charset=utf-8")
        last = quote(PurePosixPath(name).name, safe="")
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{last}"
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    async def delete_file(self, visit: Visit) -> Response:
        own = self._files(self._page.find(visit))
        fields = await visit.form()
        try:
            await own.delete(fields.get("name", ""), by=visit.actor.name)
        except NotFound:
            # Somebody was there before: it is gone, which is what was asked for.
            pass
        return RedirectResponse(path_of(device_of(visit)) + "/files", HTTPStatus.SEE_OTHER)

    def _files(self, model: DeviceModel) -> DeviceFiles:
        record = model.device.record
        return DeviceFiles(self._services.uploads, record.device_id, record.created)


def _kind_of(file: StoredFile) -> str:
    """`picture` and `text` can be looked at; '' is anything."""
    suffix = PurePosixPath(file.name).suffix.lower()
    if suffix in _PICTURES:
        return "picture"
    return "text" if suffix in _TEXTS else ""


async def _first(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    left = _PREVIEW_BYTES
    async for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return
