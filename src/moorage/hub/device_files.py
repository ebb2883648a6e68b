"""The files of one device, and none of a device that had its id before: ids may be given again, to somebody else too.

Files lie in the folder of an id and outlast the device, which is what a store is for; whoever operates the hub has all
of them. Whoever looks at a device sees what came since that device was made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from moorage.errors import NotFound
from moorage.hub.upload_model import StoredFile
from moorage.hub.uploads import UploadService
from moorage.ids import DeviceId

__all__ = ["DeviceFiles"]

# A store keeps its own time, in whole seconds as a rule.
_SLACK: Final = timedelta(seconds=5)


class DeviceFiles:
    """Names are without the device's folder. `created` is when the device was made."""

    def __init__(self, uploads: UploadService, device_id: DeviceId, created: datetime) -> None:
        self._uploads = uploads
        self._folder = f"{device_id}/"
        self._since = created - _SLACK

    async def list(self, after: str, limit: int) -> list[StoredFile]:
        """In order of their names, those behind `after`. Raises `Unavailable` (`file.store`)."""
        found: list[StoredFile] = []
        place = self._folder + after if after else ""
        while len(found) < limit:
            part = await self._uploads.files(self._folder, place, limit)
            found += [replace(file, name=file.name.removeprefix(self._folder)) for file in part if self._is_own(file)]
            if len(part) < limit:
                break
            place = part[-1].name
        return found[:limit]

    async def read(self, name: str) -> tuple[StoredFile, AsyncIterator[bytes]]:
        """Raises `NotFound` (`file.unknown`), `Unavailable` (`file.store`)."""
        await self._check(name)
        return await self._uploads.read(self._folder + name)

    async def delete(self, name: str, *, by: object) -> None:
        """Raises as `read`."""
        await self._check(name)
        await self._uploads.delete(self._folder + name, by=by)

    async def _check(self, name: str) -> None:
        file = await self._uploads.find(self._folder + name)
        if file is None or not self._is_own(file):
            raise NotFound("file.unknown", f"there is no file {name[:200]!r}", fix="moorage file list")

    def _is_own(self, file: StoredFile) -> bool:
        return file.modified >= self._since
