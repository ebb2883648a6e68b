"""Who came and who went, to be told to back ends (`deviceConnectionStateEvents`).

A session says so in a few microseconds and goes on; the event waits in memory until the notifier comes round. Of each
identity the last arrival and the last departure are kept, in the order in which they happened: a storm of reconnects
takes two entries an identity, and what is told at its end is the state it ended in. Events that wait when the hub dies
are not told.

Sequence numbers grow strictly, also over restarts and whatever the clock does: the upper half is the number of the run,
the lower half counts in it (contract/services.md 4.7: hexadecimal text, compared as text).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from moorage.clock import Clock
from moorage.hub.notification_model import Notification
from moorage.ids import IdentityName

__all__ = ["ConnectionEvents"]


class ConnectionEvents:
    """`is_wanted` says whether anything is remembered at all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[tuple[IdentityName, bool], datetime] = {}
        self._epoch = 0
        self._count = 0
        self.is_wanted = False

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, epoch: int) -> None:
        """`epoch` is greater than that of any run before."""
        self._epoch = epoch

    def heard(self, name: IdentityName, is_connected: bool) -> None:
        """A listener of `ActivityTracker`."""
        if self.is_wanted:
            key = name, is_connected
            # To the end, so that the order is that of the last ones.
            self._waiting.pop(key, None)
            self._waiting[key] = self._clock.now()

    def take(self, limit: int) -> list[Notification]:
        """The oldest, numbered."""
        keys = list(islice(self._waiting, limit))
        return [self._numbered(*key, self._waiting.pop(key)) for key in keys]

    def put_back(self, untold: Sequence[Notification]) -> None:
        """They could not be told: they come again, numbered anew, unless something newer stands in their place."""
        newer, self._waiting = self._waiting, {}
        for each in untold:
            key = each.name, each.operation == "deviceConnected"
            if each.name is not None and each.at is not None and key not in newer:
                self._waiting[each.name, key[1]] = each.at
        self._waiting |= newer

    def _numbered(self, name: IdentityName, is_connected: bool, at: datetime) -> Notification:
        self._count += 1
        operation = "deviceConnected" if is_connected else "deviceDisconnected"
        facts = {"sequence": f"{self._epoch:032X}{self._count:032X}"}
        return Notification("deviceConnectionStateEvents", operation, name, at, facts)
