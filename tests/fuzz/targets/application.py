"""Bodies of our own API of the application: one text, given to everything that reads such a one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from moorage.accounts.customization import Customization
from moorage.analytics.boards import check_query
from moorage.automation.rule_model import Rule, RuleId, check_rule
from moorage.dialects.json_text import encode_json, parse_json
from moorage.dialects.operations_json import parse_act, parse_filter
from moorage.dialects.queries_json import parse_query
from moorage.dialects.roles_json import parse_role
from moorage.dialects.rolls_json import parse_place
from moorage.dialects.rules_json import parse_rule, rule_json
from moorage.dialects.settings_json import parse_look
from moorage.dialects.template_json import parse_draft
from moorage.dialects.views_json import parse_view
from moorage.errors import Invalid, Refusal
from moorage.ids import DEFAULT_HUB
from tests.fuzz.targets.model import Target

__all__ = ["TARGETS"]

Body = Mapping[str, Any]

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BLANK: Final = Rule(DEFAULT_HUB, RuleId("hot"), "", "", _NOW, _NOW)


def _read_rule(body: Body) -> None:
    """What is written of a rule is read as the same rule."""
    rule = parse_rule(_BLANK, body)
    written = encode_json(rule_json(rule, reveal=True))
    assert parse_rule(_BLANK, parse_json(written, what="the rule")) == rule
    check_rule(rule)


class _NoModels:
    """A folder without models."""

    def find(self, _model_id: str) -> Any:
        return None

    def all(self) -> list[str]:
        return []


_READERS: Final[tuple[Callable[[Body], object], ...]] = (
    _read_rule,
    lambda body: parse_look(Customization(), body),
    lambda body: parse_role("watcher", body),
    parse_act,
    parse_filter,
    parse_place,
    lambda body: parse_view("hall", body),
    lambda body: check_query(parse_query("heat", body)),
    lambda body: parse_draft(body, "dtmi:a:b;1", _NoModels()),
)


def _check_bodies(data: bytes) -> None:
    try:
        body = parse_json(data, what="the body")
    except Invalid:
        return
    for read in _READERS if isinstance(body, dict) else ():
        try:
            read(body)
        except Refusal as refusal:
            assert "." in refusal.reason, refusal


def _body_seeds() -> Iterable[bytes]:
    condition = {"path": "a.b", "operator": "greaterOrEqual", "value": 5, "aggregate": "average"}
    hook = {"id": "a", "type": "webhook", "displayName": "A", "url": "https://a.example/"}
    mail = {"id": "b", "type": "email", "displayName": "B", "to": ["ada@example.com"], "note": "n"}
    rule = {"displayName": "Hot", "template": "dtmi:a:b;1", "actions": [hook, mail], "organizations": ["a"]}
    for body in (
        {**rule, "conditions": [condition], "windowMinutes": 5, "matches": "any", "enabled": False},
        {**rule, "silence": {"kind": "noData", "minutes": 5}},
        {**rule, "filters": [{"path": "a", "operator": "exists", "cloud": True}], "conditions": [condition]},
        {"headerColor": "#0f2d3d", "accentColor": None, "helpLinks": [{"label": "H", "url": "https://a.example/"}]},
        {"act": "migrate", "to": "dtmi:a:b;1", "filter": {"state": "waiting", "connected": "yes", "text": "p"}},
        {"act": "block", "devices": ["a", "b"]},
        {"group": "line-7", "slot": "primary", "certificate": "MIIB", "etag": "1"},
        {"ca": "plant"},
        {"displayName": "Watcher", "description": "d", "kind": "organization", "permissions": ["devices.view"]},
        {
            "displayName": "Heat",
            "personal": False,
            "measures": [{"name": "a", "component": "b", "aggregate": "sum"}],
            "since": "2026-01-01T00:00:00Z",
            "until": "2026-01-02T00:00:00Z",
            "stepMinutes": 60,
            "by": "$id",
        },
        {
            "displayName": "Hall",
            "kind": "form",
            "tiles": [{"kind": "property", "title": "T", "capabilities": [{"name": "a", "component": "b"}]}],
        },
        {
            "displayName": "Pump",
            "capabilityModel": {
                "@id": "dtmi:a:c;1",
                "@type": "Interface",
                "@context": "dtmi:dtdl:context;2",
                "contents": [{"@type": "Telemetry", "name": "a", "schema": "double"}],
            },
        },
    ):
        yield json.dumps(body).encode()


TARGETS: Final = (
    Target(
        "application_bodies",
        _check_bodies,
        _body_seeds,
        (b'"operator":', b"null", b"[[", b'{"', b"1e308"),
        4096,
        is_json=True,
    ),
)
