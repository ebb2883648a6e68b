"""`hub.json` in the data folder: where the running hub is and by which keys, kept true while it runs.

The keys in it are those of two policies. When a policy changes, what `info` gives is new at once, on the loop, and the
file follows in a thread; `settled` waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from moorage.adapters.files import write_whole
from moorage.errors import Unavailable
from moorage.events import Bus, Event
from moorage.hub_info import HubInfo

__all__ = ["HubFile"]

log = logging.getLogger(__name__)


class HubFile:
    """`describe` reads what the file should say."""

    def __init__(self, path: Path, describe: Callable[[], HubInfo]) -> None:
        self._path = path
        self._describe = describe
        self._info: HubInfo | None = None
        self._writing: asyncio.Task[None] | None = None
        self._stop: Callable[[], None] | None = None

    @property
    def is_published(self) -> bool:
        return self._info is not None

    def publish(self, bus: Bus) -> HubInfo:
        """Write the file, and keep it true from now on."""
        info = self._info = self._describe()
        write_whole(self._path, info.document().encode())
        self._stop = bus.subscribe(self._heard)
        return info

    def info(self) -> HubInfo:
        """Raises `Unavailable` (`hub.starting`) before it was published."""
        if self._info is None:
            raise Unavailable("hub.starting", "the hub is still starting")
        return self._info

    async def settled(self) -> None:
        """Return once the file says what `info` says, or the disk would not take it."""
        while self._writing is not None:
            await self._writing

    async def close(self) -> None:
        if self._stop is not None:
            self._stop()
        await self.settled()

    def _heard(self, event: Event) -> None:
        if event.kind != "policies.changed":
            return
        info = self._describe()
        if info != self._info:
            self._info = info
            if self._writing is None:
                self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            written = None
            while written != self._info:
                written = self.info()
                await asyncio.to_thread(write_whole, self._path, written.document().encode())
        except OSError as error:
            # The change itself is on disk, and is answered; the next start writes the file again.
            log.error("hub_file_not_written path=%s error=%r", self._path, str(error))
        finally:
            self._writing = None
