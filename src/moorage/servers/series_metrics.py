"""How the series of telemetry do, as figures: how far they are behind the log, and what is not in them."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moorage.analytics.series import Progress

__all__ = ["SeriesCollector"]


class SeriesCollector(Collector):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> list[Metric]:
        progress = self._progress
        behind = GaugeMetricFamily(
            "moorage_series_behind_bytes", "How much of the telemetry log charts and last values do not hold yet."
        )
        behind.add_metric([], float(progress.behind_bytes))
        counters: list[Metric] = [behind]
        for name, sentence, count in (
            ("messages", "Messages that were taken into series.", progress.messages),
            ("left_out_values", "Values under more names than are kept.", progress.left_out),
            ("missed_bytes", "Of the log, gone or damaged before it was read for series.", progress.missed_bytes),
        ):
            family = CounterMetricFamily(f"moorage_series_{name}", sentence)
            family.add_metric([], float(count))
            counters.append(family)
        return counters
