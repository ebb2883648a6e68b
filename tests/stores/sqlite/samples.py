"""Values to store, every field set to something other than its default where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from moorage.adapters.sqlite import AllTables
from moorage.certificates.model import RegisteredCA, Registry
from moorage.events import Event
from moorage.hub.model import CloudMessage, Document, Twin
from moorage.identities.model import Authentication, BySharedKey, ByThumbprint, Identity, SharedAccessPolicy
from moorage.ids import (
    CAName,
    DeviceId,
    EnrollmentGroupId,
    HubId,
    IdentityName,
    ModuleId,
    RegistrationId,
    Secret,
    Thumbprint,
)
from moorage.provisioning.model import (
    Attestation,
    CustomAllocation,
    EnrollmentGroup,
    IndividualEnrollment,
    LinkedHub,
    Registration,
    Reprovisioning,
)
from tests import certs

KEY = bytes(range(32))
HUB = HubId("hub")
OTHER_HUB = HubId("other")
THEN = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = THEN + timedelta(hours=1)

CA = certs.root().certificate
FIRST_SHA256 = Thumbprint("AB" * 32)
FIRST_SHA1 = Thumbprint("CD" * 20)
KEYS = BySharedKey(Secret("cHJpbWFyeSBzaGFyZWQga2V5IQ=="), Secret("c2Vjb25kYXJ5IHNoYXJlZCBrZXk="))


def name(device: str = "pump-01", module: str | None = None) -> IdentityName:
    return IdentityName(DeviceId(device), None if module is None else ModuleId(module))


def identity(
    whose: IdentityName | None = None,
    *,
    hub: HubId = HUB,
    authentication: Authentication | None = None,
    version: int = 1,
) -> Identity:
    return Identity(
        hub,
        whose or name(),
        "638400000000000001",
        version,
        authentication or ByThumbprint(FIRST_SHA256, FIRST_SHA1),
        THEN,
        status="disabled",
        status_reason="wartung läuft \u0000 ✓",
        status_updated=LATER,
        is_edge=True,
        device_scope="ms-azure-iot-edge://pump-01-1",
        parent_scopes=("ms-azure-iot-edge://gate-1", "ms-azure-iot-edge://gate-2"),
        managed_by="IotEdge",
    )


def twin(whose: IdentityName | None = None, *, version: int = 7) -> Twin:
    return Twin(
        HUB,
        whose or name(),
        version,
        {"plant": {"hall": 4}, "half": "\ud800"},
        Document({"rate": 2.5, "big": 2**70}, {"rate": {"$lastUpdated": "2030-01-02T03:04:05Z"}}, 3),
        Document({"battery": None, "list": [1, [2]]}, {}, 9),
        "dtmi:plant:pump;1",
    )


def message(sequence: int, whose: IdentityName | None = None, *, body: bytes = b"\x00\xffstart") -> CloudMessage:
    return CloudMessage(
        HUB,
        whose or name(),
        sequence,
        f"message-{sequence}",
        THEN,
        LATER,
        body,
        {"unit": "°C", "%": ""},
        "correlation",
        "user",
        "application/json",
        "utf-8",
        "full",
        2,
    )


def policy(called: str = "service", *, hub: HubId = HUB) -> SharedAccessPolicy:
    return SharedAccessPolicy(
        hub, "hub", called, KEYS.primary, KEYS.secondary, frozenset({"ServiceConnect", "RegistryRead"})
    )


def registered_ca(called: str = "Plant-CA", *, registry: Registry = "hub", hub: HubId = HUB) -> RegisteredCA:
    return RegisteredCA(hub, registry, CAName(called), CA, "possession", 4, THEN, LATER, "C0DE", LATER)


def individual(
    attestation: Attestation, called: str = "Line-7", *, hub: HubId = HUB, status_is_enabled: bool = False
) -> IndividualEnrollment:
    return IndividualEnrollment(
        hub,
        attestation,
        5,
        THEN,
        LATER,
        "enabled" if status_is_enabled else "disabled",
        "custom",
        ("hub-a.example", "hub-b.example"),
        Reprovisioning(True, False),
        {"plant": 4},
        {"rate": 1},
        True,
        CustomAllocation(Secret("https://allocate.example/here?code=open-sesame"), "2021-10-01"),
        RegistrationId(called),
        DeviceId("device-7"),
        {"additionalProperty": True},
    )


def group(attestation: Attestation, called: str = "Widgets", *, hub: HubId = HUB) -> EnrollmentGroup:
    return EnrollmentGroup(hub, attestation, 5, THEN, LATER, group_id=EnrollmentGroupId(called))


def linked_hub(host_name: str = "West.example", position: int = 2, *, hub: HubId = HUB) -> LinkedHub:
    text = f"HostName={host_name};SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"
    return LinkedHub(hub, host_name, Secret(text), "west", 7, False, position, THEN, LATER)


def registration(
    called: str = "Widget-01", *, of: str | None = "Widgets", hub: HubId = HUB, payload: object = None
) -> Registration:
    return Registration(
        hub,
        RegistrationId(called),
        "5.operation",
        "failed",
        THEN,
        LATER,
        6,
        "x509",
        None if of is None else EnrollmentGroupId(of),
        "deviceDataReset",
        "hub-a.example",
        DeviceId(called.lower()),
        400207,
        "custom allocation failed",
        payload,
    )


def register(tables: AllTables, *names: IdentityName) -> None:
    """Make identities for what hangs on them."""
    for whose in names or (name(),):
        tables.identities.put(identity(whose))


def setting(key: object, value: str = "x") -> Callable[[AllTables], None]:
    """Work that puts a setting."""
    return lambda tables: tables.settings.put(str(key), value)


def emitting(*events: Event) -> Callable[[AllTables], None]:
    """Work that emits."""

    def work(tables: AllTables) -> None:
        for event in events:
            tables.outbox.emit(event)

    return work
