"""What pages need of the hub."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from moorage.accounts.audit import AuditTrail
from moorage.accounts.customization import CustomizationService
from moorage.accounts.organizations import Organizations
from moorage.accounts.role_service import Roles
from moorage.accounts.service import Accounts
from moorage.accounts.single_sign_on import SingleSignOn
from moorage.accounts.tokens import Tokens
from moorage.analytics.boards import Boards, BoardTables, Dashboard, SavedQuery
from moorage.analytics.explorer import Explorer
from moorage.analytics.series import Series
from moorage.attempts.model import Attempt
from moorage.automation.services import AutomationServices
from moorage.clock import Clock
from moorage.dialects.hub_json import Presence
from moorage.fleet.aliases import Aliases
from moorage.fleet.commands import Commands
from moorage.fleet.credentials import DeviceCredentials
from moorage.fleet.device_models import DeviceModels
from moorage.fleet.feeds import CalendarFeeds
from moorage.fleet.forecast import Forecast
from moorage.fleet.gateways import Gateways
from moorage.fleet.groups import Groups
from moorage.fleet.operations import DeviceOperations
from moorage.fleet.properties import DeviceProperties
from moorage.fleet.rehearsal import Rolls
from moorage.fleet.service import Fleet
from moorage.fleet.sightings import Sightings
from moorage.fleet.supply_chain import SupplyChains
from moorage.fleet.templates import TemplateService
from moorage.hub.methods import MethodService
from moorage.hub.session_log import SessionLog
from moorage.hub.telemetry_log import TelemetryLog
from moorage.hub.twins import TwinService
from moorage.hub.uploads import UploadService
from moorage.hub_info import HubInfo
from moorage.identities.model import RegistryTables
from moorage.identities.registry import IdentityRegistry
from moorage.ids import HubId, IdentityName
from moorage.pki.waivers import Waivers
from moorage.provisioning.enrollments import EnrollmentService
from moorage.store import Store

__all__ = ["AttemptLog", "FileStorage", "Presences", "Reach", "WebServices"]


class AttemptLog(Protocol):
    """Who tried to get in."""

    async def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]: ...

    async def last_refusals(self, hub: HubId, names: Sequence[str]) -> dict[str, Attempt]: ...


class Presences(Protocol):
    """Who is connected."""

    def of(self, hub: HubId, name: IdentityName) -> Presence: ...

    def count(self, hub: HubId) -> int: ...

    def connected(self, hub: HubId) -> Collection[IdentityName]: ...

    def is_connected(self, hub: HubId, name: IdentityName) -> bool: ...


class FileStorage(NamedTuple):
    """Where files of devices lie, and what one may be (FIL-1, FIL-4). `is_own` is the store that is built in."""

    where: str
    is_own: bool
    minutes: int
    most_mb: int


class Reach(NamedTuple):
    """Where rules and exports may send things: files below `folder`, '' for none; calls to the public Internet and to
    `allowed`; messages to `brokers` of Kafka."""

    folder: str
    allowed: tuple[str, ...]
    brokers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WebServices:
    """`let_in` hears from where somebody with a good session comes (`servers/listeners.py`)."""

    hub: HubId
    hub_name: str
    clock: Clock
    accounts: Accounts
    organizations: Organizations
    roles: Roles
    tokens: Tokens
    audit: AuditTrail
    single_sign_on: SingleSignOn
    customization: CustomizationService
    file_storage: FileStorage
    reach: Reach
    store: Store[RegistryTables]
    fleet: Fleet
    operations: DeviceOperations
    templates: TemplateService
    credentials: DeviceCredentials
    sightings: Sightings
    forecast: Forecast
    rolls: Rolls
    feeds: CalendarFeeds
    chains: SupplyChains
    registry: IdentityRegistry
    enrollments: EnrollmentService
    waivers: Callable[[], Waivers]
    twins: TwinService
    methods: MethodService
    log: TelemetryLog
    presence: Presences
    attempts: AttemptLog
    series: Series
    groups: Groups
    automation: AutomationServices
    explorer: Explorer
    queries: Boards[SavedQuery]
    dashboards: Boards[Dashboard]
    board_store: Store[BoardTables]
    models: DeviceModels
    properties: DeviceProperties
    commands: Commands
    aliases: Aliases
    gateways: Gateways
    sessions: SessionLog
    uploads: UploadService
    info: Callable[[], HubInfo]
    let_in: Callable[[str], None]
