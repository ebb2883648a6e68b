"""Digital twins over REST: properties, components and commands of a device that has a model (services.md 2.2)."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from moorage.api.hub_methods import unanswered
from moorage.api.problems import json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.configurations import DIGITAL_TWIN, DIGITAL_TWIN_PATCH
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import ANYTHING, whole
from moorage.api.services import Methods
from moorage.clock import Clock
from moorage.dialects.digital_twin_json import digital_twin_json, parse_digital_patch
from moorage.errors import Refusal
from moorage.hub.digital_twins import DigitalTwinService, command_method
from moorage.hub.methods import MethodCall
from moorage.hub.twins import twin_etag
from moorage.ids import HubId, IdentityName, parse_device_id, parse_etag

__all__ = ["digital_twin_routes"]

_SERVICE: Gate = frozenset({"ServiceConnect"})
_TIMEOUTS = {
    "connectTimeoutInSeconds": whole("How long to wait for the device.", least=0, most=300),
    "responseTimeoutInSeconds": whole("How long to wait for its answer.", least=5, most=300),
}


def digital_twin_routes(hub: HubId, twins: DigitalTwinService, methods: Methods, clock: Clock) -> list[Route]:
    api = _DigitalTwins(hub, twins, methods, clock)
    one = "/digitaltwins/{id}"
    return [
        Route(
            "GET",
            one,
            api.get,
            _SERVICE,
            "document",
            summary="The digital twin of a device.",
            answers={200: DIGITAL_TWIN},
            answer_headers=("etag",),
        ),
        Route(
            "PATCH",
            one,
            api.patch,
            _SERVICE,
            "document",
            summary="Change what is desired of properties and components, by a JSON Patch.",
            headers=(IF_MATCH,),
            body=DIGITAL_TWIN_PATCH,
            answers={202: None},
            answer_headers=("etag", "location"),
        ),
        *(
            Route(
                "POST",
                f"{one}{path}/commands/{{command}}",
                api.command,
                _SERVICE,
                "document",
                summary=f"Call a command of a {what}; 200 whatever status it gave.",
                query=_TIMEOUTS,
                body=ANYTHING,
                body_needed=False,
                answers={200: ANYTHING},
                answer_headers=("x-ms-command-statuscode", "x-ms-request-id"),
            )
            for path, what in (("", "device"), ("/components/{component}", "component"))
        ),
    ]


class _DigitalTwins:
    def __init__(self, hub: HubId, twins: DigitalTwinService, methods: Methods, clock: Clock) -> None:
        self._hub = hub
        self._twins = twins
        self._methods = methods
        self._clock = clock

    async def get(self, call: Call) -> Response:
        twin = self._twins.get(self._hub, _name_of(call))
        return json_response(digital_twin_json(twin), headers={"etag": f'"{twin_etag(twin)}"'})

    async def patch(self, call: Call) -> Response:
        name = _name_of(call)
        operations = parse_digital_patch(await call.json())
        if_match = parse_etag(call.request.headers.get("if-match"))
        twin = await self._twins.patch(self._hub, name, operations, if_match=if_match)
        where = f"https://{call.request.url.netloc}/digitaltwins/{quote(name.device_id, safe='')}"
        return Response(status_code=202, headers={"etag": f'"{twin_etag(twin)}"', "location": where})

    async def command(self, call: Call) -> Response:
        """The body is the command's argument, and the answer's body what it gave."""
        name = _name_of(call)
        payload = await call.json_if_any()
        method = MethodCall(
            method=command_method(call.path["command"], call.path.get("component")),
            payload=payload,
            response_timeout_s=call.count("responseTimeoutInSeconds", default=30, least=5, most=300),
            connect_timeout_s=call.count("connectTimeoutInSeconds", default=0, least=0, most=300),
        )
        try:
            reply = await self._methods.invoke(self._hub, name, method)
        except Refusal as refusal:
            return unanswered(refusal, method, call.tracking_id, self._clock.now())
        headers = {"x-ms-command-statuscode": str(reply.status), "x-ms-request-id": call.tracking_id}
        return json_response(reply.payload, headers=headers)


def _name_of(call: Call) -> IdentityName:
    return IdentityName(parse_device_id(call.path["id"]))
