"""When certificates end (contract/central.md 25): of CAs, intermediates, devices, and the hub's own.

Certificates of CAs are few and listed one by one; those of devices are many and counted, by what `fleet/sightings.py`
keeps. An intermediate that nobody registered is known from the chains that devices sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol, get_args

from moorage.accounts.model import Actor
from moorage.certificates.model import Registry
from moorage.clock import Clock
from moorage.fleet.sightings import Ending, Sighting, SightingTables
from moorage.ids import HubId
from moorage.pki.certificates import Certificate
from moorage.provisioning.anchors import signers_of
from moorage.provisioning.model import ProvisioningTables
from moorage.store import Store

__all__ = [
    "HORIZON",
    "SPAN",
    "WITHIN_DAYS",
    "Authority",
    "Forecast",
    "ForecastTables",
    "Kind",
    "Outlook",
    "Remaining",
    "remaining",
]

Kind = Literal["server", "server CA", "CA", "group", "intermediate"]

# How far a page looks ahead, and how fine it counts.
HORIZON: Final = timedelta(days=365)
SPAN: Final = timedelta(days=1)
_PAGE: Final = 500
_REGISTRIES: Final[tuple[Registry, ...]] = get_args(Registry)
# Leaves that end within so many days, as metrics tell of them.
WITHIN_DAYS: Final = (0, 7, 30, 90)


class ForecastTables(ProvisioningTables, SightingTables, Protocol):
    """What a forecast is made of."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that others hang on. `name` is what operators call it; `place` is an id: of a group, or ''.

    `devices` counts those whose chain goes through it, as far as they were seen.
    """

    kind: Kind
    name: str
    certificate: Certificate
    place: str = ""
    devices: int = 0
    is_trusted: bool = True


@dataclass(frozen=True, slots=True)
class Outlook:
    """`authorities`, the first to end first; `endings` of device certificates by `SPAN`, the past in them."""

    authorities: tuple[Authority, ...]
    endings: tuple[Ending, ...]
    now: datetime

    @property
    def devices(self) -> int:
        return sum(each.devices for each in self.endings)

    @property
    def expired(self) -> int:
        """Device certificates that have ended, to a day."""
        # Not the end of its day: that of a certificate without end (RFC 5280 4.1.2.5) is no moment any more.
        return sum(each.devices for each in self.endings if each.since <= self.now - SPAN)

    def within(self, span: timedelta) -> int:
        """Device certificates that have ended or will within `span`, to a day."""
        return sum(each.devices for each in self.endings if each.since <= self.now + span)


@dataclass(frozen=True, slots=True)
class Remaining:
    """How many device certificates are still good at `at`."""

    at: datetime
    devices: int


class Forecast:
    """`server` gives the hub's own certificate and its CA."""

    def __init__(
        self,
        hub: HubId,
        store: Store[ForecastTables],
        clock: Clock,
        server: Callable[[], Sequence[tuple[Kind, Certificate]]],
    ) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self._server = server
        self.latest: Outlook | None = None

    async def refresh(self) -> None:
        """What metrics show until the next time."""
        self.latest = await self._look(None)

    async def look(self, actor: Actor) -> Outlook:
        """Device certificates of what the actor sees; every CA, since all devices hang on them."""
        return await self._look(actor)

    async def ending(
        self, actor: Actor, since: datetime, until: datetime, limit: int, offset: int = 0
    ) -> list[Sighting]:
        """Whose certificate ends in that time, the first to end first."""
        return await self._store.scan(
            lambda tables: tables.sightings.ending(self._hub, actor.organizations, since, until, limit, offset)
        )

    async def _look(self, actor: Actor | None) -> Outlook:
        organizations = None if actor is None else actor.organizations

        def work(tables: ForecastTables) -> Outlook:
            counts: dict[Certificate, int] = {}
            paths = {path.path_id: path.certificates for path in tables.sightings.paths(self._hub)}
            for tally in tables.sightings.tallies(self._hub, organizations):
                for certificate in paths.get(tally.path_id, ()):
                    counts[certificate] = counts.get(certificate, 0) + tally.devices
            found = [Authority(kind, "", certificate) for kind, certificate in self._server()]
            found += _registered(tables, self._hub, counts)
            known = {each.certificate for each in found}
            found += [
                Authority("intermediate", "", certificate, devices=devices)
                for certificate, devices in counts.items()
                if certificate not in known
            ]
            found.sort(key=lambda each: (each.certificate.not_after, each.name))
            endings = tables.sightings.endings(self._hub, organizations, SPAN)
            return Outlook(tuple(found), tuple(endings), self._clock.now())

        return await self._store.scan(work)


def _registered(tables: ForecastTables, hub: HubId, counts: dict[Certificate, int]) -> list[Authority]:
    found = []
    for registry in _REGISTRIES:
        for ca in tables.cas.all(hub, registry):
            name = f"{ca.name} ({'hub' if registry == 'hub' else 'provisioning'})"
            found.append(
                Authority("CA", name, ca.certificate, "", counts.get(ca.certificate, 0), is_trusted=ca.is_verified)
            )
    after = ""
    while page := tables.groups.all(hub, _PAGE, after):
        for group in page:
            for signer in signers_of(group, tables.cas):
                name = f"{group.display_name or group.group_id}, {signer.slot}"
                devices = counts.get(signer.certificate, 0)
                found.append(
                    Authority("group", name, signer.certificate, group.group_id, devices, is_trusted=signer.is_proven)
                )
        after = page[-1].group_id.lower()
    return found


def remaining(outlook: Outlook, step: timedelta, steps: int) -> list[Remaining]:
    """The curve of device certificates that are still good, now and after each step, if none is renewed."""
    points, at = [], outlook.now
    ends = sorted((each.since, each.devices) for each in outlook.endings)
    total, gone, place = outlook.devices, 0, 0
    for _ in range(steps + 1):
        while place < len(ends) and ends[place][0] <= at - SPAN:
            gone += ends[place][1]
            place += 1
        points.append(Remaining(at, total - gone))
        at += step
    return points
