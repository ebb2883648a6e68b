"""Who is served first when not everybody can be, and who is let go: decisions, without a socket and without a clock.

To judge a stranger costs the hub about a millisecond: a handshake, a chain, a record of it. Whoever offers more than
the machine can judge must not keep a good device out, so three things are decided here, each in bounded memory:

    Crowd      who may be connected to a port. One address, or one network, cannot have all of it, and strangers (peers
               that nobody has judged yet) have a part of it. When a place is wanted it is taken from a stranger: of
               those looked at, the oldest of the address and network that hold most.
    Standing   what is known of an address: somebody was let in from it lately, nothing, or that it was refused.
    FairQueue  whose turn it is. Networks take turns, in them smaller ones, in them addresses, in them connections in
               the order they came. Known addresses and new ones have two turns each for every one of the refused ones:
               nobody waits for ever, and nobody waits for a flood from elsewhere.

An origin is three texts, the widest first: /16, /24 and the address of IPv4; /32, /48 and /64 of IPv6, which is what
one client can fill.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from random import SystemRandom
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["Caps", "Crowd", "FairQueue", "Origin", "Rank", "Room", "Standing", "origin_of"]

Origin = tuple[str, str, str]
T = TypeVar("T")

# How many addresses are remembered as known, and as many as refused. Only who was let in gets into the first.
MAX_REMEMBERED: Final = 16_384
# For so long after somebody was let in its address is known, and so long after a refusal it is behind the others.
KNOWN_S: Final = 24 * 3600.0
REFUSED_S: Final = 600.0
# A plant behind one address has its broken devices; with more refusals than this since the last that was let in, ...
_REFUSALS_OF_A_KNOWN: Final = 20
# Strangers that are looked at for one place. Whoever holds a tenth of them is missed once in a thousand times.
_LOOKED_AT: Final = 64
# Of a port, what the addresses of one network can have together.
_NETWORK_SHARE: Final = 0.75

_choose: Final = SystemRandom().randrange


def origin_of(address: str) -> Origin:
    """Where `host:port` comes from. An IPv4 address mapped into IPv6 is itself; what is no address is its own network.

    A port of IPv6 stands behind the last colon, without brackets, as `SecureStream.address` writes it.
    """
    host = address.rpartition(":")[0]
    if ":" in host:
        try:
            number = IPv6Address(host.partition("%")[0])
        except ValueError:
            return host, host, host
        if number.ipv4_mapped is None:
            bits = int(number)
            wide, network, own = (str(IPv6Address(bits >> cut << cut)) for cut in (96, 80, 64))
            return f"{wide}/32", f"{network}/48", f"{own}/64"
        host = str(IPv4Address(number.ipv4_mapped))
    network = host.rpartition(".")[0]
    return network.rpartition(".")[0], network, host


class Rank(IntEnum):
    """How an address stands when its turn is looked for."""

    KNOWN = 0
    NEW = 1
    REFUSED = 2


# The ranks take turns in this order; one that nobody waits in is passed over.
_TURNS: Final = (Rank.KNOWN, Rank.NEW, Rank.KNOWN, Rank.NEW, Rank.REFUSED)


class Standing:
    """What became of the last peers of each address. Times are monotonic seconds."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[str, float] = OrderedDict()
        # Refusals since somebody was let in, and the last of them.
        self._refused: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known) + len(self._refused)

    def accepted(self, host: str, now: float) -> None:
        self._known[host] = now
        self._known.move_to_end(host)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        if self._refused:
            self._refused.pop(host, None)

    def refused(self, host: str, now: float) -> None:
        count, _ = self._refused.get(host, (0, now))
        self._refused[host] = (count + 1, now)
        self._refused.move_to_end(host)
        if len(self._refused) > self._limit:
            self._refused.popitem(last=False)

    def of(self, host: str, now: float) -> Rank:
        refusals, last = self._refused.get(host, (0, now))
        if refusals and now - last >= REFUSED_S:
            refusals = 0
        let_in = self._known.get(host)
        if let_in is not None and now - let_in < KNOWN_S and refusals <= _REFUSALS_OF_A_KNOWN:
            return Rank.KNOWN
        return Rank.REFUSED if refusals else Rank.NEW


# Whose turn it is stands first at each level: wide networks, networks, addresses, things. Nothing in it is empty.
_Things = OrderedDict[T, None]
_Line = OrderedDict[str, OrderedDict[str, OrderedDict[str, _Things[T]]]]


class FairQueue(Generic[T]):
    """Things that wait for their turn, each once."""

    def __init__(self) -> None:
        self._lines: tuple[_Line[T], ...] = tuple(OrderedDict() for _ in Rank)
        self._where: dict[T, tuple[Rank, Origin]] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, thing: T) -> bool:
        return thing in self._where

    def push(self, thing: T, origin: Origin, rank: Rank, *, first: bool = False) -> None:
        """Have it wait; `first` puts it before the others of its address. One that waits already keeps its place."""
        if thing in self._where:
            return
        self._where[thing] = (rank, origin)
        wide, network, host = origin
        line = self._lines[rank]
        networks = line.get(wide)
        if networks is None:
            networks = line[wide] = OrderedDict()
        hosts = networks.get(network)
        if hosts is None:
            hosts = networks[network] = OrderedDict()
        things = hosts.get(host)
        if things is None:
            things = hosts[host] = OrderedDict()
        things[thing] = None
        if first:
            things.move_to_end(thing, last=False)

    def pop(self) -> T:
        """Whose turn it is. Raises `LookupError` when nobody waits."""
        for _ in _TURNS:
            line = self._lines[_TURNS[self._turn]]
            self._turn = (self._turn + 1) % len(_TURNS)
            if line:
                thing = _next_of(line)
                del self._where[thing]
                return thing
        raise LookupError("nobody waits")

    def discard(self, thing: T) -> None:
        """It waits no longer, if it did."""
        found = self._where.pop(thing, None)
        if found is None:
            return
        rank, (wide, network, host) = found
        line = self._lines[rank]
        networks = line[wide]
        hosts = networks[network]
        things = hosts[host]
        del things[thing]
        if not things:
            del hosts[host]
            if not hosts:
                del networks[network]
                if not networks:
                    del line[wide]


