"""Rules as people make, change, try and switch them; each change is one line of the audit log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from moorage.accounts.model import Actor, OrganizationId
from moorage.automation.filters import Watched
from moorage.automation.firing import Firing
from moorage.automation.rule_model import MAX_RULES, Rule, RuleEvent, RuleId, RuleTables, WebhookAction, check_rule
from moorage.automation.rule_runner import RULES_CHANGED, Read
from moorage.automation.rules import Reading, Verdict, Window, Windows, evaluate, evaluate_window, is_watched
from moorage.automation.watching import watched_in
from moorage.clock import Clock
from moorage.errors import Conflict, Forbidden, NotFound, TooLarge
from moorage.events import Event
from moorage.hub.telemetry_log import LogCorrupt, StoredMessage, TelemetryLog
from moorage.ids import DeviceId, ETag, HubId, check_etag
from moorage.store import Store

__all__ = ["DRY_RUN_MESSAGES", "DryRun", "RuleService", "Tried"]

audit = logging.getLogger("moorage.audit")

# Of a dry run: how far it looks back, at how many messages of the rule's devices, in how many reads each time.
_SPANS: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6), timedelta(days=1))
DRY_RUN_MESSAGES: Final = 500
_READS: Final = 200
_PAGE: Final = 1000


class Tried(NamedTuple):
    """What the rule would have said of one message, or of one window, at a time."""

    at: datetime
    device_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DryRun:
    """`tried` has the newest first; `looked_at` counts messages. `is_whole` is False when there were more."""

    tried: list[Tried]
    looked_at: int
    is_whole: bool

    @property
    def fired(self) -> int:
        return sum(each.verdict.fires for each in self.tried)


class RuleService:
    """The rules of one hub's application. An actor sees those of the organisations that it sees."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RuleTables],
        telemetry: TelemetryLog,
        clock: Clock,
        read: Read,
        subtree: Callable[[OrganizationId], frozenset[OrganizationId]],
        vet: Callable[[str], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._log = telemetry
        self._clock = clock
        self._read = read
        self._subtree = subtree
        self._vet = vet

    def get(self, actor: Actor, rule_id: str) -> Rule:
        """Raises `NotFound` (`rule.unknown`)."""
        return self._seen(self._store.read(), actor, rule_id)

    async def all(self, actor: Actor) -> list[Rule]:
        rules = await self._store.scan(lambda tables: tables.rules.all(self._hub))
        return [rule for rule in rules if actor.sees(rule.organization)]

    async def events(self, actor: Actor, rule_id: str, limit: int = 50) -> list[RuleEvent]:
        """The newest first. Raises `NotFound` (`rule.unknown`)."""
        rule = self.get(actor, rule_id)
        return await self._store.scan(lambda tables: tables.rules.events(self._hub, rule.rule_id, limit))

    def now(self) -> datetime:
        """The time that a rule is made or changed at: whole milliseconds, as messages have it."""
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    async def create(self, actor: Actor, rule: Rule) -> Rule:
        """Raises as `check_rule`; `Conflict` (`rule.exists`), `TooLarge` (`rule.too_many`), `Forbidden`, `Invalid`
        (`egress.*`) where the hub may not call a web hook."""
        now = self.now()
        made = replace(rule, hub=self._hub, created=now, updated=now, version=1)
        self._check(actor, made)

        def work(tables: RuleTables) -> None:
            if tables.rules.find(self._hub, made.rule_id) is not None:
                raise Conflict("rule.exists", f"there is a rule '{made.rule_id}' already")
            if len(tables.rules.all(self._hub)) >= MAX_RULES:
                raise TooLarge("rule.too_many", f"there are {MAX_RULES} rules, no more may be")
            tables.rules.put(made)
            tables.outbox.emit(Event(RULES_CHANGED, self._hub, made.rule_id))

        await self._store.write(work)
        self._tell("rule.created", actor, made)
        return made

    async def update(self, actor: Actor, rule: Rule, *, if_match: ETag | None = None) -> Rule:
        """Put `rule` in the place of the one of its id.

        Raises as `create`; `NotFound` (`rule.unknown`), `PreconditionFailed` (`etag.stale`).
        """
        self._check(actor, rule)
        changed = await self._change(actor, rule.rule_id, if_match, lambda _present: rule)
        self._tell("rule.updated", actor, changed)
        return changed

    async def switch(self, actor: Actor, rule_id: str, *, is_enabled: bool, if_match: ETag | None = None) -> Rule:
        """Raises `NotFound` (`rule.unknown`), `PreconditionFailed` (`etag.stale`)."""
        changed = await self._change(actor, rule_id, if_match, lambda present: replace(present, is_enabled=is_enabled))
        self._tell("rule.switched", actor, changed, state="on" if is_enabled else "off")
        return changed

    async def delete(self, actor: Actor, rule_id: str, *, if_match: ETag | None = None) -> None:
        """Raises `NotFound` (`rule.unknown`), `PreconditionFailed` (`etag.stale`)."""

        def work(tables: RuleTables) -> Rule:
            present = self._seen(tables, actor, rule_id)
            check_etag(f"the rule '{rule_id}'", if_match, present.etag)
            tables.rules.delete(self._hub, present.rule_id)
            tables.outbox.emit(Event(RULES_CHANGED, self._hub, present.rule_id))
            return present

        self._tell("rule.deleted", actor, await self._store.write(work))

    def _check(self, actor: Actor, rule: Rule) -> None:
        check_rule(rule)
        _check_sees(actor, rule.organization)
        for action in rule.actions:
            if isinstance(action, WebhookAction):
                self.check_callback(action)

    def check_callback(self, action: WebhookAction) -> None:
        """Raises `Invalid` (`egress.*`) for a URL that this hub may not call."""
        self._vet(action.url.reveal())

    async def _change(self, actor: Actor, rule_id: str, if_match: ETag | None, decide: Callable[[Rule], Rule]) -> Rule:
        now = self.now()

        def work(tables: RuleTables) -> Rule:
            present = self._seen(tables, actor, rule_id)
            check_etag(f"the rule '{rule_id}'", if_match, present.etag)
            decided = decide(present)
            changed = replace(decided, hub=self._hub, created=present.created, updated=now, version=present.version + 1)
            tables.rules.put(changed)
            tables.outbox.emit(Event(RULES_CHANGED, self._hub, changed.rule_id))
            return changed

        return await self._store.write(work)

    def _seen(self, tables: RuleTables, actor: Actor, rule_id: str) -> Rule:
        found = tables.rules.find(self._hub, RuleId(rule_id))
        if found is None or not actor.sees(found.organization):
            raise NotFound("rule.unknown", f"there is no rule {rule_id[:80]!r}")
        return found

    def _tell(self, event: str, actor: Actor, rule: Rule, **more: str) -> None:
        facts = {"hub": self._hub, "rule": rule.rule_id, "name": rule.display_name, "by": actor.name, **more}
        audit.info(
            "%s hub=%s rule=%s name=%r by=%s",
            event,
            self._hub,
            rule.rule_id,
            rule.display_name,
            actor.name,
            extra={"event": event, "facts": facts},
        )

    # -- dry run -------------------------------------------------------------------------------------------------------

    async def dry_run(self, actor: Actor, rule: Rule) -> DryRun:
        """What `rule` would have said of the last day: of the newest messages of its devices, or of their windows.

        The rule need not be stored. Devices are judged by what they have reported until now. A rule of silence has no
        messages to be tried with. Raises as `check_rule`, and `Unavailable` when the log cannot be read.
        """
        check_rule(rule)
        if rule.silence is not None:
            return DryRun([], 0, is_whole=True)
        kept, is_whole = await self._newest(actor, rule, DRY_RUN_MESSAGES)
        tried = _try_windows(rule, kept) if rule.window_minutes is not None else _try_messages(rule, kept)
        return DryRun(tried[::-1], len(kept), is_whole)

    async def example(self, actor: Actor, rule: Rule) -> Firing:
        """As if the rule fired now, for the newest message of its devices, or for a device that is made up.

        Raises as `dry_run`.
        """
        check_rule(rule)
        now = self.now()
        found, _ = await self._newest(actor, rule, 1)
        newest = found[-1] if found else None
        verdict = Verdict(fires=True, why=("this is a test, sent by hand",))
        if newest is None:
            device = Watched("example-device", "Example device", rule.template, rule.organization, {}, {})
            return Firing(rule, device, verdict, now)
        return Firing(rule, newest[1], verdict, now, newest[0])

    async def _newest(self, actor: Actor, rule: Rule, most: int) -> tuple[list[tuple[Reading, Watched]], bool]:
        """The newest messages of the rule's devices, and whether they are all of the last day.

        The log has no index by template, so longer and longer times are looked through until there are enough.
        """
        kept: list[tuple[Reading, Watched]] = []
        for span in _SPANS:
            found, at_end = await self._since(actor, rule, self._clock.now() - span, most + 1)
            if not at_end:
                # What it did not come to is newer than what it found.
                return (kept or found)[-most:], False
            kept = found
            if len(kept) > most:
                return kept[-most:], False
        return kept, True

    async def _since(
        self, actor: Actor, rule: Rule, since: datetime, most: int
    ) -> tuple[list[tuple[Reading, Watched]], bool]:
        """The last `most` since then, and whether the end of the log was reached."""
        from_time, place = int(since.timestamp() * 1000), 0
        kept: list[tuple[Reading, Watched]] = []
        for _ in range(_READS):
            try:
                page = await self._log.read(from_offset=place, from_time=from_time, limit=_PAGE)
            except LogCorrupt as damage:
                place = damage.resume_offset
                continue
            found = await self._store.scan(partial(self._readings, actor, rule, page.messages))
            kept = [*kept, *found][-most:]
            place = page.next_offset
            if page.at_end:
                return kept, True
        return kept, False

    def _readings(
        self, actor: Actor, rule: Rule, messages: Sequence[StoredMessage], tables: RuleTables
    ) -> list[tuple[Reading, Watched]]:
        known: dict[str, Watched | None] = {}
        found = []
        for message in messages:
            device_id = message.source.device_id
            if device_id not in known:
                known[device_id] = self._watched(tables, actor, rule, device_id)
            device = known[device_id]
            reading = None if device is None else self._read(message)
            if device is not None and reading is not None:
                found.append((reading, device))
        return found

    def _watched(self, tables: RuleTables, actor: Actor, rule: Rule, device_id: str) -> Watched | None:
        record = tables.devices.find(self._hub, DeviceId(device_id)) if device_id else None
        if record is None or record.template != rule.template or not actor.sees(record.organization):
            return None
        if rule.organization and record.organization not in self._subtree(rule.organization):
            return None
        device = watched_in(tables, self._hub, device_id)
        return device if device is not None and is_watched(rule, device) else None


def _try_messages(rule: Rule, kept: Sequence[tuple[Reading, Watched]]) -> list[Tried]:
    return [Tried(reading.at, reading.device_id, evaluate(rule, reading, device)) for reading, device in kept]


def _try_windows(rule: Rule, kept: Sequence[tuple[Reading, Watched]]) -> list[Tried]:
    windows, closed = Windows(), list[Window]()
    devices = {}
    for reading, device in kept:
        devices[reading.device_id] = device
        closed += windows.add(rule, reading)
    closed += windows.close_all()
    tried = [Tried(each.end, each.device_id, evaluate_window(rule, each, devices[each.device_id])) for each in closed]
    return sorted(tried, key=lambda each: each.at)


def _check_sees(actor: Actor, organization: OrganizationId) -> None:
    if not actor.sees(organization):
        raise Forbidden("organization.not_seen", f"you do not see the organization {organization[:60]!r}")
