"""The figures of `/metrics`. Names follow Prometheus: unit last, `_total` for counters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from moorage.hub.sessions import LiveSessions
from moorage.hub.telemetry import TelemetryIntake
from moorage.servers.sheds import CrowdFigures

__all__ = ["Metrics"]


class Metrics:
    """One app's registry and the counters that its servers turn."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        attempts = Counter(
            "moorage_attempts",
            "Attempts to get in, by door and by the reason they failed for, or 'accepted'.",
            ["door", "reason"],
            registry=self.registry,
        )
        # `labels` takes a lock and makes texts of its arguments; each counter is looked up once.
        self._attempt = cache(attempts.labels)
        self._ended = Counter(
            "moorage_sessions_ended", "Sessions closed from our side, by reason.", ["reason"], registry=self.registry
        )

    def attempt(self, door: str, reason: str) -> None:
        self._attempt(door, reason).inc()

    def session_ended(self, reason: str) -> None:
        self._ended.labels(reason).inc()

    def watch(self, live: LiveSessions, intake: TelemetryIntake, backlog_bytes: Callable[[], int]) -> None:
        """Read these when asked, so that nothing is counted on the telemetry path."""
        Gauge("moorage_sessions", "Connected devices and modules.", registry=self.registry).set_function(
            lambda: float(len(live))
        )
        Gauge(
            "moorage_telemetry_backlog_bytes", "Telemetry taken and not yet durable.", registry=self.registry
        ).set_function(lambda: float(backlog_bytes()))
        self.registry.register(_TelemetryCollector(intake))

    def watch_doors(self, crowd: Callable[[], CrowdFigures]) -> None:
        """Connections that were dropped are attempts of the door `tls`, whose reasons begin with `connections.`."""
        for name, sentence, figure in (
            ("connections", "Open connections, of all ports.", lambda: crowd().connections),
            ("strangers", "Connections of peers that were not let in yet.", lambda: crowd().strangers),
            ("strangers_waiting", "Such that wait for the machine to judge them.", lambda: crowd().waiting),
        ):
            Gauge(f"moorage_{name}", sentence, registry=self.registry).set_function(figure)

    def watch_jobs(self, running: Callable[[], int]) -> None:
        Gauge("moorage_jobs_running", "Jobs for many devices that run now.", registry=self.registry).set_function(
            lambda: float(running())
        )


class _TelemetryCollector(Collector):
    def __init__(self, intake: TelemetryIntake) -> None:
        self._intake = intake

    def collect(self) -> list[CounterMetricFamily]:
        family = CounterMetricFamily("moorage_telemetry_messages", "Device-to-cloud messages taken.")
        family.add_metric([], float(self._intake.accepted))
        return [family]
