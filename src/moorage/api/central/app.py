"""The Central API as one ASGI app: see who it is, find the route, call the handler, say no in IoT Central's words.

    path ─► route ─► who (API token, or the owner's bearer) ─► permission ─► version ─► handler ─► answer
               └──────┴───────────────┴─────────────────────────┴────── Refusal ─► {"error": {...}}

It is reached on the hub's own HTTPS port and on the application's. No cookie opens it, so no page of somebody else's
can use it through a browser.
"""

from __future__ import annotations

import asyncio
import logging
import re
from functools import cache
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moorage.accounts.audit import ACTING
from moorage.accounts.model import OWNER, Actor
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
from moorage.api.central.rates import CallRates
from moorage.api.central.relationships import relationship_routes
from moorage.api.central.routing import CentralCall, check_version
from moorage.api.central.services import CentralServices
from moorage.api.central.templates import group_routes, template_routes
from moorage.api.openapi import openapi_document
from moorage.api.problems import Problem, encoded_response, problem_response
from moorage.api.routing import Call, MethodNotAllowed, Route, RouteTable, split_path
from moorage.attempts.model import Attempt, refused
from moorage.dialects.json_text import encode_json
from moorage.errors import Forbidden, Refusal, Unauthenticated, Unavailable
from moorage.ids import new_tracking_id

__all__ = ["CentralApi", "build_central", "central_routes"]

log = logging.getLogger("moorage.api.central")

# A name or an address, perhaps with a port, and nothing that a URL would read otherwise.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def build_central(services: CentralServices) -> CentralApi:
    """The ASGI app of `/api/...`. The scope carries `client`."""
    routes = central_routes(services)
    return CentralApi(services, [*routes, _document_route(routes)])


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


def _document_route(routes: list[Route]) -> Route:
    @cache
    def document() -> bytes:
        return encode_json(
            openapi_document(
                routes,
                title="moorage: the Central API",
                about="IoT Central's REST API, served by moorage. Every call takes api-version.",
            )
        )

    async def answer(_call: Call) -> Response:
        return encoded_response(await asyncio.to_thread(document))

    return Route("GET", "/api/openapi.json", answer, "public", "own", summary="This document.")


class CentralApi:
    """An ASGI app; see `build_central`."""

    def __init__(self, services: CentralServices, routes: list[Route]) -> None:
        self._services = services
        self._table = RouteTable(routes)
        self._rates = CallRates(services.calls_per_second)

    @property
    def routes(self) -> tuple[Route, ...]:
        return self._table.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"this app speaks http, not {scope['type']}")
        try:
            response = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            # Nobody is left to answer.
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        tracking_id = new_tracking_id()
        route: Route | None = None
        try:
            raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
            route, path = self._table.find(request.method, split_path(raw_path), request.headers)
            if route.gate == "public":
                return await route.handler(Call(request, path, tracking_id))
            actor = self._admit(request, route, tracking_id)
            ACTING.set(actor.name)
            call = CentralCall(
                request,
                path,
                tracking_id,
                max_body_bytes=route.max_body_bytes,
                actor=actor,
                is_preview=check_version(request.query_params),
                base=f"https://{self._host(request)}",
            )
            response = await route.handler(call)
            response.headers["x-ms-request-id"] = tracking_id
            # What it holds is for one caller, with one token.
            response.headers["cache-control"] = "no-store"
            return response
        except Refusal as refusal:
            return self._refused(refusal, tracking_id)
        except ClientDisconnect:
            raise
        except Exception:
            where = f"{request.method} {route.pattern}" if route else "no route"
            log.exception("failed route=%r tracking=%s", where, tracking_id)
            return self._refused(
                Unavailable("api.failed", "this is a fault of moorage; its log has the details"), tracking_id
            )

    def _admit(self, request: Request, route: Route, tracking_id: str) -> Actor:
        """Raises `Unauthenticated`, `Forbidden` (`api.permission`), `Exhausted` (`throttle.exceeded`)."""
        services = self._services
        try:
            actor = self._who(request)
        except Unauthenticated as refusal:
            self._record(request, route, tracking_id, refusal)
            raise
        services.let_in(_peer(request))
        if actor is not OWNER:
            self._rates.take(actor.name, services.clock.monotonic())
        if not any(route.gate == permission for permission in actor.permissions):
            raise Forbidden("api.permission", f"{actor.name} has no permission {route.gate}, which this takes")
        return actor

    def _who(self, request: Request) -> Actor:
        header = request.headers.get("authorization", "").strip()
        services, now = self._services, self._services.clock.now()
        if header.partition(" ")[0].lower() == "sharedaccesssignature":
            return services.tokens.find(header, now)
        # The owner's bearer; everything else is refused there.
        services.access.authorize(header or None, "hub", "", frozenset(), now, hub=services.hub)
        return OWNER

    def _record(self, request: Request, route: Route, tracking_id: str, refusal: Refusal) -> None:
        attempt = Attempt(
            at=self._services.clock.now(),
            hub=self._services.hub,
            door="service",
            tracking_id=tracking_id,
            address=_peer(request),
            claimed_id=f"{request.method} {route.pattern}",
            credential="token" if request.headers.get("authorization") else "none",
        )
        self._services.attempt_sink.record(refused(attempt, refusal))

    def _host(self, request: Request) -> str:
        """As the caller wrote it, who alone is told it again; else what the hub calls itself."""
        called = request.headers.get("host", "")
        return called if _HOST.fullmatch(called) else self._services.info().service_host

    def _refused(self, refusal: Refusal, tracking_id: str) -> Response:
        response = problem_response(Problem(refusal, tracking_id, self._services.clock.now()), "central")
        if isinstance(refusal, MethodNotAllowed):
            response.headers["allow"] = ", ".join(refusal.allow)
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            # The rest of a body that is too large is not read; the connection cannot be used again.
            response.headers["connection"] = "close"
        return response


def _peer(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else ""
