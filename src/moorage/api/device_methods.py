"""Methods that modules call over HTTPS (contract/devices.md 5).

A module calls another one of its device, its device, or a device and its modules below it in its edge device's scope.
The path is the service's own: who names itself in `x-ms-edge-moduleId` is a module and is judged as one; its token is
not taken for a back end's. What lies outside its scope and what does not exist are the same to it (decisions T7).
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from moorage.api.device_door import DeviceDoor
from moorage.api.hub_methods import unanswered
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.devices import METHOD_CALL, METHOD_REPLY
from moorage.api.services import Methods, identity_of
from moorage.clock import Clock
from moorage.dialects.hub_json import method_reply_json, parse_method_call
from moorage.errors import Forbidden, Invalid, Refusal
from moorage.hub.model import HubTables
from moorage.identities.model import Identity
from moorage.identities.registry import edge_scope
from moorage.ids import IdentityName, parse_device_id, parse_module_id
from moorage.store import Store

__all__ = ["CALLER_HEADER", "by_modules"]

CALLER_HEADER: Final = "x-ms-edge-moduleid"


def by_modules(door: DeviceDoor, store: Store[HubTables], methods: Methods, clock: Clock) -> list[Route]:
    """The routes for callers that name themselves in `CALLER_HEADER`."""
    api = _ModuleMethods(door, store, methods, clock)
    return [
        Route(
            "POST",
            path,
            api.invoke,
            "device",
            "device",
            summary=f"A module calls a method of a {what} in its scope; 200 whatever status it gave.",
            body=METHOD_CALL,
            answers={200: METHOD_REPLY},
            needs_header=CALLER_HEADER,
        )
        for path, what in (("/twins/{id}/methods", "device"), ("/twins/{id}/modules/{module}/methods", "module"))
    ]


class _ModuleMethods:
    def __init__(self, door: DeviceDoor, store: Store[HubTables], methods: Methods, clock: Clock) -> None:
        self._door = door
        self._store = store
        self._methods = methods
        self._clock = clock

    async def invoke(self, call: Call) -> Response:
        caller = self._door.admit(call, _caller(call)).identity
        target = identity_of(call)
        self._check_scope(caller, target)
        method = parse_method_call(await call.json_object())
        try:
            reply = await self._methods.invoke(self._door.hub, target, method)
        except Refusal as refusal:
            return unanswered(refusal, method, call.tracking_id, self._clock.now())
        return json_response(method_reply_json(reply))

    def _check_scope(self, caller: Identity, target: IdentityName) -> None:
        """Raises `Forbidden` (`method.scope`)."""
        own = caller.name.device_id
        identities = self._store.read().identities
        found = identities.find(self._door.hub, target)
        if found is not None and target.device_id == own:
            return
        edge = identities.find(self._door.hub, IdentityName(own))
        leaf = identities.find(self._door.hub, IdentityName(target.device_id))
        if found is not None and leaf is not None and edge is not None and edge.is_edge:
            scope = edge_scope(own, edge.generation_id)
            if scope == leaf.device_scope or scope in leaf.parent_scopes:
                return
        raise Forbidden(
            "method.scope",
            f"'{caller.name}' calls a method of '{target}', which is neither of its device nor in that device's scope",
        )


def _caller(call: Call) -> IdentityName:
    """Who it says it is: `device/module`. Raises `Invalid` (`id.device`, `id.module`)."""
    text = call.request.headers[CALLER_HEADER]
    device, slash, module = text.partition("/")
    if not slash:
        raise Invalid("id.module", f"{CALLER_HEADER} is {text[:80]!r}, it has to be 'device id/module id'")
    return IdentityName(parse_device_id(device), parse_module_id(module))
