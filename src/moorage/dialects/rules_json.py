"""Rules in the JSON of our own API, and what is told of them: events, and what a rule would have said.

    {"displayName": "Too hot", "template": "dtmi:...", "matches": "all", "actions": [...],
     "conditions": [{"path": "temperature", "operator": "greater", "value": 50}]}

A condition compares with a `value`, a `property` of the device or a `cloudProperty`; `exists` compares with nothing.
What stands in the address of a web hook is often a secret: it is told to whoever may change rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from moorage.accounts.model import parse_login
from moorage.automation.filters import OPERATORS, Operator, PropertyFilter
from moorage.automation.rule_model import (
    AGGREGATES,
    Action,
    Aggregate,
    Condition,
    EmailAction,
    Operand,
    Rule,
    RuleEvent,
    Silence,
    WebhookAction,
)
from moorage.automation.rule_service import DryRun
from moorage.dialects.central_device_groups import parse_organizations
from moorage.dialects.members import (
    check_members,
    check_same,
    get_boolean,
    get_choice,
    get_object,
    get_objects,
    get_text,
    get_texts,
    get_whole,
    need_text,
)
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.ids import Secret

__all__ = ["AGGREGATE_WORDS", "OPERATOR_WORDS", "RULE_MEMBERS", "dry_run_json", "event_json", "parse_rule", "rule_json"]

RULE_MEMBERS: Final = (
    "id",
    "displayName",
    "template",
    "enabled",
    "organizations",
    "filters",
    "matches",
    "conditions",
    "windowMinutes",
    "silence",
    "actions",
    "created",
    "updated",
    "etag",
)
_FILTER: Final = ("path", "operator", "value", "cloud")
_CONDITION: Final = ("path", "aggregate", "operator", "value", "property", "cloudProperty")
_ACTION: Final = {
    "webhook": ("id", "type", "displayName", "url"),
    "email": ("id", "type", "displayName", "to", "note"),
}
_MAX_ACTION_ID: Final = 64


def _camel(words: str) -> str:
    first, *others = words.split("_")
    return first + "".join(map(str.title, others))


OPERATOR_WORDS: Final[Mapping[str, Operator]] = {_camel(operator): operator for operator in OPERATORS}
_WORD_OF: Final = {operator: word for word, operator in OPERATOR_WORDS.items()}
AGGREGATE_WORDS: Final[Mapping[str, Aggregate]] = {aggregate: aggregate for aggregate in AGGREGATES}
_MATCHES: Final[Mapping[str, Literal["all", "any"]]] = {"all": "all", "any": "any"}
_SILENCES: Final[Mapping[str, Literal["offline", "no_data"]]] = {"offline": "offline", "noData": "no_data"}
_OPERANDS: Final[Mapping[str, Literal["property", "cloud_property"]]] = {
    "property": "property",
    "cloudProperty": "cloud_property",
}


# -- reading -----------------------------------------------------------------------------------------------------------


def parse_rule(blank: Rule, body: Mapping[str, Any]) -> Rule:
    """A whole rule with the id of `blank`, and its organization where the body says nothing of one.

    Raises `Invalid` (`body.member`, `body.id`, `account.login`); `check_rule` says the rest.
    """
    check_members(body, RULE_MEMBERS)
    check_same(body, "id", blank.rule_id)
    organization, silence = parse_organizations(body), get_object(body, "silence")
    return replace(
        blank,
        display_name=need_text(body, "displayName").strip(),
        template=need_text(body, "template"),
        filters=tuple(_filter(path, each) for path, each in get_objects(body, "filters")),
        matches=get_choice(body, "matches", _MATCHES) or "all",
        conditions=tuple(_condition(path, each) for path, each in get_objects(body, "conditions")),
        window_minutes=get_whole(body, "windowMinutes"),
        silence=None if silence is None else _silence(silence),
        actions=tuple(_action(path, each) for path, each in get_objects(body, "actions")),
        is_enabled=get_boolean(body, "enabled", "enabled", default=True),
        organization=blank.organization if organization is None else organization,
    )


def _filter(path: str, body: Mapping[str, Any]) -> PropertyFilter:
    check_members(body, _FILTER, path)
    operator = _operator(path, body)
    return PropertyFilter(
        need_text(body, "path", f"{path}.path"),
        operator,
        "" if operator == "exists" else _value(path, body),
        get_boolean(body, "cloud", f"{path}.cloud", default=False),
    )


def _condition(path: str, body: Mapping[str, Any]) -> Condition:
    check_members(body, _CONDITION, path)
    operator = _operator(path, body)
    return Condition(
        need_text(body, "path", f"{path}.path"),
        operator,
        Operand("constant", "") if operator == "exists" else _operand(path, body),
        get_choice(body, "aggregate", AGGREGATE_WORDS, f"{path}.aggregate"),
    )


def _operator(path: str, body: Mapping[str, Any]) -> Operator:
    need_text(body, "operator", f"{path}.operator")
    return get_choice(body, "operator", OPERATOR_WORDS, f"{path}.operator") or "equals"


def _operand(path: str, body: Mapping[str, Any]) -> Operand:
    if sum(body.get(name) is not None for name in ("value", *_OPERANDS)) != 1:
        raise Invalid("body.member", f"{path} compares with one of value, property and cloudProperty")
    for member, kind in _OPERANDS.items():
        if body.get(member) is not None:
            return Operand(kind, need_text(body, member, f"{path}.{member}"))
    return Operand("constant", _value(path, body))


def _value(path: str, body: Mapping[str, Any]) -> str | int | float | bool:
    value = body.get("value")
    if not isinstance(value, str | int | float):
        raise Invalid("body.member", f"{path}.value has to be a text, a number, true or false")
    return value


def _silence(body: Mapping[str, Any]) -> Silence:
    check_members(body, ("kind", "minutes"), "silence")
    kind, minutes = get_choice(body, "kind", _SILENCES, "silence.kind"), get_whole(body, "minutes", "silence.minutes")
    if kind is None or minutes is None:
        raise Invalid("body.member", "silence has a kind and minutes")
    return Silence(kind, minutes)


def _action(path: str, body: Mapping[str, Any]) -> Action:
    kind = need_text(body, "type", f"{path}.type")
    if kind not in _ACTION:
        raise Invalid("body.member", f"{path}.type is {kind[:40]!r}, it has to be one of {', '.join(_ACTION)}")
    check_members(body, _ACTION[kind], path)
    action_id = need_text(body, "id", f"{path}.id")
    if len(action_id) > _MAX_ACTION_ID:
        raise Invalid("body.member", f"{path}.id has {len(action_id)} characters, at most {_MAX_ACTION_ID} are allowed")
    name = need_text(body, "displayName", f"{path}.displayName").strip()
    if kind == "webhook":
        return WebhookAction(action_id, name, Secret(need_text(body, "url", f"{path}.url").strip()))
    to = tuple(dict.fromkeys(map(parse_login, get_texts(body, "to", f"{path}.to"))))
    return EmailAction(action_id, name, to, (get_text(body, "note", f"{path}.note") or "").strip())


# -- writing -----------------------------------------------------------------------------------------------------------


def rule_json(rule: Rule, *, reveal: bool) -> dict[str, Any]:
    """What `parse_rule` reads. Without `reveal` web hooks have no `url`."""
    document: dict[str, Any] = {
        "id": rule.rule_id,
        "displayName": rule.display_name,
        "template": rule.template,
        "enabled": rule.is_enabled,
        "filters": [_filter_json(each) for each in rule.filters],
        "matches": rule.matches,
        "conditions": [_condition_json(each) for each in rule.conditions],
        "actions": [_action_json(each, reveal=reveal) for each in rule.actions],
        "created": format_time(rule.created),
        "updated": format_time(rule.updated),
        "etag": rule.etag,
    }
    if rule.window_minutes is not None:
        document["windowMinutes"] = rule.window_minutes
    if rule.silence is not None:
        document["silence"] = {"kind": _camel(rule.silence.kind), "minutes": rule.silence.minutes}
    if rule.organization:
        document["organizations"] = [rule.organization]
    return document


def _filter_json(narrowing: PropertyFilter) -> dict[str, Any]:
    document = {"path": narrowing.path, "operator": _WORD_OF[narrowing.operator], "cloud": narrowing.is_cloud}
    return document if narrowing.operator == "exists" else {**document, "value": narrowing.value}


def _condition_json(condition: Condition) -> dict[str, Any]:
    document: dict[str, Any] = {"path": condition.path, "operator": _WORD_OF[condition.operator]}
    if condition.aggregate is not None:
        document["aggregate"] = condition.aggregate
    if condition.operator != "exists":
        operand = condition.operand
        document["value" if operand.kind == "constant" else _camel(operand.kind)] = operand.value
    return document


def _action_json(action: Action, *, reveal: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"id": action.action_id, "displayName": action.display_name}
    if isinstance(action, EmailAction):
        return {**document, "type": "email", "to": list(action.to), "note": action.note}
    return {**document, "type": "webhook", **({"url": action.url.reveal()} if reveal else {})}


def event_json(event: RuleEvent) -> dict[str, Any]:
    return {
        "time": format_time(event.at),
        "kind": event.kind,
        "device": event.device_id,
        "text": event.text,
        "count": event.count,
    }


def dry_run_json(run: DryRun) -> dict[str, Any]:
    """The newest first. `complete` is false when there were more messages than were looked at."""
    return {
        "fired": run.fired,
        "lookedAt": run.looked_at,
        "complete": run.is_whole,
        "value": [
            {
                "time": format_time(each.at),
                "device": each.device_id,
                "fires": each.verdict.fires,
                "why": list(each.verdict.why),
            }
            for each in run.tried
        ],
    }
