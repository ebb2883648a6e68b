"""The provisioning service's device API over HTTPS (contract/devices.md 6.3).

The device's own credential is judged with what it asks, so no gate stands before these routes: the client certificate
of the TLS handshake, or a SAS token in the Authorization header.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.responses import Response

from moorage.api.device_door import presented_by, tls_version_of
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.provisioning import OPERATION, REGISTER, REGISTRATION
from moorage.api.schemas.words import either
from moorage.dialects.dps_exchange import Caller, DpsExchange, Reply
from moorage.dialects.dps_json import MAX_BODY_BYTES
from moorage.errors import Refusal

__all__ = ["dps_device_routes"]


def dps_device_routes(exchange: DpsExchange) -> list[Route]:
    """Register, poll, and the look-up of one's own state."""
    api = _DeviceApi(exchange)
    path = "/{scope}/registrations/{id}"
    size = MAX_BODY_BYTES
    return [
        Route(
            "PUT",
            f"{path}/register",
            api.register,
            "device",
            "dps",
            summary="Ask for a hub; 202 with an operation to ask about.",
            body=REGISTER,
            body_needed=False,
            answers={202: OPERATION, 200: OPERATION},
            answer_headers=("location", "retry-after"),
            max_body_bytes=size,
        ),
        Route(
            "GET",
            f"{path}/operations/{{operation}}",
            api.poll,
            "device",
            "dps",
            summary="What became of it.",
            answers={200: OPERATION, 202: OPERATION},
            answer_headers=("retry-after",),
            max_body_bytes=size,
        ),
        Route(
            "POST",
            path,
            api.look_up,
            "device",
            "dps",
            summary="The device's own registration.",
            answers={200: either(REGISTRATION, OPERATION)},
            max_body_bytes=size,
        ),
    ]


class _DeviceApi:
    def __init__(self, exchange: DpsExchange) -> None:
        self._exchange = exchange

    async def register(self, call: Call) -> Response:
        """Also with `forceRegistration=true`, which C# may add: a registration is never skipped here."""
        caller = _caller(call)
        try:
            body = await call.body()
        except Refusal as refusal:
            return _response(self._exchange.refuse(caller, refusal))
        reply = await self._exchange.register(caller, body)
        operation_id = reply.body.get("operationId")
        headers = {} if operation_id is None else {"location": _location(call, operation_id)}
        return _response(reply, headers)

    async def poll(self, call: Call) -> Response:
        return _response(await self._exchange.poll(_caller(call), call.path["operation"]))

    async def look_up(self, call: Call) -> Response:
        return _response(await self._exchange.look_up(_caller(call)))


def _caller(call: Call) -> Caller:
    client = call.request.headers.get("user-agent", "")
    return Caller(call.path["scope"], call.path["id"], presented_by(call), "dps.https", tls_version_of(call), client)


def _location(call: Call, operation_id: str) -> str:
    path = "/".join(quote(part, safe="") for part in (call.path["scope"], "registrations", call.path["id"]))
    version = call.query.get("api-version", "2021-06-01")
    url = call.request.url
    return f"{url.scheme}://{url.netloc}/{path}/operations/{operation_id}?api-version={quote(version, safe='')}"


def _response(reply: Reply, headers: Mapping[str, str] | None = None) -> Response:
    answer = dict(headers or {})
    if reply.retry_after_s is not None:
        answer["retry-after"] = str(reply.retry_after_s)
    if "errorCode" in reply.body:
        answer["x-ms-error-code"] = str(reply.body["errorCode"])
    if reply.status == 413:
        # The rest of a body that is too large is not read; the connection cannot be used again.
        answer["connection"] = "close"
    return json_response(reply.body, reply.status, answer)
