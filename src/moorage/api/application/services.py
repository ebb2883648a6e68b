"""What our own API of the application calls, as one value that `application.py` makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moorage.accounts.audit import AuditTrail
from moorage.accounts.customization import CustomizationService
from moorage.accounts.organizations import Organizations
from moorage.accounts.role_service import Roles
from moorage.accounts.service import Accounts
from moorage.analytics.boards import Boards, SavedQuery
from moorage.analytics.explorer import Explorer
from moorage.analytics.pictures import Pictures
from moorage.automation.services import AutomationServices
from moorage.clock import Clock
from moorage.fleet.aliases import Aliases
from moorage.fleet.commands import Commands
from moorage.fleet.operations import DeviceOperations
from moorage.fleet.rehearsal import Rolls
from moorage.fleet.service import Fleet
from moorage.fleet.sightings import Sightings
from moorage.fleet.supply_chain import SupplyChains
from moorage.fleet.templates import TemplateService
from moorage.hub.uploads import UploadService
from moorage.hub_info import HubInfo
from moorage.ids import HubId
from moorage.pki.waivers import Waivers
from moorage.provisioning.enrollments import EnrollmentService

__all__ = ["OwnServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnServices:
    hub: HubId
    clock: Clock
    info: Callable[[], HubInfo]
    audit: AuditTrail
    customization: CustomizationService
    accounts: Accounts
    roles: Roles
    organizations: Organizations
    fleet: Fleet
    operations: DeviceOperations
    commands: Commands
    aliases: Aliases
    uploads: UploadService
    enrollments: EnrollmentService
    rolls: Rolls
    sightings: Sightings
    chains: SupplyChains
    waivers: Callable[[], Waivers]
    automation: AutomationServices
    templates: TemplateService
    queries: Boards[SavedQuery]
    pictures: Pictures
    explorer: Explorer
