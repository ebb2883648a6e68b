"""The API as one ASGI app: find the route, ask who it is, call the handler, say no in the style of that surface.

    path ─► route ─► gate (who, with which right) ─► handler ─► answer
              └──────────┴──────────────┴── Refusal ─► problems.py

Nothing is read of a body before the gate let its sender through. A refusal at the gate is recorded as an attempt under
the tracking id that the caller is told, so the operator can ask for the whole reason.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from moorage.api.arm import arm_routes
from moorage.api.blobs import CONTAINER, LARGE_BODY_BYTES, is_blob_path
from moorage.api.gate import Gatekeeper
from moorage.api.health import health_routes
from moorage.api.hub_bulk import bulk_routes
from moorage.api.hub_devices import device_routes
from moorage.api.hub_methods import method_routes
from moorage.api.hub_twins import twin_routes
from moorage.api.openapi import openapi_route
from moorage.api.own import own_routes
from moorage.api.problems import Problem, Style, problem_response
from moorage.api.revocation import is_list_path
from moorage.api.routing import Call, MethodNotAllowed, Route, RouteTable, split_path
from moorage.api.services import ApiServices
from moorage.api.throttling import operation_group
from moorage.errors import Refusal, Unavailable
from moorage.ids import new_tracking_id
from moorage.pki.revocation_lists import MAX_LIST_BYTES

__all__ = ["Api", "api_routes", "build_api"]

log = logging.getLogger("moorage.api")

# The surface that an unknown path most likely meant, by its first segment.
_STYLES: Final[dict[str, Style]] = {
    "subscriptions": "arm",
    "moorage": "own",
    "twins": "document",
    CONTAINER: "blob",
    "enrollments": "dps",
    "enrollmentgroups": "dps",
    "registrations": "dps",
}


def build_api(services: ApiServices) -> Api:
    """The ASGI app of everything the hub serves over HTTPS, except what `services.more_routes` leaves out.

    The scope carries `extensions["moorage.tls"]["peer_chain"]` (DER, leaf first) and `client`.
    """
    routes = api_routes(services)
    return Api(services, RouteTable([*routes, openapi_route(routes)]))


def api_routes(services: ApiServices) -> list[Route]:
    """Every route there is, except the one that serves their document."""
    return [
        *health_routes(services),
        *device_routes(services),
        *bulk_routes(services),
        *twin_routes(services),
        *method_routes(services),
        *arm_routes(services),
        *own_routes(services),
        *services.more_routes,
    ]


class Api:
    """An ASGI app; see `build_api`."""

    def __init__(self, services: ApiServices, table: RouteTable) -> None:
        self._services = services
        self._table = table
        self._gatekeeper = Gatekeeper(services)
        self._mounted: dict[bytes, ASGIApp] = {}

    @property
    def routes(self) -> tuple[Route, ...]:
        """All that it serves."""
        return self._table.routes

    def mount(self, path: str, app: ASGIApp) -> None:
        """Leave everything below `/path` to `app`; `path` is in lower case."""
        self._mounted[path.encode()] = app

    @staticmethod
    def body_limit(raw_path: bytes) -> int | None:
        """For whoever takes bodies from the wire: how large one may be at this path; None where none is large."""
        if is_list_path(raw_path):
            return MAX_LIST_BYTES
        return LARGE_BODY_BYTES if is_blob_path(raw_path) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"this app speaks http, not {scope['type']}")
        asked = _path_of(scope)
        for path, app in self._mounted.items():
            if asked == path or asked.startswith(path + b"/"):
                await app(scope, receive, send)
                return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            # Nobody is left to answer.
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        tracking_id = new_tracking_id()
        style: Style = "registry"
        route: Route | None = None
        try:
            raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
            style = _style_of(raw_path)
            segments = split_path(raw_path)
            route, path = self._table.find(request.method, segments, request.headers)
            style = route.style
            principal = self._gatekeeper.admit(request, route, segments, tracking_id)
            if route.of_device and principal is None:
                style = "device"
            if principal is not None and principal.kind != "owner":
                self._throttle(route)
            return await route.handler(Call(request, path, tracking_id, principal, route.max_body_bytes))
        except Refusal as refusal:
            return self._refused(refusal, style, tracking_id)
        except ClientDisconnect:
            raise
        except Exception:
            where = f"{request.method} {route.pattern}" if route else "no route"
            log.exception("failed route=%r tracking=%s", where, tracking_id)
            fault = Unavailable("api.failed", "this is a fault of moorage; its log has the details")
            return self._refused(fault, style, tracking_id)

    def _throttle(self, route: Route) -> None:
        """Raises `Exhausted` (`throttle.exceeded`)."""
        group, services = operation_group(route), self._services
        if group is not None:
            services.throttles.take(services.hub, group, services.clock.monotonic())

    def _refused(self, refusal: Refusal, style: Style, tracking_id: str) -> Response:
        if refusal.reason == "throttle.exceeded" and style != "dps":
            # Whatever was asked for (services.md 2.12).
            style = "registry"
        response = problem_response(Problem(refusal, tracking_id, self._services.clock.now()), style)
        if isinstance(refusal, MethodNotAllowed):
            response.headers["allow"] = ", ".join(refusal.allow)
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            # The rest of a body that is too large is not read; the connection cannot be used again.
            response.headers["connection"] = "close"
        return response


def _style_of(raw_path: bytes) -> Style:
    """For a path that may be too long, or no text."""
    first = raw_path.lstrip(b"/").partition(b"/")[0]
    return _STYLES.get(first.decode("latin-1").lower(), "registry")


def _path_of(scope: Scope) -> bytes:
    """Without slashes at its ends, in lower case."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw_path.strip(b"/").lower()
