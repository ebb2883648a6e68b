"""Who is connected, found by everything that can end a session.

Two parts. `SessionDirectory` says which session of an identity is the current one, across every app that shares it: a
claim gives a new epoch, and the holder of an older epoch may neither acknowledge nor settle (decisions S1).
`LiveSessions` holds one app's own sessions, indexed by what a registry or trust change names (S2).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from moorage.events import Bus, Event
from moorage.identities.credentials import AuthenticatedIdentity
from moorage.ids import DeviceId, HubId, IdentityName, Thumbprint
from moorage.pki.distinguished_names import FoldedName

__all__ = ["Line", "LiveSession", "LiveSessions", "LocalSessionDirectory", "SessionDirectory"]

K = TypeVar("K")


class Line(NamedTuple):
    """What a session came in over. `certificate` is the peer's leaf, DER."""

    protocol: str
    tls_version: str
    address: str
    certificate: bytes | None


class LiveSession(Protocol):
    """What the hub can do to a connected identity. All of it is synchronous and never blocks."""

    @property
    def name(self) -> IdentityName: ...

    @property
    def who(self) -> AuthenticatedIdentity: ...

    @property
    def epoch(self) -> int: ...

    @property
    def last_received(self) -> float:
        """When something last came from it, in monotonic seconds."""

    def end(self, reason: str, message: str) -> None:
        """Close the connection; nothing is acknowledged after this."""

    def desired_changed(self, patch: dict[str, Any], version: int) -> None:
        """Push a desired-properties patch, if the device subscribed to them."""

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        """Send a direct method request; False when the device has not subscribed to methods.

        Raises `TooLarge` (`method.payload`) where the device takes no request of that size.
        """

    def messages_waiting(self) -> None:
        """A cloud-to-device message may wait in the queue."""

    def line(self) -> Line:
        """Looked up, not remembered: to be asked for a few sessions at a time, on the session's loop."""


class SessionDirectory(Protocol):
    """Which session of an identity is the current one. Calls are cheap and synchronous."""

    def claim(self, hub: HubId, name: IdentityName, owner: str) -> int:
        """Become the holder; returns the new epoch. An earlier holder in another app hears of it by the bus."""

    def is_current(self, hub: HubId, name: IdentityName, epoch: int) -> bool: ...

    def release(self, hub: HubId, name: IdentityName, epoch: int) -> None:
        """Give it up, unless somebody else holds it by now."""

    def is_connected(self, hub: HubId, name: IdentityName) -> bool: ...

    def connected(self, hub: HubId) -> list[IdentityName]:
        """All that are connected now. May be called from any thread."""

    def count(self, hub: HubId) -> int:
        """Connected devices, modules not counted."""


class LocalSessionDirectory:
    """A directory for the apps of one process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._holders: dict[tuple[HubId, IdentityName], tuple[str, int]] = {}
        self._devices: Counter[HubId] = Counter()
        self._last_epoch = 0

    def claim(self, hub: HubId, name: IdentityName, owner: str) -> int:
        self._last_epoch = epoch = self._last_epoch + 1
        before = self._holders.get((hub, name))
        self._holders[hub, name] = (owner, epoch)
        if before is None and name.module_id is None:
            self._devices[hub] += 1
        if before is not None and before[0] != owner:
            self._bus.publish(Event("session.claimed", hub, str(name), {"epoch": epoch}))
        return epoch

    def is_current(self, hub: HubId, name: IdentityName, epoch: int) -> bool:
        holder = self._holders.get((hub, name))
        return holder is not None and holder[1] == epoch

    def release(self, hub: HubId, name: IdentityName, epoch: int) -> None:
        if self.is_current(hub, name, epoch):
            del self._holders[hub, name]
            if name.module_id is None:
                self._devices[hub] -= 1

    def is_connected(self, hub: HubId, name: IdentityName) -> bool:
        return (hub, name) in self._holders

    def connected(self, hub: HubId) -> list[IdentityName]:
        # The copy is made in one step; the loop changes the original meanwhile.
        return [name for of_hub, name in list(self._holders) if of_hub == hub]

    def count(self, hub: HubId) -> int:
        return self._devices[hub]


class _Index(Generic[K]):
    """Key to sessions. Most keys hold one session, so a set is made only for the second."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[K, LiveSession | set[LiveSession]] = {}

    def add(self, key: K, session: LiveSession) -> None:
        held = self._entries.setdefault(key, session)
        if held is session:
            return
        if isinstance(held, set):
            held.add(session)
        else:
            self._entries[key] = {held, session}

    def remove(self, key: K, session: LiveSession) -> None:
        held = self._entries.get(key)
        if held is session:
            del self._entries[key]
        elif isinstance(held, set):
            held.discard(session)
            if not held:
                del self._entries[key]

    def keys(self) -> list[K]:
        return list(self._entries)

    def get(self, key: K) -> tuple[LiveSession, ...]:
        held = self._entries.get(key)
        if held is None:
            return ()
        return tuple(held) if isinstance(held, set) else (held,)


