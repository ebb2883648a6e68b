"""The order in which publishes are acknowledged: that in which they came, whatever each waits for (decisions S12).

What waits is one queue a session. Telemetry stands in it as its bare packet id, and waits for a number: so many of the
oldest are on disk. Anything else is a `Pending` that somebody declares done. The first that is not ready holds back all
behind it.
"""

from __future__ import annotations

__all__ = ["Pending", "Waiting", "take_ready"]


class Pending:
    """A publish whose acknowledgement waits for something other than a telemetry batch."""

    __slots__ = ("is_done", "packet_id")

    def __init__(self, packet_id: int, *, is_done: bool = False) -> None:
        self.packet_id = packet_id
        self.is_done = is_done


# Made for the first publish that waits and gone with the last: a list, as a deque takes four times as long to make.
Waiting = list[int | Pending]


def take_ready(waiting: Waiting, durable: int) -> tuple[list[int], int]:
    """Take off the front what may be acknowledged, `durable` telemetry messages among it.

    Returns the packet ids, and how many durable messages stand behind something that is not ready.
    """
    ready = []
    for head in waiting:
        if isinstance(head, int):
            if not durable:
                break
            durable -= 1
            ready.append(head)
        elif head.is_done:
            ready.append(head.packet_id)
        else:
            break
    del waiting[: len(ready)]
    return ready, durable
