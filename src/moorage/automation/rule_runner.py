"""Follows the telemetry log for rules, and looks for devices that went silent.

    the log ──► a page ──► devices and rules, in a thread of the store ──► fired ──► `Outlets`
                     └──► windows, closed by later messages or by the time
    every few seconds ──► devices of rules of silence ──► fired once, recovered when they are back

Two places in the log are kept. Up to `fired` every message was judged by itself and what it fired was delivered or
given up; up to `windows` everything is behind us, also what a window that is still open holds. A start reads from the
smaller one, and judges messages by themselves from `fired` on: nothing is lost, what was under way may come twice.

A rule judges what came after it was last changed. While no rule wants messages, none is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from moorage.accounts.model import OrganizationId
from moorage.automation.filters import Watched
from moorage.automation.firing import Deliver, Firing, Outlets
from moorage.automation.rule_model import MAX_HISTORY, Rule, RuleEvent, RuleId, RuleTables, Silence
from moorage.automation.rules import (
    Reading,
    Window,
    Windows,
    evaluate,
    evaluate_silence,
    evaluate_window,
    fires,
    is_watched,
    needs_properties,
)
from moorage.automation.watching import of_record, watched_in
from moorage.clock import Clock
from moorage.errors import Refusal, Unavailable
from moorage.events import Bus, Event
from moorage.fleet.model import DeviceFilter, TemplateId
from moorage.hub.telemetry_log import FOLLOW_PAUSE_S, LogCorrupt, Page, StoredMessage, TelemetryLog, resumed_at
from moorage.ids import DeviceId, HubId
from moorage.store import Store

__all__ = ["RULES_CHANGED", "Read", "RuleRunner", "Silences"]

log = logging.getLogger(__name__)

RULES_CHANGED: Final = "rules.changed"
_FIRED: Final = "rules: fired"
_WINDOWS: Final = "rules: windows"
_PAGE: Final = 256
_PAUSE_AFTER_FAILURE_S: Final = 1.0
_KEEP_PLACES_S: Final = 2.0
_MOST_REST_S: Final = 0.1
_MAX_TEXT: Final = 1000
# Messages of a window may wait so long on their way into the log.
_LATE: Final = timedelta(seconds=2)
_LOOK_EVERY_S: Final = 5.0
_DEVICES_AT_ONCE: Final = 100
_PAUSE_BETWEEN_PIECES_S: Final = 0.02

# None for a message that is no telemetry. Called in a thread.
Read = Callable[[StoredMessage], Reading | None]


class Silences(Protocol):
    """Since when devices are silent; who is not in an answer is there, or never was."""

    def offline_since(self, device_ids: Sequence[str]) -> dict[str, datetime]: ...

    async def last_data(self, device_ids: Sequence[str]) -> dict[str, datetime]:
        """When the last telemetry of each came."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a page of messages came to: what fired, and what rules with a window are to count."""

    firings: list[Firing]
    gathered: list[tuple[Rule, Reading]]


