"""Automatic configurations, and deployments to one device, over REST (contract/services.md 2.2, 2.10)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.configurations import (
    CONFIGURATION,
    CONFIGURATION_CHANGE,
    CONFIGURATIONS,
    CONTENT,
    QUERIES_TEST,
    QUERIES_TESTED,
)
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import whole
from moorage.dialects.configuration_json import (
    configuration_json,
    parse_configuration,
    parse_content,
    parse_queries_test,
    queries_test_json,
)
from moorage.dialects.json_text import encode_json
from moorage.hub.configuration_metrics import ConfigurationMetrics, Counts
from moorage.hub.configuration_model import (
    MAX_CONFIGURATIONS,
    MAX_CONTENT_BYTES,
    Configuration,
    ConfigurationId,
    parse_configuration_id,
)
from moorage.hub.configurations import ConfigurationService
from moorage.ids import HubId, IdentityName, parse_device_id, parse_etag

__all__ = ["configuration_routes"]

# The documents name the registry's rights, operators use the service's (services.md 1.3, O-11).
_READ: Gate = frozenset({"RegistryRead", "RegistryWrite", "ServiceConnect"})
_WRITE: Gate = frozenset({"RegistryWrite", "ServiceConnect"})
_MAX_TOP: Final = 1000
# Encoding so many takes a few milliseconds of a thread.
_PIECE: Final = 10
_MAX_BODY: Final = MAX_CONTENT_BYTES + 64 * 1024


def configuration_routes(
    hub: HubId, configurations: ConfigurationService, metrics: ConfigurationMetrics
) -> list[Route]:
    api = _Configurations(hub, configurations, metrics)
    one = "/configurations/{id}"
    return [
        Route(
            "GET",
            "/configurations",
            api.list_configurations,
            _READ,
            "registry",
            summary="Configurations, in the order of their ids.",
            query={"top": whole("At most so many.", least=1, most=_MAX_TOP)},
            answers={200: CONFIGURATIONS},
        ),
        Route(
            "POST",
            "/configurations/testQueries",
            api.test_queries,
            _READ,
            "registry",
            summary="Try a target condition and metrics, without a configuration.",
            body=QUERIES_TEST,
            answers={200: QUERIES_TESTED},
        ),
        Route("GET", one, api.get, _READ, "registry", summary="A configuration.", answers={200: CONFIGURATION}),
        Route(
            "PUT",
            one,
            api.put,
            _WRITE,
            "registry",
            summary="Make a configuration, or with If-Match change all of it but its content.",
            headers=(IF_MATCH,),
            body=CONFIGURATION_CHANGE,
            answers={200: CONFIGURATION, 201: CONFIGURATION},
            max_body_bytes=_MAX_BODY,
        ),
        Route(
            "DELETE",
            one,
            api.delete,
            _WRITE,
            "registry",
            summary="Delete a configuration; what it set is taken out of twins.",
            headers=(IF_MATCH,),
            answers={204: None},
        ),
        Route(
            "POST",
            "/devices/{id}/applyConfigurationContent",
            api.deploy,
            _WRITE,
            "registry",
            summary="Set the modules of one edge device; those that are not listed go.",
            body=CONTENT,
            answers={204: None},
            max_body_bytes=_MAX_BODY,
        ),
    ]


class _Configurations:
    def __init__(self, hub: HubId, configurations: ConfigurationService, metrics: ConfigurationMetrics) -> None:
        self._hub = hub
        self._configurations = configurations
        self._metrics = metrics

    async def list_configurations(self, call: Call) -> Response:
        top = call.count("top", default=MAX_CONFIGURATIONS, least=1, most=_MAX_TOP)
        shown = (await self._configurations.all(self._hub))[:top]
        counts = await self._metrics.of_all(shown)
        parts: list[bytes] = []
        pairs = list(zip(shown, counts, strict=True))
        for begin in range(0, len(pairs), _PIECE):
            parts += await asyncio.to_thread(_encode, pairs[begin : begin + _PIECE])
        return encoded_response(b"[" + b",".join(parts) + b"]")

    async def get(self, call: Call) -> Response:
        return await self._answer(self._configurations.get(self._hub, _id_of(call)))

    async def put(self, call: Call) -> Response:
        """Create without If-Match (201), update with it (200; R-7)."""
        draft = parse_configuration(_id_of(call), await call.json_object())
        if_match = call.request.headers.get("if-match")
        if if_match is None:
            made = await self._configurations.create(self._hub, draft, by=call.principal)
            return await self._answer(made, 201)
        changed = await self._configurations.update(self._hub, draft, if_match=parse_etag(if_match), by=call.principal)
        return await self._answer(changed)

    async def delete(self, call: Call) -> Response:
        if_match = parse_etag(call.request.headers.get("if-match"))
        await self._configurations.delete(self._hub, _id_of(call), if_match=if_match, by=call.principal)
        return Response(status_code=204)

    async def test_queries(self, call: Call) -> Response:
        """200 whatever is wrong with them."""
        condition, metrics = parse_queries_test(await call.json_object())
        return json_response(queries_test_json(*await self._configurations.test_queries(condition, metrics)))

    async def deploy(self, call: Call) -> Response:
        content = parse_content(await call.json_object())
        name = IdentityName(parse_device_id(call.path["id"]))
        await self._configurations.deploy(self._hub, name, content, by=call.principal)
        return Response(status_code=204)

    async def _answer(self, configuration: Configuration, status: int = 200) -> Response:
        return json_response(configuration_json(configuration, await self._metrics.of(configuration)), status)


def _encode(pairs: Sequence[tuple[Configuration, Counts]]) -> list[bytes]:
    return [encode_json(configuration_json(*pair)) for pair in pairs]


def _id_of(call: Call) -> ConfigurationId:
    return parse_configuration_id(call.path["id"])
