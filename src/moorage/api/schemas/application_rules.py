"""Rules, what happened to them, and what one would have said (contract/central.md 15)."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import FLAG, TIME, Schema, either, flag, list_of, members, named, one_of, text, whole
from moorage.automation.rule_model import MAX_ACTIONS, MAX_CONDITIONS, WINDOWS_MINUTES
from moorage.dialects.rules_json import AGGREGATE_WORDS, OPERATOR_WORDS

__all__ = ["DRY_RUN", "RULE", "RULE_CHANGE", "RULE_DRAFT", "RULE_EVENTS"]

_OPERATOR: Final = one_of(*OPERATOR_WORDS)
_VALUE: Final = either({"type": "string"}, {"type": "number"}, FLAG)
_PATH: Final = text("A name, below its component and a dot where it has one.")
_FILTER: Final = members({"path": _PATH, "operator": _OPERATOR}, {"value": _VALUE, "cloud": FLAG})
_CONDITION: Final = members(
    {"path": _PATH, "operator": _OPERATOR},
    {
        "value": _VALUE,
        "property": text("Compare with this property of the device instead."),
        "cloudProperty": text("Compare with this cloud property instead."),
        "aggregate": one_of(*AGGREGATE_WORDS, about="In rules with a window, and only there."),
    },
)
_ACTION: Final = members(
    {"id": text(most=64), "type": one_of("webhook", "email"), "displayName": text()},
    {
        "url": text("Of a web hook; told to whoever may change rules."),
        "to": list_of(text(), "Of an e-mail: logins of users who have signed in."),
        "note": text("Of an e-mail."),
    },
)
_NEEDED: Final[dict[str, Schema]] = {
    "displayName": text(),
    "template": text("The id of the device template whose devices are watched."),
}
_MORE: Final[dict[str, Schema]] = {
    "enabled": FLAG,
    "organizations": list_of(text(), "At most one.", most=1),
    "filters": list_of(_FILTER, "Of these devices, those whose properties are so."),
    "matches": one_of("all", "any"),
    "conditions": list_of(_CONDITION, most=MAX_CONDITIONS),
    "windowMinutes": {"type": "integer", "enum": list(WINDOWS_MINUTES)},
    "silence": members({"kind": one_of("offline", "noData"), "minutes": whole(least=1)}),
    "actions": list_of(_ACTION, most=MAX_ACTIONS),
}
RULE_DRAFT: Final = named("RuleDraft", members(_NEEDED, {**_MORE, "etag": text()}))
RULE_CHANGE: Final = named("RuleChange", members({}, {**_NEEDED, **_MORE, "etag": text()}))
RULE: Final = named("Rule", members({"id": text(), **_NEEDED, "created": TIME, "updated": TIME, "etag": text()}, _MORE))
RULE_EVENTS: Final = members(
    {
        "value": list_of(
            members(
                {
                    "time": TIME,
                    "kind": one_of("fired", "delivered", "failed", "recovered"),
                    "device": text(),
                    "text": text(),
                    "count": whole("Events of one kind, close together, are one."),
                }
            )
        )
    }
)
DRY_RUN: Final = named(
    "DryRun",
    members(
        {
            "fired": whole(),
            "lookedAt": whole("Messages of the last day."),
            "complete": flag("Whether these were all."),
            "value": list_of(
                members({"time": TIME, "device": text(), "fires": FLAG, "why": list_of(text())}),
                "The newest first: a message, or a window of them.",
            ),
        }
    ),
)
