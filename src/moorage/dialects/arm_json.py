"""CA certificates, the hub and the provisioning service in the JSON of Azure's control plane (services.md 5)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from moorage.certificates.model import RegisteredCA, Registry
from moorage.config import HubInfo
from moorage.dialects.times import format_http_date
from moorage.errors import Invalid
from moorage.identities.model import SasSwitches, SharedAccessPolicy
from moorage.ids import version_etag

__all__ = [
    "ResourcePlace",
    "ca_json",
    "certificate_text",
    "dps_json",
    "hub_json",
    "is_vouched",
    "parse_switches",
    "policy_json",
]

# The region that tools print; there is none.
_LOCATION: Final = "moorage"
_CERTIFICATE_TYPES: Final[dict[Registry, str]] = {
    "hub": "Microsoft.Devices/IotHubs/Certificates",
    "dps": "Microsoft.Devices/provisioningServices/Certificates",
}
_SWITCHES: Final = {
    "disableLocalAuth": "disable_local_auth",
    "disableDeviceSAS": "disable_device_sas",
    "disableModuleSAS": "disable_module_sas",
}


@dataclass(frozen=True, slots=True)
class ResourcePlace:
    """Where the caller believes a resource to be: subscription and group are taken as given and shown again."""

    subscription: str
    group: str
    name: str

    def path(self, registry: Registry) -> str:
        kind = "IotHubs" if registry == "hub" else "provisioningServices"
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Devices/{kind}/{self.name}"
        )


def ca_json(ca: RegisteredCA, path: str, *, with_code: bool = False) -> dict[str, Any]:
    """5.2. `path` is that of the resource the certificate belongs to; the code is shown to whoever made it, once."""
    certificate = ca.certificate
    properties: dict[str, Any] = {
        "subject": certificate.subject,
        "expiry": format_http_date(certificate.not_after),
        "thumbprint": certificate.sha1,
        "isVerified": ca.is_verified,
        "created": format_http_date(ca.created),
        "updated": format_http_date(ca.updated),
        "certificate": base64.b64encode(certificate.der).decode(),
    }
    if with_code:
        properties["verificationCode"] = ca.code
    return {
        "id": f"{path}/certificates/{ca.name}",
        "name": ca.name,
        "type": _CERTIFICATE_TYPES[ca.registry],
        "etag": version_etag(ca.version),
        "properties": properties,
    }


def certificate_text(body: Mapping[str, Any]) -> str:
    """`certificate` of an upload or a verification, at the top or in `properties` (5.3). Raises `Invalid`."""
    text = _members(body).get("certificate")
    if not isinstance(text, str) or not text:
        raise Invalid("body.member", "certificate is missing; it has to be the certificate's text, PEM or base64")
    return text


def is_vouched(body: Mapping[str, Any]) -> bool:
    """`isVerified` of an upload (K-2). Raises `Invalid`."""
    value = _members(body).get("isVerified")
    if value is not None and not isinstance(value, bool):
        raise Invalid("body.member", f"isVerified is a {type(value).__name__}, it has to be true or false")
    return bool(value)


def policy_json(policy: SharedAccessPolicy, *, with_keys: bool) -> dict[str, Any]:
    """5.4; rights as one string."""
    keys = {"primaryKey": policy.primary.reveal(), "secondaryKey": policy.secondary.reveal()} if with_keys else {}
    return {"keyName": policy.name, **keys, "rights": ", ".join(sorted(policy.rights))}


def parse_switches(body: Mapping[str, Any], present: SasSwitches) -> SasSwitches:
    """`present` with what `properties` of a hub says otherwise. Raises `Invalid` (`body.member`)."""
    properties = body.get("properties", {})
    if not isinstance(properties, Mapping):
        raise Invalid("body.member", f"properties is a {type(properties).__name__}, it has to be an object")
    changes: dict[str, bool] = {}
    for member, attribute in _SWITCHES.items():
        value = properties.get(member)
        if value is None:
            continue
        if not isinstance(value, bool):
            raise Invalid("body.member", f"properties.{member} is a {type(value).__name__}, it has to be true or false")
        changes[attribute] = value
    return replace(present, **changes)


def hub_json(
    place: ResourcePlace,
    info: HubInfo,
    policies: Iterable[SharedAccessPolicy],
    switches: SasSwitches,
    partitions: int,
) -> dict[str, Any]:
    """The hub as a resource, as far as tools read it. There is no Event Hubs endpoint yet, so none is named."""
    return {
        **_resource(place, "hub"),
        "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
        "properties": {
            "state": "Active",
            "provisioningState": "Succeeded",
            "hostName": info.hostname,
            "eventHubEndpoints": {
                "events": {
                    "partitionCount": partitions,
                    "partitionIds": [str(partition) for partition in range(partitions)],
                    "path": place.name,
                }
            },
            "authorizationPolicies": [policy_json(policy, with_keys=False) for policy in policies],
            **{member: getattr(switches, attribute) for member, attribute in _SWITCHES.items()},
        },
    }


def dps_json(place: ResourcePlace, info: HubInfo, policies: Iterable[SharedAccessPolicy]) -> dict[str, Any]:
    """The provisioning service as a resource, linked to its hub under that one's first name."""
    return {
        **_resource(place, "dps"),
        "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
        "properties": {
            "state": "Active",
            "provisioningState": "Succeeded",
            "idScope": info.id_scope,
            "serviceOperationsHostName": info.service_host,
            "deviceProvisioningHostName": info.hostname,
            "allocationPolicy": "Hashed",
            "iotHubs": [{"name": info.hostname, "location": _LOCATION, "applyAllocationPolicy": True}],
            "authorizationPolicies": [policy_json(policy, with_keys=False) for policy in policies],
        },
    }


def _resource(place: ResourcePlace, registry: Registry) -> dict[str, Any]:
    return {
        "id": place.path(registry),
        "name": place.name,
        "type": _CERTIFICATE_TYPES[registry].removesuffix("/Certificates"),
        "location": _LOCATION,
        # AZ takes the group from these when it was not told one.
        "resourcegroup": place.group,
        "subscriptionid": place.subscription,
    }


def _members(body: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = body.get("properties")
    return properties if isinstance(properties, Mapping) else body
