"""What a rule sends when it fires: the body of a web hook with exactly the product's fields, and the text of an e-mail
(contract/central.md 15). Values are wrapped as `{"value": ...}`; those of a component lie below its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moorage.automation.filters import Watched
from moorage.automation.firing import Firing
from moorage.automation.rule_model import EmailAction, Rule, WebhookAction
from moorage.automation.rules import Reading
from moorage.dialects.times import format_time

__all__ = ["ApplicationFacts", "email_of", "webhook_body"]


@dataclass(frozen=True, slots=True)
class ApplicationFacts:
    """What bodies say of the application. `host` is where its pages are."""

    application_id: str
    display_name: str
    subdomain: str
    host: str


def webhook_body(firing: Firing, action: WebhookAction, application: ApplicationFacts) -> dict[str, Any]:
    rule = firing.rule
    return {
        "timestamp": format_time(firing.at),
        "action": {
            "id": action.action_id,
            "type": "WebhookAction",
            "rules": [rule.rule_id],
            "displayName": action.display_name,
            "url": action.url.reveal(),
        },
        "application": {
            "id": application.application_id,
            "displayName": application.display_name,
            "subdomain": application.subdomain,
            "host": application.host,
        },
        "device": _device(firing.device, firing.reading),
        "rule": {"id": rule.rule_id, "displayName": rule.display_name},
    }


def _device(device: Watched, reading: Reading | None) -> dict[str, Any]:
    return {
        "id": device.device_id,
        "etag": device.etag,
        "displayName": device.display_name,
        "instanceOf": device.template,
        "simulated": device.is_simulated,
        "provisioned": device.is_provisioned,
        "approved": device.is_approved,
        "cloudProperties": _wrapped(device.cloud_properties),
        "properties": _with_components(device.properties, device.components),
        "telemetry": {} if reading is None else _telemetry(reading),
    }


def _wrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in values.items()}


def _with_components(values: Mapping[str, Any], components: frozenset[str]) -> dict[str, Any]:
    return {
        name: _wrapped(value) if name in components and isinstance(value, Mapping) else {"value": value}
        for name, value in values.items()
    }


def _telemetry(reading: Reading) -> dict[str, Any]:
    values = _wrapped(reading.values)
    return {reading.component: values} if reading.component else values


def email_of(firing: Firing, action: EmailAction, application: ApplicationFacts) -> tuple[str, str]:
    """(subject, text)."""
    rule, device = firing.rule, firing.device
    subject = f"{rule.display_name}: {device.display_name}"
    lines = [
        f"The rule “{rule.display_name}” fired for {device.display_name} ({device.device_id}).",
        "",
        *(f"  - {why}" for why in firing.verdict.why),
        "",
        f"Time: {format_time(firing.at)}",
    ]
    if firing.more:
        lines.append(f"It fired {firing.more} more times since the last e-mail.")
    if firing.reading is not None:
        lines += ["", "Telemetry:", *(f"  {name} = {_shown(value)}" for name, value in firing.reading.values.items())][
            :40
        ]
    if action.note:
        lines += ["", action.note]
    lines += ["", f"Rule: https://{application.host}/rules/{_path_of(rule)}"]
    return subject, "\n".join(lines) + "\n"


def _path_of(rule: Rule) -> str:
    # Ids are letters, digits, hyphens and underscores.
    return rule.rule_id


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"
