"""Whether a rule fires, and why: decisions over one message, over a window of messages, or over silence.

    message ──► reading ──► evaluate          each message by itself (RUL-4)
                       └──► Windows ──► evaluate_window, when a window has passed (RUL-3)
    presence ─────────────► evaluate_silence

Nothing here waits, looks at a clock or at a store. Every verdict says of each condition what was compared, so that a
dry run and what an action sends tell the same story.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from moorage.automation.filters import ABSENT, Operator, Watched, compare, is_kept, is_number, look_up
from moorage.automation.rule_model import (
    Aggregate,
    Condition,
    Operand,
    Rule,
    RuleId,
    Silence,
)

__all__ = [
    "Reading",
    "Stats",
    "Verdict",
    "Window",
    "Windows",
    "evaluate",
    "evaluate_silence",
    "evaluate_window",
    "fires",
    "is_watched",
    "needs_properties",
    "value_of",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS: Final[Mapping[Operator, str]] = {
    "equals": "equal to",
    "not_equals": "other than",
    "greater": "greater than",
    "greater_or_equal": "greater than or equal to",
    "less": "less than",
    "less_or_equal": "less than or equal to",
}
_VERBS: Final[Mapping[Operator, tuple[str, str]]] = {
    "contains": ("contains", "does not contain"),
    "starts_with": ("begins with", "does not begin with"),
    "ends_with": ("ends with", "does not end with"),
}
_SHOWN: Final = 80
# Devices of all rules that have an open window; beyond it the oldest window is closed early.
MAX_WINDOWS: Final = 50_000


class Verdict(NamedTuple):
    """`why` has a sentence for each condition that was looked at, without the full stop."""

    fires: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One message of telemetry, read. `values` are the members of its body, by name; `component` is '' for the root."""

    device_id: str
    at: datetime
    values: Mapping[str, Any]
    component: str = ""
    module: str = ""
    offset: int = -1
    message_properties: Mapping[str, str | None] = field(default_factory=dict)


def value_of(reading: Reading, path: str) -> Any:
    """What a message says of a telemetry, else `ABSENT`: the component has to be the message's own (W-2)."""
    if not reading.component:
        return look_up(reading.values, path)
    component, dot, name = path.partition(".")
    return look_up(reading.values, name) if dot and component == reading.component else ABSENT


def is_watched(rule: Rule, device: Watched) -> bool:
    """By template and filters (RUL-1). Organisations are the caller's to narrow by, who knows their tree."""
    return device.template == rule.template and all(is_kept(narrowing, device) for narrowing in rule.filters)


def needs_properties(rule: Rule) -> bool:
    """Whether the rule asks of a device more than its record."""
    return bool(rule.filters) or any(condition.operand.kind != "constant" for condition in rule.conditions)


# -- one message -------------------------------------------------------------------------------------------------------


def evaluate(rule: Rule, reading: Reading, device: Watched) -> Verdict:
    """A rule without a window, over one message."""
    judged = [_judge(condition, value_of(reading, condition.path), device) for condition in rule.conditions]
    return _verdict(rule, judged)


def fires(rule: Rule, reading: Reading, device: Watched) -> bool:
    """What `evaluate` says, without its sentences, which take most of the time."""
    held = (_holds(condition, value_of(reading, condition.path), device) for condition in rule.conditions)
    return any(held) if rule.matches == "any" else all(held)


def _holds(condition: Condition, left: Any, device: Watched) -> bool:
    if left is ABSENT or condition.operator == "exists":
        return left is not ABSENT
    return compare(left, condition.operator, _operand(condition.operand, device)[0])


def _judge(condition: Condition, left: Any, device: Watched, named: str = "") -> tuple[bool, str]:
    named = named or condition.path
    if left is ABSENT:
        return False, f"the message has no {condition.path}"
    if condition.operator == "exists":
        return True, f"{condition.path} came"
    right, told = _operand(condition.operand, device)
    if right is ABSENT:
        return False, f"the device has no {told}, with which {named} is compared"
    holds = compare(left, condition.operator, right)
    behind = "" if condition.operand.kind == "constant" else f" ({told})"
    return holds, f"{named} is {_shown(left)}, {_relation(condition.operator, holds)} {_shown(right)}{behind}"


def _operand(operand: Operand, device: Watched) -> tuple[Any, str]:
    match operand.kind:
        case "constant":
            return operand.value, ""
        case "property":
            return look_up(device.properties, str(operand.value)), f"property {operand.value}"
        case "cloud_property":
            return look_up(device.cloud_properties, str(operand.value)), f"cloud property {operand.value}"


