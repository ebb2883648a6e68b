"""The Central API: all of its routes, as one ASGI app (contract/central.md 22)."""

from __future__ import annotations

from moorage.api.actor_api import ActorApi, Admission, document_route
from moorage.api.central.attestation import attestation_routes
from moorage.api.central.capabilities import capability_routes
from moorage.api.central.dashboards import dashboard_routes
from moorage.api.central.devices import device_routes
from moorage.api.central.enrollment_groups import enrollment_group_routes
from moorage.api.central.exports import export_routes
from moorage.api.central.file_uploads import file_upload_routes
from moorage.api.central.jobs import job_routes
from moorage.api.central.people import people_routes
from moorage.api.central.preview import preview_routes
from moorage.api.central.relationships import relationship_routes
from moorage.api.central.services import CentralServices
from moorage.api.central.templates import group_routes, template_routes
from moorage.api.routing import Route

__all__ = ["build_central", "central_routes"]


def build_central(services: CentralServices, admission: Admission) -> ActorApi:
    """The ASGI app of `/api/...`."""
    routes = central_routes(services)
    document = document_route(
        routes,
        "/api/openapi.json",
        "moorage: the Central API",
        "IoT Central's REST API, served by moorage. Every call takes api-version.",
    )
    return ActorApi(admission, [*routes, document], "central")


def central_routes(services: CentralServices) -> list[Route]:
    """Every route there is, except the one that serves their document."""
    return [
        *enrollment_group_routes(services),
        *people_routes(services),
        *device_routes(services),
        *attestation_routes(services),
        *template_routes(services),
        *group_routes(services),
        *capability_routes(services),
        *job_routes(services),
        *file_upload_routes(services),
        *relationship_routes(services),
        *preview_routes(services),
        *export_routes(services),
        *dashboard_routes(services),
    ]
