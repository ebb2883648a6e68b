"""What rules do when they fire: at most one web hook in ten seconds and one e-mail a minute of each rule (RUL-6).

    fired ──► waits in its action's place, newer ones on top ──► sent when its time has come ──► tried again, twice

Firings that come while one waits are counted, and only the latest is sent, so an action holds one firing however many
there are. What became of it is kept as an event of the rule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from moorage.automation.filters import Watched
from moorage.automation.rule_model import Action, EmailAction, HappeningKind, Rule, RuleEvent
from moorage.automation.rules import Reading, Verdict
from moorage.clock import Clock
from moorage.errors import Invalid, Refusal

__all__ = ["EMAIL_PAUSE_S", "WEBHOOK_PAUSE_S", "Deliver", "Firing", "Outlets"]

log = logging.getLogger(__name__)

# RUL-6.
WEBHOOK_PAUSE_S: Final = 10.0
EMAIL_PAUSE_S: Final = 60.0
# Between tries of one delivery; there are no more tries than pauses and one.
_PAUSES_S: Final = (2.0, 10.0)


@dataclass(frozen=True, slots=True)
class Firing:
    """One time that a rule fired. `reading` is None for a rule of silence; `more` counts those that it stands for."""

    rule: Rule
    device: Watched
    verdict: Verdict
    at: datetime
    reading: Reading | None = None
    more: int = 0

    @property
    def offset(self) -> int | None:
        return None if self.reading is None or self.reading.offset < 0 else self.reading.offset


# Raises a `Refusal` when it was not taken; `Invalid` when it never will be.
Deliver = Callable[[Firing, Action], Awaitable[None]]
Note = Callable[[RuleEvent], Awaitable[None]]


class Outlets:
    """One place for each action of each rule. `close` gives up what waits; a reader of the log comes to it again."""

    def __init__(
        self,
        deliver: Deliver,
        note: Note,
        clock: Clock,
        *,
        pauses_s: tuple[float, ...] = _PAUSES_S,
        webhook_pause_s: float = WEBHOOK_PAUSE_S,
        email_pause_s: float = EMAIL_PAUSE_S,
    ) -> None:
        self._deliver = deliver
        self._note = note
        self._clock = clock
        self._pauses_s = pauses_s
        self._webhook_pause_s = webhook_pause_s
        self._email_pause_s = email_pause_s
        self._waiting: dict[tuple[str, str], Firing] = {}
        # Of what waits or is under way: the first message in the log that it stands for.
        self._offsets: dict[tuple[str, str], int] = {}
        self._sent: dict[tuple[str, str], float] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._is_closed = False

    @property
    def oldest_offset(self) -> int | None:
        return min(self._offsets.values(), default=None)

    def put(self, firing: Firing) -> None:
        for action in firing.rule.actions:
            key = firing.rule.rule_id, action.action_id
            before = self._waiting.get(key)
            more = firing.more if before is None else before.more + 1 + firing.more
            self._waiting[key] = Firing(firing.rule, firing.device, firing.verdict, firing.at, firing.reading, more)
            if firing.offset is not None:
                self._offsets.setdefault(key, firing.offset)
            if key not in self._tasks:
                self._begin(key)

    async def close(self) -> None:
        self._is_closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: tuple[str, str]) -> None:
        task = self._tasks[key] = asyncio.create_task(self._send(key))
        task.add_done_callback(partial(self._done, key))

    def _done(self, key: tuple[str, str], _task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if key in self._waiting and not self._is_closed:
            # It came while the task was at its end.
            self._begin(key)

    async def _send(self, key: tuple[str, str]) -> None:
        while key in self._waiting:
            is_letter = isinstance(_action_of(self._waiting[key], key[1]), EmailAction)
            pause_s = self._email_pause_s if is_letter else self._webhook_pause_s
            since = self._clock.monotonic() - self._sent.get(key, -pause_s)
            if since < pause_s:
                await asyncio.sleep(pause_s - since)
            firing = self._waiting.pop(key)
            self._sent[key] = self._clock.monotonic()
            offset = self._offsets.get(key)
            # As its rule has it: while this was asleep the action may have become another one.
            await self._try(firing, _action_of(firing, key[1]))
            if self._offsets.get(key) == offset:
                self._offsets.pop(key, None)
            if key in self._waiting and self._waiting[key].offset is not None:
                # What came meanwhile begins no earlier than the one that was sent.
                self._offsets.setdefault(key, self._waiting[key].offset or 0)

    async def _try(self, firing: Firing, action: Action) -> None:
        for pause_s in (*self._pauses_s, None):
            try:
                await self._deliver(firing, action)
            except Refusal as refusal:
                if pause_s is None or isinstance(refusal, Invalid):
                    await self._tell(firing, "failed", f"{action.display_name}: {refusal.message}")
                    return
                await asyncio.sleep(pause_s)
            except Exception:
                log.exception("rule_action_failed rule=%s", firing.rule.rule_id)
                await self._tell(
                    firing, "failed", f"{action.display_name}: a fault of moorage; its log has the details"
                )
                return
            else:
                more = f" ({firing.more} more since the last one)" if firing.more else ""
                await self._tell(firing, "delivered", f"{action.display_name}{more}")
                return

    async def _tell(self, firing: Firing, kind: HappeningKind, text: str) -> None:
        event = RuleEvent(firing.rule.rule_id, self._clock.now(), kind, firing.device.device_id, text)
        await self._note(event)


def _action_of(firing: Firing, action_id: str) -> Action:
    """The one of its rule that it was put for."""
    return next(each for each in firing.rule.actions if each.action_id == action_id)
