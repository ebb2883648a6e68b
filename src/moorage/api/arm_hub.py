"""What the control plane does with a hub beside reading and writing it (services.md 5.4).

Figures are counted when they are asked for. Operations without a counterpart here (failover) are refused with
the service's own error for what a hub does not have.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from moorage.api.control import COLLECTIONS, PROVIDER, SUBSCRIPTION, not_served, place_of, resource_path
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.control_plane import CONSUMER_GROUP, CONSUMER_GROUP_BODY, ERROR, LIST, STATISTICS
from moorage.api.schemas.words import OBJECT, list_of, members, one_of
from moorage.api.services import ApiServices
from moorage.dialects.arm_hub import (
    OPERATIONS,
    check_consumer_group_body,
    consumer_group_json,
    health_json,
    quotas_json,
    statistics_json,
    usages_json,
)
from moorage.dialects.arm_json import ResourcePlace
from moorage.dialects.arm_routing import endpoint_health_json, tested_all, tested_one
from moorage.errors import NotFound
from moorage.hub.telemetry_log import TelemetryLog

__all__ = ["hub_routes"]

_ENDPOINT: Final = "events"
# Reads of a stretch of the log that finding midnight may take, for each partition.
_MAX_READS = 1000


def hub_routes(services: ApiServices) -> list[Route]:
    api, one = _HubApi(services), resource_path("hub")
    groups = f"{one}/eventHubEndpoints/{{endpoint}}/ConsumerGroups"
    group = f"{groups}/{{name}}"

    def route(method: str, pattern: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(method, pattern, handler, "owner", "arm", summary=summary, **more)

    def listing(pattern: str, handler: Any, summary: str) -> Route:
        return route("GET", pattern, handler, summary, answers={200: LIST})

    def refusal(pattern: str, handler: Any, summary: str) -> Route:
        return route("POST", f"{one}/{pattern}", handler, summary, answers={403: ERROR})

    made = {"body": CONSUMER_GROUP_BODY, "body_needed": False, "answers": {200: CONSUMER_GROUP}}
    return [
        route("GET", f"{one}/IotHubStats", api.statistics, "How many devices there are.", answers={200: STATISTICS}),
        listing(f"{one}/quotaMetrics", api.quotas, "Messages since midnight, UTC, and devices."),
        listing(f"{SUBSCRIPTION}{PROVIDER}/usages", api.usages, "How many hubs there are: one."),
        listing(
            f"{one}/routingEndpointsHealth",
            api.health,
            "Whether telemetry reaches the disk, and the endpoints of routes.",
        ),
        listing(groups, api.list_groups, "Consumer groups of the built-in endpoint."),
        route("GET", group, api.get_group, "One of them.", answers={200: CONSUMER_GROUP}),
        route("PUT", group, api.put_group, "Make a consumer group, unless it is there.", **made),
        route("DELETE", group, api.delete_group, "Delete a consumer group.", answers={200: None}),
        refusal("failover", api.refuse_failover, "Refused: there is no second region."),
        route(
            "POST",
            f"{one}/routing/routes/$testall",
            api.test_all,
            "Which routes take a message.",
            body=OBJECT,
            answers={200: members({"routes": list_of(OBJECT)})},
        ),
        route(
            "POST",
            f"{one}/routing/routes/$testnew",
            api.test_new,
            "Whether a route would take a message.",
            body=OBJECT,
            answers={200: members({"result": one_of("true", "false", "undefined"), "details": OBJECT})},
        ),
        listing(f"{PROVIDER}/operations", api.operations, "What the control plane can do."),
        route(
            "GET",
            f"{resource_path('dps')}/operationresults/{{operation}}",
            api.no_such_operation,
            "There is none: everything is done when it is answered.",
            answers={404: ERROR},
        ),
    ]


class _HubApi:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def statistics(self, call: Call) -> Response:
        self._place(call)
        return json_response(statistics_json(*await self._services.registry.count_devices(self._services.hub)))

    async def quotas(self, call: Call) -> Response:
        self._place(call)
        total, _ = await self._services.registry.count_devices(self._services.hub)
        midnight = self._services.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return json_response(quotas_json(await _messages_since(self._services.log, midnight), total))

    async def usages(self, call: Call) -> Response:
        return json_response(usages_json(call.path["subscription"]))

    async def health(self, call: Call) -> Response:
        self._place(call)
        services, now = self._services, self._services.clock.now()
        document = health_json(services.log.failed, now)
        for endpoint in services.control.routing.get().endpoints:
            document["value"].append(endpoint_health_json(endpoint.name, services.control.health(endpoint.name), now))
        return json_response(document)

    async def list_groups(self, call: Call) -> Response:
        path = self._endpoint(call)
        groups = self._services.control.consumer_groups.all(self._services.hub)
        return json_response({"value": [consumer_group_json(group, path) for group in groups]})

    async def get_group(self, call: Call) -> Response:
        path = self._endpoint(call)
        group = self._services.control.consumer_groups.get(self._services.hub, call.path["name"])
        return json_response(consumer_group_json(group, path))

    async def put_group(self, call: Call) -> Response:
        """Older tools send no body."""
        path, name = self._endpoint(call), call.path["name"]
        if call.request.headers.get("content-length", "0") != "0":
            check_consumer_group_body(await call.json_object(), name)
        group = await self._services.control.consumer_groups.create(
            self._services.hub, name, self._services.clock.now(), by=call.principal
        )
        return json_response(consumer_group_json(group, path))

    async def delete_group(self, call: Call) -> Response:
        self._endpoint(call)
        await self._services.control.consumer_groups.delete(self._services.hub, call.path["name"], by=call.principal)
        return Response(status_code=200)

    async def refuse_failover(self, call: Call) -> Response:
        self._place(call)
        raise not_served("The hub is in one place and has no other to fail over to")

    async def test_all(self, call: Call) -> Response:
        self._place(call)
        body, routing = await call.json_object(), self._services.control.routing.get()
        return json_response(await asyncio.to_thread(tested_all, routing, body))

    async def test_new(self, call: Call) -> Response:
        self._place(call)
        return json_response(await asyncio.to_thread(tested_one, await call.json_object()))

    async def operations(self, call: Call) -> Response:
        return json_response(OPERATIONS)

    async def no_such_operation(self, call: Call) -> Response:
        place_of(call, "dps", self._services.hub, self._services.info())
        raise NotFound(
            "operation.unknown",
            f"there is no operation {call.path['operation'][:64]!r}: changes are done when they are answered",
        )

    def _place(self, call: Call) -> ResourcePlace:
        return place_of(call, "hub", self._services.hub, self._services.info())

    def _endpoint(self, call: Call) -> str:
        """The path of the one endpoint. Raises `NotFound` (`resource.unknown`) for another."""
        place, endpoint = self._place(call), call.path["endpoint"]
        if endpoint.lower() != _ENDPOINT:
            raise NotFound(
                "resource.unknown",
                f"{COLLECTIONS['hub']}/{place.name} has no endpoint {endpoint[:64]!r}; there is {_ENDPOINT}",
            )
        return f"{place.path('hub')}/eventHubEndpoints/{_ENDPOINT}"


async def _messages_since(log: TelemetryLog, moment: datetime) -> int:
    """How many records were enqueued at `moment` or after. Numbers within a partition have no gap."""
    since_ms, count = int(moment.timestamp() * 1000), 0
    for partition in range(log.partitions):
        page = await log.read(partition, from_time=since_ms, limit=1)
        for _ in range(_MAX_READS):
            if page.messages or page.at_end:
                break
            page = await log.read(partition, from_time=since_ms, from_offset=page.next_offset, limit=1)
        if page.messages:
            state = await log.latest(partition)
            count += state.last_sequence - page.messages[0].sequence + 1
    return count
