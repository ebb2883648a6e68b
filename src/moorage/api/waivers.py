"""Waivers over our own REST, for the hub's owner: which weaknesses of certificates pass."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.policies import WAIVERS
from moorage.certificates.waivers import WaiverService
from moorage.dialects.policies_json import parse_waivers, waivers_json
from moorage.ids import HubId

__all__ = ["waiver_routes"]

_PATH: Final = "/moorage/v1/waivers"


def waiver_routes(hub: HubId, waivers: WaiverService) -> list[Route]:
    api = _Waivers(hub, waivers)
    return [
        Route("GET", _PATH, api.get, "owner", "own", summary="Which weak certificates pass.", answers={200: WAIVERS}),
        Route(
            "PATCH",
            _PATH,
            api.change,
            "owner",
            "own",
            summary="Let weak certificates pass by a waiver, or take one back; who came in by it is cut.",
            body=WAIVERS,
            answers={200: WAIVERS},
        ),
    ]


class _Waivers:
    def __init__(self, hub: HubId, waivers: WaiverService) -> None:
        self._hub = hub
        self._waivers = waivers

    async def get(self, call: Call) -> Response:
        return json_response(waivers_json(self._waivers.given(self._hub)))

    async def change(self, call: Call) -> Response:
        changes = parse_waivers(await call.json_object())
        return json_response(waivers_json(await self._waivers.change(self._hub, changes, by=call.principal)))
