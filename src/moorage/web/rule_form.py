"""A rule as the fields of its form, and back; pure, and what was typed is never lost on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from moorage.accounts.model import OrganizationId, parse_login
from moorage.automation.filters import OPERATORS, Operator, PropertyFilter, check_filter, is_path
from moorage.automation.naming import check_name
from moorage.automation.rule_model import (
    AGGREGATES,
    MAX_ACTIONS,
    MAX_NOTE,
    Action,
    Aggregate,
    Condition,
    EmailAction,
    Operand,
    Rule,
    Silence,
    WebhookAction,
    check_action,
    check_condition,
    parse_rule_id,
)
from moorage.errors import Invalid
from moorage.ids import HubId, Secret
from moorage.web.automation_forms import rows_of, typed_value, value_text
from moorage.web.forms import about

__all__ = [
    "CONDITION_TYPED",
    "FILTER_TYPED",
    "MAX_ROWS",
    "OPERATOR_WORDS",
    "SILENCE_WORDS",
    "condition_words",
    "fields_of",
    "rule_of",
]

MAX_ROWS: Final = 10
_CONDITION: Final = ("path", "operator", "against", "value", "aggregate")
_FILTER: Final = ("fpath", "foperator", "fvalue", "fkind")
# Of these what people type, and do not choose from a list.
CONDITION_TYPED: Final = ("path", "value")
FILTER_TYPED: Final = ("fpath", "fvalue")
OPERATOR_WORDS: Final[Mapping[str, str]] = {
    "greater": "is greater than",
    "greater_or_equal": "is at least",
    "less": "is less than",
    "less_or_equal": "is at most",
    "equals": "equals",
    "not_equals": "does not equal",
    "contains": "contains",
    "starts_with": "begins with",
    "ends_with": "ends with",
    "exists": "came (any value)",
}
SILENCE_WORDS: Final = {"offline": "Device is offline", "no_data": "No telemetry came"}


def fields_of(rule: Rule) -> dict[str, str]:
    """What a form for `rule` has in it."""
    fields = {
        "id": rule.rule_id,
        "name": rule.display_name,
        "template": rule.template,
        "organization": rule.organization,
        "watches": "messages" if rule.silence is None else "silence",
        "joined": rule.matches,
        "window": str(rule.window_minutes or ""),
        "etag": rule.etag,
    }
    if rule.silence is not None:
        fields |= {"silence": rule.silence.kind, "minutes": str(rule.silence.minutes)}
    if rule.is_enabled:
        fields["enabled"] = "on"
    for number, condition in enumerate(rule.conditions):
        row = (
            condition.path,
            condition.operator,
            condition.operand.kind,
            value_text(condition.operand.value),
            condition.aggregate or "",
        )
        fields |= _named(_CONDITION, row, number)
    for number, each in enumerate(rule.filters):
        kind = "cloud_property" if each.is_cloud else "property"
        fields |= _named(_FILTER, (each.path, each.operator, value_text(each.value), kind), number)
    for number, action in enumerate(rule.actions):
        fields |= {f"atype{number}": "email" if isinstance(action, EmailAction) else "webhook"}
        fields |= {f"aid{number}": action.action_id, f"aname{number}": action.display_name}
        if isinstance(action, EmailAction):
            fields |= {f"ato{number}": ", ".join(action.to), f"anote{number}": action.note}
        else:
            fields[f"aurl{number}"] = action.url.reveal()
    return fields


def rule_of(fields: Mapping[str, str], hub: HubId, now: datetime) -> Rule:
    """Raises `Invalid` (`rule.*`, `account.login`) of a row, with its field; `check_rule` says the rest."""
    is_silence = fields.get("watches") == "silence"
    window = None if is_silence or not fields.get("window") else _whole(fields["window"], "rule.window")
    return Rule(
        hub=hub,
        rule_id=parse_rule_id(fields.get("id", "")),
        display_name=fields.get("name", "").strip(),
        template=fields.get("template", ""),
        created=now,
        updated=now,
        filters=tuple(_filters(fields)),
        matches="any" if fields.get("joined") == "any" else "all",
        conditions=() if is_silence else tuple(_conditions(fields, with_window=window is not None)),
        window_minutes=window,
        silence=_silence(fields) if is_silence else None,
        actions=tuple(_actions(fields)),
        is_enabled="enabled" in fields,
        organization=OrganizationId(fields.get("organization", "")),
    )


def condition_words(rule: Rule) -> str:
    """One line for a list."""
    if rule.silence is not None:
        return f"{SILENCE_WORDS[rule.silence.kind]} for {rule.silence.minutes} min"
    parts = []
    for condition in rule.conditions:
        left = condition.path if condition.aggregate is None else f"{condition.aggregate} of {condition.path}"
        right = "" if condition.operator == "exists" else f" {value_text(condition.operand.value)}"
        parts.append(f"{left} {OPERATOR_WORDS[condition.operator]}{right}")
    joined = (" or " if rule.matches == "any" else " and ").join(parts)
    return joined if rule.window_minutes is None else f"{joined}, every {rule.window_minutes} min"


def _named(names: tuple[str, ...], row: tuple[str, ...], number: int) -> dict[str, str]:
    return {f"{name}{number}": value for name, value in zip(names, row, strict=True)}


def _conditions(fields: Mapping[str, str], *, with_window: bool) -> Iterator[Condition]:
    for number, (path, operator, against, value, aggregate) in rows_of(fields, _CONDITION, CONDITION_TYPED, MAX_ROWS):
        chosen = _operator(operator)
        operand = Operand("constant", "")
        if chosen != "exists":
            kind: Any = against if against in ("property", "cloud_property") else "constant"
            operand = Operand(kind, value if kind != "constant" else typed_value(value))
        wanted: Aggregate = next((each for each in AGGREGATES if each == aggregate), "average")
        condition = Condition(path, chosen, operand, wanted if with_window else None)
        with about(f"{'value' if is_path(path) else 'path'}{number}"):
            check_condition(condition, with_window=with_window)
        yield condition


def _filters(fields: Mapping[str, str]) -> Iterator[PropertyFilter]:
    for number, (path, operator, value, kind) in rows_of(fields, _FILTER, FILTER_TYPED, MAX_ROWS):
        narrowing = PropertyFilter(path, _operator(operator), typed_value(value), kind == "cloud_property")
        with about(f"{'fvalue' if is_path(path) else 'fpath'}{number}"):
            check_filter(narrowing, "rule.filter")
        yield narrowing


def _silence(fields: Mapping[str, str]) -> Silence:
    kind: Any = "no_data" if fields.get("silence") == "no_data" else "offline"
    return Silence(kind, _whole(fields.get("minutes", ""), "rule.silence"))


def _actions(fields: Mapping[str, str]) -> Iterator[Action]:
    for number in range(MAX_ACTIONS):
        kind = fields.get(f"atype{number}", "")
        action_id = fields.get(f"aid{number}", "")[:64] or f"action-{number + 1}"
        name = fields.get(f"aname{number}", "").strip()
        with about(f"aname{number}"):
            check_name(name or kind or "none", "rule.action")
        if kind == "webhook":
            hook = WebhookAction(action_id, name or "Webhook", Secret(fields.get(f"aurl{number}", "").strip()))
            with about(f"aurl{number}"):
                check_action(hook)
            yield hook
        elif kind == "email":
            note = fields.get(f"anote{number}", "").strip()
            listed = [part.strip() for part in fields.get(f"ato{number}", "").split(",") if part.strip()]
            with about(f"ato{number}" if len(note) <= MAX_NOTE else f"anote{number}"):
                mail = EmailAction(action_id, name or "E-mail", tuple(dict.fromkeys(map(parse_login, listed))), note)
                check_action(mail)
            yield mail


def _operator(text: str) -> Operator:
    return next((each for each in OPERATORS if each == text), "equals")


def _whole(text: str, reason: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Invalid(reason, f"{text[:40]!r} is no number of minutes")
    return int(text)
