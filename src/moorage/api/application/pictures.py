"""Pictures of dashboards over REST: a tile of IoT Central's API names one, and nothing there brings it (13)."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.analytics.boards import MAX_IMAGE_BYTES
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.words import Content, members, text

__all__ = ["picture_routes"]

# Whoever sees dashboards may have some of their own.
_GATE: Final[Permission] = "dashboards.view"
_PICTURE: Final = Content("image/*", {"type": "string", "format": "binary"})


def picture_routes(services: OwnServices) -> list[Route]:
    pictures = services.pictures

    async def keep(call: ActorCall) -> Response:
        return json_response({"id": await pictures.keep(await call.body())}, 201)

    async def get(call: ActorCall) -> Response:
        found = pictures.get(call.path["id"])
        return Response(found.content, media_type=found.kind)

    return [
        own_route(
            "POST",
            "/dashboardPictures",
            keep,
            _GATE,
            "Bring a picture; it stays while a tile names it, and for an hour before one does.",
            body=_PICTURE,
            answers={201: members({"id": text("For `image` of a tile.")})},
            max_body_bytes=MAX_IMAGE_BYTES,
        ),
        own_route("GET", "/dashboardPictures/{id}", get, _GATE, "One of them.", answers={200: _PICTURE}),
    ]
