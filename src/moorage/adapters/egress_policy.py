"""Where this hub may call out to: which addresses are the public Internet, and what an operator allows beside them.

Web hooks, containers and linked hubs are named by whoever may write an enrollment or start a job. Without a rule, that
right would reach everything that this machine reaches: its own loopback, the metadata service of a cloud, the printer
(decisions T12). So an address has to be one that the IANA special-purpose registries (RFC 6890 and its updates) leave
to the Internet at large, or be allowed by the setting `egress_allow`.

An IPv6 address that carries an IPv4 address is judged by what it carries, where a translator would really go there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["NOTHING_MORE", "Address", "AllowList", "is_public", "plain_address"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network; Linux takes it for this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared with the provider (CGNAT); some clouds keep metadata here
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host agent, an address that is public by its looks alone
            "169.254.0.0/16",  # link-local, and the metadata services of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# Of IPv6 only this is given out to the Internet at all, less what is taken out of it below.
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo and ORCHID among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which leads to any IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
# RFC 6052: a NAT64 takes the last 32 bits for the IPv4 address that it goes to.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def plain_address(address: Address) -> Address:
    """`address` as the packets will know it: IPv4 where IPv6 merely spells it (RFC 4291 2.5.5.2)."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether it is an address of the Internet at large, given out to somebody and to be reached one by one."""
    address = plain_address(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


@dataclass(frozen=True, slots=True)
class AllowList:
    """What the operator allows beside the public Internet: networks, and host names wherever they lead.

    Who is on it may also be spoken to without TLS.
    """

    networks: tuple[_Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowList:
        """From entries of the setting: `10.0.0.0/8`, `192.168.1.7`, `hooks.example`."""
        networks: list[_Network] = []
        hosts: set[str] = set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.add(entry.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def names(self, host: str, address: Address) -> bool:
        """Whether `host`, which is at `address`, is on the list."""
        if host.lower() in self.hosts:
            return True
        plain = plain_address(address)
        return any(plain.version == network.version and plain in network for network in self.networks)

    def permitted(self, host: str, addresses: Sequence[Address], *, with_tls: bool) -> list[Address]:
        """Those of `addresses` to which a connection may be opened."""
        return [address for address in addresses if self.names(host, address) or (with_tls and is_public(address))]


NOTHING_MORE: Final = AllowList()
