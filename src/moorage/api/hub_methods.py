"""Direct methods over REST (contract/services.md 2.8)."""

from __future__ import annotations

from datetime import datetime

from starlette.responses import Response

from moorage.api.problems import Problem, json_response, problem_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.devices import METHOD_CALL, METHOD_REPLY
from moorage.api.services import ApiServices, identity_of
from moorage.dialects.hub_json import method_reply_json, parse_method_call
from moorage.dialects.times import format_span
from moorage.errors import Refusal
from moorage.hub.methods import MethodCall

__all__ = ["method_routes", "unanswered"]

_SERVICE: Gate = frozenset({"ServiceConnect"})


def method_routes(services: ApiServices) -> list[Route]:
    api = _Methods(services)
    return [
        Route(
            "POST",
            path,
            api.invoke,
            _SERVICE,
            "document",
            summary=f"Call a method of a {what}; 200 whatever status it gave.",
            body=METHOD_CALL,
            answers={200: METHOD_REPLY},
        )
        for path, what in (("/twins/{id}/methods", "device"), ("/twins/{id}/modules/{module}/methods", "module"))
    ]


class _Methods:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def invoke(self, call: Call) -> Response:
        """200 whatever status the device gave (M-7)."""
        services, name = self._services, identity_of(call)
        method = parse_method_call(await call.json_object())
        try:
            reply = await services.methods.invoke(services.hub, name, method)
        except Refusal as refusal:
            return unanswered(refusal, method, call.tracking_id, services.clock.now())
        return json_response(method_reply_json(reply))


def unanswered(refusal: Refusal, method: MethodCall, tracking_id: str, now: datetime) -> Response:
    """What is said when the time ran out, in the words and with the `info` that clients know (M-5, M-6).

    Raises any other refusal.
    """
    if refusal.reason == "device.not_online":
        text, waited_s = "Timed out waiting for device to connect.", method.connect_timeout_s
    elif refusal.reason == "method.timeout":
        text, waited_s = "Timed out waiting for the response from device.", method.response_timeout_s
    else:
        raise refusal
    problem = Problem(refusal, tracking_id, now, text=text, info={"timeout": format_span(waited_s)})
    return problem_response(problem, "document")
