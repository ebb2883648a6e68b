"""Keeps attempts so that a flood of them cannot push out the one the operator needs (decisions S7).

Every attempt is counted. In detail are kept, per second: at most `_PER_ADDRESS` from one address, `_PER_ID` under one
claimed id, `_PER_SECOND` in all; of accepted ones the latest under each id. What was kept waits in memory for at most a
second and is then written in one batch, in a thread, to a file of its own; nothing on the way in waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from moorage.attempts.model import Attempt
from moorage.clock import Clock
from moorage.ids import HubId

__all__ = ["AttemptRecorder", "AttemptStore"]

log = logging.getLogger(__name__)

_PER_ADDRESS = 20
_PER_ID = 5
_PER_SECOND = 500


class AttemptStore(Protocol):
    """Where attempts are written and looked up. Called from threads, one call at a time."""

    def append(self, attempts: Sequence[Attempt]) -> None: ...

    def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]:
        """Newest first. `device` also finds its modules; filters that are None match everything."""

    def close(self) -> None: ...


class AttemptRecorder:
    """An `AttemptSink` over a store. `count` is told (door, reason), reason `accepted` when it was let in."""

    def __init__(self, store: AttemptStore, clock: Clock, count: Callable[[str, str], None]) -> None:
        self._store = store
        self._clock = clock
        self._count = count
        self._kept: list[Attempt] = []
        self._accepted: dict[str, Attempt] = {}
        self._by_address: Counter[str] = Counter()
        self._by_id: Counter[str] = Counter()
        self._one_at_a_time = asyncio.Lock()

    def record(self, attempt: Attempt) -> None:
        self._count(attempt.door, attempt.reason or "accepted")
        if attempt.is_accepted:
            if len(self._accepted) < _PER_SECOND or attempt.claimed_id in self._accepted:
                self._accepted[attempt.claimed_id] = attempt
            return
        address = attempt.address.rpartition(":")[0]
        if (
            len(self._kept) >= _PER_SECOND
            or self._by_address[address] >= _PER_ADDRESS
            or self._by_id[attempt.claimed_id] >= _PER_ID
        ):
            return
        self._by_address[address] += 1
        self._by_id[attempt.claimed_id] += 1
        self._kept.append(attempt)

    async def flush(self) -> None:
        """Write what is kept; to be called once a second. A failed write is logged and its batch given up."""
        batch = [*self._kept, *self._accepted.values()]
        self._kept = []
        self._accepted = {}
        self._by_address.clear()
        self._by_id.clear()
        if not batch:
            return
        batch.sort(key=lambda attempt: attempt.at)
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._store.append, batch)
            except OSError as error:
                log.error("attempts_not_written count=%d error=%s", len(batch), error)

    async def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]:
        """Recorded attempts, newest first, those of this very second included."""
        await self.flush()
        async with self._one_at_a_time:
            return await asyncio.to_thread(
                lambda: self._store.find(
                    hub, device=device, thumbprint=thumbprint, tracking_id=tracking_id, limit=limit
                )
            )

    async def close(self) -> None:
        await self.flush()
        async with self._one_at_a_time:
            await asyncio.to_thread(self._store.close)
