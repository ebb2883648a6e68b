"""The control plane in the shape of Azure's: certificates, keys and switches (contract/services.md 5).

It takes the owner's bearer and nothing else (decisions T11). The certificates of hub and provisioning service are seven
operations each, in `api/certificates.py`.
"""

from __future__ import annotations

from starlette.responses import Response

from moorage.api.certificates import CertificateApi
from moorage.api.problems import json_response
from moorage.api.routing import Call, Handler, Route
from moorage.api.schemas.certificates import CA, CA_UPLOAD, CA_WITH_CODE, CAS, PROOF
from moorage.api.schemas.control_plane import HUB_CHANGE, KEYS, POLICY_KEYS, RESOURCE, RESOURCES
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import Schema
from moorage.api.services import ApiServices
from moorage.certificates.model import Registry
from moorage.dialects.arm_json import ResourcePlace, dps_json, hub_json, parse_switches, policy_json
from moorage.errors import NotFound
from moorage.identities.model import PolicyScope

__all__ = ["arm_routes"]

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{group}}"
_PROVIDER = "/providers/Microsoft.Devices"
_KINDS: dict[Registry, str] = {"hub": "IotHubs", "dps": "provisioningServices"}
_KEYS: dict[Registry, str] = {"hub": "IotHubKeys", "dps": "keys"}
# The group that a listing by subscription shows; it has to be there for tools to go on with.
_DEFAULT_GROUP = "moorage"


def arm_routes(services: ApiServices) -> list[Route]:
    return [*_resource_routes(services, "hub"), *_resource_routes(services, "dps")]


def _resource_routes(services: ApiServices, registry: Registry) -> list[Route]:
    collection = f"{_PROVIDER}/{_KINDS[registry]}"
    resource = f"{_GROUP}{collection}/{{resource}}"
    one = f"{resource}/certificates/{{name}}"
    certificates = CertificateApi(
        services, registry, lambda call: _place(services, registry, call).path(registry), etag_required=True
    )
    resources = _Resources(services, registry)
    what = "hub" if registry == "hub" else "provisioning service"
    plain: list[tuple[str, str, Handler, str, Schema]] = [
        ("GET", f"{resource}/certificates", certificates.list, "Its CA certificates.", CAS),
        ("GET", one, certificates.get, "One CA certificate.", CA),
        ("GET", f"{_SUBSCRIPTION}{collection}", resources.list, f"The {what}, as the only one.", RESOURCES),
        ("GET", f"{_GROUP}{collection}", resources.list, f"The {what}, as the only one.", RESOURCES),
        ("GET", resource, resources.get, f"The {what}.", RESOURCE),
        ("POST", f"{resource}/listkeys", resources.list_keys, "Its policies, keys included.", KEYS),
        (
            "POST",
            f"{resource}/{_KEYS[registry]}/{{policy}}/listkeys",
            resources.get_keys,
            "One policy, keys included.",
            POLICY_KEYS,
        ),
    ]
    changes: list[tuple[str, str, Handler, str, Schema | None, Schema | None]] = [
        ("PUT", one, certificates.put, "Register a CA certificate, or with If-Match replace it.", CA_UPLOAD, CA),
        ("DELETE", one, certificates.delete, "Distrust a CA certificate.", None, None),
        (
            "POST",
            f"{one}/generateVerificationCode",
            certificates.generate_code,
            "A new verification code.",
            None,
            CA_WITH_CODE,
        ),
        ("POST", f"{one}/verify", certificates.verify, "Prove possession of its key.", PROOF, CA),
    ]
    if registry == "hub":
        changes += [
            (method, resource, resources.update, "Turn the hub's switches.", HUB_CHANGE, RESOURCE)
            for method in ("PATCH", "PUT")
        ]
    return [
        *(
            Route(method, pattern, handler, "owner", "arm", summary=summary, answers={200: answer})
            for method, pattern, handler, summary, answer in plain
        ),
        *(
            Route(
                method,
                pattern,
                handler,
                "owner",
                "arm",
                summary=summary,
                headers=(IF_MATCH,),
                body=body,
                answers={204: None} if answer is None else {200: answer},
            )
            for method, pattern, handler, summary, body, answer in changes
        ),
    ]


class _Resources:
    """The hub or the provisioning service itself."""

    def __init__(self, services: ApiServices, registry: Registry) -> None:
        self._services = services
        self._registry: Registry = registry
        self._scope: PolicyScope = registry

    async def list(self, call: Call) -> Response:
        place = ResourcePlace(
            call.path["subscription"], call.path.get("group", _DEFAULT_GROUP), _names(self._services, self._registry)[0]
        )
        return json_response({"value": [self._document(place)]})

    async def get(self, call: Call) -> Response:
        return json_response(self._document(_place(self._services, self._registry, call)))

    async def update(self, call: Call) -> Response:
        """The switches are what can be changed; the rest of the body is what GET gave, and is ignored."""
        services, place = self._services, _place(self._services, self._registry, call)
        present = services.policies.switches(services.hub)
        wanted = parse_switches(await call.json_object(), present)
        if wanted != present:
            await services.policies.set_switches(services.hub, wanted)
        return json_response(self._document(place))

    async def list_keys(self, call: Call) -> Response:
        _place(self._services, self._registry, call)
        policies = self._services.policies.all(self._services.hub, self._scope)
        return json_response({"value": [policy_json(policy, with_keys=True) for policy in policies]})

    async def get_keys(self, call: Call) -> Response:
        _place(self._services, self._registry, call)
        policy = self._services.policies.get(self._services.hub, self._scope, call.path["policy"])
        return json_response(policy_json(policy, with_keys=True))

    def _document(self, place: ResourcePlace) -> dict[str, object]:
        services = self._services
        info, policies = services.info(), services.policies.all(services.hub, self._scope)
        if self._registry == "dps":
            return dps_json(place, info, policies)
        return hub_json(place, info, policies, services.policies.switches(services.hub), services.log.partitions)


def _place(services: ApiServices, registry: Registry, call: Call) -> ResourcePlace:
    """Raises `NotFound` (`resource.unknown`) for a name that is not ours."""
    name, known = call.path["resource"], _names(services, registry)
    if name.lower() not in known:
        raise NotFound("resource.unknown", f"there is no {_KINDS[registry]}/{name[:64]} here; there is {known[0]}")
    return ResourcePlace(call.path["subscription"], call.path["group"], name)


def _names(services: ApiServices, registry: Registry) -> tuple[str, ...]:
    """What the resource may be called: its id, or the first label of the host name, as connection strings have it."""
    own = services.hub if registry == "hub" else "dps"
    return own.lower(), services.info().hostname.partition(".")[0].lower()
