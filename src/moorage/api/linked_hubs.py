"""The hubs that devices are assigned to, over our REST: linked, weighed, checked and taken out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.linked_hubs import ALLOCATION, CHECKED_HUB, LINK_CHANGE, LINKED_HUB, LINKED_HUBS
from moorage.dialects.linked_hubs_json import linked_hub_json, parse_default_allocation, parse_linked_hub
from moorage.errors import NotFound
from moorage.provisioning.linked_hubs import LinkedHubService
from moorage.provisioning.model import LinkedHub

__all__ = ["linked_hub_routes"]

_PATH: Final = "/moorage/v1/linked-hubs"

# Asks a linked hub for something harmless. Raises a `Refusal` when it does not let itself be asked.
Check = Callable[[LinkedHub], Awaitable[None]]


def linked_hub_routes(linked: LinkedHubService, check: Check) -> list[Route]:
    """Routes for the owner."""
    api, one = _LinkedHubs(linked, check), f"{_PATH}/{{name}}"
    return [
        Route(
            "GET",
            _PATH,
            api.list,
            "owner",
            "own",
            summary="Hubs that devices are assigned to, in the order in which they were linked, and the policy of "
            "enrollments that name none.",
            answers={200: LINKED_HUBS},
        ),
        Route("GET", one, api.get, "owner", "own", summary="One of them.", answers={200: LINKED_HUB}),
        Route(
            "PUT",
            one,
            api.put,
            "owner",
            "own",
            summary="Link a hub, or change its weight, location or key.",
            body=LINK_CHANGE,
            answers={200: LINKED_HUB},
        ),
        Route(
            "DELETE",
            one,
            api.delete,
            "owner",
            "own",
            summary="Take a link out; devices that are there stay until they provision again.",
            answers={204: None},
        ),
        Route(
            "POST",
            f"{one}/check",
            api.check,
            "owner",
            "own",
            summary="Ask the hub for a device with the stored key; refused with what is wrong.",
            answers={200: CHECKED_HUB},
        ),
        Route(
            "PUT",
            "/moorage/v1/allocation-policy",
            api.set_policy,
            "owner",
            "own",
            summary="The policy of enrollments that are made from now on and name none.",
            body=ALLOCATION,
            answers={200: ALLOCATION},
        ),
    ]


class _LinkedHubs:
    def __init__(self, linked: LinkedHubService, check: Check) -> None:
        self._linked = linked
        self._check = check

    async def list(self, call: Call) -> Response:
        return json_response(
            {
                "allocationPolicy": self._linked.default_allocation(),
                "linkedHubs": [self._shown(each) for each in self._linked.all()],
            }
        )

    async def get(self, call: Call) -> Response:
        return json_response(self._shown(self._linked.get(call.path["name"])))

    async def put(self, call: Call) -> Response:
        # What is there is read behind the body, which may take its time: what changed meanwhile stays changed.
        name, body = call.path["name"], await call.json_object()
        try:
            present = self._linked.get(name)
        except NotFound:
            present = None
        draft = parse_linked_hub(name, body, present)
        return json_response(self._shown(await self._linked.put(draft, by=str(call.principal))))

    async def delete(self, call: Call) -> Response:
        await self._linked.remove(call.path["name"], by=str(call.principal))
        return Response(status_code=204)

    async def check(self, call: Call) -> Response:
        linked = self._linked.get(call.path["name"])
        if not linked.is_own:
            await self._check(linked)
        return json_response({"name": self._linked.names_of(linked)[0], "isReachable": True})

    async def set_policy(self, call: Call) -> Response:
        policy = parse_default_allocation(await call.json_object())
        await self._linked.set_default_allocation(policy, by=str(call.principal))
        return json_response({"allocationPolicy": policy})

    def _shown(self, linked: LinkedHub) -> dict[str, object]:
        return linked_hub_json(linked, self._linked.own_names[0])
