"""Rules over REST: kept, switched, tried on the last day, their actions done once by hand (contract/central.md 15)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, etag_in, no_content, page_of, page_schema
from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import Route
from moorage.api.schemas.application_rules import DRY_RUN, RULE, RULE_CHANGE, RULE_DRAFT, RULE_EVENTS
from moorage.api.schemas.words import whole
from moorage.automation.rule_model import MAX_HISTORY, Rule, RuleId, parse_rule_id
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import check_same, get_boolean
from moorage.dialects.merge_patch import merge_patch
from moorage.dialects.rules_json import RULE_MEMBERS, dry_run_json, event_json, parse_rule, rule_json
from moorage.errors import NotFound

__all__ = ["rule_routes"]

_VIEW: Final[Permission] = "rules.view"
_MANAGE: Final[Permission] = "rules.manage"
_EVENTS: Final = 50
# A rule that has no id yet is tried under this one.
_UNNAMED: Final = RuleId("unnamed")


def rule_routes(services: OwnServices) -> list[Route]:
    api, one = _Rules(services), "/rules/{id}"
    answer, tried, sent = {200: RULE}, {200: DRY_RUN}, {204: None}
    return [
        own_route("GET", "/rules", api.list, _VIEW, "Rules.", answers={200: page_schema(RULE)}),
        own_route("GET", one, api.get, _VIEW, "One rule.", answers=answer),
        own_route(
            "PUT",
            one,
            api.put,
            _MANAGE,
            "Create a rule, or put another in its place.",
            body=RULE_DRAFT,
            answers=answer,
            is_guarded=True,
        ),
        own_route(
            "PATCH",
            one,
            api.patch,
            _MANAGE,
            "Change a rule by a merge patch; `enabled` alone switches it.",
            body=RULE_CHANGE,
            answers=answer,
            is_guarded=True,
        ),
        own_route(
            "DELETE",
            one,
            api.delete,
            _MANAGE,
            "Delete a rule, with all that is kept of it.",
            answers={204: None},
            is_guarded=True,
        ),
        own_route(
            "GET",
            f"{one}/events",
            api.events,
            _VIEW,
            "What happened to a rule, the newest first.",
            query={"$top": whole("At most so many; 50 when not given.", least=1, most=MAX_HISTORY)},
            answers={200: RULE_EVENTS},
        ),
        own_route(
            "POST",
            f"{one}/try",
            api.try_stored,
            _MANAGE,
            "What the rule would have said of the newest messages of the last day.",
            answers=tried,
        ),
        own_route(
            "POST",
            "/rules/try",
            api.try_given,
            _MANAGE,
            "The same for a rule of the body.",
            body=RULE_DRAFT,
            answers=tried,
        ),
        own_route(
            "POST",
            f"{one}/actions/{{action}}/test",
            api.test_stored,
            _MANAGE,
            "Do at once what an action of the rule does, with the newest message.",
            answers=sent,
        ),
        own_route(
            "POST",
            "/rules/actions/{action}/test",
            api.test_given,
            _MANAGE,
            "The same for a rule of the body.",
            body=RULE_DRAFT,
            answers=sent,
        ),
    ]


class _Rules:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._rules = services.automation.rules

    async def list(self, call: ActorCall) -> Response:
        found = sorted(await self._rules.all(call.actor), key=_id_of)
        return await page_of(call, found, _id_of, lambda rule: self._json(call, rule))

    async def get(self, call: ActorCall) -> Response:
        return self._answer(call, self._rules.get(call.actor, call.path["id"]))

    async def put(self, call: ActorCall) -> Response:
        rule_id, body = parse_rule_id(call.path["id"]), await call.json_object()
        held = etag_in(call, body)
        try:
            blank = self._blank(call, self._rules.get(call.actor, rule_id))
        except NotFound:
            if held is not None:
                # What the caller read is gone.
                raise
            return self._answer(call, await self._rules.create(call.actor, self._read(call, self._blank(call), body)))
        return self._answer(call, await self._rules.update(call.actor, self._read(call, blank, body), if_match=held))

    async def patch(self, call: ActorCall) -> Response:
        body = await call.members(*RULE_MEMBERS)
        present = self._rules.get(call.actor, call.path["id"])
        check_same(body, "id", present.rule_id)
        held = etag_in(call, body)
        switched = get_boolean(body, "enabled", "enabled", default=None)
        if switched is not None and body.keys() <= {"id", "enabled", "etag"}:
            changed = await self._rules.switch(call.actor, present.rule_id, is_enabled=switched, if_match=held)
            return self._answer(call, changed)
        merged = merge_patch(rule_json(present, reveal=True), body)
        wanted = self._read(call, self._blank(call, present), merged)
        # What was read just now is what is changed.
        return self._answer(call, await self._rules.update(call.actor, wanted, if_match=held or present.etag))

    async def delete(self, call: ActorCall) -> Response:
        await self._rules.delete(call.actor, call.path["id"], if_match=etag_in(call, {}))
        return no_content()

    async def events(self, call: ActorCall) -> Response:
        limit = call.count("$top", default=_EVENTS, least=1, most=MAX_HISTORY)
        events = await self._rules.events(call.actor, call.path["id"], limit)
        return json_response({"value": [event_json(event) for event in events]})

    async def try_stored(self, call: ActorCall) -> Response:
        return await self._tried(call, self._rules.get(call.actor, call.path["id"]))

    async def try_given(self, call: ActorCall) -> Response:
        return await self._tried(call, self._read(call, self._blank(call), await call.json_object()))

    async def test_stored(self, call: ActorCall) -> Response:
        return await self._tested(call, self._rules.get(call.actor, call.path["id"]))

    async def test_given(self, call: ActorCall) -> Response:
        return await self._tested(call, self._read(call, self._blank(call), await call.json_object()))

    async def _tried(self, call: ActorCall, rule: Rule) -> Response:
        run = await self._rules.dry_run(call.actor, rule)
        return encoded_response(await asyncio.to_thread(lambda: encode_json(dry_run_json(run))))

    async def _tested(self, call: ActorCall, rule: Rule) -> Response:
        """Raises as the delivery does."""
        await self._services.automation.test_action(call.actor, rule, call.path["action"])
        return no_content()

    def _blank(self, call: ActorCall, present: Rule | None = None) -> Rule:
        """A rule that says nothing yet, in the place of `present`, or where what the caller makes belongs."""
        now = self._rules.now()
        if present is None:
            rule_id = RuleId(call.path.get("id", _UNNAMED))
            return Rule(self._services.hub, rule_id, "", "", now, now, organization=call.actor.organization)
        return Rule(present.hub, present.rule_id, "", "", present.created, now, organization=present.organization)

    def _read(self, call: ActorCall, blank: Rule, body: dict[str, Any]) -> Rule:
        wanted = parse_rule(blank, body)
        self._services.organizations.choose(call.actor, wanted.organization)
        return wanted

    def _answer(self, call: ActorCall, rule: Rule) -> Response:
        return json_response(self._json(call, rule))

    def _json(self, call: ActorCall, rule: Rule) -> dict[str, Any]:
        return rule_json(rule, reveal=call.actor.may(_MANAGE))


def _id_of(rule: Rule) -> str:
    return rule.rule_id