class RuleRunner:
    """One hub's. `run` until cancelled."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RuleTables],
        telemetry: TelemetryLog,
        bus: Bus,
        clock: Clock,
        read: Read,
        silences: Silences,
        subtree: Callable[[OrganizationId], frozenset[OrganizationId]],
        deliver: Deliver,
        *,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._hub = hub
        self._store = store
        self._log = telemetry
        self._clock = clock
        self._read = read
        self._silences = silences
        self._subtree = subtree
        self._look_every_s = look_every_s
        self._outlets = Outlets(deliver, self._note, clock)
        self._windows = Windows()
        self._rules: dict[RuleId, Rule] = {}
        self._changed = asyncio.Event()
        self._changed.set()
        self._look_again = asyncio.Event()
        self._began = clock.now()
        self._place = 0
        # Messages before this one were judged by an earlier run; only windows want them.
        self._judged_up_to = 0
        self._kept: tuple[int, int] | None = None
        self._kept_at = 0.0
        self.close = bus.subscribe(self._heard)

    def _heard(self, event: Event) -> None:
        if event.kind == RULES_CHANGED and event.hub == self._hub:
            self._changed.set()

    async def run(self) -> None:
        """Never returns; cancelled, it leaves its places where they are."""
        readers = self._store.read().log_readers
        fired, windows = readers.place(self._hub, _FIRED), readers.place(self._hub, _WINDOWS)
        self._judged_up_to = resumed_at(self._log, fired, reader="rules")
        self._place = min(self._judged_up_to, resumed_at(self._log, windows, reader="windows of rules"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever(self._follow))
                group.create_task(self._forever(self._look))
        finally:
            await self._outlets.close()

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except LogCorrupt as damage:
                log.error("rules_log_damaged offset=%d; they go on behind", damage.offset)
                self._place = damage.resume_offset
            except Refusal as refusal:
                log.warning("rules_wait reason=%s message=%r", refusal.reason, refusal.message)
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
            except Exception:
                log.exception("rules_failed")
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)

    # -- messages ------------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """One page, or a wait for something to do."""
        if self._changed.is_set():
            self._changed.clear()
            await self._settle()
        rules = [rule for rule in self._rules.values() if rule.silence is None]
        if not rules:
            self._place = self._judged_up_to = self._log.durable_end
            await self._keep_places(at_once=True)
            await self._changed.wait()
            return
        if self._place < self._log.durable_start:
            missed = self._log.durable_start - self._place
            log.error("rules_missed bytes=%d; they were kept no longer", missed)
            self._place = self._log.durable_start
        # What came while nobody wanted messages is passed over by its time.
        since_ms = int(min(rule.updated for rule in rules).timestamp() * 1000)
        page = await self._log.read(from_offset=self._place, from_time=since_ms, limit=_PAGE)
        if page.messages:
            began = self._clock.monotonic()
            await self._judge(rules, page.messages)
            # Devices come first: it rests as long as it has worked.
            await asyncio.sleep(min(self._clock.monotonic() - began, _MOST_REST_S))
        self._place = page.next_offset
        await self._close_windows(page)
        await self._keep_places(at_once=bool(page.messages) and page.at_end)
        if page.at_end:
            await self._wait(page.next_offset)

    async def _wait(self, offset: int) -> None:
        """For more messages, another set of rules, or the end of a window."""
        try:
            async with asyncio.timeout(1.0 if len(self._windows) else 60.0):
                more = asyncio.create_task(self._log.wait_beyond(offset))
                other = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait((more, other), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    more.cancel()
                    other.cancel()
                    await asyncio.gather(more, other, return_exceptions=True)
        except TimeoutError:
            return
        await asyncio.sleep(FOLLOW_PAUSE_S)

    async def _settle(self) -> None:
        """Have the rules that are enabled now."""
        rules = await self._store.scan(lambda tables: tables.rules.all(self._hub))
        before, self._rules = self._rules, {rule.rule_id: rule for rule in rules if rule.is_enabled}
        self._look_again.set()
        for rule_id, rule in before.items():
            if self._rules.get(rule_id) != rule:
                self._windows.forget(rule_id)

    async def _judge(self, rules: Sequence[Rule], messages: Sequence[StoredMessage]) -> None:
        judged = await self._store.scan(partial(self._judged, rules, messages))
        for rule, reading in judged.gathered:
            for window in self._windows.add(rule, reading):
                await self._closed([window])
        await self._fire(judged.firings)

    def _judged(self, rules: Sequence[Rule], messages: Sequence[StoredMessage], tables: RuleTables) -> _Judged:
        by_template: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            by_template[rule.template].append(rule)
        known: dict[str, tuple[Watched, list[Rule]] | None] = {}
        judged = _Judged([], [])
        for message in messages:
            device_id = message.source.device_id
            if device_id not in known:
                known[device_id] = self._watching(tables, device_id, by_template)
            found = known[device_id]
            reading = self._read(message) if found is not None else None
            if found is None or reading is None:
                continue
            device, watching = found
            for rule in watching:
                # What came before the rule was made or changed is not judged by it.
                if reading.at < rule.updated:
                    continue
                if rule.window_minutes is not None:
                    judged.gathered.append((rule, reading))
                elif message.offset >= self._judged_up_to and fires(rule, reading, device):
                    # What is sent holds all of it.
                    whole = watched_in(tables, self._hub, device_id) or device
                    verdict = evaluate(rule, reading, whole)
                    judged.firings.append(Firing(rule, whole, verdict, reading.at, reading))
        return judged

    def _watching(
        self, tables: RuleTables, device_id: str, by_template: Mapping[str, list[Rule]]
    ) -> tuple[Watched, list[Rule]] | None:
        record = tables.devices.find(self._hub, DeviceId(device_id)) if device_id else None
        if record is None or record.template not in by_template:
            return None
        wanted = by_template[record.template]
        device: Watched | None = of_record(record)
        if any(map(needs_properties, wanted)):
            device = watched_in(tables, self._hub, device_id)
        if device is None:
            return None
        watching = [rule for rule in wanted if self._concerns(rule, device)]
        return (device, watching) if watching else None

    def _concerns(self, rule: Rule, device: Watched) -> bool:
        is_inside = not rule.organization or device.organization in self._subtree(rule.organization)
        return is_inside and is_watched(rule, device)

    # -- windows -------------------------------------------------------------------------------------------------------

    async def _close_windows(self, page: Page) -> None:
        """Those that everything was read of: while more is to be read, time is what it was in the log."""
        if page.at_end:
            await self._closed(self._windows.close(self._clock.now() - _LATE))
        elif page.messages:
            await self._closed(self._windows.close(page.messages[-1].enqueued_time - _LATE))

    async def _closed(self, windows: Sequence[Window]) -> None:
        if not windows:
            return

        def judged(tables: RuleTables) -> list[Firing]:
            firings = []
            for window in windows:
                rule = self._rules.get(window.rule_id)
                device = watched_in(tables, self._hub, window.device_id)
                if rule is None or device is None or not self._concerns(rule, device):
                    continue
                verdict = evaluate_window(rule, window, device)
                if verdict.fires:
                    firings.append(Firing(rule, device, verdict, window.end, window.last))
            return firings

        await self._fire(await self._store.scan(judged))

    # -- silence -------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Once at every device of every rule of silence, after a while or when the rules are others."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._look_every_s):
                await self._look_again.wait()
        self._look_again.clear()
        for rule in [rule for rule in self._rules.values() if rule.silence is not None]:
            silent = await self._store.scan(partial(self._silent, rule.rule_id))
            gone = set(silent)
            after = ""
            while True:
                found, concerned = await self._store.scan(partial(self._page_of, rule, after))
                if not found:
                    break
                gone.difference_update(found)
                after = found[-1]
                since = await self._silent_since(rule, found)
                for device_id, device in concerned.items():
                    await self._judge_silence(rule, device, since.get(device_id), silent.get(device_id))
                await asyncio.sleep(_PAUSE_BETWEEN_PIECES_S)
            for device_id in gone:
                await self._store.write(partial(self._forget_silent, rule.rule_id, device_id))

    def _silent(self, rule_id: RuleId, tables: RuleTables) -> dict[str, datetime]:
        return tables.rules.silent(self._hub, rule_id)

    def _forget_silent(self, rule_id: RuleId, device_id: str, tables: RuleTables) -> None:
        tables.rules.delete_silent(self._hub, rule_id, device_id)

    def _page_of(self, rule: Rule, after: str, tables: RuleTables) -> tuple[list[DeviceId], dict[str, Watched]]:
        """Devices of the rule's template behind `after`, and those of them that the rule concerns."""
        wanted = DeviceFilter(template=TemplateId(rule.template))
        found = tables.devices.ids(self._hub, wanted, _DEVICES_AT_ONCE, after)
        concerned = {}
        for device_id in found:
            device = watched_in(tables, self._hub, device_id)
            if device is not None and not device.is_blocked and self._concerns(rule, device):
                concerned[device.device_id] = device
        return found, concerned

    async def _silent_since(self, rule: Rule, device_ids: Sequence[str]) -> dict[str, datetime]:
        if rule.silence is not None and rule.silence.kind == "offline":
            return self._silences.offline_since(device_ids)
        return await self._silences.last_data(device_ids)

    async def _judge_silence(self, rule: Rule, device: Watched, since: datetime | None, told: datetime | None) -> None:
        """`told` is when the rule fired for this silence, None when it did not yet."""
        assert rule.silence is not None
        now = self._clock.now()
        key = self._hub, rule.rule_id, device.device_id
        if told is None:
            # A rule that is new waits for its minutes, as it does for a device that goes silent now; after a start of
            # the hub every device is away, and gets this time to come back.
            begun = None if since is None else max(since, rule.updated, self._began)
            verdict = evaluate_silence(rule.silence, begun, now)
            if verdict.fires:
                await self._store.write(lambda tables: tables.rules.put_silent(*key, now))
                await self._fire([Firing(rule, device, verdict, now)])
        elif _is_back(rule.silence, since, told, now):
            await self._store.write(lambda tables: tables.rules.delete_silent(*key))
            what = "connected" if rule.silence.kind == "offline" else "sending"
            await self._note(RuleEvent(rule.rule_id, now, "recovered", device.device_id, f"the device is {what} again"))

    # -- what follows --------------------------------------------------------------------------------------------------

    async def _fire(self, firings: Sequence[Firing]) -> None:
        """Remember that rules fired, one event a rule and page, and hand them on."""
        latest: dict[RuleId, tuple[Firing, int]] = {}
        for firing in firings:
            latest[firing.rule.rule_id] = firing, latest.get(firing.rule.rule_id, (firing, 0))[1] + 1
        for firing, count in latest.values():
            why = "; ".join(firing.verdict.why)
            await self._note(RuleEvent(firing.rule.rule_id, firing.at, "fired", firing.device.device_id, why, count))
        for firing in firings:
            self._outlets.put(firing)

    async def _note(self, event: RuleEvent) -> None:
        event = replace(event, text=event.text[:_MAX_TEXT])

        def work(tables: RuleTables) -> None:
            if tables.rules.find(self._hub, event.rule_id) is not None:
                tables.rules.add_event(self._hub, event, MAX_HISTORY)

        try:
            await self._store.write(work)
        except Unavailable as refusal:
            log.warning("rule_event_lost rule=%s reason=%s", event.rule_id, refusal.reason)

    async def _keep_places(self, *, at_once: bool) -> None:
        now = self._clock.monotonic()
        fired = max(self._place, self._judged_up_to)
        waiting, window = self._outlets.oldest_offset, self._windows.oldest_offset
        if waiting is not None:
            fired = min(fired, waiting)
        windows = self._place if window is None else min(self._place, window)
        if self._kept == (fired, windows) or not (at_once or now - self._kept_at > _KEEP_PLACES_S):
            return

        def work(tables: RuleTables) -> None:
            tables.log_readers.put_place(self._hub, _FIRED, fired)
            tables.log_readers.put_place(self._hub, _WINDOWS, windows)

        await self._store.write(work)
        self._kept, self._kept_at = (fired, windows), now


def _is_back(silence: Silence, since: datetime | None, told: datetime, now: datetime) -> bool:
    """Whether a device for which the rule fired at `told` was there since. Neither a start of the hub nor a change of
    the rule brings it back, and of one whose data is not known there is nothing to say."""
    if since is None:
        return silence.kind == "offline"
    return since > told or not evaluate_silence(silence, since, now).fires
