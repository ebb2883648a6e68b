"""The newest messages of one device, found by the index of the series and not by looking through the log (RAW-1).

    the log  ───────────────────────────────────┬──────────────►
             indexed: read where the index says │ not indexed yet: looked through, a bounded stretch

The index follows the log a moment behind; while it is made anew, far behind. What was not looked through is said.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from moorage.analytics.series import Series
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage, TelemetryLog
from moorage.ids import DeviceId

__all__ = ["Recent", "RecentMessages"]

# Stretches of the log that are looked through at once.
_READS: Final = 40


class Recent(NamedTuple):
    """The newest first. `older` is where to go on, None where nothing older is; `is_whole`: nothing was passed over."""

    messages: list[StoredMessage]
    older: int | None
    is_whole: bool

    def within(self, most: int) -> Recent:
        """The newest of them whose bodies have no more bytes than that together, one at least."""
        left = most
        for at, message in enumerate(self.messages):
            left -= len(message.body)
            if left < 0 and at:
                return Recent(self.messages[:at], self.messages[at - 1].offset, self.is_whole)
        return self


class RecentMessages:
    def __init__(self, log: TelemetryLog, series: Series) -> None:
        self._log = log
        self._series = series

    async def find(self, device_id: DeviceId, since: datetime, before: int | None, limit: int) -> Recent:
        """Of what came since then, and before that place in the log when it is given."""
        indexed = max(self._series.indexed_end, self._log.durable_start)
        since_ms = int(since.timestamp() * 1000)
        found: list[StoredMessage] = []
        is_whole = True
        if before is None or before > indexed:
            found, is_whole = await self._look_through(device_id, indexed, before, since_ms, limit + 1)
        if len(found) <= limit:
            known = {message.offset for message in found}
            most = indexed if before is None else min(before, indexed)
            for offset in await self._series.recent_offsets(device_id, most, limit + 1 - len(found)):
                if offset < self._log.durable_start:
                    break
                message = await self.at(device_id, offset)
                if message is None or offset in known:
                    continue
                if message.enqueued_ms < since_ms:
                    break
                found.append(message)
        return Recent(found[:limit], found[limit - 1].offset if len(found) > limit else None, is_whole)

    async def place_at(self, moment: datetime) -> int | None:
        """Where in the log begins what came then and later; None where nothing did."""
        place, moment_ms = self._log.durable_start, int(moment.timestamp() * 1000)
        for _ in range(_READS):
            try:
                page = await self._log.read(from_offset=place, from_time=moment_ms, limit=1)
            except LogCorrupt as damage:
                place = damage.resume_offset
                continue
            if page.messages:
                return page.messages[0].offset
            place = page.next_offset
            if page.at_end:
                return None
        return place

    async def _look_through(
        self, device_id: DeviceId, begin: int, before: int | None, since_ms: int, most: int
    ) -> tuple[list[StoredMessage], bool]:
        """(what is there, the newest first; whether all of it was looked at)."""
        found: list[StoredMessage] = []
        for _ in range(_READS):
            try:
                page = await self._log.read(device_id=device_id, from_offset=begin, from_time=since_ms, limit=1000)
            except LogCorrupt as damage:
                begin = damage.resume_offset
                continue
            found += [message for message in page.messages if before is None or message.offset < before]
            found = found[-most:]
            begin = page.next_offset
            if page.at_end or (before is not None and begin >= before):
                return found[::-1], True
        return found[::-1], False

    async def at(self, device_id: DeviceId, offset: int) -> StoredMessage | None:
        """The one that begins there; None where it is damaged, gone, another device's, or where none begins."""
        try:
            page = await self._log.read(device_id=device_id, from_offset=offset, limit=1)
        except LogCorrupt:
            return None
        return page.messages[0] if page.messages and page.messages[0].offset == offset else None
