"""When certificates end, as figures: what an alarm is set on before anybody is left outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moorage.fleet.forecast import WITHIN_DAYS, Outlook

__all__ = ["ExpiryCollector"]


class ExpiryCollector(Collector):
    """`latest` gives the last look, None before the first."""

    def __init__(self, latest: Callable[[], Outlook | None]) -> None:
        self._latest = latest

    def collect(self) -> list[Metric]:
        authorities = GaugeMetricFamily(
            "moorage_certificate_not_after_seconds",
            "When the certificate of a CA, an intermediate or the hub itself ends, in seconds since 1970.",
            labels=("kind", "subject", "sha256"),
        )
        leaves = GaugeMetricFamily(
            "moorage_device_certificates_ending",
            "Certificates of devices that have ended, or will within so many days; as each device showed one last.",
            labels=("within_days",),
        )
        outlook = self._latest()
        if outlook is not None:
            seen = set()
            for each in outlook.authorities:
                labels = (each.kind, each.certificate.subject[:200], each.certificate.sha256)
                if labels not in seen:
                    seen.add(labels)
                    authorities.add_metric(labels, each.certificate.not_after.timestamp())
            for days in WITHIN_DAYS:
                count = outlook.within(timedelta(days=days)) if days else outlook.expired
                leaves.add_metric([str(days)], float(count))
        return [authorities, leaves]
