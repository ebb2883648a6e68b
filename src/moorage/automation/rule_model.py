"""Rules as values: for which devices, under which conditions, and what then happens (contract/central.md 15).

A rule watches the devices of one template, narrowed by filters over their properties (RUL-1), and is of one of two
kinds:

    messages   conditions on telemetry and events, each message by itself (RUL-4) or over a tumbling window (RUL-3)
    silence    the device is offline, or sent no telemetry, for so many minutes; fires once until the device is back
               (the gap of RUL-9, which is ours)

What a rule does when it fires are its actions, at most five (RUL-7). Secrets are in the addresses of web hooks alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NewType, Protocol, get_args

from moorage.accounts.model import Login, OrganizationId
from moorage.automation.filters import (
    MAX_FILTERS,
    Operator,
    PropertyFilter,
    check_filter,
    check_value,
    is_number,
    is_path,
)
from moorage.automation.naming import check_id, check_name
from moorage.errors import Conflict, Invalid, TooLarge
from moorage.fleet.model import FleetTables
from moorage.hub.model import HubTables
from moorage.ids import ETag, HubId, Secret, version_etag

__all__ = [
    "AGGREGATES",
    "MAX_ACTIONS",
    "MAX_CONDITIONS",
    "MAX_HISTORY",
    "MAX_NOTE",
    "MAX_RULES",
    "WINDOWS_MINUTES",
    "Action",
    "Aggregate",
    "Condition",
    "EmailAction",
    "HappeningKind",
    "Operand",
    "Rule",
    "RuleEvent",
    "RuleId",
    "RuleTable",
    "RuleTables",
    "Silence",
    "WebhookAction",
    "check_action",
    "check_condition",
    "check_rule",
    "parse_rule_id",
]

RuleId = NewType("RuleId", str)

Aggregate = Literal["average", "maximum", "minimum", "sum", "count"]
AGGREGATES: Final[tuple[Aggregate, ...]] = get_args(Aggregate)

# The product's own choices go from five minutes to an hour.
WINDOWS_MINUTES: Final = (1, 5, 10, 15, 30, 60)
MAX_RULES: Final = 50
MAX_ACTIONS: Final = 5
MAX_CONDITIONS: Final = 10
# Kept of each rule.
MAX_HISTORY: Final = 200
MAX_RECIPIENTS: Final = 20
MAX_NOTE: Final = 2000
_MAX_URL: Final = 2000
_MAX_SILENCE_MINUTES: Final = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class Operand:
    """What a value is compared with: itself, or a property of the device by its path (`name`, `component.name`)."""

    kind: Literal["constant", "property", "cloud_property"]
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a rule. `path` is a telemetry or an event, below its component and a dot where it has one.

    `aggregate` is there in rules with a window, and only there. `exists` takes no operand: an event that is *Any*.
    """

    path: str
    operator: Operator
    operand: Operand = Operand("constant", "")
    aggregate: Aggregate | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """`offline`: not connected; `no_data`: no telemetry came; each for so many minutes."""

    kind: Literal["offline", "no_data"]
    minutes: int


@dataclass(frozen=True, slots=True)
class WebhookAction:
    action_id: str
    display_name: str
    url: Secret


@dataclass(frozen=True, slots=True)
class EmailAction:
    """To users of the application who have signed in at least once (RUL-6)."""

    action_id: str
    display_name: str
    to: tuple[Login, ...]
    note: str = ""


Action = WebhookAction | EmailAction


@dataclass(frozen=True, slots=True)
class Rule:
    """`conditions` is empty and `silence` is there, or the other way round.

    Attributes:
        template: whose devices it watches.
        organization: of these devices, those that belong there or below; '' is everybody's.
        matches: whether all conditions have to hold, or any.
        window_minutes: None where each message is judged by itself.
    """

    hub: HubId
    rule_id: RuleId
    display_name: str
    template: str
    created: datetime
    updated: datetime
    filters: tuple[PropertyFilter, ...] = ()
    matches: Literal["all", "any"] = "all"
    conditions: tuple[Condition, ...] = ()
    window_minutes: int | None = None
    silence: Silence | None = None
    actions: tuple[Action, ...] = ()
    is_enabled: bool = True
    organization: OrganizationId = OrganizationId("")
    version: int = 1

    @property
    def etag(self) -> ETag:
        return version_etag(self.version)


HappeningKind = Literal["fired", "delivered", "failed", "recovered"]


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """What happened to a rule. `count` events of one kind, close together, are one; `text` is the last one's."""

    rule_id: RuleId
    at: datetime
    kind: HappeningKind
    device_id: str
    text: str
    count: int = 1


class RuleTable(Protocol):
    """Rules, what happened to them, and which devices a rule of silence has found silent."""

    def find(self, hub: HubId, rule_id: RuleId) -> Rule | None: ...

    def all(self, hub: HubId) -> list[Rule]:
        """By their display names."""

    def put(self, rule: Rule) -> None: ...

    def delete(self, hub: HubId, rule_id: RuleId) -> None:
        """With all that is kept of it."""

    def add_event(self, hub: HubId, event: RuleEvent, keep: int) -> None:
        """Of the rule's events no more than `keep` stay, the oldest going first."""

    def events(self, hub: HubId, rule_id: RuleId, limit: int) -> list[RuleEvent]:
        """The newest first."""

    def silent(self, hub: HubId, rule_id: RuleId) -> dict[str, datetime]:
        """By device, when the rule fired for it."""

    def put_silent(self, hub: HubId, rule_id: RuleId, device_id: str, at: datetime) -> None: ...

    def delete_silent(self, hub: HubId, rule_id: RuleId, device_id: str) -> None: ...


