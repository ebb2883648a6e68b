"""What the control plane needs beside the services of the other APIs, and where its resources are (services.md 5).

Subscription and resource group are taken as given and shown again: there are none here. Of each kind there is one
resource, the hub and its provisioning service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from moorage.api.routing import Call
from moorage.dialects.arm_json import ResourcePlace
from moorage.dialects.arm_links import link_facts
from moorage.dialects.arm_routing import routing_facts
from moorage.errors import Conflict, Forbidden, NotFound
from moorage.hub.consumer_groups import ConsumerGroups
from moorage.hub.router import Health
from moorage.hub.routing_model import RoutingTables
from moorage.hub.routing_service import RoutingService
from moorage.hub.uploads import notifications_on
from moorage.hub_info import HubInfo
from moorage.identities.model import PolicyScope
from moorage.identities.resources import Resources, ResourceTables
from moorage.ids import HubId
from moorage.provisioning.linked_hubs import LinkedHubService
from moorage.provisioning.model import ProvisioningTables
from moorage.store import Store

__all__ = [
    "COLLECTIONS",
    "DEFAULT_GROUP",
    "GROUP",
    "PROVIDER",
    "SUBSCRIPTION",
    "ControlPlane",
    "ControlTables",
    "first_name",
    "is_ours",
    "not_made_here",
    "not_served",
    "place_of",
    "resource_path",
    "resources_of",
]

SUBSCRIPTION: Final = "/subscriptions/{subscription}"
GROUP: Final = f"{SUBSCRIPTION}/resourceGroups/{{group}}"
PROVIDER: Final = "/providers/Microsoft.Devices"
COLLECTIONS: Final[dict[PolicyScope, str]] = {"hub": "IotHubs", "dps": "provisioningServices"}
# The group that a listing by subscription shows; it has to be there for tools to go on with.
DEFAULT_GROUP: Final = "moorage"


class ControlTables(ResourceTables, ProvisioningTables, RoutingTables, Protocol):
    """What the control plane changes in one transaction."""


def resources_of(
    store: Store[ControlTables], links: LinkedHubService, settled: Callable[[], Awaitable[None]] | None = None
) -> dict[PolicyScope, Resources[Any]]:
    """The two resources. `settled`: as `Resources` has it."""

    def linked(tables: ControlTables, hub: HubId) -> list[Any]:
        return link_facts(links.all_in(tables), links.default_in(tables))

    def routed(tables: ControlTables, hub: HubId) -> Any:
        return [routing_facts(tables.routing.load(hub)), notifications_on(tables, hub)]

    return {"hub": Resources(store, "hub", settled, routed), "dps": Resources(store, "dps", settled, linked)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """`retention_days` is how long the hub keeps telemetry, `upload_minutes` how long an upload may take; `health`
    tells how an endpoint of routes does."""

    resources: Mapping[PolicyScope, Resources[Any]]
    consumer_groups: ConsumerGroups
    linked_hubs: LinkedHubService
    retention_days: int
    upload_minutes: int
    routing: RoutingService
    health: Callable[[str], Health]


def resource_path(scope: PolicyScope) -> str:
    """The pattern of a resource's path."""
    return f"{GROUP}{PROVIDER}/{COLLECTIONS[scope]}/{{resource}}"


def place_of(call: Call, scope: PolicyScope, hub: HubId, info: HubInfo) -> ResourcePlace:
    """Raises `NotFound` (`resource.unknown`) for a name that is not ours."""
    name = call.path["resource"]
    if not is_ours(name, scope, hub, info):
        raise NotFound(
            "resource.unknown",
            f"there is no {COLLECTIONS[scope]}/{name[:64]} here; there is {first_name(scope, hub)}",
        )
    return ResourcePlace(call.path["subscription"], call.path["group"], name)


def first_name(scope: PolicyScope, hub: HubId) -> str:
    """What lists call it."""
    return hub if scope == "hub" else "dps"


def is_ours(name: str, scope: PolicyScope, hub: HubId, info: HubInfo) -> bool:
    """A resource goes by its id, or by the first label of the host name, as connection strings have it."""
    return name.lower() in (first_name(scope, hub).lower(), info.hostname.partition(".")[0].lower())


def not_made_here(scope: PolicyScope, name: str) -> Conflict:
    """Who asks for another hub."""
    return Conflict(
        "resource.not_made_here",
        f"{COLLECTIONS[scope]}/{name[:64]} is not made over this API: each hub, with its provisioning service, is a "
        "process with a data folder of its own",
        fix="moorage up --data DIR",
    )


def not_served(what: str) -> Forbidden:
    """For operations that have no counterpart here; `what` is the beginning of a sentence."""
    return Forbidden("operation.not_served", f"{what}, so this operation has nothing to do")
