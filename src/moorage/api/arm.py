"""The control plane in the shape of Azure's: resources, certificates, keys and switches (contract/services.md 5).

It takes the owner's bearer and nothing else (decisions T11).

    api/arm_resources.py        hub and provisioning service, their keys and names
    api/arm_hub.py              a hub's figures, consumer groups, import and export
    api/arm_subscriptions.py    what is around them: subscriptions, groups, providers
    api/certificates.py         CA certificates, under this and other paths
"""

from __future__ import annotations

from moorage.api.arm_hub import hub_routes
from moorage.api.arm_resources import resource_routes
from moorage.api.arm_subscriptions import subscription_routes
from moorage.api.certificates import CertificateApi
from moorage.api.control import place_of, resource_path
from moorage.api.routing import Handler, Route
from moorage.api.schemas.certificates import CA, CA_UPLOAD, CA_WITH_CODE, CAS, PROOF
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import Schema
from moorage.api.services import ApiServices
from moorage.identities.model import PolicyScope

__all__ = ["arm_routes"]


def arm_routes(services: ApiServices) -> list[Route]:
    return [
        *subscription_routes(services),
        *resource_routes(services, "hub"),
        *resource_routes(services, "dps"),
        *hub_routes(services),
        *_certificate_routes(services, "hub"),
        *_certificate_routes(services, "dps"),
    ]


def _certificate_routes(services: ApiServices, scope: PolicyScope) -> list[Route]:
    base = f"{resource_path(scope)}/certificates"
    one = f"{base}/{{name}}"
    api = CertificateApi(
        services,
        scope,
        lambda call: place_of(call, scope, services.hub, services.info()).path(scope),
        etag_required=True,
    )
    changes: list[tuple[str, str, Handler, str, Schema | None, Schema | None]] = [
        ("PUT", one, api.put, "Register a CA certificate, or with If-Match replace it.", CA_UPLOAD, CA),
        ("DELETE", one, api.delete, "Distrust a CA certificate.", None, None),
        ("POST", f"{one}/generateVerificationCode", api.generate_code, "A new code.", None, CA_WITH_CODE),
        ("POST", f"{one}/verify", api.verify, "Prove possession of its key.", PROOF, CA),
    ]
    return [
        Route("GET", base, api.list, "owner", "arm", summary="Its CA certificates.", answers={200: CAS}),
        Route("GET", one, api.get, "owner", "arm", summary="One CA certificate.", answers={200: CA}),
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
