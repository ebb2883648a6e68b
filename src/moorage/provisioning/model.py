"""Enrollments and registrations as values (contract/services.md 6, devices.md 6), and the port to the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from moorage.certificates.model import CATable, Proof, WaiverTable
from moorage.errors import Forbidden
from moorage.events import Outbox
from moorage.identities.model import Authentication, PolicyTable, Status
from moorage.ids import CAName, DeviceId, EnrollmentGroupId, ETag, HubId, RegistrationId, Secret, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.store import SettingTable

__all__ = [
    "AdmissionRequest",
    "Admissions",
    "AllocationPolicy",
    "Assignment",
    "Attestation",
    "ByCAReferences",
    "ByClientCertificates",
    "BySigningCertificates",
    "BySymmetricKey",
    "ByTpm",
    "CustomAllocation",
    "DefaultAllocation",
    "Enrollment",
    "EnrollmentGroup",
    "GroupTable",
    "HubAssigner",
    "HubChoice",
    "IndividualEnrollment",
    "IndividualTable",
    "LinkedHub",
    "LinkedHubTable",
    "ProvisioningTables",
    "Registration",
    "RegistrationStatus",
    "RegistrationTable",
    "Reprovisioning",
    "SigningCertificate",
    "Slot",
    "Substatus",
]

Slot = Literal["primary", "secondary"]


@dataclass(frozen=True, slots=True)
class BySymmetricKey:
    """Keys are base64 text; a group's are the master keys from which device keys are derived."""

    primary: Secret
    secondary: Secret


@dataclass(frozen=True, slots=True)
class ByTpm:
    """The TPM2B_PUBLIC of each in base64, stored and returned as sent: what is none is refused at registration
    (services.md P-11). Without a storage root key any of the TPM's is taken.
    """

    endorsement_key: str
    storage_root_key: str | None = None


@dataclass(frozen=True, slots=True)
class ByClientCertificates:
    """An individual's own certificates."""

    primary: Certificate | None = None
    secondary: Certificate | None = None


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """A group's certificate slot with its proof state (decisions T1). `code` is the current verification code."""

    certificate: Certificate
    proof: Proof
    code: str | None = None
    code_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class BySigningCertificates:
    """A group's CA certificates, root or intermediate."""

    primary: SigningCertificate | None = None
    secondary: SigningCertificate | None = None


@dataclass(frozen=True, slots=True)
class ByCAReferences:
    """Names of CAs registered with the provisioning service."""

    primary: CAName | None = None
    secondary: CAName | None = None


Attestation = BySymmetricKey | ByTpm | ByClientCertificates | BySigningCertificates | ByCAReferences

AllocationPolicy = Literal["hashed", "geoLatency", "static", "custom"]
# What a provisioning service can have for enrollments that name none.
DefaultAllocation = Literal["hashed", "geoLatency", "static"]


@dataclass(frozen=True, slots=True)
class Reprovisioning:
    """(True, True) migrates data, (True, False) resets it, (False, False) never re-provisions."""

    update_hub_assignment: bool = True
    migrate_device_data: bool = True


@dataclass(frozen=True, slots=True)
class CustomAllocation:
    """A web hook that says where a device goes. The query of `webhook_url` is often a key."""

    webhook_url: Secret
    api_version: str

    @property
    def shown_url(self) -> str:
        """As Azure shows it: four stars in place of the query."""
        place, question, _ = self.webhook_url.reveal().partition("?")
        return f"{place}?****" if question else place


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What individual and group enrollments share. `version` makes the etag."""

    hub: HubId
    attestation: Attestation
    version: int
    created: datetime
    updated: datetime
    status: Status = "enabled"
    allocation: AllocationPolicy = "hashed"
    linked_hubs: tuple[str, ...] = ()
    reprovisioning: Reprovisioning = Reprovisioning()
    initial_tags: Mapping[str, Any] = field(default_factory=dict)
    initial_desired: Mapping[str, Any] = field(default_factory=dict)
    is_edge: bool = False
    custom_allocation: CustomAllocation | None = None

    @property
    def etag(self) -> ETag:
        return _etag(self.created, self.version)


@dataclass(frozen=True, slots=True)
class IndividualEnrollment(Enrollment):
    """`registration_id` is kept as typed and compared without case."""

    registration_id: RegistrationId = RegistrationId("")
    device_id: DeviceId | None = None
    device_information: Mapping[str, Any] | None = None

    @property
    def for_device(self) -> str:
        """The id of the device that it makes, compared with case."""
        return self.device_id or self.registration_id


@dataclass(frozen=True, slots=True)
class EnrollmentGroup(Enrollment):
    """`group_id` is kept as typed and compared without case. `display_name` is what people call it, '' for its id."""

    group_id: EnrollmentGroupId = EnrollmentGroupId("")
    display_name: str = ""


RegistrationStatus = Literal["unassigned", "assigning", "assigned", "failed", "disabled"]
Substatus = Literal["initialAssignment", "deviceDataMigrated", "deviceDataReset", "reprovisionedToInitialAssignment"]


@dataclass(frozen=True, slots=True)
class Registration:
    """The lasting result of a device's requests. `attestation_kind` is `x509`, `symmetricKey` or `tpm`.

    `payload` is for the device, from the web hook that placed it; `request_payload` is what the device sent for that
    hook, kept only while the device is being placed.
    """

    hub: HubId
    registration_id: RegistrationId
    operation_id: str
    status: RegistrationStatus
    created: datetime
    updated: datetime
    version: int
    attestation_kind: str
    group_id: EnrollmentGroupId | None = None
    substatus: Substatus | None = None
    assigned_hub: str | None = None
    device_id: DeviceId | None = None
    error_code: int | None = None
    error_message: str | None = None
    payload: Any = None
    request_payload: Any = None

    @property
    def etag(self) -> ETag:
        return _etag(self.created, self.version)


def _etag(created: datetime, version: int) -> ETag:
    # The time of creation is part of it, so that what is deleted and made again never has an etag of its forerunner.
    return ETag(f"{int(created.timestamp() * 1_000_000):014x}-{version:08x}")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a hub did for a device."""

    device_id: DeviceId
    created: bool


