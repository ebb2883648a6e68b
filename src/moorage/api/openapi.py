"""The OpenAPI document of everything that is served over HTTPS, made from the routes that serve it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from starlette.responses import Response

from moorage.api.central.routing import PREVIEW_VERSIONS, STABLE_VERSIONS
from moorage.api.problems import Style, encoded_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.errors import ERRORS
from moorage.api.schemas.parameters import ANSWER_HEADERS, PATH_PARAMETERS, REQUEST_HEADERS
from moorage.api.schemas.words import OBJECT, Content, Named, Schema, either, one_of, text
from moorage.dialects.json_text import encode_json

__all__ = ["TAGS", "openapi_document", "openapi_route", "tag_of"]

_PARAMETER: Final = re.compile(r"{(\w+)}")

# The beginning of a path to what it is about; the first that fits counts.
_AREAS: Final[tuple[tuple[str, str], ...]] = (
    ("/devices/query", "Query"),
    ("/devices/{id}/messages", "Device messages"),
    ("/devices/{id}/modules/{module}/messages", "Device messages"),
    ("/devices/{id}/files", "File upload"),
    ("/uploads", "File upload"),
    ("/devices", "Devices"),
    ("/statistics", "Devices"),
    ("/twins/{id}/methods", "Methods"),
    ("/twins/{id}/modules/{module}/methods", "Methods"),
    ("/twins", "Twins"),
    ("/digitaltwins", "Digital twins"),
    ("/jobs", "Jobs"),
    ("/configurations", "Configurations"),
    ("/messages", "Messages"),
    ("/system", "Gateways"),
    ("/enrollments", "Provisioning service"),
    ("/enrollmentGroups", "Provisioning service"),
    ("/registrations", "Provisioning service"),
    ("/{scope}/registrations", "Provisioning devices"),
    ("/subscriptions", "Control plane"),
    ("/providers", "Control plane"),
    ("/tenants", "Control plane"),
    ("/moorage/v1/application/rules", "Rules"),
    ("/moorage/v1/application/audit", "Audit log"),
    ("/moorage/v1/application/settings", "Settings of the application"),
    ("/moorage/v1/application/deviceTemplates", "Device templates"),
    ("/moorage/v1/application/queries", "Data explorer"),
    ("/moorage/v1/application/dataExport", "Data export"),
    ("/moorage/v1/application/dashboardPictures", "Dashboards"),
    ("/moorage/v1/application/roles", "People"),
    ("/moorage/v1/application/users", "People"),
    ("/moorage/v1/application/organizations", "People"),
    ("/moorage/v1/application/devices", "Devices of the application"),
    ("/moorage/v1/application/deviceOperations", "Device operations"),
    ("/moorage/v1/application/certificates", "Certificates of the application"),
    ("/moorage", "moorage"),
    ("/api/enrollmentGroups", "Enrollment groups"),
    ("/api/devices", "Devices of the application"),
    ("/api/deviceTemplates", "Device templates"),
    ("/api/deviceGroups", "Device groups"),
    ("/api/jobs", "Jobs of the application"),
    ("/api/scheduledJobs", "Jobs of the application"),
    ("/api/fileUploads", "Settings of the application"),
    ("/api/query", "Preview"),
    ("/api/deploymentManifests", "Preview"),
    ("/api/dataExport", "Preview"),
    ("/api/dashboards", "Preview"),
    ("/api/apiTokens", "People"),
    ("/api/organizations", "People"),
    ("/api/roles", "People"),
    ("/api/users", "People"),
    ("/healthz", "Health"),
    ("/readyz", "Health"),
    ("/metrics", "Health"),
)
TAGS: Final[Mapping[str, str]] = {
    "Devices": "The registry: devices, modules, how many there are (2.2 to 2.5).",
    "Query": "The query language (2.9).",
    "Twins": "Device documents, as back ends see them (2.7).",
    "Methods": "Direct methods (2.8).",
    "Digital twins": "Twins and commands by their model (2.13).",
    "Jobs": "Scheduled twin changes and methods, import and export (2.10).",
    "Configurations": "Automatic configurations and edge deployments (2.11).",
    "Messages": "What became of messages to devices (2.2, 3.5).",
    "Device messages": "Telemetry and messages, for devices and modules that speak HTTPS.",
    "File upload": "Files of devices: begun and ended at the hub, put where it says, in the shape of Azure's blobs.",
    "Gateways": "What edge gateways and tools ask for.",
    "Provisioning service": "Enrollments, groups and registrations, for operators (6).",
    "Provisioning devices": "Registration, for devices that speak HTTPS.",
    "Control plane": "Hub and provisioning service as resources, in the shape of Azure's (5).",
    "Enrollment groups": "Device connection groups, their certificates and proof of possession (4.7).",
    "Devices of the application": "Devices as people know them, and what is asked of one (22.2).",
    "Device templates": "Models of devices, and how they are shown (7).",
    "Device groups": "Stored queries of devices (11).",
    "Jobs of the application": "One change for all devices of a group, now or as a schedule says (14).",
    "Settings of the application": "Its name and looks, and where files of devices go (19, 20).",
    "Preview": "What only preview versions have (23).",
    "People": "Users, their roles, organizations, API tokens (18).",
    "Rules": "What is watched in telemetry, and what then happens (15).",
    "Audit log": "Who did what, and when (18).",
    "Data explorer": "Questions to telemetry that somebody saved (12).",
    "Dashboards": "Pictures that their tiles show (13).",
    "Data export": "Exports and destinations tried out (16).",
    "Device operations": "One act on many devices, as a list that goes on by itself (10).",
    "Certificates of the application": "Rehearsals and rolls of CAs, and where a certificate fits (25).",
    "moorage": "What Azure does over AMQP, in its portal, or not at all.",
    "Health": "Is it alive, is it ready, how is it doing.",
}
_SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "sas": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`SharedAccessSignature sr=...&sig=...&se=...&skn=...`, signed with a key of a policy that has "
        "one of the rights which the operation names; a device's own is signed with its key and has no `skn`.",
    },
    "apiToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`SharedAccessSignature sr=...&sig=...&skn=...&se=...`: an API token of the application.",
    },
    "owner": {
        "type": "http",
        "scheme": "bearer",
        "description": "The hub's owner: `moorage token`. It opens everything.",
    },
    "certificate": {"type": "mutualTLS", "description": "The device's own X.509 certificate."},
}
_ABOUT: Final = (
    "Everything that the hub serves over HTTPS. Numbers in brackets are sections of docs/contract/services.md. Paths "
    "match without case."
)
_CENTRAL_VERSION: Final = {
    **one_of(*STABLE_VERSIONS, *PREVIEW_VERSIONS, about="Older ones are answered as the newest of their kind."),
    "x-needed": True,
}
_API_VERSION: Final = text("Taken and not looked at: there is one behaviour for all versions.")


def tag_of(route: Route) -> str:
    """Raises `LookupError` for a path of which `_AREAS` says nothing."""
    for beginning, tag in _AREAS:
        if route.pattern == beginning or route.pattern.startswith((beginning + "/", beginning + ":")):
            return tag
    raise LookupError(f"no area is known for {route.pattern}: add it to moorage.api.openapi")


def openapi_route(routes: Sequence[Route]) -> Route:
    """Serves the document of `routes` and of itself; it is made when somebody asks for the first time."""

    @cache
    def document() -> bytes:
        return encode_json(openapi_document([*routes, route]))

    async def answer(call: Call) -> Response:
        return encoded_response(await asyncio.to_thread(document))

    route = Route(
        "GET", "/moorage/v1/openapi.json", answer, "public", "own", summary="This document.", answers={200: OBJECT}
    )
    return route


def openapi_document(routes: Iterable[Route], *, title: str = "moorage", about: str = _ABOUT) -> dict[str, Any]:
    """OpenAPI 3.1 for `routes`."""
    paths: dict[str, dict[str, Any]] = {}
    named: dict[str, Named] = {}
    for route in routes:
        if route.needs_header:
            # A path has one operation a method: the one that everybody may mean.
            continue
        paths.setdefault(route.template, {})[route.method.lower()] = _plain(_operation(route), named)
    schemas: dict[str, Any] = {}
    while unwritten := named.keys() - schemas.keys():
        for name in unwritten:
            schemas[name] = _plain(named[name].schema, named)
    used = {tag for path in paths.values() for operation in path.values() for tag in operation["tags"]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "v1",
            "description": about,
        },
        "tags": [{"name": name, "description": about} for name, about in TAGS.items() if name in used],
        "paths": paths,
        "components": {"securitySchemes": dict(_SECURITY_SCHEMES), "schemas": dict(sorted(schemas.items()))},
    }


def _operation(route: Route) -> dict[str, Any]:
    version = _CENTRAL_VERSION if route.style == "central" else _API_VERSION
    query = {"api-version": version, **route.query} if _is_versioned(route.style, route) else route.query
    parameters = [_parameter("path", name, PATH_PARAMETERS[name]) for name in _PARAMETER.findall(route.template)]
    parameters += [
        _parameter("query", name, text(schema) if isinstance(schema, str) else schema) for name, schema in query.items()
    ]
    parameters += [_parameter("header", name, REQUEST_HEADERS[name]) for name in route.headers]
    refusal = {
        "description": "Refused.",
        "content": {_error_type(route.style): {"schema": ERRORS[route.style]}},
    }
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [tag_of(route)],
        "summary": route.summary,
        "description": _who(route),
        "parameters": parameters,
        "responses": {
            **{str(status): _answer(route, status, content) for status, content in route.answers.items()},
            "4XX": refusal,
            "5XX": refusal,
        },
        "security": _security(route),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": route.body_needed, "content": _content(route.body)}
    return operation


def _error_type(style: Style) -> str:
    return "application/xml" if style == "blob" else "application/json"


def _is_versioned(style: Style, route: Route) -> bool:
    return style != "own" and not route.pattern.startswith("/moorage/")


def _parameter(place: str, name: str, schema: Schema) -> dict[str, Any]:
    plain = dict(schema.schema if isinstance(schema, Named) else schema)
    about = plain.pop("description", "")
    needed = place == "path" or plain.pop("x-needed", False)
    return {"name": name, "in": place, "required": needed, "description": about, "schema": plain}


def _answer(route: Route, status: int, content: Schema | Content | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done." if status < 400 else "Not done, or refused."}
    if status >= 400 and content is not None and not isinstance(content, Content):
        content = either(content, ERRORS[route.style])
    if content is not None:
        answer["content"] = _content(content)
    if route.answer_headers:
        answer["headers"] = {name: {"schema": ANSWER_HEADERS[name]} for name in route.answer_headers}
    return answer


def _content(content: Schema | Content) -> dict[str, Any]:
    if isinstance(content, Content):
        return {content.media_type: {"schema": content.schema}}
    return {"application/json": {"schema": content}}


def _who(route: Route) -> str:
    match route.gate:
        case "public":
            return "For anybody."
        case "device":
            return "For the device itself, with its own credential."
        case "local":
            return "For anybody on this machine, and the owner."
        case "owner":
            return "For the owner."
        case str() as permission:
            return f"For the owner, and for whoever has the permission {permission}."
        case rights:
            return f"For the owner, and for tokens with {' or '.join(sorted(rights))}."


def _security(route: Route) -> list[dict[str, list[str]]]:
    match route.gate:
        case "public":
            return []
        case "device":
            return [{"certificate": []}, {"sas": []}]
        case "local":
            return [{}, {"owner": []}]
        case "owner":
            return [{"owner": []}]
        case str():
            return [{"apiToken": []}, {"owner": []}]
        case _:
            return [{"sas": []}, {"owner": []}]


def _plain(value: Any, named: dict[str, Named]) -> Any:
    """`value` with each schema that has a name put into `named` and referred to. A name means one thing."""
    if isinstance(value, Named):
        if named.setdefault(value.name, value) != value:
            raise LookupError(f"two schemas are called {value.name}")
        return {"$ref": f"#/components/schemas/{value.name}"}
    if isinstance(value, Mapping):
        return {name: _plain(member, named) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, named) for item in value]
    return value
