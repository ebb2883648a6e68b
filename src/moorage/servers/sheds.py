"""What the operator is told while more people stand at the doors than can be served: one line a minute, whoever comes.

Each connection that is dropped is counted by its reason, and some are written down in detail, as every attempt is. Here
is the line that says what is going on: how many, since when, mostly from where.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final, NamedTuple

from moorage.clock import Clock
from moorage.servers.admission import Origin

__all__ = ["CrowdFigures", "Sheds"]

log = logging.getLogger(__name__)

# Between two lines about it.
_TOLD_EVERY_S: Final = 60.0
# Networks that are counted between two lines: the first that come, which is where most of a flood is found.
MAX_NETWORKS: Final = 1024


class CrowdFigures(NamedTuple):
    """Connections of all ports; those nobody was let in on yet; and those of them whose turn has not come."""

    connections: int
    strangers: int
    waiting: int


class Sheds:
    """Counts what is dropped and says so, at once and then every minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reasons: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._since = clock.monotonic()
        self._told: float | None = None

    def count(self, reason: str, origin: Origin) -> None:
        if not self._reasons:
            self._since = self._clock.monotonic()
        self._reasons[reason] += 1
        _, network, _ = origin
        if network in self._networks or len(self._networks) < MAX_NETWORKS:
            self._networks[network] += 1

    def tell(self, crowd: CrowdFigures) -> None:
        """Call it once a second."""
        now = self._clock.monotonic()
        if not self._reasons or (self._told is not None and now - self._told < _TOLD_EVERY_S):
            return
        ((network, most),) = self._networks.most_common(1)
        log.warning(
            "connections_shed count=%d seconds=%.0f reasons=%s most_from=%s:%d connections=%d strangers=%d "
            "waiting=%d; more clients come than this machine can judge, or than may be connected: those that were let "
            "in before are served first, and nobody who was let in is cut. See docs/floods.md",
            sum(self._reasons.values()),
            now - self._since,
            ",".join(f"{reason}:{count}" for reason, count in self._reasons.most_common()),
            network,
            most,
            crowd.connections,
            crowd.strangers,
            crowd.waiting,
        )
        self._told = now
        self._reasons.clear()
        self._networks.clear()