@dataclass(frozen=True, slots=True)
class HubChoice:
    """A hub as allocation sees it: its names, the preferred one first; `weight` and `applies_policy` of its link."""

    names: tuple[str, ...]
    weight: int = 1
    applies_policy: bool = True


class HubAssigner(Protocol):
    """Places devices on a hub; one hub or ten can stand behind it."""

    def hubs(self) -> tuple[HubChoice, ...]:
        """The linked hubs, in the order in which they were linked."""

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
        """Create the device, or give it `authentication` when it exists; idempotent. `thumbprint` is of the
        certificate that it showed.

        Initial `tags` and `desired` are written when the device is new or `reset_data` is set. With `moved_from` the
        device leaves that hub: its twin goes with it unless `reset_data` is set, and its identity there is deleted.
        Raises `Unavailable` for what passes, any other `Refusal` when the hub does not take it.
        """


@dataclass(frozen=True, slots=True)
class LinkedHub:
    """A hub that devices can be assigned to (contract/services.md 5.4, `iotHubs`).

    Attributes:
        host_name: what devices are told; empty for the hub that this provisioning service belongs to.
        connection_string: how to write to its registry; None for the own hub.
        weight: its share of the devices that are spread by hash; 0 takes none.
        applies_policy: whether it takes devices whose enrollment names no hubs.
        position: the order in which hubs were linked.
    """

    hub: HubId
    host_name: str
    connection_string: Secret | None
    location: str
    weight: int
    applies_policy: bool
    position: int
    created: datetime
    updated: datetime

    @property
    def is_own(self) -> bool:
        return not self.host_name


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """A device whose credential was accepted. `payload` is any JSON that it sent along, None without."""

    registration_id: RegistrationId
    device_id: DeviceId
    group_id: EnrollmentGroupId | None
    is_edge: bool
    payload: Any


class Admissions(Protocol):
    """Whether a device that its enrollment lets in may come, by what people say of the device itself."""

    def admit(self, tables: Any, request: AdmissionRequest, now: datetime) -> Forbidden | None:
        """Called in the transaction that opens a registration, on the tables of the whole store.

        The "no" is returned, not raised: that a device came and waits is written down with it.
        """


class LinkedHubTable(Protocol):
    """Keyed by (hub, host name without case)."""

    def find(self, hub: HubId, host_name: str) -> LinkedHub | None: ...

    def all(self, hub: HubId) -> list[LinkedHub]:
        """By position."""

    def put(self, linked: LinkedHub) -> None: ...

    def delete(self, hub: HubId, host_name: str) -> None: ...


class IndividualTable(Protocol):
    """Keyed by (hub, registration id without case)."""

    def find(self, hub: HubId, registration_id: RegistrationId) -> IndividualEnrollment | None: ...

    def all(self, hub: HubId, limit: int, after: str = "") -> list[IndividualEnrollment]: ...

    def count(self, hub: HubId) -> int: ...

    def put(self, enrollment: IndividualEnrollment) -> None: ...

    def delete(self, hub: HubId, registration_id: RegistrationId) -> None: ...


class GroupTable(Protocol):
    """Keyed by (hub, group id without case)."""

    def find(self, hub: HubId, group_id: EnrollmentGroupId) -> EnrollmentGroup | None: ...

    def all(self, hub: HubId, limit: int, after: str = "") -> list[EnrollmentGroup]: ...

    def count(self, hub: HubId) -> int: ...

    def put(self, group: EnrollmentGroup) -> None: ...

    def delete(self, hub: HubId, group_id: EnrollmentGroupId) -> None: ...


class RegistrationTable(Protocol):
    """Keyed by (hub, registration id without case)."""

    def find(self, hub: HubId, registration_id: RegistrationId) -> Registration | None: ...

    def list_of_group(
        self, hub: HubId, group_id: EnrollmentGroupId, limit: int, after: str = ""
    ) -> list[Registration]: ...

    def put(self, registration: Registration) -> None: ...

    def delete(self, hub: HubId, registration_id: RegistrationId) -> None: ...


class ProvisioningTables(Protocol):
    """What provisioning needs of a store."""

    @property
    def individuals(self) -> IndividualTable: ...

    @property
    def groups(self) -> GroupTable: ...

    @property
    def registrations(self) -> RegistrationTable: ...

    @property
    def linked_hubs(self) -> LinkedHubTable: ...

    @property
    def settings(self) -> SettingTable: ...

    @property
    def cas(self) -> CATable: ...

    @property
    def waivers(self) -> WaiverTable: ...

    @property
    def policies(self) -> PolicyTable: ...

    @property
    def outbox(self) -> Outbox: ...
