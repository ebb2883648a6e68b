"""An API of the application as one ASGI app: see who it is, find the route, call the handler, say no.

    path ─► route ─► who (API token, or the owner's bearer) ─► permission ─► handler ─► answer
               └──────┴───────────────┴─────────────────────────┴── Refusal ─► problems.py, in the style of the API

It is reached on the hub's own HTTPS port and on the application's. No cookie opens it, so no page of somebody else's
can use it through a browser. A route's gate is a permission of the application.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moorage.accounts.audit import ACTING
from moorage.accounts.model import OWNER, Actor
from moorage.accounts.tokens import Tokens
from moorage.api.calls import ActorCall
from moorage.api.openapi import openapi_document
from moorage.api.problems import Problem, Style, encoded_response, problem_response
from moorage.api.rates import CallRates
from moorage.api.routing import Call, MethodNotAllowed, Route, RouteTable, split_path
from moorage.attempts.model import Attempt, AttemptSink, refused
from moorage.clock import Clock
from moorage.dialects.json_text import encode_json
from moorage.errors import Forbidden, Refusal, Unauthenticated, Unavailable
from moorage.hub_info import HubInfo
from moorage.identities.access import Access
from moorage.ids import HubId, new_tracking_id

__all__ = ["ActorApi", "Admission", "document_route"]

log = logging.getLogger("moorage.api.application")

# A name or an address, perhaps with a port, and nothing that a URL would read otherwise.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class Admission:
    """Says who asks, and whether they may; one for all APIs of an application, so a caller has one allowance.

    `let_in` hears from where somebody with a good credential comes; `calls_per_second` is of one caller, 0 for any
    number.
    """

    def __init__(
        self,
        hub: HubId,
        clock: Clock,
        access: Access,
        tokens: Tokens,
        attempt_sink: AttemptSink,
        info: Callable[[], HubInfo],
        let_in: Callable[[str], None],
        calls_per_second: int,
    ) -> None:
        self._hub = hub
        self._access = access
        self._tokens = tokens
        self._attempt_sink = attempt_sink
        self._info = info
        self._let_in = let_in
        self._rates = CallRates(calls_per_second)
        self.clock = clock

    def admit(self, request: Request, route: Route, tracking_id: str) -> Actor:
        """Raises `Unauthenticated`, `Forbidden` (`api.permission`), `Exhausted` (`throttle.exceeded`)."""
        try:
            actor = self._who(request)
        except Unauthenticated as refusal:
            self._record(request, route, tracking_id, refusal)
            raise
        self._let_in(_peer(request))
        if actor is not OWNER:
            self._rates.take(actor.name, self.clock.monotonic())
        if not any(route.gate == permission for permission in actor.permissions):
            raise Forbidden("api.permission", f"{actor.name} has no permission {route.gate}, which this takes")
        return actor

    def host(self, request: Request) -> str:
        """As the caller wrote it, who alone is told it again; else what the hub calls itself."""
        called = request.headers.get("host", "")
        return called if _HOST.fullmatch(called) else self._info().service_host

    def _who(self, request: Request) -> Actor:
        header, now = request.headers.get("authorization", "").strip(), self.clock.now()
        if header.partition(" ")[0].lower() == "sharedaccesssignature":
            return self._tokens.find(header, now)
        # The owner's bearer; everything else is refused there.
        self._access.authorize(header or None, "hub", "", frozenset(), now, hub=self._hub)
        return OWNER

    def _record(self, request: Request, route: Route, tracking_id: str, refusal: Refusal) -> None:
        attempt = Attempt(
            at=self.clock.now(),
            hub=self._hub,
            door="service",
            tracking_id=tracking_id,
            address=_peer(request),
            claimed_id=f"{request.method} {route.pattern}",
            credential="token" if request.headers.get("authorization") else "none",
        )
        self._attempt_sink.record(refused(attempt, refusal))


class ActorApi:
    """An ASGI app of `routes`, which says no in `style`. The scope carries `client`."""

    def __init__(self, admission: Admission, routes: Sequence[Route], style: Style) -> None:
        self._admission = admission
        self._table = RouteTable(routes)
        self._style = style

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
            actor = self._admission.admit(request, route, tracking_id)
            ACTING.set(actor.name)
            call = ActorCall(
                request,
                path,
                tracking_id,
                max_body_bytes=route.max_body_bytes,
                actor=actor,
                base=f"https://{self._admission.host(request)}",
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

    def _refused(self, refusal: Refusal, tracking_id: str) -> Response:
        response = problem_response(Problem(refusal, tracking_id, self._admission.clock.now()), self._style)
        if isinstance(refusal, MethodNotAllowed):
            response.headers["allow"] = ", ".join(refusal.allow)
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            # The rest of a body that is too large is not read; the connection cannot be used again.
            response.headers["connection"] = "close"
        return response


def document_route(routes: Sequence[Route], pattern: str, title: str, about: str) -> Route:
    """Serves the OpenAPI document of `routes`, to anybody; it is made when somebody asks for the first time."""

    @cache
    def document() -> bytes:
        return encode_json(openapi_document(routes, title=title, about=about))

    async def answer(_call: Call) -> Response:
        return encoded_response(await asyncio.to_thread(document))

    return Route("GET", pattern, answer, "public", "own", summary="This document.")


def _peer(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else ""
