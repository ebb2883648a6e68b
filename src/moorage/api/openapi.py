"""The OpenAPI document of our own paths, made from the routes that serve them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from moorage.api.routing import Route

__all__ = ["openapi_document"]

_PARAMETER = re.compile(r"{(\w+)}")
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "Name of the error as IoT Hub has it."},
                "reason": {"type": "string", "description": "Stable, dotted; docs/reference/reasons.md lists all."},
                "message": {"type": "string"},
                "fix": {"type": "string", "description": "What to do next, empty when there is nothing."},
                "trackingId": {"type": "string"},
            },
            "required": ["code", "message", "trackingId"],
        }
    },
    "required": ["error"],
}


def openapi_document(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 for `routes`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "moorage",
            "version": "v1",
            "description": "What the hub offers beside the interfaces of Azure. Sign in with a bearer token of the "
            "hub's owner: `moorage token`.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"owner": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.pattern)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "2XX": {"description": f"Members: {route.success}." if route.success else "Done."},
            "default": {
                "description": "Refused.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
        "security": [] if route.gate == "public" else [{"owner": []}],
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "description": f"Members: {route.body}.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    return operation
