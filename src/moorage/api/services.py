"""Everything the API calls, as one value that the composition root makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry

from moorage.api.control import ControlPlane
from moorage.api.routing import Call, Route
from moorage.attempts.model import Attempt, AttemptSink
from moorage.certificates.service import CertificateService
from moorage.clock import Clock
from moorage.dialects.hub_json import Presence
from moorage.hub.messages import MessageService
from moorage.hub.methods import MethodCall, MethodReply
from moorage.hub.model import HubTables
from moorage.hub.telemetry_log import TelemetryLog
from moorage.hub.throttles import Throttles
from moorage.hub.twins import TwinService
from moorage.hub_info import HubInfo
from moorage.identities.access import Access
from moorage.identities.policies import Policies
from moorage.identities.registry import IdentityRegistry
from moorage.ids import HubId, IdentityName, parse_device_id, parse_module_id
from moorage.store import Store

if TYPE_CHECKING:
    from moorage.api.device_door import DeviceDoor

__all__ = ["ApiServices", "Attempts", "Methods", "PresenceSource", "identity_of"]


class Methods(Protocol):
    """Direct methods; `hub.methods.MethodService` is one."""

    async def invoke(self, hub: HubId, name: IdentityName, call: MethodCall) -> MethodReply: ...


class Attempts(Protocol):
    """Recorded attempts, newest first; filters that are None match everything."""

    async def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]: ...


class PresenceSource(Protocol):
    """Who is connected. Called from threads too."""

    def of(self, hub: HubId, name: IdentityName) -> Presence: ...

    def count(self, hub: HubId) -> int:
        """Connected devices, modules not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """`info` answers once the ports are open; `not_ready` says what a start still waits for, or None.

    `warnings` are the kinds of what will go wrong if nobody does anything; they name nobody, since anybody may ask.
    `device_door` judges devices that ask what is theirs of routes with `of_device`; without one none may.
    `let_in` is told the address (`host:port`) of whoever showed a credential with the rights for what it asks.
    """

    hub: HubId
    clock: Clock
    store: Store[HubTables]
    access: Access
    registry: IdentityRegistry
    policies: Policies
    twins: TwinService
    messages: MessageService
    methods: Methods
    certificates: CertificateService
    control: ControlPlane
    presence: PresenceSource
    log: TelemetryLog
    attempts: Attempts
    attempt_sink: AttemptSink
    info: Callable[[], HubInfo]
    not_ready: Callable[[], str | None]
    warnings: Callable[[], list[str]] = list
    metrics: CollectorRegistry
    more_routes: Sequence[Route] = ()
    let_in: Callable[[str], None] = lambda _address: None
    throttles: Throttles = field(default_factory=Throttles)
    device_door: DeviceDoor | None = None


def identity_of(call: Call) -> IdentityName:
    """The identity that `{id}` and `{module}` of the path name. Raises `Invalid` (`id.device`, `id.module`)."""
    module_id = call.path.get("module")
    return IdentityName(parse_device_id(call.path["id"]), None if module_id is None else parse_module_id(module_id))
