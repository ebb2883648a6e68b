"""Device and module identities, how each one authenticates, and the hub's shared access policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from moorage.certificates.model import WaiverTable
from moorage.events import Outbox
from moorage.ids import DeviceId, EnrollmentGroupId, HubId, IdentityName, Secret, Thumbprint

__all__ = [
    "Authentication",
    "ByAuthority",
    "BySharedKey",
    "ByThumbprint",
    "Identity",
    "IdentityTable",
    "LifecycleTable",
    "NoCredential",
    "PolicyScope",
    "RegistryTables",
    "Right",
    "SasSwitches",
    "SharedAccessPolicy",
    "Status",
]

Status = Literal["enabled", "disabled"]


@dataclass(frozen=True, slots=True)
class BySharedKey:
    """On the wire `sas`. Both keys are base64 of 16 to 64 bytes."""

    primary: Secret
    secondary: Secret


@dataclass(frozen=True, slots=True)
class ByThumbprint:
    """On the wire `selfSigned`: the leaf's SHA-1 or SHA-256 equals one of the two."""

    primary: Thumbprint | None = None
    secondary: Thumbprint | None = None


@dataclass(frozen=True, slots=True)
class ByAuthority:
    """On the wire `certificateAuthority`.

    Anchored in the hub's proven CAs, or, when an enrollment group made the identity, in that group's current
    certificates alone (decisions T2).
    """

    enrollment_group: EnrollmentGroupId | None = None


@dataclass(frozen=True, slots=True)
class NoCredential:
    """On the wire `none`: nothing gets in."""


Authentication = BySharedKey | ByThumbprint | ByAuthority | NoCredential


@dataclass(frozen=True, slots=True)
class Identity:
    """A device, or a module when `name.module_id` is set. `version` is the etag's number and grows by 1 per change."""

    hub: HubId
    name: IdentityName
    generation_id: str
    version: int
    authentication: Authentication
    created: datetime
    status: Status = "enabled"
    status_reason: str | None = None
    status_updated: datetime | None = None
    is_edge: bool = False
    device_scope: str | None = None
    parent_scopes: tuple[str, ...] = ()
    managed_by: str | None = None


# The rights of a policy: contract/services.md 1.3.
Right = Literal[
    "RegistryRead",
    "RegistryWrite",
    "ServiceConnect",
    "DeviceConnect",
    "ServiceConfig",
    "EnrollmentRead",
    "EnrollmentWrite",
    "RegistrationStatusRead",
    "RegistrationStatusWrite",
]
PolicyScope = Literal["hub", "dps"]


@dataclass(frozen=True, slots=True)
class SharedAccessPolicy:
    """A named pair of keys and what they open. Keys are base64 text."""

    hub: HubId
    scope: PolicyScope
    name: str
    primary: Secret
    secondary: Secret
    rights: frozenset[Right]


@dataclass(frozen=True, slots=True)
class SasSwitches:
    """Hub properties of contract/services.md 5.4: which token logins are refused."""

    disable_local_auth: bool = False
    disable_device_sas: bool = False
    disable_module_sas: bool = False


class IdentityTable(Protocol):
    """Identities, keyed by (hub, device id, module id), compared with case."""

    def find(self, hub: HubId, name: IdentityName) -> Identity | None:
        """One prepared point read; keys are decrypted only when the identity authenticates by key."""

    def put(self, identity: Identity) -> None:
        """Insert or replace."""

    def delete(self, hub: HubId, name: IdentityName) -> None:
        """Delete it and all that hangs on it: modules, twins, waiting messages, stored MQTT sessions."""

    def list_devices(self, hub: HubId, limit: int, after: DeviceId | None = None) -> list[Identity]:
        """Devices (no modules) in order of their id."""

    def search_devices(
        self, hub: HubId, limit: int, *, after: DeviceId, contains: str = "", status: str = ""
    ) -> list[Identity]:
        """As `list_devices`, of those with `contains` in their id, whatever its case, and `status` if that is given."""

    def list_modules(self, hub: HubId, device_id: DeviceId) -> list[Identity]: ...

    def below(self, hub: HubId, scope: str, after: DeviceId, limit: int) -> list[DeviceId]:
        """Devices that stand in the scope of an edge device, in order of their ids; for a scan."""

    def count_devices(self, hub: HubId) -> tuple[int, int]:
        """(all, enabled)."""


class PolicyTable(Protocol):
    """Shared access policies and the switches, per hub."""

    def find(self, hub: HubId, scope: PolicyScope, name: str) -> SharedAccessPolicy | None: ...

    def all(self, hub: HubId, scope: PolicyScope) -> list[SharedAccessPolicy]: ...

    def put(self, policy: SharedAccessPolicy) -> None: ...

    def delete(self, hub: HubId, scope: PolicyScope, name: str) -> None: ...

    def switches(self, hub: HubId) -> SasSwitches: ...

    def put_switches(self, hub: HubId, switches: SasSwitches) -> None: ...


class LifecycleTable(Protocol):
    """Remembers for back ends which identities came and went, in the transaction in which they did."""

    def created(self, identity: Identity, now: datetime) -> None:
        """To be called once its first twin is written, if it has one."""

    def deleted(self, identity: Identity) -> None:
        """To be called while its twin is still there."""


class RegistryTables(Protocol):
    """What the identities domain needs of a store."""

    @property
    def notifications(self) -> LifecycleTable: ...

    @property
    def identities(self) -> IdentityTable: ...

    @property
    def policies(self) -> PolicyTable: ...

    @property
    def waivers(self) -> WaiverTable: ...

    @property
    def outbox(self) -> Outbox: ...
