"""What tools ask of Azure Resource Manager before and around our two resources (services.md 5.5).

There is one subscription and one resource group to be listed; whatever others a tool names are taken for them. Nothing
is kept: a subscription is a word in a path here.
"""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.responses import Response

from moorage.api.arm_resources import ResourceApi
from moorage.api.control import COLLECTIONS, DEFAULT_GROUP, GROUP, SUBSCRIPTION, first_name
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.control_plane import LIST, PLACE
from moorage.api.services import ApiServices
from moorage.dialects.arm_json import ResourcePlace
from moorage.dialects.arm_resources import LOCATION
from moorage.errors import Invalid, NotFound
from moorage.identities.model import PolicyScope

__all__ = ["subscription_routes"]

_ID: Final = "00000000-0000-0000-0000-000000000000"
_NAMESPACE: Final = "Microsoft.Devices"
# The first that is no preview is what `az resource` goes on with. They are all taken, and are one.
_API_VERSIONS: Final[dict[PolicyScope, list[str]]] = {
    "hub": ["2023-06-30", "2023-06-30-preview", "2021-07-02"],
    "dps": ["2022-12-12", "2021-10-15"],
}
_SCOPES: Final[tuple[PolicyScope, ...]] = ("hub", "dps")
_CLAUSE: Final = re.compile(r"\s*(resourceType|name|location|resourceGroup)\s+eq\s+'([^']{0,200})'\s*", re.IGNORECASE)
_MAX_FILTER_CHARACTERS: Final = 1000


def subscription_routes(services: ApiServices) -> list[Route]:
    api = _Subscriptions(services)
    listings: list[tuple[str, Any, str]] = [
        ("/tenants", api.tenants, "The one there is."),
        ("/subscriptions", api.subscriptions, "The one there is."),
        (f"{SUBSCRIPTION}/locations", api.locations, "The one there is."),
        (f"{SUBSCRIPTION}/resourceGroups", api.groups, "The one there is."),
        (f"{SUBSCRIPTION}/providers", api.providers, "The one there is."),
    ]
    singles: list[tuple[str, str, Any, str]] = [
        ("GET", SUBSCRIPTION, api.subscription, "Whatever it is called."),
        ("GET", GROUP, api.group, "Whatever it is called."),
        ("GET", f"{SUBSCRIPTION}/providers/{{namespace}}", api.provider, "The kinds of resources there are."),
        ("POST", f"{SUBSCRIPTION}/providers/{{namespace}}/register", api.provider, "It is registered."),
    ]
    filtered = {"$filter": "Clauses of resourceType, name, location or resourceGroup eq '...', joined by and."}
    return [
        *(
            Route("GET", pattern, handler, "owner", "arm", summary=summary, answers={200: LIST})
            for pattern, handler, summary in listings
        ),
        *(
            Route(method, pattern, handler, "owner", "arm", summary=summary, answers={200: PLACE})
            for method, pattern, handler, summary in singles
        ),
        Route("HEAD", GROUP, api.group_exists, "owner", "arm", summary="It is there.", answers={204: None}),
        *(
            Route(
                "GET",
                f"{base}/resources",
                api.resources,
                "owner",
                "arm",
                summary="Hub and provisioning service.",
                query=filtered,
                answers={200: LIST},
            )
            for base in (SUBSCRIPTION, GROUP)
        ),
    ]


class _Subscriptions:
    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._apis = {scope: ResourceApi(services, scope) for scope in _SCOPES}

    async def tenants(self, call: Call) -> Response:
        tenant = {"id": f"/tenants/{_ID}", "tenantId": _ID, "displayName": "moorage", "tenantCategory": "Home"}
        return json_response({"value": [tenant]})

    async def subscriptions(self, call: Call) -> Response:
        return json_response({"value": [_subscription(_ID)]})

    async def subscription(self, call: Call) -> Response:
        return json_response(_subscription(call.path["subscription"]))

    async def locations(self, call: Call) -> Response:
        base = f"/subscriptions/{call.path['subscription']}/locations"
        location = {"id": f"{base}/{LOCATION}", "name": LOCATION, "displayName": LOCATION, "type": "Region"}
        return json_response({"value": [location]})

    async def groups(self, call: Call) -> Response:
        return json_response({"value": [_group(call.path["subscription"], DEFAULT_GROUP)]})

    async def group(self, call: Call) -> Response:
        return json_response(_group(call.path["subscription"], call.path["group"]))

    async def group_exists(self, call: Call) -> Response:
        return Response(status_code=204)

    async def providers(self, call: Call) -> Response:
        return json_response({"value": [_provider(call.path["subscription"])]})

    async def provider(self, call: Call) -> Response:
        namespace = call.path["namespace"]
        if namespace.lower() != _NAMESPACE.lower():
            raise NotFound("resource.unknown", f"there is no provider {namespace[:64]!r}; there is {_NAMESPACE}")
        return json_response(_provider(call.path["subscription"]))

    async def resources(self, call: Call) -> Response:
        """As many members as `az resource list` reads."""
        wanted = _parse_filter(call.query.get("$filter", ""))
        group = call.path.get("group", wanted.get("resourcegroup", DEFAULT_GROUP))
        found = []
        for scope, api in self._apis.items():
            place = ResourcePlace(call.path["subscription"], group, first_name(scope, self._services.hub))
            document = api.document(place)
            facts = {"resourcetype": document["type"], "name": place.name, "location": LOCATION, "resourcegroup": group}
            if all(facts[name].lower() == value.lower() for name, value in wanted.items()):
                found.append({name: document[name] for name in ("id", "name", "type", "location", "tags", "sku")})
        return json_response({"value": found})


def _subscription(subscription: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription}",
        "subscriptionId": subscription,
        "tenantId": _ID,
        "displayName": "moorage",
        "state": "Enabled",
        "subscriptionPolicies": {"spendingLimit": "Off"},
        "authorizationSource": "RoleBased",
    }


def _group(subscription: str, group: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription}/resourceGroups/{group}",
        "name": group,
        "type": "Microsoft.Resources/resourceGroups",
        "location": LOCATION,
        "tags": {},
        "properties": {"provisioningState": "Succeeded"},
    }


def _provider(subscription: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription}/providers/{_NAMESPACE}",
        "namespace": _NAMESPACE,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationFree",
        "resourceTypes": [
            {
                "resourceType": COLLECTIONS[scope],
                "locations": [LOCATION],
                "apiVersions": _API_VERSIONS[scope],
                "capabilities": "SupportsTags, SupportsLocation",
            }
            for scope in _SCOPES
        ],
    }


def _parse_filter(text: str) -> dict[str, str]:
    """Members in lower case, and what they have to be. Raises `Invalid` (`query.filter`)."""
    if not text.strip():
        return {}
    wanted: dict[str, str] = {}
    for clause in re.split(r"\s+and\s+", text[: _MAX_FILTER_CHARACTERS + 1], flags=re.IGNORECASE):
        match = _CLAUSE.fullmatch(clause)
        if match is None or len(text) > _MAX_FILTER_CHARACTERS:
            raise Invalid(
                "query.filter",
                f"$filter has {clause.strip()[:80]!r}; it takes resourceType, name, location or resourceGroup eq '...'"
                ", joined by and",
            )
        wanted[match[1].lower()] = match[2]
    return wanted
