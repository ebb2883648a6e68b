"""What the Central API calls, as one value that `application.py` makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moorage.accounts.organizations import Organizations
from moorage.accounts.role_service import Roles
from moorage.accounts.service import Accounts
from moorage.accounts.tokens import Tokens
from moorage.analytics.boards import Boards, Dashboard
from moorage.analytics.query import SeriesQueries
from moorage.analytics.series import Series
from moorage.automation.export_runner import ExportRunner
from moorage.automation.export_service import ExportService
from moorage.automation.job_service import JobService, ScheduledJobs
from moorage.automation.manifest_giving import ManifestGiving
from moorage.automation.manifests import Manifests
from moorage.clock import Clock
from moorage.fleet.commands import Commands
from moorage.fleet.credentials import DeviceCredentials
from moorage.fleet.device_models import DeviceModels
from moorage.fleet.gateways import Gateways
from moorage.fleet.groups import Groups
from moorage.fleet.properties import DeviceProperties
from moorage.fleet.service import Fleet
from moorage.fleet.templates import TemplateService
from moorage.hub_info import HubInfo
from moorage.identities.registry import IdentityRegistry
from moorage.ids import HubId
from moorage.provisioning.enrollments import EnrollmentService

__all__ = ["CentralServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralServices:
    """`upload_store` is the URL of where files go, None for the one that is built in."""

    hub: HubId
    clock: Clock
    tokens: Tokens
    accounts: Accounts
    organizations: Organizations
    roles: Roles
    info: Callable[[], HubInfo]
    enrollments: EnrollmentService
    fleet: Fleet
    credentials: DeviceCredentials
    templates: TemplateService
    groups: Groups
    models: DeviceModels
    properties: DeviceProperties
    commands: Commands
    series: Series
    registry: IdentityRegistry
    jobs: JobService
    scheduled_jobs: ScheduledJobs
    gateways: Gateways
    queries: SeriesQueries
    manifests: Manifests
    giving: ManifestGiving
    exports: ExportService
    export_runner: ExportRunner
    dashboards: Boards[Dashboard]
    upload_store: str | None
    upload_minutes: int
