"""What the buttons of a rule do, as code: calls of our own API, because IoT Central's has no rules.

Where a webhook goes to is a secret as a rule, so it is a variable of whoever runs the code.
"""

from __future__ import annotations

from typing import Any, Final

from moorage.automation.rule_model import Rule, WebhookAction
from moorage.dialects.rules_json import rule_json
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Variable, act_as_code, central_path

__all__ = ["rule_acts"]

# What an answer tells and no change takes.
_TOLD: Final = ("id", "etag", "created", "updated")


def rule_acts(info: HubInfo, rule: Rule, *, is_new: bool) -> list[Act]:
    """Of a rule as its form has it; a new one is made, another is changed, switched or deleted."""
    there, body = central_path("rules", rule.rule_id), _body(rule)

    def own(label: str, method: str, path: str, sent: Any = None) -> Act:
        return act_as_code(info, label, Call(method, path, sent, api="own"))

    acts = [own("Save", "PUT", there, body)]
    # What is stored needs no body, which would hold its secrets.
    stored, sent = ("/rules", body) if is_new else (there, None)
    if rule.silence is None:
        acts.append(own("Try on the last day", "POST", f"{stored}/try", sent))
    for each in rule.actions[:1]:
        acts.append(own("Send a test", "POST", stored + central_path("actions", each.action_id, "test"), sent))
    if is_new:
        return acts
    label = "Disable" if rule.is_enabled else "Enable"
    return [*acts, own(label, "PATCH", there, {"enabled": not rule.is_enabled}), own("Delete", "DELETE", there)]


def _body(rule: Rule) -> dict[str, Any]:
    document = {name: value for name, value in rule_json(rule, reveal=True).items() if name not in _TOLD}
    hooks = [each.action_id for each in rule.actions if isinstance(each, WebhookAction)]
    names = {each: "WEBHOOK_URL" if number == 0 else f"WEBHOOK_URL_{number + 1}" for number, each in enumerate(hooks)}
    return document | {
        "actions": [
            {**action, "url": Variable(names[action["id"]])} if action["id"] in names else action
            for action in document["actions"]
        ]
    }
