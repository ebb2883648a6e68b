"""How often an action is done, what stands for what, and how often it is tried (contract/central.md RUL-6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from moorage.automation.firing import Firing, Outlets
from moorage.automation.rule_model import Action, RuleEvent, WebhookAction
from moorage.automation.rules import Verdict
from moorage.clock import SystemClock
from moorage.errors import Invalid, Unavailable
from moorage.ids import Secret
from tests.unit.automation.test_rules import DEVICE, NOW, RULE, reading


def firing(offset: int) -> Firing:
    return Firing(
        RULE, DEVICE, Verdict(fires=True, why=("because",)), NOW, reading({"temperature": offset}, offset=offset)
    )


class Desk:
    """What an action reaches. It answers with `refusals`, one after the other, and then takes everything."""

    def __init__(self, *refusals: Exception, **pauses: float) -> None:
        self.taken: list[tuple[int | None, int]] = []
        self.events: list[RuleEvent] = []
        self.tries = 0
        self._refusals = list(refusals)
        self.outlets = Outlets(
            self._deliver, self._note, SystemClock(), pauses_s=(0.0, 0.0), webhook_pause_s=pauses.get("pause_s", 0.0)
        )

    async def _deliver(self, fired: Firing, _action: Action) -> None:
        self.tries += 1
        await asyncio.sleep(0)
        if self._refusals:
            raise self._refusals.pop(0)
        self.taken.append((fired.offset, fired.more))

    async def _note(self, event: RuleEvent) -> None:
        self.events.append(event)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110  # what is waited for tells nobody
                await asyncio.sleep(0.002)


async def test_firings_that_come_while_one_waits_are_one_and_counted() -> None:
    desk = Desk(pause_s=0.3)
    for offset in range(5):
        desk.outlets.put(firing(offset))
    await desk.until(lambda: desk.taken)
    assert desk.taken == [(4, 4)]
    for offset in range(5, 8):
        desk.outlets.put(firing(offset))
    assert desk.outlets.oldest_offset == 5
    await desk.until(lambda: len(desk.taken) == 2)
    assert desk.taken[1] == (7, 2)
    assert [event.kind for event in desk.events] == ["delivered", "delivered"]
    assert "4 more" in desk.events[0].text
    await desk.until(lambda: desk.outlets.oldest_offset is None)
    await desk.outlets.close()


async def test_what_fails_is_tried_twice_more_and_then_told() -> None:
    away = Unavailable("egress.unreachable", "nobody is there")
    desk = Desk(away, away, away)
    desk.outlets.put(firing(1))
    await desk.until(lambda: desk.events)
    assert (desk.tries, desk.taken, desk.events[0].kind) == (3, [], "failed")
    assert "nobody is there" in desk.events[0].text
    await desk.outlets.close()


async def test_what_will_never_be_taken_is_not_tried_again() -> None:
    desk = Desk(Invalid("endpoint.refused", "it is gone"))
    desk.outlets.put(firing(1))
    await desk.until(lambda: desk.events)
    assert (desk.tries, desk.events[0].kind) == (1, "failed")
    await desk.outlets.close()


async def test_a_fault_of_ours_is_told_and_ends_nothing() -> None:
    desk = Desk(RuntimeError("a bug"))
    desk.outlets.put(firing(1))
    await desk.until(lambda: desk.events)
    assert "fault of moorage" in desk.events[0].text
    desk.outlets.put(firing(2))
    await desk.until(lambda: desk.taken)
    await desk.outlets.close()


async def test_a_firing_of_silence_has_no_place_in_the_log() -> None:
    desk = Desk()
    desk.outlets.put(replace(firing(0), reading=None))
    assert desk.outlets.oldest_offset is None
    await desk.until(lambda: desk.taken)
    assert desk.taken == [(None, 0)]
    await desk.outlets.close()


async def test_a_firing_that_comes_just_as_the_last_one_is_through_is_sent_too() -> None:
    desk = Desk()
    put = desk.outlets.put

    async def note(event: RuleEvent) -> None:
        desk.events.append(event)
        if len(desk.events) < 50:
            asyncio.get_running_loop().call_soon(put, firing(len(desk.events)))

    desk.outlets._note = note
    put(firing(0))
    await desk.until(lambda: len(desk.events) == 50)
    await desk.until(lambda: desk.outlets.oldest_offset is None)
    assert [offset for offset, _ in desk.taken] == list(range(50))
    await desk.outlets.close()


async def test_who_changed_an_action_while_it_waits_is_not_called_under_the_old_address() -> None:
    desk = Desk(pause_s=0.05)
    called: list[str] = []

    async def deliver(fired: Firing, action: Action) -> None:
        assert isinstance(action, WebhookAction)
        # The next one is there before this one is through, so what sends them never ends.
        if len(called) < 3:
            desk.outlets.put(fired if len(called) < 1 else replace(fired, rule=moved))
        called.append(action.url.reveal())

    moved = replace(RULE, actions=(WebhookAction("a", "Desk", Secret("https://new.example/hook")),))
    old = replace(RULE, actions=(WebhookAction("a", "Desk", Secret("https://old.example/hook")),))
    desk.outlets._deliver = deliver
    desk.outlets.put(replace(firing(1), rule=old))
    await desk.until(lambda: len(called) == 4)
    assert called == ["https://old.example/hook"] * 2 + ["https://new.example/hook"] * 2
    await desk.outlets.close()
