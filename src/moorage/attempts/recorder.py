"""Keeps attempts so that a flood of them cannot push out the one the operator needs (decisions S7).

Every attempt is counted. In detail are kept, per second: at most `_PER_ADDRESS` from one address, `_PER_CLAIM` of them
under one claimed id, `_PER_SECOND` in all; when that is full, an address with fewer takes a place from the one with
most. Of accepted ones `_ACCEPTED_PER_SECOND` are kept, the latest under each id: where many devices come back at once
they are a sample. A claimed id is no key of its own: whoever claims somebody else's must not use up that one's share.

What was kept waits in memory for at most a second and is then written in one batch, in a thread, to a file of its own;
nothing on the way in waits for it.

The log has a line for each of the first `_TOLD_PER_SECOND` refused ones and a count of the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address
from typing import Protocol

from moorage.attempts.masking import without_secrets
from moorage.attempts.model import Attempt
from moorage.clock import Clock
from moorage.errors import Unavailable
from moorage.ids import HubId

__all__ = ["AttemptRecorder", "AttemptStore", "origin_of"]

log = logging.getLogger(__name__)

_PER_ADDRESS = 20
_PER_CLAIM = 5
_PER_SECOND = 500
# To write one down costs some 80 µs of CPU, a tenth of the connect that it tells about (bench/quick.py).
_ACCEPTED_PER_SECOND = 100
_TOLD_PER_SECOND = 5
_TOLD_OF_A_NAME = 128


class AttemptStore(Protocol):
    """Where attempts are written and looked up; one call at a time. Raises `OSError` when the file cannot be used."""

    def append(self, attempts: Sequence[Attempt]) -> None: ...

    def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]:
        """Newest first. `device` also finds its modules; filters that are None match everything."""

    def last_refusals(self, hub: HubId, names: Sequence[str]) -> dict[str, Attempt]:
        """Of each of `names` that a device claimed, the latest attempt that was refused."""

    def close(self) -> None: ...


def origin_of(address: str) -> str:
    """The network that `host:port` stands for in quotas: an IPv4 address, or the /64 that one IPv6 client can fill."""
    host = address.rpartition(":")[0]
    if ":" not in host:
        return host
    try:
        network = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(network.ipv4_mapped or IPv6Address(int(network) >> 64 << 64))


def _one_word(name: str) -> str:
    """A claimed name for the log: whatever a peer sends, it neither ends the line nor looks like another field."""
    name = name[:_TOLD_OF_A_NAME]
    return name if name.isprintable() and not set(name) & set(" \"'=") and name else repr(name)


class AttemptRecorder:
    """An `AttemptSink` over a store. `count` is told (door, reason), reason `accepted` when it was let in."""

    def __init__(self, store: AttemptStore, clock: Clock, count: Callable[[str, str], None]) -> None:
        self._store = store
        self._clock = clock
        self._count = count
        self._refused: dict[str, list[Attempt]] = {}
        self._held = 0
        self._refusals = 0
        self._claims: Counter[tuple[str, str]] = Counter()
        self._accepted: dict[str, Attempt] = {}
        self._listeners: tuple[Callable[[Attempt], None], ...] = ()
        self._watchers: tuple[Callable[[Attempt], None], ...] = ()
        # One thread, so one call at a time, whoever gives up waiting for it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="attempts")

    def record(self, attempt: Attempt) -> None:
        attempt = without_secrets(attempt)
        self._count(attempt.door, attempt.reason or "accepted")
        for watcher in self._watchers:
            watcher(attempt)
        if attempt.is_accepted:
            if len(self._accepted) < _ACCEPTED_PER_SECOND or attempt.claimed_id in self._accepted:
                self._accepted[attempt.claimed_id] = attempt
            return
        self._tell(attempt)
        for listener in self._listeners:
            listener(attempt)
        origin = origin_of(attempt.address)
        kept = self._refused.setdefault(origin, [])
        claim = (origin, attempt.claimed_id)
        if len(kept) >= _PER_ADDRESS or self._claims[claim] >= _PER_CLAIM:
            return
        if self._held >= _PER_SECOND and not self._make_room(len(kept) + 1):
            if not kept:
                del self._refused[origin]
            return
        self._claims[claim] += 1
        self._held += 1
        kept.append(attempt)

    def listen(self, listener: Callable[[Attempt], None]) -> Callable[[], None]:
        """Call `listener` with every refused attempt; it must not raise. What is returned ends that."""
        self._listeners = (*self._listeners, listener)

        def end() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def watch(self, watcher: Callable[[Attempt], None]) -> None:
        """Call `watcher` with every attempt, also with those that were let in; it must not raise."""
        self._watchers = (*self._watchers, watcher)

    def _tell(self, attempt: Attempt) -> None:
        self._refusals += 1
        if self._refusals <= _TOLD_PER_SECOND:
            log.info(
                "refused reason=%s %s=%s door=%s address=%s tracking=%s",
                attempt.reason,
                # Of a service call it is the request.
                "request" if attempt.door == "service" else "device",
                *(_one_word(attempt.claimed_id), attempt.door, attempt.address, attempt.tracking_id),
            )

    def _make_room(self, wanted: int) -> bool:
        """Drop the latest of the address that has most, if that is more than `wanted`."""
        most = max(self._refused.values(), key=len)
        if len(most) <= wanted:
            return False
        most.pop()
        self._held -= 1
        return True

    async def flush(self) -> None:
        """Write what is kept; to be called once a second. A failed write is logged and its batch given up."""
        if self._refusals > _TOLD_PER_SECOND:
            log.info("refused_more count=%d", self._refusals - _TOLD_PER_SECOND)
        self._refusals = 0
        batch = [*self._accepted.values(), *(attempt for kept in self._refused.values() for attempt in kept)]
        self._refused = {}
        self._held = 0
        self._claims.clear()
        self._accepted = {}
        if not batch:
            return
        batch.sort(key=lambda attempt: attempt.at)
        try:
            await self._in_thread(lambda: self._store.append(batch))
        except OSError as error:
            log.error("attempts_not_written count=%d error=%s", len(batch), error)

    async def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]:
        """Recorded attempts, newest first, those of this very second included.

        Raises `Unavailable` (`attempts.unreadable`).
        """
        await self.flush()
        found: list[Attempt] = []
        try:
            await self._in_thread(
                lambda: found.extend(
                    self._store.find(hub, device=device, thumbprint=thumbprint, tracking_id=tracking_id, limit=limit)
                )
            )
        except OSError as error:
            raise Unavailable("attempts.unreadable", f"recorded attempts cannot be read: {error}") from error
        return found

    async def last_refusals(self, hub: HubId, names: Sequence[str]) -> dict[str, Attempt]:
        """Of each of `names` that devices claimed, the latest attempt that was refused. Raises as `find`."""
        await self.flush()
        found: dict[str, Attempt] = {}
        try:
            await self._in_thread(lambda: found.update(self._store.last_refusals(hub, names)))
        except OSError as error:
            raise Unavailable("attempts.unreadable", f"recorded attempts cannot be read: {error}") from error
        return found

    async def close(self) -> None:
        await self.flush()
        await self._in_thread(self._store.close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
