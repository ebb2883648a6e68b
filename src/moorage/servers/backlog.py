"""Connections that the kernel has accepted and the loop has not taken yet.

libuv takes one connection a turn of the loop. While a turn is short that is enough; while it is spent on judging
strangers the kernel's queue fills, in the order they came: where it is full, packets of good devices are dropped like
those of the flood, and they try again a second later. So that who waits stands in our queue, which is fair, everybody
is taken from the kernel's as soon as more than a few stand in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["BACKLOG", "Backlog"]

log = logging.getLogger(__name__)

# What the kernel keeps, if `net.core.somaxconn` lets it.
BACKLOG: Final = 1024
# Fewer are left to libuv, which is cheaper by a task each.
_LEFT_ALONE: Final = 64
# At one time, which takes some 2 ms.
MAX_TAKEN_AT_ONCE: Final = 64
# struct tcp_info of Linux: of a socket that listens, `tcpi_unacked` is how many wait.
_UNACKED: Final = slice(24, 28)


class Backlog:
    """What waits behind one listening socket, a duplicate of which it keeps until `close`."""

    def __init__(self, descriptor: int, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.setblocking(False)
        self._protocol = protocol
        self._taking: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many wait; 0 where the system does not tell."""
        if not hasattr(socket, "TCP_INFO"):
            return 0
        told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.stop)
        return int.from_bytes(told[_UNACKED], sys.byteorder)

    def take(self) -> int:
        """Have the loop take those that wait, if they are more than a few; how many it takes."""
        if len(self) <= _LEFT_ALONE:
            return 0
        loop = asyncio.get_running_loop()
        for taken in range(MAX_TAKEN_AT_ONCE):
            try:
                peer, _ = self._socket.accept()
            except OSError:
                # Nobody is left, or went away meanwhile, or there is no descriptor: what is wrong libuv will find too.
                return taken
            task = loop.create_task(self._hand_over(peer))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        return MAX_TAKEN_AT_ONCE

    def close(self) -> None:
        self._socket.close()

    async def _hand_over(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, peer)
        except OSError as error:
            log.debug("connection_gone error=%s", error)
            peer.close()
