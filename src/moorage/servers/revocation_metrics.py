"""What is known about revocation, as figures: so that an alarm goes off before a list is overdue."""

from __future__ import annotations

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from moorage.certificates.known_revocation import KnownRevocation
from moorage.clock import Clock

__all__ = ["RevocationCollector"]


class RevocationCollector(Collector):
    def __init__(self, known: KnownRevocation, clock: Clock) -> None:
        self._known = known
        self._clock = clock

    def collect(self) -> list[GaugeMetricFamily]:
        due = GaugeMetricFamily(
            "moorage_crl_next_update_timestamp_seconds",
            "When a CA's revocation list is due to be replaced, in seconds since 1970.",
            labels=["issuer"],
        )
        for issuer, moment in self._known.next_updates():
            due.add_metric([issuer.certificate.subject], moment.timestamp())
        entries = GaugeMetricFamily("moorage_crl_entries", "Entries of all revocation lists together.")
        entries.add_metric([], float(self._known.entries()))
        warnings = GaugeMetricFamily(
            "moorage_crl_warnings", "Lists that are missing, overdue or nearly so, by kind.", labels=["kind"]
        )
        kinds = [each.kind for each in self._known.warnings(self._clock.now())]
        for kind in sorted(set(kinds)):
            warnings.add_metric([kind], float(kinds.count(kind)))
        return [due, entries, warnings]
