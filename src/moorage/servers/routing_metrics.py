"""How endpoints of message routes do, as figures: a line for each endpoint that there is, and for each of its routes.

Names of endpoints and routes are the operator's, and limited in number; what is not configured any more has no line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moorage.hub.router import Health, Router
from moorage.hub.routing_model import Routing

__all__ = ["RoutingCollector"]

_COUNTS: Final[tuple[tuple[str, str, Callable[[Health], int]], ...]] = (
    ("delivered_messages", "Messages that an endpoint of message routes has taken.", lambda health: health.delivered),
    ("buried_messages", "Messages for an endpoint that became dead letters.", lambda health: health.buried),
    ("missed_bytes", "Of the log, gone before an endpoint had come there.", lambda health: health.missed_bytes),
    ("delivery_failures", "Attempts to deliver to an endpoint that failed.", lambda health: health.failures),
)


class RoutingCollector(Collector):
    """`dead_letters` counts those of an endpoint that are kept."""

    def __init__(self, routing: Callable[[], Routing], router: Router, dead_letters: Callable[[str], int]) -> None:
        self._routing = routing
        self._router = router
        self._dead_letters = dead_letters

    def collect(self) -> list[Metric]:
        names = [endpoint.name for endpoint in self._routing().endpoints]
        healths = {name: self._router.health(name) for name in names}
        found: list[Metric] = []
        for metric, sentence, count in _COUNTS:
            family = CounterMetricFamily(f"moorage_endpoint_{metric}", sentence, labels=["endpoint"])
            for name, health in healths.items():
                family.add_metric([name], float(count(health)))
            found.append(family)
        gauges: tuple[tuple[str, str, Callable[[str], int]], ...] = (
            (
                "waiting_messages",
                "Messages that wait for an endpoint to take them.",
                lambda name: healths[name].waiting,
            ),
            ("backlog_bytes", "How much of the log an endpoint has still to look at.", self._router.backlog_bytes),
            ("failing", "1 while an endpoint takes nothing.", lambda name: int(healths[name].failed_since is not None)),
            ("dead_letters", "Dead letters of an endpoint that are kept.", self._dead_letters),
        )
        for metric, sentence, value in gauges:
            gauge = GaugeMetricFamily(f"moorage_endpoint_{metric}", sentence, labels=["endpoint"])
            for name in names:
                gauge.add_metric([name], float(value(name)))
            found.append(gauge)
        routed = CounterMetricFamily(
            "moorage_routed_messages",
            "Messages by the route that sent them to an endpoint; at `$fallback` those that no route took.",
            labels=["route", "endpoint"],
        )
        for name, health in healths.items():
            for route, number in sorted(health.by_route.items()):
                routed.add_metric([route, name], float(number))
        return [*found, routed]
