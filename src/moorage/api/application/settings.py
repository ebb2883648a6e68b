"""What the application is called and how it looks, over REST (contract/central.md NAV-16, NAV-17, 20)."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.customization import MAX_PICTURE_BYTES, PICTURES, Customization, Picture
from moorage.accounts.model import Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, etag_in, no_content
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.application_settings import (
    CUSTOMIZATION,
    CUSTOMIZATION_CHANGE,
    PNG,
    SETTINGS,
    SETTINGS_CHANGE,
)
from moorage.dialects.members import get_text
from moorage.dialects.settings_json import CUSTOMIZATION_MEMBERS, customization_json, parse_look
from moorage.errors import NotFound

__all__ = ["setting_routes"]

_GATE: Final[Permission] = "settings.manage"


def setting_routes(services: OwnServices) -> list[Route]:
    api, look = _Settings(services), "/settings/customization"
    picture = look + "/{picture}"
    return [
        own_route("GET", "/settings", api.get, _GATE, "What it is called, and where it is.", answers={200: SETTINGS}),
        own_route("PATCH", "/settings", api.rename, _GATE, "Rename it.", body=SETTINGS_CHANGE, answers={200: SETTINGS}),
        own_route("GET", look, api.look, _GATE, "How it looks.", answers={200: CUSTOMIZATION}),
        own_route(
            "PATCH",
            look,
            api.change_look,
            _GATE,
            "Change how it looks.",
            body=CUSTOMIZATION_CHANGE,
            answers={200: CUSTOMIZATION},
            is_guarded=True,
        ),
        own_route("GET", picture, api.picture, _GATE, "Its logo, or the icon of its tab.", answers={200: PNG}),
        own_route(
            "PUT",
            picture,
            api.put_picture,
            _GATE,
            "Give it another one, a PNG.",
            body=PNG,
            answers={200: CUSTOMIZATION},
            max_body_bytes=MAX_PICTURE_BYTES,
        ),
        own_route("DELETE", picture, api.remove_picture, _GATE, "Go back to our own.", answers={204: None}),
    ]


class _Settings:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._customization = services.customization

    async def get(self, call: ActorCall) -> Response:
        return json_response(await self._json())

    async def rename(self, call: ActorCall) -> Response:
        body = await call.members("displayName")
        if "displayName" in body:
            await self._customization.rename(call.actor, get_text(body, "displayName") or "")
        return json_response(await self._json())

    async def look(self, call: ActorCall) -> Response:
        return json_response(customization_json(self._customization.current()))

    async def change_look(self, call: ActorCall) -> Response:
        body = await call.members(*CUSTOMIZATION_MEMBERS)
        current = self._customization.current()
        wanted = parse_look(current, body)
        changed = await self._customization.save(
            call.actor,
            header=wanted.header,
            accent=wanted.accent,
            links=wanted.links,
            # What was read just now is what is changed.
            if_match=etag_in(call, body) or current.etag,
        )
        return json_response(customization_json(changed))

    async def picture(self, call: ActorCall) -> Response:
        which = _which(call)
        data = self._customization.picture(which, _digest(self._customization.current(), which))
        if data is None:
            raise NotFound("image.unknown", f"the application has no {which} of its own")
        return Response(data, media_type=PNG.media_type)

    async def put_picture(self, call: ActorCall) -> Response:
        changed = await self._customization.put_picture(call.actor, _which(call), await call.body())
        return json_response(customization_json(changed))

    async def remove_picture(self, call: ActorCall) -> Response:
        await self._customization.remove_picture(call.actor, _which(call))
        return no_content()

    async def _json(self) -> dict[str, Any]:
        info = self._services.info()
        return {
            "id": await self._customization.application_id(),
            "displayName": self._customization.current().name or None,
            "idScope": info.id_scope,
            "hostnames": list(info.hostnames),
            "webUrl": info.web_url,
            "serviceUrl": f"https://{info.service_host}/",
            "mqttPort": info.mqtt_port,
            "amqpPort": info.amqp_port,
        }


def _which(call: ActorCall) -> Picture:
    """Raises `NotFound` (`image.unknown`)."""
    for which in PICTURES:
        if call.path["picture"] == which:
            return which
    raise NotFound("image.unknown", f"there is a {' and a '.join(PICTURES)}, and no {call.path['picture'][:40]!r}")


def _digest(current: Customization, which: Picture) -> str:
    return current.logo if which == "logo" else current.icon