def _next_of(line: _Line[T]) -> T:
    """Take it out; whatever it was below goes to the end."""
    wide, networks = line.popitem(last=False)
    network, hosts = networks.popitem(last=False)
    host, things = hosts.popitem(last=False)
    thing, _ = things.popitem(last=False)
    if things:
        hosts[host] = things
    if hosts:
        networks[network] = hosts
    if networks:
        line[wide] = networks
    return thing


@dataclass(frozen=True, slots=True)
class Caps:
    """How many connections a port takes in all, from one address, and of strangers."""

    connections: int
    per_address: int
    strangers: int

    @property
    def per_network(self) -> int:
        """Whoever allows one address more than a network's share means it."""
        return max(self.per_address, int(self.connections * _NETWORK_SHARE), 1)


class Room(NamedTuple, Generic[T]):
    """The answer to a newcomer. `reason` is None where there was room.

    Otherwise `goes` has to go for that reason; where it is None, that is the newcomer.
    """

    reason: str | None
    goes: T | None


class _Stranger(NamedTuple, Generic[T]):
    thing: T
    origin: Origin
    number: int


class Crowd(Generic[T]):
    """The connections of one port. `choose(n)` is any number below n."""

    def __init__(self, caps: Caps, choose: Callable[[int], int] = _choose) -> None:
        self._caps = caps
        self._choose = choose
        self._came = 0
        self._origins: dict[T, Origin] = {}
        self._addresses: dict[str, int] = {}
        self._networks: dict[str, int] = {}
        # In no order, so that any can be looked at and taken out; and where in it each of them is.
        self._strangers: list[_Stranger[T]] = []
        self._index: dict[T, int] = {}
        self._strangers_at: dict[str, int] = {}
        self._strangers_in: dict[str, int] = {}
        self._is_capped = caps.per_address < caps.connections

    def __len__(self) -> int:
        return len(self._origins)

    @property
    def strangers(self) -> int:
        return len(self._strangers)

    def room_for(self, origin: Origin) -> Room[T]:
        """Whether one more from there can come in, and who has to go for it."""
        caps = self._caps
        _, network, host = origin
        if self._is_capped and self._addresses.get(host, 0) >= caps.per_address:
            return Room("connections.address", self._worst(host=host))
        if self._is_capped and self._networks.get(network, 0) >= caps.per_network:
            return Room("connections.network", self._worst(network=network))
        if len(self._origins) >= caps.connections:
            return Room("connections.limit", self._worst())
        if len(self._strangers) >= caps.strangers:
            return Room("connections.strangers", self._worst())
        return Room(None, None)

    def enter(self, thing: T, origin: Origin) -> None:
        """It is connected, and a stranger."""
        _, network, host = origin
        self._origins[thing] = origin
        self._came += 1
        _add(self._addresses, host)
        _add(self._networks, network)
        self._index[thing] = len(self._strangers)
        self._strangers.append(_Stranger(thing, origin, self._came))
        _add(self._strangers_at, host)
        _add(self._strangers_in, network)

    def judged(self, thing: T) -> None:
        """It was let in: no stranger any more."""
        index = self._index.pop(thing, None)
        if index is None:
            return
        _, (_, network, host), _ = self._strangers[index]
        last = self._strangers.pop()
        if last.thing != thing:
            self._strangers[index] = last
            self._index[last.thing] = index
        _subtract(self._strangers_at, host)
        _subtract(self._strangers_in, network)

    def leave(self, thing: T) -> None:
        """It is gone, if it was there."""
        origin = self._origins.pop(thing, None)
        if origin is None:
            return
        self.judged(thing)
        _, network, host = origin
        _subtract(self._addresses, host)
        _subtract(self._networks, network)

    def _worst(self, *, network: str | None = None, host: str | None = None) -> T | None:
        """A stranger, of that network or host: the oldest of whose network, then whose address, has most of them."""
        strangers = self._strangers
        if len(strangers) <= _LOOKED_AT:
            seen = strangers
        else:
            seen = [strangers[self._choose(len(strangers))] for _ in range(_LOOKED_AT)]
        worst = max(
            (each for each in seen if network in (None, each.origin[1]) and host in (None, each.origin[2])),
            key=self._noise,
            default=None,
        )
        return None if worst is None else worst.thing

    def _noise(self, stranger: _Stranger[T]) -> tuple[int, int, int]:
        _, (_, network, host), number = stranger
        return self._strangers_in[network], self._strangers_at[host], -number


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _subtract(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]