def _relation(operator: Operator, holds: bool) -> str:
    if operator in _VERBS:
        return _VERBS[operator][0 if holds else 1]
    return ("" if holds else "not ") + _WORDS[operator]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _verdict(rule: Rule, judged: list[tuple[bool, str]]) -> Verdict:
    held = [holds for holds, _ in judged]
    return Verdict(any(held) if rule.matches == "any" else all(held), tuple(why for _, why in judged))


# -- a window of messages ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stats:
    """Of the values that one condition saw. Only numbers are summed; whatever comes is counted."""

    count: int = 0
    numbers: int = 0
    sum: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0

    def add(self, value: Any) -> None:
        self.count += 1
        if not is_number(value):
            return
        self.minimum = value if not self.numbers else min(self.minimum, value)
        self.maximum = value if not self.numbers else max(self.maximum, value)
        self.numbers += 1
        self.sum += value

    def of(self, aggregate: Aggregate) -> Any:
        """A number, or `ABSENT` when no number came."""
        if aggregate == "count":
            return self.count
        if not self.numbers:
            return ABSENT
        match aggregate:
            case "average":
                return self.sum / self.numbers
            case "maximum":
                return self.maximum
            case "minimum":
                return self.minimum
            case "sum":
                return self.sum


@dataclass(slots=True)
class Window:
    """What one rule saw of one device from `start` until before `end`. `last` is the newest message in it."""

    rule_id: RuleId
    device_id: str
    start: datetime
    end: datetime
    stats: list[Stats]
    last: Reading
    # The first message in it: until the window is closed, a reader that starts again starts here.
    offset: int


class Windows:
    """Tumbling windows, one for each rule and device that has sent something in it. Bounded by `MAX_WINDOWS`."""

    def __init__(self, most: int = MAX_WINDOWS) -> None:
        self._most = most
        # In the order in which they were opened.
        self._open: dict[tuple[RuleId, str], Window] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def oldest_offset(self) -> int | None:
        return min((window.offset for window in self._open.values()), default=None)

    def add(self, rule: Rule, reading: Reading) -> Iterator[Window]:
        """Count a message; what was closed by it. One that is older than its device's window counts in that window."""
        key = rule.rule_id, reading.device_id
        window = self._open.get(key)
        if window is not None and reading.at >= window.end:
            yield self._open.pop(key)
            window = None
        if window is None:
            if len(self._open) >= self._most:
                yield self._open.pop(next(iter(self._open)))
            start, end = _span(rule, reading.at)
            stats = [Stats() for _ in rule.conditions]
            window = self._open[key] = Window(*key, start, end, stats, reading, reading.offset)
        window.last = reading
        for condition, stats_of in zip(rule.conditions, window.stats, strict=True):
            value = value_of(reading, condition.path)
            if value is not ABSENT:
                stats_of.add(value)

    def close(self, now: datetime) -> list[Window]:
        """Those whose time has passed."""
        due = [key for key, window in self._open.items() if window.end <= now]
        return [self._open.pop(key) for key in due]

    def close_all(self) -> list[Window]:
        windows = list(self._open.values())
        self._open.clear()
        return windows

    def forget(self, rule_id: RuleId) -> None:
        for key in [key for key in self._open if key[0] == rule_id]:
            del self._open[key]


def _span(rule: Rule, at: datetime) -> tuple[datetime, datetime]:
    length = timedelta(minutes=rule.window_minutes or 1)
    start = _EPOCH + (at - _EPOCH) // length * length
    return start, start + length


def evaluate_window(rule: Rule, window: Window, device: Watched) -> Verdict:
    """A rule with a window, over what that has gathered."""
    judged = []
    for condition, stats in zip(rule.conditions, window.stats, strict=True):
        aggregate = condition.aggregate or "count"
        named = f"the {aggregate} of {condition.path} over {rule.window_minutes} min"
        value = stats.of(aggregate)
        if value is ABSENT:
            judged.append((False, f"no number came for {condition.path} within {rule.window_minutes} min"))
        else:
            judged.append(_judge(condition, value, device, named))
    return _verdict(rule, judged)


# -- silence -----------------------------------------------------------------------------------------------------------


def evaluate_silence(silence: Silence, since: datetime | None, now: datetime) -> Verdict:
    """`since` is when the device was last there: for `offline` when it went, for `no_data` when it last sent something;
    None while it is connected, or when it never was there, in which cases nothing fires."""
    what = "offline" if silence.kind == "offline" else "without telemetry"
    if since is None:
        return Verdict(False, ("the device is connected" if silence.kind == "offline" else "it never sent anything",))
    passed = (now - since) / timedelta(minutes=1)
    fires = passed >= silence.minutes
    compared = "the rule waits for" if not fires else "the rule takes"
    return Verdict(fires, (f"the device is {what} for {int(passed)} min, {compared} {silence.minutes} min",))
