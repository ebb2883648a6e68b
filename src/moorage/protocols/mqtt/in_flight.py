"""What was sent with a packet id and is not answered yet.

Make one when the first such packet is sent, not for each connection: most devices are never sent any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from moorage.errors import LocalProtocolError

__all__ = ["InFlight"]

T = TypeVar("T")

_LAST_ID = 0xFFFF


class InFlight(Generic[T]):
    """Hands out packet ids, 1 to 65535, and remembers for each what it stands for until it is answered."""

    __slots__ = ("_items", "_last")

    def __init__(self) -> None:
        self._items: dict[int, T] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Packet ids and items, longest waiting first: the order in which to send again [MQTT-4.6.0-1]."""
        return iter(self._items.items())

    def add(self, item: T) -> int:
        """A packet id that is not in use, now standing for `item` [MQTT-2.3.1-2]. The one used longest ago comes last.

        Raises `LocalProtocolError` when all 65535 are in use: whoever sends has to stop long before.
        """
        if len(self._items) == _LAST_ID:
            raise LocalProtocolError("all 65535 packet ids are in flight")
        packet_id = self._last
        while True:
            packet_id = packet_id % _LAST_ID + 1
            if packet_id not in self._items:
                break
        self._last = packet_id
        self._items[packet_id] = item
        return packet_id

    def put(self, packet_id: int, item: T) -> None:
        """Take up an id of an earlier connection, to send its packet again [MQTT-4.4.0-1]. It must not be in use."""
        if packet_id in self._items:
            raise LocalProtocolError(f"packet id {packet_id} is in flight already")
        self._items[packet_id] = item

    def remove(self, packet_id: int) -> T | None:
        """The item that `packet_id` stood for; the id is free again [MQTT-2.3.1-3]. None: it stood for nothing."""
        return self._items.pop(packet_id, None)
