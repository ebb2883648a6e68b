"""Hub and provisioning service as resources, and their policies, in the JSON of Azure's control plane (services.md 5).

What is shown is what is so: a member that tools read and that has no counterpart here is shown as "none of these". What
is written back is read by `parse_change`; members that are only repeated ask for nothing (`arm_members.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moorage.dialects.arm_json import ResourcePlace
from moorage.dialects.arm_links import allocation_name, linked_hub_json, parse_allocation, parse_links
from moorage.dialects.arm_members import check_fixed, differs, unknown_members
from moorage.dialects.arm_routing import RoutingChange, parse_routing_change, routing_arm_json
from moorage.dialects.members import get_boolean, get_object, get_text
from moorage.dialects.policies_json import SWITCHES, parse_switches, switches_json
from moorage.errors import Invalid
from moorage.hub import held_queue
from moorage.hub.routing_model import Routing
from moorage.hub_info import HubInfo
from moorage.identities.model import PolicyScope, Right, SharedAccessPolicy
from moorage.identities.policy_rules import MAX_POLICIES, PolicyDraft, ordered, parse_right
from moorage.identities.resources import ResourceChange, ResourceState
from moorage.ids import Secret
from moorage.provisioning.linked_hubs import LinkedHubDraft
from moorage.provisioning.model import DefaultAllocation, LinkedHub

__all__ = [
    "LOCATION",
    "SKU",
    "DpsFacts",
    "HubFacts",
    "ParsedChange",
    "dps_json",
    "hub_json",
    "parse_change",
    "parse_policies",
    "parse_rights",
    "policies_json",
    "policy_json",
]

# The region and the size that tools print; there is neither.
LOCATION: Final = "moorage"
SKU: Final = {"name": "S1", "tier": "Standard", "capacity": 1}

_TYPES: Final[dict[PolicyScope, str]] = {
    "hub": "Microsoft.Devices/IotHubs",
    "dps": "Microsoft.Devices/provisioningServices",
}
_LINKS: Final = frozenset({"allocationPolicy", "iotHubs"})
# Members that a change may give as it likes: who sends them describes what it read, or a place that is not here.
_DESCRIPTIVE: Final = frozenset(
    {"id", "name", "type", "etag", "location", "sku", "systemData", "resourcegroup", "subscriptionid", "tags"}
)
_READ_ONLY: Final = frozenset(
    {
        "authorizationPolicies",
        "deviceProvisioningHostName",
        "hostName",
        "idScope",
        "locations",
        "provisioningState",
        "serviceOperationsHostName",
        "state",
    }
)
_FILES: Final = "fileNotifications"
_OF_FILES: Final = "enableFileUploadNotifications"
_NO_NETWORK: Final = "who may connect is for the network around it to decide"
_NO_IDENTITY: Final = "there is no Entra ID"
_FIXED_OUTSIDE: Final = {
    "identity": _NO_IDENTITY,
    "managedBy": "nothing manages it from outside",
    "plan": "there is none",
    "kind": "there is one kind",
}
_FIXED_HUB: Final = {
    "deviceRegistry": "there is no device registry beside the hub's own",
    "allowedFqdnList": "what it may call is a setting: moorage up --egress-allow NETWORK",
    "cloudToDevice": "how long messages wait is said with each message",
    "comments": "tags can hold text",
    "deviceStreams": "there are none",
    "enableDataResidency": "data stays on this machine",
    "encryption": "keys in the registry are encrypted with a key of this installation",
    "eventHubEndpoints": "partitions are fixed when the data folder is made, and retention is a setting: "
    "moorage up --retention-days 7",
    "features": "there is one set of them",
    "ipFilterRules": _NO_NETWORK,
    "ipVersion": "the address is a setting: moorage up --bind ADDRESS",
    "messagingEndpoints": "how long notifications wait and are held is the same for all hubs",
    "minTlsVersion": "TLS 1.2 and 1.3 are served",
    "networkRuleSets": _NO_NETWORK,
    "privateEndpointConnections": _NO_NETWORK,
    "publicNetworkAccess": _NO_NETWORK,
    "restrictOutboundNetworkAccess": "what it may call is a setting: moorage up --egress-allow NETWORK",
    "rootCertificate": "the server's certificate comes from this installation's own CA",
    "storageEndpoints": "where files go, and how long an upload may take, are settings: moorage up --upload-store URL",
}
_FIXED_DPS: Final = {
    "deviceRegistryNamespace": "there is no device registry beside the hub's own",
    "disableLocalAuth": "tokens are signed with policy keys here; delete policies that nobody should use, or roll them",
    "enableDataResidency": "data stays on this machine",
    "ipFilterRules": _NO_NETWORK,
    "privateEndpointConnections": _NO_NETWORK,
    "publicNetworkAccess": _NO_NETWORK,
}


@dataclass(frozen=True, slots=True)
class HubFacts:
    """What a hub is beside what can be changed of it."""

    info: HubInfo
    partitions: int
    retention_days: int
    routing: Routing = Routing()
    upload_minutes: int = 60
    tells_of_files: bool = True


@dataclass(frozen=True, slots=True)
class DpsFacts:
    """What a provisioning service is beside what its own resource keeps."""

    info: HubInfo
    links: Sequence[LinkedHub]
    allocation: DefaultAllocation


@dataclass(frozen=True, slots=True)
class ParsedChange:
    """`ignored` are members that were sent and mean nothing here; `links` and `allocation` of a provisioning service,
    and `tells_of_files` of a hub, are None where they stay."""

    change: ResourceChange
    ignored: list[str]
    links: list[LinkedHubDraft] | None = None
    allocation: DefaultAllocation | None = None
    routing: RoutingChange = RoutingChange()
    tells_of_files: bool | None = None


# -- policies ----------------------------------------------------------------------------------------------------------


def policy_json(policy: SharedAccessPolicy, *, with_keys: bool) -> dict[str, Any]:
    """5.4; rights as one string, joined by comma and space."""
    keys = {"primaryKey": policy.primary.reveal(), "secondaryKey": policy.secondary.reveal()} if with_keys else {}
    return {"keyName": policy.name, **keys, "rights": ", ".join(ordered(policy.scope, policy.rights))}


def policies_json(policies: Iterable[SharedAccessPolicy]) -> dict[str, Any]:
    """The answer of `listkeys`."""
    return {"value": [policy_json(policy, with_keys=True) for policy in policies]}


def parse_policies(scope: PolicyScope, value: Any) -> list[PolicyDraft]:
    """`authorizationPolicies` as tools write them: all that there will be. An empty key is one that was not given.

    Raises:
        Invalid: `body.member`, `policy.rights`.
    """
    if not isinstance(value, list):
        raise Invalid("body.member", f"authorizationPolicies is a {type(value).__name__}, it has to be a list")
    if len(value) > MAX_POLICIES:
        raise Invalid(
            "body.member", f"authorizationPolicies has {len(value)} entries, at most {MAX_POLICIES} are allowed"
        )
    drafts = []
    for place, entry in enumerate(value):
        path = f"authorizationPolicies[{place}]"
        if not isinstance(entry, Mapping):
            raise Invalid("body.member", f"{path} is a {type(entry).__name__}, it has to be an object")
        name = get_text(entry, "keyName", f"{path}.keyName")
        if not name:
            raise Invalid("body.member", f"{path}.keyName is missing")
        rights = get_text(entry, "rights", f"{path}.rights")
        primary, secondary = (get_text(entry, key, f"{path}.{key}") for key in ("primaryKey", "secondaryKey"))
        drafts.append(
            PolicyDraft(
                name,
                None if rights is None else parse_rights(scope, rights),
                Secret(primary) if primary else None,
                Secret(secondary) if secondary else None,
            )
        )
    return drafts


def parse_rights(scope: PolicyScope, text: str) -> frozenset[Right]:
    """Names with commas between them. Raises `Invalid` (`policy.rights`)."""
    return frozenset(parse_right(scope, part) for part in text.split(",") if part.strip())


# -- the resources -----------------------------------------------------------------------------------------------------


def hub_json(place: ResourcePlace, facts: HubFacts, state: ResourceState) -> dict[str, Any]:
    """The hub as a resource."""
    locked = f"PT{int(held_queue.LOCK.total_seconds())}S"
    waits = f"PT{int(held_queue.TTL.total_seconds()) // 3600}H"
    held = {"lockDurationAsIso8601": locked, "ttlAsIso8601": waits, "maxDeliveryCount": held_queue.MAX_DELIVERIES}
    events: dict[str, Any] = {
        "retentionTimeInDays": facts.retention_days,
        "partitionCount": facts.partitions,
        "partitionIds": [str(partition) for partition in range(facts.partitions)],
        "path": facts.info.name,
        "endpoint": f"sb://{facts.info.events_host}/",
    }
    return {
        **_resource(place, "hub", state),
        "properties": {
            "state": "Active",
            "provisioningState": "Succeeded",
            "hostName": facts.info.hostname,
            "authorizationPolicies": [policy_json(policy, with_keys=False) for policy in state.policies],
            **switches_json(state.switches),
            "publicNetworkAccess": "Enabled",
            "ipFilterRules": [],
            "privateEndpointConnections": [],
            "minTlsVersion": "1.2",
            "eventHubEndpoints": {"events": events},
            "routing": routing_arm_json(facts.routing),
            # No account of anybody's: devices put files to the hub itself.
            "storageEndpoints": {
                "$default": {
                    "sasTtlAsIso8601": f"PT{facts.upload_minutes}M",
                    "connectionString": "",
                    "containerName": "",
                }
            },
            "messagingEndpoints": {_FILES: held},
            _OF_FILES: facts.tells_of_files,
            # Deliveries are not counted.
            "cloudToDevice": {"maxDeliveryCount": None, "defaultTtlAsIso8601": "PT1H", "feedback": held},
            "features": "None",
            "locations": [{"location": LOCATION, "role": "primary"}],
        },
        "identity": {"type": "None"},
    }


def dps_json(place: ResourcePlace, facts: DpsFacts, state: ResourceState) -> dict[str, Any]:
    """The provisioning service as a resource, with the hubs that are linked to it."""
    info = facts.info
    return {
        **_resource(place, "dps", state),
        "properties": {
            "state": "Active",
            "provisioningState": "Succeeded",
            "idScope": info.id_scope,
            "serviceOperationsHostName": info.service_host,
            "deviceProvisioningHostName": info.hostname,
            "allocationPolicy": allocation_name(facts.allocation),
            "iotHubs": [linked_hub_json(each, info.hostname) for each in facts.links],
            "authorizationPolicies": [policy_json(policy, with_keys=False) for policy in state.policies],
            "publicNetworkAccess": "Enabled",
            "ipFilterRules": [],
            "privateEndpointConnections": [],
        },
    }


def parse_change(scope: PolicyScope, body: Mapping[str, Any], shown: Mapping[str, Any]) -> ParsedChange:
    """What `body` asks for, beside the resource as it is `shown`.

    Raises:
        Invalid: `body.member`; `resource.fixed` for what cannot be changed; as `parse_policies`.
    """
    properties = get_object(body, "properties") or {}
    switches = parse_switches(properties, "properties.") if scope == "hub" else {}
    links, allocation = None, None
    routing = parse_routing_change(properties, shown["properties"]) if scope == "hub" else RoutingChange()
    if scope == "dps":
        links, allocation = (
            parse_links(properties, shown["properties"]),
            parse_allocation(properties, shown["properties"]),
        )
    tells_of_files = None
    if scope == "hub":
        tells_of_files = get_boolean(properties, _OF_FILES, f"properties.{_OF_FILES}", default=None)
    policies = properties.get("authorizationPolicies")
    drafts = None if policies is None else parse_policies(scope, policies)
    tags = _parse_tags(body)
    fixed = _FIXED_HUB if scope == "hub" else _FIXED_DPS
    free = _READ_ONLY | ({*SWITCHES, "routing", _OF_FILES} if scope == "hub" else _LINKS)
    check_fixed(body, shown, "", free=_DESCRIPTIVE | {"properties"}, why=_FIXED_OUTSIDE)
    check_fixed(properties, shown["properties"], "properties.", free=free, why=fixed)
    ignored = [member for member in ("location", "sku") if differs(body.get(member), shown[member])]
    ignored += unknown_members(body, {*_DESCRIPTIVE, "properties", *_FIXED_OUTSIDE}, "")
    ignored += unknown_members(properties, {*free, *fixed, *shown["properties"]}, "properties.")
    return ParsedChange(ResourceChange(tags, drafts, switches), ignored, links, allocation, routing, tells_of_files)


def _parse_tags(body: Mapping[str, Any]) -> dict[str, str] | None:
    tags = get_object(body, "tags")
    if tags is None:
        return None
    for name, value in tags.items():
        if not isinstance(value, str):
            raise Invalid("body.member", f"tags.{name[:40]} is a {type(value).__name__}, it has to be a string")
    return dict(tags)


def _resource(place: ResourcePlace, scope: PolicyScope, state: ResourceState) -> dict[str, Any]:
    return {
        "id": place.path(scope),
        "name": place.name,
        "type": _TYPES[scope],
        "location": LOCATION,
        # AZ takes the group from these when it was not told one.
        "resourcegroup": place.group,
        "subscriptionid": place.subscription,
        "tags": dict(state.tags),
        "etag": state.etag,
        "sku": SKU,
    }
