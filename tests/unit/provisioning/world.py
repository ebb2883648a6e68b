"""A provisioning service with everything real but the clock: SQLite, the bus, certificates, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from moorage.adapters.bus import LocalBus
from moorage.adapters.egress import Egress
from moorage.adapters.remote_hub import RemoteHubs
from moorage.adapters.sqlite import MEMORY, SqliteStore
from moorage.adapters.webhook import Webhooks
from moorage.attempts.model import Attempt
from moorage.certificates.service import CertificateService
from moorage.clock import HandClock
from moorage.dialects.dps_allocation import MAX_WEBHOOK_ANSWER_BYTES, WebhookAllocator
from moorage.dialects.dps_exchange import DpsExchange
from moorage.errors import Invalid, Unavailable
from moorage.events import Event
from moorage.hub.assigner import Assigner
from moorage.identities.credentials import Presented
from moorage.identities.model import Authentication, Identity
from moorage.identities.sas import make_token
from moorage.ids import (
    DEFAULT_HUB,
    DeviceId,
    EnrollmentGroupId,
    IdentityName,
    IdScope,
    RegistrationId,
    Secret,
    Thumbprint,
)
from moorage.pki.certificates import Certificate, PeerChain
from moorage.provisioning.attestation import Claim, derive_key
from moorage.provisioning.drafts import AttestationDraft, CertificatesDraft, GroupDraft, IndividualDraft, KeysDraft
from moorage.provisioning.enrollments import EnrollmentLimits, EnrollmentService, IfMatch
from moorage.provisioning.linked_hubs import LinkedHubService
from moorage.provisioning.model import (
    Assignment,
    EnrollmentGroup,
    HubAssigner,
    HubChoice,
    IndividualEnrollment,
    Registration,
)
from moorage.provisioning.placing import Homes
from moorage.provisioning.registrations import RegistrationService
from moorage.provisioning.throttle import DeviceRates
from tests.certs import NOW, Issued

SCOPE = IdScope("0ne00ABCDEF")
HOST = "hub.example"
LIMITS = EnrollmentLimits()
RATES = DeviceRates()


@dataclass
class Placed:
    """A device on one of the `MemoryHubs`."""

    authentication: Authentication
    tags: Mapping[str, Any]
    desired: Mapping[str, Any]


@dataclass
class MemoryHubs:
    """Several hubs that hold devices in memory: the port in full, without a store."""

    choices: tuple[HubChoice, ...]
    devices: dict[tuple[str, DeviceId], Placed] = field(default_factory=dict)
    refuses: set[DeviceId] = field(default_factory=set)
    busy: int = 0

    def hubs(self) -> tuple[HubChoice, ...]:
        return self.choices

    async def assign(
        self,
        host_name: str,
        device_id: DeviceId,
        authentication: Authentication,
        *,
        reset_data: bool,
        tags: Mapping[str, Any],
        desired: Mapping[str, Any],
        is_edge: bool,
        thumbprint: Thumbprint | None = None,
        moved_from: str | None = None,
    ) -> Assignment:
        if self.busy:
            self.busy -= 1
            raise Unavailable("store.backlog", "too much waits to be written")
        if device_id in self.refuses:
            raise Invalid("twin.depth", "a twin that nobody may hold")
        moved = self.devices.pop((moved_from, device_id), None) if moved_from is not None else None
        before = self.devices.get((host_name, device_id), moved)
        if before is None or reset_data:
            self.devices[host_name, device_id] = Placed(authentication, tags, desired)
        else:
            self.devices[host_name, device_id] = Placed(authentication, before.tags, before.desired)
        return Assignment(device_id, before is None)


@dataclass
class Attempts:
    """Keeps what is recorded."""

    kept: list[Attempt] = field(default_factory=list)

    def record(self, attempt: Attempt) -> None:
        self.kept.append(attempt)

    def reasons(self) -> list[str | None]:
        return [attempt.reason for attempt in self.kept]


class World:
    """The service, and short words for what tests say to it."""

    def __init__(
        self,
        hubs: HubAssigner | None = None,
        *,
        vouching: bool = True,
        egress: Egress | None = None,
        limits: EnrollmentLimits = LIMITS,
        rates: DeviceRates = RATES,
    ) -> None:
        self._rates = rates
        self.clock = HandClock(NOW)
        self.bus = LocalBus()
        self.store = SqliteStore(MEMORY, secrets_key=bytes(range(32)), bus=self.bus)
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        names = (HOST, "localhost")
        assigner = Assigner(self.store, self.clock, DEFAULT_HUB, names, Assignment)
        self.linked = LinkedHubService(DEFAULT_HUB, self.store, names, self.clock)
        self.egress = egress or Egress()
        self.hubs: HubAssigner = hubs or Homes(self.linked, assigner, RemoteHubs(self.egress, self.clock))
        self.allocator = WebhookAllocator(Webhooks(self.egress, answer_bytes=MAX_WEBHOOK_ANSWER_BYTES).post)
        self.cas = CertificateService(self.store)
        self.enrollments = EnrollmentService(
            DEFAULT_HUB, self.store, self.linked, self.clock, vouching=vouching, limits=limits
        )
        self.registrations = self.new_process()
        self.attempts = Attempts()
        self.exchange = DpsExchange(self.registrations, self.attempts, self.clock)

    def new_process(self) -> RegistrationService:
        """Another service on the same store, knowing nothing of what the first one has in hand."""
        return RegistrationService(
            DEFAULT_HUB, SCOPE, self.store, self.hubs, self.allocator, self.clock, self.bus, rates=self._rates
        )

    async def close(self) -> None:
        await self.registrations.aclose()
        self.store.close()

    # --- enrolling -----------------------------------------------------------------------------------------------

    async def enroll(
        self,
        registration_id: str,
        *certificates: Certificate,
        attestation: AttestationDraft | None = None,
        if_match: IfMatch = None,
        **fields: Any,
    ) -> IndividualEnrollment:
        """An individual enrollment, by certificates, or by a key when there are none."""
        draft = IndividualDraft(
            registration_id=RegistrationId(registration_id),
            attestation=attestation or (CertificatesDraft(*certificates) if certificates else KeysDraft()),
            **fields,
        )
        return await self.enrollments.put_individual(draft, if_match=if_match, by="tests")

    async def enroll_group(
        self,
        group_id: str,
        *certificates: Certificate | None,
        attestation: AttestationDraft | None = None,
        if_match: IfMatch = None,
        vouched: bool = True,
        **fields: Any,
    ) -> EnrollmentGroup:
        """A group, by signing certificates, or by a key when there are none."""
        draft = GroupDraft(
            group_id=EnrollmentGroupId(group_id),
            attestation=attestation or (CertificatesDraft(*certificates) if certificates else KeysDraft()),
            **fields,
        )
        return await self.enrollments.put_group(draft, if_match=if_match, by="tests", vouched=vouched)

    # --- being a device ------------------------------------------------------------------------------------------

    async def register(
        self, registration_id: str, presented: Presented, scope: str = SCOPE, *, payload: Any = None
    ) -> Registration:
        """Register and poll until the operation is done, as a device does."""
        claim = Claim(IdScope(scope), RegistrationId(registration_id))
        registration = (await self.registrations.register(claim, presented, payload)).registration
        assert registration.status == "assigning"
        while registration.status == "assigning":
            answer = await self.registrations.poll(claim, registration.operation_id, presented)
            registration = answer.registration
        return registration

    def token(self, registration_id: str, key: Secret, *, scope: str = SCOPE, policy: str | None = None) -> Presented:
        expires = self.clock.now() + timedelta(hours=1)
        text = make_token(f"{scope}/registrations/{registration_id}", key, expires, policy)
        return Presented(None, text, "198.51.100.7")

    def derived(self, registration_id: str, master: Secret) -> Presented:
        """A token of a device of a symmetric-key group."""
        return self.token(registration_id, derive_key(master, RegistrationId(registration_id)), policy="registration")

    def identity(self, device_id: str) -> Identity | None:
        """The device as the hub knows it."""
        return self.store.read().identities.find(DEFAULT_HUB, IdentityName(DeviceId(device_id)))


def shows(issued: Issued, count: int | None = None) -> Presented:
    """A device that presents its certificate and what it sends along."""
    return Presented(issued.sends(count), None, "198.51.100.7")


def shows_chain(*certificates: Certificate) -> Presented:
    return Presented(PeerChain.of(certificates), None, "198.51.100.7")


NOTHING = Presented(None, None, "198.51.100.7")
