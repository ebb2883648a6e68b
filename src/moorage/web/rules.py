"""Rules: a list, an editor in which a rule can be tried on the last day before it is saved, and what happened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from moorage.automation.rule_model import (
    MAX_ACTIONS,
    WINDOWS_MINUTES,
    Rule,
    RuleEvent,
    WebhookAction,
    check_rule,
)
from moorage.automation.rule_service import DRY_RUN_MESSAGES, DryRun
from moorage.errors import Conflict, PreconditionFailed, Refusal
from moorage.fleet.model import TemplateId
from moorage.ids import ETag
from moorage.web.automation_forms import capability_names, new_id, numbers_of
from moorage.web.code import Act
from moorage.web.forms import about
from moorage.web.pages import TOLD, Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.rule_code import rule_acts
from moorage.web.rule_form import (
    CONDITION_TYPED,
    FILTER_TYPED,
    MAX_ROWS,
    OPERATOR_WORDS,
    SILENCE_WORDS,
    condition_words,
    fields_of,
    rule_of,
)
from moorage.web.services import WebServices

__all__ = ["rule_pages"]

_EVENTS: Final = 50
_TRIED: Final = 50


def rule_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Rules(services, renderer)
    one = "/rules/{rule_id}"
    return [
        Page("GET", "/rules", pages.all, "rules.view"),
        Page("GET", "/rules/new", pages.new, "rules.manage"),
        Page("POST", "/rules", pages.create, "rules.manage", keeps=True),
        Page("GET", one, pages.show, "rules.view"),
        Page("POST", one, pages.save, "rules.manage", keeps=True),
        Page("GET", one + "/history", pages.history, "rules.view"),
        Page("POST", one + "/switch", pages.switch, "rules.manage"),
        Page("POST", one + "/delete", pages.delete, "rules.manage"),
    ]


class _Rules:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._automation = services.automation
        self._rules = services.automation.rules
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        rules = await self._rules.all(visit.actor)
        rows = []
        for rule in rules:
            events = await self._rules.events(visit.actor, rule.rule_id, 10)
            rows.append((rule, condition_words(rule), _last(events, "fired"), _trouble(events)))
        return await self._renderer.long_page(visit, "rules/list.html", rows=rows, names=await self._template_names())

    async def new(self, visit: Visit) -> Response:
        fields = {
            "id": new_id("rule"),
            "organization": visit.default_organization,
            "template": visit.query.get("template", ""),
            "watches": "messages",
            "joined": "all",
            "enabled": "on",
            "operator0": "greater",
        }
        copied = visit.query.get("copy", "")
        if copied:
            rule = self._rules.get(visit.actor, copied)
            fields = fields_of(rule) | {"id": fields["id"], "name": f"Copy of {rule.display_name}", "etag": ""}
        return await self._editor(visit, fields, None)

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        return await self._act(visit, fields, None)

    async def show(self, visit: Visit) -> Response:
        rule = self._rules.get(visit.actor, visit.path["rule_id"])
        fields = fields_of(rule)
        if not visit.may("rules.manage"):
            # What stands in a URL is often a secret.
            fields = {name: value for name, value in fields.items() if not name.startswith("aurl")}
        return await self._editor(visit, fields, rule)

    async def save(self, visit: Visit) -> Response:
        fields = await visit.form()
        return await self._act(visit, fields, self._rules.get(visit.actor, visit.path["rule_id"]))

    async def history(self, visit: Visit) -> Response:
        """A part of the page, which asks for it now and then."""
        rule = self._rules.get(visit.actor, visit.path["rule_id"])
        events = await self._rules.events(visit.actor, rule.rule_id, _EVENTS)
        return await self._renderer.long_page(visit, "rules/history.html", rule=rule, events=events)

    async def switch(self, visit: Visit) -> Response:
        fields = await visit.form()
        rule = await self._rules.switch(visit.actor, visit.path["rule_id"], is_enabled="enabled" in fields)
        return _to(rule)

    async def delete(self, visit: Visit) -> Response:
        await self._rules.delete(visit.actor, visit.path["rule_id"])
        return RedirectResponse("/rules", HTTPStatus.SEE_OTHER)

    # ------------------------------------------------------------------------------------------------------------------

    async def _act(self, visit: Visit, fields: dict[str, str], rule: Rule | None) -> Response:
        """What the button that was pressed asks for: more rows, a try, a test of an action, or to save."""
        act = fields.get("act", "save")
        if act == "more":
            return await self._editor(visit, fields, rule)
        try:
            visit.check_in_time()
            wanted = rule_of(fields, self._services.hub, self._services.clock.now())
            for number, action in zip(_numbers_of_actions(fields), wanted.actions, strict=True):
                if isinstance(action, WebhookAction):
                    with about(f"aurl{number}"):
                        self._rules.check_callback(action)
            if act == "try":
                check_rule(wanted)
                tried = await self._rules.dry_run(visit.actor, wanted)
                return await self._editor(visit, fields, rule, tried=tried)
            if act.startswith("test-"):
                return await self._test(visit, fields, rule, wanted, act.removeprefix("test-"))
            if rule is not None:
                changed = await self._rules.update(visit.actor, wanted, if_match=ETag(fields.get("etag", "")))
                return _to(changed)
            return _to(await self._create(visit, wanted))
        except TOLD as refusal:
            if isinstance(refusal, PreconditionFailed) and rule is not None:
                # What was typed stays; the next Save is a decision.
                fields = {**fields, "etag": rule.etag}
            return await self._editor(visit, fields, rule, refusal)

    async def _create(self, visit: Visit, wanted: Rule) -> Rule:
        try:
            return await self._rules.create(visit.actor, wanted)
        except Conflict as refusal:
            if refusal.reason != "rule.exists":
                raise
            # The same form, sent twice.
            present = self._rules.get(visit.actor, wanted.rule_id)
            if present != replace(wanted, created=present.created, updated=present.updated):
                raise
            return present

    async def _test(
        self, visit: Visit, fields: dict[str, str], rule: Rule | None, wanted: Rule, number: str
    ) -> Response:
        try:
            action = await self._automation.test_action(visit.actor, wanted, number)
        except Refusal as refusal:
            return await self._editor(visit, fields, rule, refusal)
        return await self._editor(visit, fields, rule, sent=action.display_name)

    async def _editor(
        self,
        visit: Visit,
        fields: Mapping[str, str],
        rule: Rule | None,
        problem: Refusal | None = None,
        *,
        tried: DryRun | None = None,
        sent: str = "",
    ) -> Response:
        template = fields.get("template", "")
        interface = self._services.templates.interface_of(TemplateId(template)) if template else None
        events: list[RuleEvent] = []
        if rule is not None:
            events = await self._rules.events(visit.actor, rule.rule_id, _EVENTS)
        return await self._renderer.long_page(
            visit,
            "rules/edit.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            rule=rule,
            fields=fields,
            conditions=_shown_rows(fields, CONDITION_TYPED),
            filters=_shown_rows(fields, FILTER_TYPED),
            actions=_shown_actions(fields),
            operators=OPERATOR_WORDS,
            silences=SILENCE_WORDS,
            windows=WINDOWS_MINUTES,
            names=capability_names(interface),
            templates=[each for each in await self._services.templates.list() if each.is_published],
            nodes=self._services.organizations.seen_by(visit.actor),
            reach=self._services.reach,
            is_mail_set_up=self._automation.is_mail_set_up,
            events=events,
            tried=tried,
            shown=[] if tried is None else tried.tried[:_TRIED],
            most_tried=DRY_RUN_MESSAGES,
            sent=sent,
            may_change=visit.may("rules.manage"),
            acts=self._as_code(visit, fields, rule),
            problem=problem,
        )

    def _as_code(self, visit: Visit, fields: Mapping[str, str], rule: Rule | None) -> list[Act]:
        """Of what was typed, as far as it can be read."""
        if not visit.may("rules.manage"):
            return []
        typed = {**fields, "name": fields.get("name") or "New rule"}
        try:
            wanted = rule_of(typed, self._services.hub, self._services.clock.now())
        except TOLD:
            # The form tells what is wrong with it.
            return []
        return rule_acts(self._services.info(), wanted, is_new=rule is None)

    async def _template_names(self) -> dict[str, str]:
        return {each.template_id: each.display_name for each in await self._services.templates.list()}


def _shown_rows(fields: Mapping[str, str], typed: Collection[str]) -> list[int]:
    """Numbers of the rows that a form shows: those with something in them, and an empty one where it was asked for."""
    filled = numbers_of(fields, typed, MAX_ROWS)
    free = [number for number in range(MAX_ROWS) if number not in filled]
    return sorted([*filled, *free[: 1 if not filled or fields.get("act") == "more" else 0]])


def _numbers_of_actions(fields: Mapping[str, str]) -> list[int]:
    return [number for number in range(MAX_ACTIONS) if fields.get(f"atype{number}") in ("webhook", "email")]


def _shown_actions(fields: Mapping[str, str]) -> list[int]:
    filled = _numbers_of_actions(fields)
    free = [number for number in range(MAX_ACTIONS) if number not in filled]
    return sorted([*filled, *free[:1]])


def _last(events: list[RuleEvent], kind: str) -> RuleEvent | None:
    return next((event for event in events if event.kind == kind), None)


def _trouble(events: list[RuleEvent]) -> str:
    """What the last delivery came to, when it failed."""
    last: Any = next((event for event in events if event.kind in ("delivered", "failed")), None)
    return last.text if last is not None and last.kind == "failed" else ""


def _to(rule: Rule) -> Response:
    return RedirectResponse(f"/rules/{segment(rule.rule_id)}", HTTPStatus.SEE_OTHER)