class ReaderTable(Protocol):
    """How far a reader of the telemetry log has come."""

    def place(self, hub: HubId, reader: str) -> int | None: ...

    def put_place(self, hub: HubId, reader: str, offset: int) -> None: ...

    def forget(self, hub: HubId, reader: str) -> None: ...


class RuleTables(FleetTables, HubTables, Protocol):
    @property
    def rules(self) -> RuleTable: ...

    @property
    def log_readers(self) -> ReaderTable: ...


def parse_rule_id(text: str) -> RuleId:
    """Raises `Invalid` (`rule.id`)."""
    return RuleId(check_id(text, "rule.id"))


def check_rule(rule: Rule) -> None:
    """What has to hold of a rule by itself.

    Raises:
        Invalid: `rule.name`, `rule.template`, `rule.conditions`, `rule.window`, `rule.silence`, `rule.action`.
        TooLarge: `rule.too_many` for conditions, filters or actions.
        Conflict: `rule.action_twice`.
    """
    check_name(rule.display_name, "rule.name")
    if not rule.template:
        raise Invalid("rule.template", "a rule watches the devices of one template, and none was chosen")
    if (rule.silence is None) == (not rule.conditions):
        raise Invalid(
            "rule.conditions", "a rule has conditions on telemetry, or one of silence: it needs one, and not both"
        )
    for count, most, named in (
        (len(rule.conditions), MAX_CONDITIONS, "conditions"),
        (len(rule.filters), MAX_FILTERS, "filters"),
        (len(rule.actions), MAX_ACTIONS, "actions"),
    ):
        if count > most:
            raise TooLarge("rule.too_many", f"the rule has {count} {named}, at most {most} are allowed")
    if rule.window_minutes is not None and rule.window_minutes not in WINDOWS_MINUTES:
        raise Invalid(
            "rule.window", f"a window has {', '.join(map(str, WINDOWS_MINUTES))} minutes, not {rule.window_minutes}"
        )
    if rule.silence is not None and not 1 <= rule.silence.minutes <= _MAX_SILENCE_MINUTES:
        raise Invalid(
            "rule.silence",
            f"a device is silent for 1 to {_MAX_SILENCE_MINUTES} minutes before the rule fires, not for "
            f"{rule.silence.minutes}",
        )
    for condition in rule.conditions:
        check_condition(condition, with_window=rule.window_minutes is not None)
    for narrowing in rule.filters:
        check_filter(narrowing, "rule.filter")
    for action in rule.actions:
        check_action(action)
    names = [action.action_id for action in rule.actions]
    if len(set(names)) != len(names):
        raise Conflict("rule.action_twice", "two actions of the rule have one id")


def check_condition(condition: Condition, *, with_window: bool) -> None:
    """Raises `Invalid` (`rule.conditions`)."""
    if not is_path(condition.path):
        raise Invalid(
            "rule.conditions", f"{condition.path[:80]!r} is no telemetry: its name, below its component and a dot"
        )
    if with_window != (condition.aggregate is not None):
        raise Invalid(
            "rule.conditions",
            f"'{condition.path}' needs an aggregate, since the rule has a window"
            if with_window
            else f"'{condition.path}' has the aggregate {condition.aggregate}, and the rule has no window",
        )
    operand = condition.operand
    if operand.kind != "constant":
        if not isinstance(operand.value, str) or not is_path(operand.value):
            raise Invalid("rule.conditions", f"'{condition.path}' is compared with a property, and none was named")
        return
    check_value(condition.operator, operand.value, "rule.conditions")
    if condition.aggregate is not None and condition.operator != "exists" and not is_number(operand.value):
        raise Invalid(
            "rule.conditions",
            f"the {condition.aggregate} of '{condition.path}' is a number, and was to be compared with "
            f"{str(operand.value)[:40]!r}",
        )


def check_action(action: Action) -> None:
    """Raises `Invalid` (`rule.action`)."""
    check_name(action.display_name, "rule.action")
    if isinstance(action, EmailAction):
        if not 1 <= len(action.to) <= MAX_RECIPIENTS:
            raise Invalid(
                "rule.action",
                f"an e-mail goes to 1 to {MAX_RECIPIENTS} users, '{action.display_name}' names {len(action.to)}",
            )
        if len(action.note) > MAX_NOTE:
            raise Invalid("rule.action", f"the note has {len(action.note)} characters, at most {MAX_NOTE} are sent")
        return
    url = action.url.reveal()
    if not url:
        raise Invalid("rule.action", f"the web hook '{action.display_name}' has no URL to call")
    if not url.startswith(("https://", "http://")) or len(url) > _MAX_URL:
        raise Invalid("rule.action", f"the URL of '{action.display_name}' has to begin with https://")
