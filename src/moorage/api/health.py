"""Is it alive, is it ready, and how is it doing (decisions T13: figures without sign-in on this machine only)."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.words import Content, list_of, members, text
from moorage.api.services import ApiServices

__all__ = ["health_routes"]

_STATUS: Final = members({"status": text()}, {"reason": text()})
_READY: Final = members(
    {"status": text()}, {"warnings": list_of(text(), "What will go wrong if nobody does anything: `crl.overdue`.")}
)
_FIGURES: Final = Content("text/plain", text())


def health_routes(services: ApiServices) -> list[Route]:
    api = _Health(services)
    return [
        Route("GET", "/healthz", api.alive, "public", "own", summary="The process answers.", answers={200: _STATUS}),
        Route(
            "GET",
            "/readyz",
            api.ready,
            "public",
            "own",
            summary="It takes devices: 200, or 503 with the reason.",
            answers={200: _READY, 503: _STATUS},
        ),
        Route(
            "GET",
            "/metrics",
            api.metrics,
            "local",
            "own",
            summary="Figures in the format of Prometheus.",
            answers={200: _FIGURES},
        ),
    ]


class _Health:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def alive(self, call: Call) -> Response:
        return json_response({"status": "alive"})

    async def ready(self, call: Call) -> Response:
        waiting_for = self._services.not_ready()
        if waiting_for is None:
            warnings = self._services.warnings()
            return json_response({"status": "ready", **({"warnings": warnings} if warnings else {})})
        return json_response({"status": "not ready", "reason": waiting_for}, 503)

    async def metrics(self, call: Call) -> Response:
        text = await asyncio.to_thread(generate_latest, self._services.metrics)
        return Response(text, media_type=CONTENT_TYPE_LATEST)
