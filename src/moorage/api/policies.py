"""Shared access policies and the SAS switches over our own REST, for the hub's owner (services.md 1.3, 5.4)."""

from __future__ import annotations

from typing import Any, Final, get_args

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.policies import POLICIES, POLICY, POLICY_DRAFT, ROLL, SWITCHES
from moorage.api.services import ApiServices
from moorage.dialects.policies_json import (
    own_policy_json,
    parse_draft,
    parse_roll,
    parse_switches,
    switches_json,
)
from moorage.identities.model import PolicyScope

__all__ = ["policy_routes"]

_ALL: Final = "/moorage/v1/policies"
_SWITCHES: Final = "/moorage/v1/switches"
_OF: Final[dict[PolicyScope, str]] = {"hub": "hub", "dps": "provisioning service"}


def policy_routes(services: ApiServices) -> list[Route]:
    api = _Policies(services)

    def route(method: str, pattern: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(method, pattern, handler, "owner", "own", summary=summary, **more)

    routes = [
        route(
            "GET",
            _ALL,
            api.list,
            "Shared access policies of the hub and of the provisioning service, keys included.",
            answers={200: POLICIES},
        ),
        route("GET", _SWITCHES, api.get_switches, "Which tokens are refused.", answers={200: SWITCHES}),
        route(
            "PATCH",
            _SWITCHES,
            api.set_switches,
            "Refuse tokens, or take them again; who is connected by one that is refused is cut.",
            body=SWITCHES,
            answers={200: SWITCHES},
        ),
    ]
    for scope in get_args(PolicyScope):
        one = _PolicyOf(services, scope)
        path = f"/moorage/v1/{scope}/policies/{{policy}}"
        of = _OF[scope]
        routes += [
            route("GET", path, one.get, f"A policy of the {of}, keys included.", answers={200: POLICY}),
            route(
                "PUT",
                path,
                one.create,
                f"Make a policy of the {of}; keys that are not given are made.",
                body=POLICY_DRAFT,
                answers={201: POLICY},
            ),
            route(
                "PATCH",
                path,
                one.update,
                "Change its rights or keys; what is not given stays.",
                body=POLICY_DRAFT,
                answers={200: POLICY},
            ),
            route("DELETE", path, one.delete, "Delete it: its tokens open nothing any more.", answers={204: None}),
            route(
                "POST",
                f"{path}/roll",
                one.roll,
                "Replace one of its keys, or swap them.",
                body=ROLL,
                answers={200: POLICY},
            ),
        ]
    return routes


class _Policies:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def list(self, call: Call) -> Response:
        services = self._services
        return json_response(
            {
                scope: [own_policy_json(policy) for policy in services.policies.all(services.hub, scope)]
                for scope in get_args(PolicyScope)
            }
        )

    async def get_switches(self, call: Call) -> Response:
        return json_response(switches_json(self._services.policies.switches(self._services.hub)))

    async def set_switches(self, call: Call) -> Response:
        services = self._services
        changes = parse_switches(await call.json_object())
        switches = await services.policies.set_switches(services.hub, changes, by=call.principal)
        return json_response(switches_json(switches))


class _PolicyOf:
    """The policies of one scope."""

    def __init__(self, services: ApiServices, scope: PolicyScope) -> None:
        self._policies = services.policies
        self._hub = services.hub
        self._scope: PolicyScope = scope

    async def get(self, call: Call) -> Response:
        return json_response(own_policy_json(self._policies.get(self._hub, self._scope, call.path["policy"])))

    async def create(self, call: Call) -> Response:
        draft = parse_draft(self._scope, call.path["policy"], await call.json_object())
        made = await self._policies.create(self._hub, self._scope, draft, by=call.principal)
        return json_response(own_policy_json(made), 201)

    async def update(self, call: Call) -> Response:
        draft = parse_draft(self._scope, call.path["policy"], await call.json_object())
        changed = await self._policies.update(self._hub, self._scope, draft, by=call.principal)
        return json_response(own_policy_json(changed))

    async def delete(self, call: Call) -> Response:
        await self._policies.delete(self._hub, self._scope, call.path["policy"], by=call.principal)
        return Response(status_code=204)

    async def roll(self, call: Call) -> Response:
        name, (which, key) = call.path["policy"], parse_roll(await call.json_object())
        if which == "swap":
            changed = await self._policies.swap_keys(self._hub, self._scope, name, by=call.principal)
        else:
            changed = await self._policies.roll_key(self._hub, self._scope, name, which, key, by=call.principal)
        return json_response(own_policy_json(changed))
