"""A CA certificate that somebody uploaded, and what is known of who holds its key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from moorage.events import Outbox
from moorage.ids import CAName, HubId
from moorage.pki.certificates import Certificate
from moorage.pki.waivers import Waiver, Waivers
from moorage.store import SettingTable

__all__ = ["CATable", "CATables", "Proof", "RegisteredCA", "Registry", "WaiverTable"]

# Hub and DPS keep separate collections under the same names (contract/services.md 5.1, 5.3).
Registry = Literal["hub", "dps"]

# How possession of the key was shown: not yet, by a verification certificate, or vouched for by whoever uploaded it.
Proof = Literal["none", "possession", "vouched"]


@dataclass(frozen=True, slots=True)
class RegisteredCA:
    """`version` is the etag's number. `code` is the current verification code, good until `code_expires`."""

    hub: HubId
    registry: Registry
    name: CAName
    certificate: Certificate
    proof: Proof
    version: int
    created: datetime
    updated: datetime
    code: str | None = None
    code_expires: datetime | None = None

    @property
    def is_verified(self) -> bool:
        return self.proof != "none"


class CATable(Protocol):
    """Registered CAs, keyed by (hub, registry, name); the name is compared without case."""

    def find(self, hub: HubId, registry: Registry, name: CAName) -> RegisteredCA | None: ...

    def all(self, hub: HubId, registry: Registry) -> list[RegisteredCA]: ...

    def put(self, ca: RegisteredCA) -> None: ...

    def delete(self, hub: HubId, registry: Registry, name: CAName) -> None: ...


class WaiverTable(Protocol):
    """Waivers that are given, by hub."""

    def given(self, hub: HubId) -> Waivers: ...

    def put(self, hub: HubId, waiver: Waiver) -> None:
        """Give one that is not given yet."""

    def delete(self, hub: HubId, waiver: Waiver) -> None: ...


class CATables(Protocol):
    """What the certificates domain needs of a store."""

    @property
    def cas(self) -> CATable: ...

    @property
    def waivers(self) -> WaiverTable: ...

    @property
    def settings(self) -> SettingTable: ...

    @property
    def outbox(self) -> Outbox: ...
