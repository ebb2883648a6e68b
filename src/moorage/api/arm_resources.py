"""Hub and provisioning service as resources: read, written whole, their keys, their names (services.md 5.4).

Nothing takes long here, so every "long-running" operation is answered when it is done: 200 and `Succeeded`, after which
no client polls.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from moorage.api.control import (
    COLLECTIONS,
    DEFAULT_GROUP,
    GROUP,
    PROVIDER,
    SUBSCRIPTION,
    ControlTables,
    first_name,
    is_ours,
    not_made_here,
    not_served,
    place_of,
    resource_path,
)
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.control_plane import (
    ARRAY,
    ERROR,
    KEYS,
    LIST,
    NAME,
    NAME_AVAILABILITY,
    POLICY_KEYS,
    RESOURCE,
    RESOURCE_CHANGE,
    RESOURCES,
)
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.services import ApiServices
from moorage.dialects.arm_json import ResourcePlace
from moorage.dialects.arm_members import if_match_of
from moorage.dialects.arm_resources import (
    SKU,
    DpsFacts,
    HubFacts,
    ParsedChange,
    dps_json,
    hub_json,
    parse_change,
    policies_json,
    policy_json,
)
from moorage.dialects.members import get_text
from moorage.errors import Conflict, Invalid, NotFound
from moorage.hub.uploads import audit_notifications, notifications_on, switch_notifications
from moorage.identities.model import PolicyScope
from moorage.identities.resources import Resources, ResourceState

__all__ = ["ResourceApi", "resource_routes"]

_KEYS: Final[dict[PolicyScope, str]] = {"hub": "IotHubKeys", "dps": "keys"}
_CHECK_NAME: Final[dict[PolicyScope, str]] = {
    "hub": "checkNameAvailability",
    "dps": "checkProvisioningServiceNameAvailability",
}
_WHAT: Final[dict[PolicyScope, str]] = {"hub": "hub", "dps": "provisioning service"}
_MAX_WARNING = 1000
# A hundred policies, fifty tags and fifty links take half of it.
_MAX_CHANGE_BYTES = 128 * 1024


def resource_routes(services: ApiServices, scope: PolicyScope) -> list[Route]:
    api, what = ResourceApi(services, scope), _WHAT[scope]
    one, collection = resource_path(scope), f"{PROVIDER}/{COLLECTIONS[scope]}"
    connections = f"{one}/privateEndpointConnections"

    def route(method: str, pattern: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(method, pattern, handler, "owner", "arm", summary=summary, **more)

    change = {"headers": (IF_MATCH,), "body": RESOURCE_CHANGE, "answers": {200: RESOURCE}}
    change |= {"answer_headers": ("moorage-warning",), "max_body_bytes": _MAX_CHANGE_BYTES}
    return [
        route(
            "GET", f"{SUBSCRIPTION}{collection}", api.list, f"The {what}, as the only one.", answers={200: RESOURCES}
        ),
        route("GET", f"{GROUP}{collection}", api.list, f"The {what}, as the only one.", answers={200: RESOURCES}),
        route("GET", one, api.get, f"The {what}.", answers={200: RESOURCE}),
        route("PUT", one, api.put, f"Write the {what} as it should be: tags, policies, switches.", **change),
        route("PATCH", one, api.patch, f"Change tags, policies or switches of the {what}.", **change),
        route("DELETE", one, api.delete, "Refused: a hub goes with its data folder.", answers={409: ERROR}),
        route("POST", f"{one}/listkeys", api.list_keys, "Its policies, keys included.", answers={200: KEYS}),
        route(
            "POST",
            f"{one}/{_KEYS[scope]}/{{policy}}/listkeys",
            api.get_keys,
            "One policy, keys included.",
            answers={200: POLICY_KEYS},
        ),
        route("GET", f"{one}/skus", api.skus, "The one size there is.", answers={200: LIST}),
        route(
            "POST",
            f"{SUBSCRIPTION}{PROVIDER}/{_CHECK_NAME[scope]}",
            api.check_name,
            f"Whether a {what} could be called so.",
            body=NAME,
            answers={200: NAME_AVAILABILITY},
        ),
        route("GET", f"{one}/privateLinkResources", api.no_link_resources, "None.", answers={200: LIST}),
        route("GET", f"{one}/privateLinkResources/{{name}}", api.no_such_link, "There is none.", answers={404: ERROR}),
        route("GET", connections, api.no_connections, "None.", answers={200: ARRAY}),
        route("GET", f"{connections}/{{name}}", api.no_such_link, "There is none.", answers={404: ERROR}),
        route(
            "PUT",
            f"{connections}/{{name}}",
            api.refuse_connection,
            "Refused: there are no private endpoints.",
            answers={403: ERROR},
        ),
        route("DELETE", f"{connections}/{{name}}", api.no_such_link, "There is none.", answers={404: ERROR}),
    ]


class ResourceApi:
    """The hub or the provisioning service itself."""

    def __init__(self, services: ApiServices, scope: PolicyScope) -> None:
        self._services = services
        self._scope: PolicyScope = scope

    def document(self, place: ResourcePlace, state: ResourceState | None = None) -> dict[str, Any]:
        services = self._services
        state = state or self._resources.state(services.hub)
        if self._scope == "dps":
            links = services.control.linked_hubs
            return dps_json(place, DpsFacts(services.info(), links.all(), links.default_allocation()), state)
        facts = HubFacts(
            services.info(),
            services.log.partitions,
            services.control.retention_days,
            services.control.routing.get(),
            services.control.upload_minutes,
            notifications_on(services.store.read(), services.hub),
        )
        return hub_json(place, facts, state)

    async def list(self, call: Call) -> Response:
        place = ResourcePlace(
            call.path["subscription"],
            call.path.get("group", DEFAULT_GROUP),
            first_name(self._scope, self._services.hub),
        )
        return json_response({"value": [self.document(place)]})

    async def get(self, call: Call) -> Response:
        return json_response(self.document(self.place(call)))

    async def put(self, call: Call) -> Response:
        name = call.path["resource"]
        if not is_ours(name, self._scope, self._services.hub, self._services.info()):
            raise not_made_here(self._scope, name)
        return await self.patch(call)

    async def patch(self, call: Call) -> Response:
        """What is not said stays, also in a PUT: a client that knows nothing of a switch does not turn it."""
        place, body = self.place(call), await call.json_object()
        parsed = parse_change(self._scope, body, self.document(place))
        told_of_files = notifications_on(self._services.store.read(), self._services.hub)
        state = await self._resources.change(
            self._services.hub,
            parsed.change,
            by=call.principal,
            if_match=if_match_of(call.request.headers.get("if-match"), body),
            also=partial(self._write_more, parsed),
        )
        self._audit_links(parsed, str(call.principal))
        if parsed.tells_of_files not in (None, told_of_files):
            audit_notifications(self._services.hub, bool(parsed.tells_of_files), by=call.principal)
        if not parsed.routing.is_empty:
            self._services.control.routing.audit_replaced(call.principal)
        response = json_response(self.document(place, state))
        if parsed.ignored:
            # Names come from outside, and a header holds no more than this.
            names = re.sub(r"[^ -~]", "?", ", ".join(parsed.ignored))
            response.headers["moorage-warning"] = f"without effect here: {names}"[:_MAX_WARNING]
        return response

    def _write_more(self, parsed: ParsedChange, tables: ControlTables) -> None:
        """Inside the transaction of the resource."""
        links = self._services.control.linked_hubs
        if parsed.links is not None:
            links.replace_in(tables, parsed.links)
        if parsed.allocation is not None:
            links.set_default_in(tables, parsed.allocation)
        if parsed.tells_of_files is not None:
            switch_notifications(tables, self._services.hub, parsed.tells_of_files)
        change = parsed.routing
        if not change.is_empty:
            self._services.control.routing.replace_in(
                tables, routes=change.routes, enrichments=change.enrichments, fallback=change.fallback
            )

    def _audit_links(self, parsed: ParsedChange, by: str) -> None:
        links = self._services.control.linked_hubs
        if parsed.links is not None:
            links.audit_replaced(links.all(), by)
        if parsed.allocation is not None:
            links.audit_default(parsed.allocation, by)

    async def delete(self, call: Call) -> Response:
        place = self.place(call)
        raise Conflict(
            "resource.not_deleted_here",
            f"{COLLECTIONS[self._scope]}/{place.name} is not deleted over this API: stop the hub and remove its data "
            f"folder {self._services.info().data}",
        )

    async def list_keys(self, call: Call) -> Response:
        self.place(call)
        return json_response(policies_json(self._services.policies.all(self._services.hub, self._scope)))

    async def get_keys(self, call: Call) -> Response:
        self.place(call)
        policy = self._services.policies.get(self._services.hub, self._scope, call.path["policy"])
        return json_response(policy_json(policy, with_keys=True))

    async def skus(self, call: Call) -> Response:
        self.place(call)
        if self._scope == "dps":
            return json_response({"value": [{"name": SKU["name"]}]})
        sku = {name: SKU[name] for name in ("name", "tier")}
        capacity = {"minimum": 1, "maximum": 1, "default": 1, "scaleType": "None"}
        kind = f"Microsoft.Devices/{COLLECTIONS['hub']}"
        return json_response({"value": [{"resourceType": kind, "sku": sku, "capacity": capacity}]})

    async def check_name(self, call: Call) -> Response:
        name = get_text(await call.json_object(), "name")
        if not name:
            raise Invalid("body.member", "name is missing; it has to be the name that is asked about")
        taken = is_ours(name, self._scope, self._services.hub, self._services.info())
        message = f"{name[:64]!r} is the one here" if taken else not_made_here(self._scope, name).message
        return json_response(
            {"nameAvailable": False, "reason": "AlreadyExists" if taken else "Invalid", "message": message}
        )

    async def no_link_resources(self, call: Call) -> Response:
        self.place(call)
        return json_response({"value": []})

    async def no_connections(self, call: Call) -> Response:
        """Not in an object: so the clients want it."""
        self.place(call)
        return json_response([])

    async def no_such_link(self, call: Call) -> Response:
        self.place(call)
        raise NotFound(
            "resource.unknown", f"there is no private endpoint, and none is called {call.path['name'][:64]!r}"
        )

    async def refuse_connection(self, call: Call) -> Response:
        self.place(call)
        raise not_served("There are no private endpoints: the network around the hub decides who reaches it")

    def place(self, call: Call) -> ResourcePlace:
        """Raises `NotFound` (`resource.unknown`)."""
        return place_of(call, self._scope, self._services.hub, self._services.info())

    @property
    def _resources(self) -> Resources[Any]:
        return self._services.control.resources[self._scope]