class LiveSessions:
    """One app's sessions. Add and remove are pairs: what `add` indexed, `remove` takes out."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[HubId, IdentityName], LiveSession] = {}
        self._modules: _Index[tuple[HubId, str]] = _Index()
        self._by_thumbprint: _Index[Thumbprint] = _Index()
        self._by_serial: _Index[tuple[FoldedName, int]] = _Index()
        self._by_signer: _Index[Thumbprint] = _Index()
        self._by_binding: _Index[tuple[HubId, str]] = _Index()
        # Names, not sessions: an entry outlives its session until its time comes.
        self._expiries: list[tuple[float, int, HubId, IdentityName]] = []

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._by_name.values()))

    def add(self, session: LiveSession) -> LiveSession | None:
        """Index `session`; returns the one of the same identity that it takes over from, no longer indexed."""
        who = session.who
        key = (who.identity.hub, session.name)
        before = self._by_name.get(key)
        if before is not None:
            self.remove(before)
        self._by_name[key] = session
        for index, value in self._keys(session):
            index.add(value, session)
        if who.expires is not None:
            heapq.heappush(self._expiries, (who.expires.timestamp(), session.epoch, *key))
        return before

    def remove(self, session: LiveSession) -> None:
        """Forget `session`; does nothing when it is not the indexed one."""
        key = (session.who.identity.hub, session.name)
        if self._by_name.get(key) is not session:
            return
        del self._by_name[key]
        for index, value in self._keys(session):
            index.remove(value, session)

    def find(self, hub: HubId, name: IdentityName) -> LiveSession | None:
        return self._by_name.get((hub, name))

    def of_device(self, hub: HubId, device_id: str) -> list[LiveSession]:
        """The device's session and those of its modules."""
        own = self._by_name.get((hub, IdentityName(DeviceId(device_id))))
        modules = self._modules.get((hub, device_id))
        return [*modules] if own is None else [own, *modules]

    def of_thumbprint(self, thumbprint: Thumbprint) -> tuple[LiveSession, ...]:
        return self._by_thumbprint.get(thumbprint)

    def of_serial(self, issuer: FoldedName, serial: int) -> tuple[LiveSession, ...]:
        """Sessions whose path holds the certificate of that issuer and number, the leaf or one between."""
        return self._by_serial.get((issuer, serial))

    def serials(self) -> list[tuple[FoldedName, int]]:
        """Every certificate that a session hangs on, anchors apart: its issuer and serial number, each once."""
        return self._by_serial.keys()

    def of_signer(self, thumbprint: Thumbprint) -> tuple[LiveSession, ...]:
        """Sessions whose path holds this issuer, the anchor included."""
        return self._by_signer.get(thumbprint)

    def of_binding(self, hub: HubId, binding: str) -> tuple[LiveSession, ...]:
        return self._by_binding.get((hub, binding))

    def expired(self, now: datetime) -> list[LiveSession]:
        """Take out of the expiry index every session whose credential ended by `now`."""
        moment = now.timestamp()
        ended = []
        while self._expiries and self._expiries[0][0] <= moment:
            session = self._holder(heapq.heappop(self._expiries))
            if session is not None:
                ended.append(session)
        if len(self._expiries) > 64 + 2 * len(self._by_name):
            # Devices that reconnect often would fill it with what is over, and those that renew with what is the same.
            self._expiries = [entry for entry in set(self._expiries) if self._holder(entry) is not None]
            heapq.heapify(self._expiries)
        return ended

    def _holder(self, entry: tuple[float, int, HubId, IdentityName]) -> LiveSession | None:
        """The session that `entry` was made for, while it lasts and its credential was not renewed."""
        moment, epoch, hub, name = entry
        session = self._by_name.get((hub, name))
        if session is None or session.epoch != epoch or session.who.expires is None:
            return None
        return session if session.who.expires.timestamp() == moment else None

    def _keys(self, session: LiveSession) -> Iterator[tuple[_Index[Any], Any]]:
        who = session.who
        hub = who.identity.hub
        if session.name.module_id is not None:
            yield self._modules, (hub, session.name.device_id)
        if who.thumbprint is not None:
            yield self._by_thumbprint, who.thumbprint
        serial = who.serial
        for issuer in who.issuers:
            if serial is not None:
                yield self._by_serial, (issuer.subject_key, serial)
            serial = issuer.serial_number
        for signer in who.signers:
            yield self._by_signer, signer
        if who.binding is not None:
            yield self._by_binding, (hub, who.binding)
