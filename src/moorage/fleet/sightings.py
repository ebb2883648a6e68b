"""The certificate that each device showed last (contract/central.md 25): whose it is, who issued it, when it ends.

    CONNECT, let in ──► heard (a dictionary, on the loop) ──► flush (a thread, a few hundred devices a transaction)

What is heard of one device between two flushes is one sighting, the last. A certificate that was seen moments ago ends
at `heard`: it is looked up once, and its time of being seen is written at most once in `_NEWS_AFTER`. Above the leaf
stands an *issuer path*: the CA certificates up to where they are known, from what the device sent along and what
operators registered. Whole fleets share a handful of paths, so what is asked of a path is asked of every device below
it at once; with each stands a chain as one of those devices sent it, which the validator can be asked about
(`fleet/rehearsal.py`).

Only connections to the hub count: there an identity stands behind the name.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, NewType, Protocol

from moorage.accounts.model import OrganizationId
from moorage.attempts.model import Attempt
from moorage.errors import Invalid, Unavailable
from moorage.events import Event
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.pki.policy import MAX_CERTIFICATES, is_signed_by
from moorage.store import Store

__all__ = [
    "NO_PATH",
    "Ending",
    "IssuerPath",
    "PathId",
    "PathTally",
    "Sighting",
    "SightingTable",
    "SightingTables",
    "Sightings",
    "path_of",
]

log = logging.getLogger(__name__)

# SHA-256 of the certificates of a path and of those that the device sends along; '' for the empty one: of a leaf whose
# issuer nobody knows, or that has none.
PathId = NewType("PathId", str)
NO_PATH: Final = PathId("")

# Devices that wait to be written; a fleet that comes back at once is written in turns. What is beyond is heard of again
# at its next connection.
_MAX_WAITING: Final = 50_000
# One transaction of the store's only writer: some 10 ms.
_A_TRANSACTION: Final = 250
_TRANSACTIONS: Final = 8
_NEWS_AFTER: Final = timedelta(hours=1)
# Devices whose last certificate is remembered, about 25 MiB; those beyond cost a look-up at each connection.
_MAX_REMEMBERED: Final = 100_000


@dataclass(slots=True)
class _Seen:
    """What was last heard of a device: the SHA-256 of its leaf, and since when the store says that it was seen."""

    leaf: bytes
    since: datetime


class _Heard(NamedTuple):
    """What waits to be written. `seen` is what is remembered of it."""

    at: datetime
    chain: tuple[bytes, ...]
    seen: _Seen


@dataclass(frozen=True, slots=True)
class Sighting:
    """The certificate that `name` showed last. `previous` is the one before it, '' for none."""

    hub: HubId
    name: IdentityName
    thumbprint: Thumbprint
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    path_id: PathId
    first_seen: datetime
    last_seen: datetime
    previous: str = ""


@dataclass(frozen=True, slots=True)
class IssuerPath:
    """CA certificates above a leaf, closest first, as far up as they are known.

    `sample` is a chain as a device sent it, DER: of those below the path the one whose leaf ends last.
    """

    path_id: PathId
    certificates: tuple[Certificate, ...]
    sample: tuple[bytes, ...] = ()


class PathTally(NamedTuple):
    """How many devices have a leaf below a path."""

    path_id: PathId
    devices: int


class Ending(NamedTuple):
    """How many leaves end in the span that begins at `since`."""

    since: datetime
    devices: int


class SightingTable(Protocol):
    """Keyed by (hub, device, module); a sighting goes with its identity.

    `organizations` narrows to devices in one of them; None is all. `binding` narrows to those whose identity hangs on
    the certificates of that group, or, where it is '', on the CAs that are registered at the hub; None is all.
    """

    def find(self, hub: HubId, name: IdentityName) -> Sighting | None: ...

    def put(self, sighting: Sighting) -> None: ...

    def is_identity(self, hub: HubId, name: IdentityName) -> bool: ...

    def put_path(self, hub: HubId, path: IssuerPath) -> None: ...

    def find_path(self, hub: HubId, path_id: PathId) -> IssuerPath | None: ...

    def paths(self, hub: HubId) -> list[IssuerPath]: ...

    def forget_paths(self, hub: HubId) -> None:
        """Those that no sighting is below any more."""

    def tallies(
        self, hub: HubId, organizations: frozenset[OrganizationId] | None, binding: str | None = None
    ) -> list[PathTally]: ...

    def endings(self, hub: HubId, organizations: frozenset[OrganizationId] | None, span: timedelta) -> list[Ending]:
        """By spans of `span` since 1970, those that have any, in their order."""

    def below(
        self,
        hub: HubId,
        organizations: frozenset[OrganizationId] | None,
        paths: Sequence[PathId],
        limit: int,
        after: str = "",
        *,
        binding: str | None = None,
    ) -> list[Sighting]:
        """Those with a leaf below one of `paths`, by their names behind `after`, as `str(name)` is."""

    def ending(
        self,
        hub: HubId,
        organizations: frozenset[OrganizationId] | None,
        since: datetime,
        until: datetime,
        limit: int,
        offset: int = 0,
    ) -> list[Sighting]:
        """Whose certificate ends between the two, the first to end first."""


class SightingTables(Protocol):
    """What sightings need of a store."""

    @property
    def sightings(self) -> SightingTable: ...


class Sightings:
    """Hears of connections and writes down what was shown. `known` are the CA certificates that operators put here."""

    def __init__(
        self,
        hub: HubId,
        store: Store[SightingTables],
        known: Callable[[], Awaitable[Sequence[Certificate]]],
    ) -> None:
        self._hub = hub
        self._store = store
        self._known = known
        self._waiting: dict[str, _Heard] = {}
        self._seen: dict[str, _Seen] = {}
        self._turn = asyncio.Lock()

    def heard(self, attempt: Attempt) -> None:
        """For every attempt, on the loop: a hash and a look into two dictionaries."""
        if (
            not attempt.is_accepted
            or attempt.credential != "x509"
            or not attempt.chain
            or not attempt.door.startswith("hub.")
        ):
            return
        name, leaf = attempt.claimed_id, hashlib.sha256(attempt.chain[0]).digest()
        seen = self._seen.get(name)
        if seen is not None and seen.leaf == leaf and attempt.at - seen.since < _NEWS_AFTER:
            return
        if len(self._waiting) < _MAX_WAITING or name in self._waiting:
            fresh = _Seen(leaf, attempt.at)
            self._waiting[name] = _Heard(attempt.at, attempt.chain, fresh)
            if seen is not None or len(self._seen) < _MAX_REMEMBERED:
                self._seen[name] = fresh

    def told(self, event: Event) -> None:
        """An event of the store: of an identity that is new nothing is known, whoever had its name before."""
        if event.kind == "identity.created" and event.hub == self._hub:
            self._seen.pop(event.subject, None)
            self._waiting.pop(event.subject, None)

    async def catch_up(self) -> None:
        """For a page: what was heard just now is written down, unless a whole fleet comes back at once."""
        await self.flush(transactions=1)

    async def flush(self, *, transactions: int = _TRANSACTIONS) -> None:
        """Write down what was heard; to be called every second or so. A store that refuses gets it again."""
        async with self._turn:
            known: Sequence[Certificate] | None = None
            for _ in range(transactions):
                if not self._waiting:
                    return
                if known is None:
                    known = await self._known()
                batch = dict(list(self._waiting.items())[:_A_TRANSACTION])
                for name in batch:
                    del self._waiting[name]
                try:
                    await self._write(batch, known)
                except Unavailable as refusal:
                    log.warning("sightings_not_written reason=%s message=%r", refusal.reason, refusal.message)
                    self._waiting = batch | self._waiting
                    return
                except BaseException:
                    # Not written, so it is news again at their next connections.
                    for name in batch:
                        self._seen.pop(name, None)
                    raise

    async def find(self, name: IdentityName) -> tuple[Sighting, IssuerPath] | None:
        """What it showed last, with the CAs above it."""
        await self.catch_up()

        def work(tables: SightingTables) -> tuple[Sighting, IssuerPath] | None:
            sighting = tables.sightings.find(self._hub, name)
            if sighting is None:
                return None
            return sighting, tables.sightings.find_path(self._hub, sighting.path_id) or IssuerPath(NO_PATH, ())

        return await self._store.scan(work)

    async def sweep(self) -> None:
        """Forget paths that nobody shows any more, and what is remembered; to be called every hour or so."""
        self._seen.clear()
        await self._store.write(lambda tables: tables.sightings.forget_paths(self._hub))

    async def _write(self, batch: dict[str, _Heard], known: Sequence[Certificate]) -> None:
        news = await self._store.scan(lambda tables: self._news(tables, batch, known))
        if not news:
            return

        def work(tables: SightingTables) -> None:
            for sighting, path in news:
                # Between being let in and now somebody may have deleted it.
                if tables.sightings.is_identity(self._hub, sighting.name):
                    if path is not None:
                        tables.sightings.put_path(self._hub, path)
                    tables.sightings.put(sighting)

        await self._store.write(work)

    def _news(
        self,
        tables: SightingTables,
        batch: dict[str, _Heard],
        known: Sequence[Certificate],
    ) -> list[tuple[Sighting, IssuerPath | None]]:
        """What is not written down yet. In a thread: signatures are verified of certificates that are new."""
        news: list[tuple[Sighting, IssuerPath | None]] = []
        # When the sample of a path ends: the one that ends last stands for it.
        ends: dict[PathId, datetime] = {}
        for claimed, (at, chain, seen) in batch.items():
            device, slash, module = claimed.partition("/")
            name = IdentityName(DeviceId(device), ModuleId(module) if slash else None)
            thumbprint = Thumbprint(seen.leaf.hex().upper())
            before = tables.sightings.find(self._hub, name)
            if before is not None and before.thumbprint == thumbprint:
                if at - before.last_seen >= _NEWS_AFTER:
                    news.append((replace(before, last_seen=at), None))
                else:
                    seen.since = before.last_seen
                continue
            try:
                leaf = Certificate(chain[0])
                path = path_of(leaf, _readable(chain[1:MAX_CERTIFICATES]), known)
            except Invalid:
                # It was let in, so it was read once; nothing of it can be told here.
                continue
            sighting = Sighting(
                hub=self._hub,
                name=name,
                thumbprint=thumbprint,
                subject=leaf.subject,
                issuer=leaf.issuer,
                not_before=leaf.not_before,
                not_after=leaf.not_after,
                path_id=path.path_id,
                first_seen=at,
                last_seen=at,
                previous=before.thumbprint if before is not None else "",
            )
            if path.path_id not in ends:
                held = tables.sightings.find_path(self._hub, path.path_id)
                ends[path.path_id] = leaf.not_before if held is None else Certificate(held.sample[0]).not_after
            is_better = path.path_id != NO_PATH and leaf.not_after > ends[path.path_id]
            if is_better:
                ends[path.path_id] = leaf.not_after
            news.append((sighting, path if is_better else None))
        return news


def path_of(leaf: Certificate, sent: Sequence[Certificate], known: Sequence[Certificate]) -> IssuerPath:
    """From `leaf` upwards through what was `sent` along and what is `known`, each signature verified, until nobody is
    known who signed.
    """
    path: list[Certificate] = []
    below, issuers = leaf, (*sent, *known)
    while not below.is_self_issued and len(path) < MAX_CERTIFICATES:
        issuer = next(
            (
                each
                for each in issuers
                if each.subject_key == below.issuer_key and each not in path and is_signed_by(below, each)
            ),
            None,
        )
        if issuer is None:
            break
        path.append(issuer)
        below = issuer
    helpful = [each for each in sent if each in path]
    sample = tuple(each.der for each in (leaf, *helpful))
    return IssuerPath(_path_id(path, helpful), tuple(path), sample)


def _path_id(path: Sequence[Certificate], sent: Sequence[Certificate]) -> PathId:
    if not path:
        return NO_PATH
    told = "/".join("+".join(each.sha256 for each in part) for part in (path, sent))
    return PathId(hashlib.sha256(told.encode()).hexdigest())


def _readable(chain: Sequence[bytes]) -> list[Certificate]:
    found = []
    for der in chain:
        try:
            certificate = Certificate(der)
            _ = certificate.subject_key, certificate.issuer_key
        except Invalid:
            continue
        found.append(certificate)
    return found
