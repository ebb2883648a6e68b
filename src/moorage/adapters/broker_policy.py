"""Which Kafka brokers this hub may speak to: those that the machine's operator vouches for, and no others.

A Kafka client asks one broker where the others are and then connects to what it was told, so a rule about the address
that an endpoint names says nothing about where its messages, and its password, end up. Judging addresses one by one as
`egress_policy.py` does would not help: brokers mostly live on private networks, side by side with everything else that
must not be called. So the setting `kafka_brokers` names brokers, and every broker is held against it, the one that was
asked first and all that it speaks of, before anything is sent there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["NO_BROKERS", "BrokerList", "parse_place"]

_PLACE: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[^\s:/@\[\]]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


def parse_place(text: str) -> tuple[str, int | None] | None:
    """Host, in lower case, and port of `host:9092`, `host` or `[::1]:9092`; None when it is none of these."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 1 <= port <= 65535:
        return None
    return _host(found["six"] or found["host"]), port


def _host(text: str) -> str:
    """As it is compared: one spelling for each address and each name."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text.lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class BrokerList:
    """`entries` are hosts with a port, or with None for any. A host that begins with `*.` is every name below it."""

    entries: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> BrokerList:
        """From entries of the setting: `kafka-1.example:9092`, `*.kafka.example`, `10.0.0.7:9092`."""
        return cls(frozenset(place for entry in entries if (place := parse_place(entry)) is not None))

    def names(self, host: str, port: int) -> bool:
        """Whether the broker at `host`, as it is written there, and `port` is on the list."""
        host = _host(host)
        labels = host.split(".")
        # An address has nothing below it.
        above = () if labels[-1].isdigit() or ":" in host else range(1, len(labels))
        hosts = [host, *("*." + ".".join(labels[place:]) for place in above)]
        return any((each, any_port) in self.entries for each in hosts for any_port in (port, None))


NO_BROKERS: Final = BrokerList()
