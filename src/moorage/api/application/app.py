"""Our own API of the application: all of its routes, as one ASGI app (contract/central.md 25).

It has what people do on the application's pages and IoT Central's REST API has no place for, and stands below a path of
its own, never mixed into the compatible one. Pages and routes call the same services.
"""

from __future__ import annotations

from moorage.api.actor_api import ActorApi, Admission, document_route
from moorage.api.application.audit import audit_routes
from moorage.api.application.certificates import certificate_routes
from moorage.api.application.devices import device_routes
from moorage.api.application.exports import export_routes
from moorage.api.application.operations import operation_routes
from moorage.api.application.people import people_routes
from moorage.api.application.pictures import picture_routes
from moorage.api.application.queries import query_routes
from moorage.api.application.routing import BASE
from moorage.api.application.rules import rule_routes
from moorage.api.application.services import OwnServices
from moorage.api.application.settings import setting_routes
from moorage.api.application.templates import template_routes
from moorage.api.routing import Route

__all__ = ["build_own", "own_routes"]


def build_own(services: OwnServices, admission: Admission) -> ActorApi:
    """The ASGI app of `/moorage/v1/application/...`."""
    routes = own_routes(services)
    document = document_route(
        routes,
        f"{BASE}/openapi.json",
        "moorage: the application",
        "What the application's pages do and IoT Central's REST API, below /api, has no place for.",
    )
    return ActorApi(admission, [*routes, document], "application")


def own_routes(services: OwnServices) -> list[Route]:
    """Every route there is, except the one that serves their document."""
    return [
        *rule_routes(services),
        *export_routes(services),
        *audit_routes(services),
        *setting_routes(services),
        *template_routes(services),
        *query_routes(services),
        *people_routes(services),
        *device_routes(services),
        *operation_routes(services),
        *certificate_routes(services),
        *picture_routes(services),
    ]
