"""Cloud-to-device messages under lock: for transports on which a device asks for them (contract/devices.md 5, 9.2).

    waiting ──take──> held ──complete, reject──> gone from the queue
       ▲               │
       └── the lock's end, or abandon (which counts as a delivery) ──> after `MAX_DELIVERIES` the message is given up

The queue itself is durable (`hub/messages.py`), and so is every settlement before it is answered. A lock is memory
alone: after a restart the message is given out again, and whoever held it is told that the lock is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import islice
from typing import Final, NamedTuple
from uuid import uuid4

from moorage.clock import Clock
from moorage.errors import PreconditionFailed
from moorage.hub.messages import MessageService
from moorage.hub.model import CloudMessage
from moorage.ids import HubId, IdentityName

__all__ = ["LOCK", "HeldMessage", "MessageLocks"]

LOCK: Final = timedelta(seconds=60)


class HeldMessage(NamedTuple):
    """A message that is its taker's until the lock ends."""

    message: CloudMessage
    lock: str


class _Lock(NamedTuple):
    token: str
    until: float


class MessageLocks:
    """The locks of one app; `until` is monotonic. At most as many an identity as messages can wait for it."""

    def __init__(self, messages: MessageService, clock: Clock) -> None:
        self._messages = messages
        self._clock = clock
        # By identity, the one that took last at the end; then by the message's sequence.
        self._held: OrderedDict[tuple[HubId, IdentityName], dict[int, _Lock]] = OrderedDict()

    def __len__(self) -> int:
        """Identities for which something is remembered."""
        return len(self._held)

    def take(self, hub: HubId, name: IdentityName, lock_for: timedelta = LOCK) -> HeldMessage | None:
        """The oldest message that nobody holds; None when there is none."""
        free = self.free(hub, name)
        return HeldMessage(free[0], self.hold(free[0], lock_for)) if free else None

    def free(self, hub: HubId, name: IdentityName) -> list[CloudMessage]:
        """The messages that nobody holds now, the oldest first: to be held before control goes back to the loop."""
        now = self._clock.monotonic()
        held = self._held.get((hub, name), {})
        return [
            message
            for message in self._messages.waiting(hub, name)
            if message.sequence not in held or held[message.sequence].until <= now
        ]

    def hold(self, message: CloudMessage, lock_for: timedelta = LOCK) -> str:
        """Lock one of those that are free; the lock's token."""
        now = self._clock.monotonic()
        self._forget_ended(now)
        key = (message.hub, message.name)
        held = {sequence: lock for sequence, lock in self._held.get(key, {}).items() if lock.until > now}
        held[message.sequence] = lock = _Lock(str(uuid4()), now + lock_for.total_seconds())
        self._held[key] = held
        self._held.move_to_end(key)
        return lock.token

    def next_end(self, hub: HubId, name: IdentityName) -> float | None:
        """When the first of the locks that stand ends, whoever has it; None when there is none."""
        now = self._clock.monotonic()
        held = self._held.get((hub, name), {})
        return min((lock.until for lock in held.values() if lock.until > now), default=None)

    async def complete(self, hub: HubId, name: IdentityName, lock: str) -> None:
        """The device took it. Raises `PreconditionFailed` (`message.lock_lost`)."""
        await self._take_out(hub, name, lock, self._messages.complete)

    async def reject(self, hub: HubId, name: IdentityName, lock: str) -> None:
        """The device does not want it. As `complete`."""
        await self._take_out(hub, name, lock, self._messages.reject)

    async def abandon(self, hub: HubId, name: IdentityName, lock: str) -> None:
        """Give it back at once, to be given out again. As `complete`."""
        if not await self._messages.abandon(hub, name, self._release(hub, name, lock)):
            raise _lost(name)

    async def _take_out(
        self, hub: HubId, name: IdentityName, token: str, settle: Callable[[HubId, IdentityName, int], Awaitable[bool]]
    ) -> None:
        """Settle for good. Until that is on disk the message stays locked, so that nobody is given it once more."""
        sequence = self._find(hub, name, token)
        lock = self._held[hub, name][sequence]
        # Known to nobody: what is settled twice is told so.
        settling = lock._replace(token=str(uuid4()))
        self._held[hub, name][sequence] = settling
        try:
            was_there = await settle(hub, name, sequence)
        except BaseException:
            # What could not be settled is held as before.
            if self._lock_of(hub, name, sequence) == settling:
                self._held[hub, name][sequence] = lock
            raise
        if self._lock_of(hub, name, sequence) == settling:
            self._forget(hub, name, sequence)
        if not was_there:
            raise _lost(name)

    def _lock_of(self, hub: HubId, name: IdentityName, sequence: int) -> _Lock | None:
        return self._held.get((hub, name), {}).get(sequence)

    def _release(self, hub: HubId, name: IdentityName, token: str) -> int:
        sequence = self._find(hub, name, token)
        self._forget(hub, name, sequence)
        return sequence

    def _find(self, hub: HubId, name: IdentityName, token: str) -> int:
        """The message under a lock that stands. Raises `PreconditionFailed` (`message.lock_lost`)."""
        for sequence, lock in self._held.get((hub, name), {}).items():
            if lock.token == token:
                if lock.until > self._clock.monotonic():
                    return sequence
                self._forget(hub, name, sequence)
                break
        raise _lost(name)

    def _forget(self, hub: HubId, name: IdentityName, sequence: int) -> None:
        held = self._held[hub, name]
        del held[sequence]
        if not held:
            del self._held[hub, name]

    def _forget_ended(self, now: float) -> None:
        """Each that takes clears away what two may have left, so that devices which never come back leave nothing."""
        for key in tuple(islice(self._held, 2)):
            if all(lock.until <= now for lock in self._held[key].values()):
                del self._held[key]


def _lost(name: IdentityName) -> PreconditionFailed:
    return PreconditionFailed(
        "message.lock_lost",
        f"'{name}' holds no message under this lock token; it was settled, it expired, or its lock came to its end",
        fix="receive the message again",
    )
