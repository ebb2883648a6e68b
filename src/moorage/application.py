"""The application's services, made out of the hub's: what pages and the Central API call (ADR 13).

    App (app.py) ──► the hub's services ──► Application ──► pages (web/), /api/... (api/central/),
                                                            /moorage/v1/application/... (api/application/)

Wiring alone: whatever lives here is made once, started with the hub and closed before the hub's stores are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from prometheus_client import CollectorRegistry

from moorage.accounts.audit import AuditTrail
from moorage.accounts.customization import CustomizationService
from moorage.accounts.organizations import Organizations
from moorage.accounts.role_service import Roles
from moorage.accounts.service import Accounts
from moorage.accounts.single_sign_on import SingleSignOn, parse_rules
from moorage.accounts.tokens import Tokens
from moorage.adapters.audit_file import SqliteAudit
from moorage.adapters.bus import LocalBus
from moorage.adapters.egress import Egress
from moorage.adapters.model_folder import ModelFolders
from moorage.adapters.series import SqliteSeries
from moorage.adapters.sqlite.store import SqliteStore
from moorage.analytics.boards import Boards, Dashboard, SavedQuery, check_dashboard, check_query
from moorage.analytics.explorer import Explorer
from moorage.analytics.pictures import Pictures
from moorage.analytics.projector import Projector
from moorage.analytics.query import SeriesQueries
from moorage.analytics.series import Pending, Progress, Series
from moorage.api.actor_api import ActorApi, Admission
from moorage.api.application.app import build_own
from moorage.api.application.routing import BASE
from moorage.api.application.services import OwnServices
from moorage.api.central.app import build_central
from moorage.api.central.services import CentralServices
from moorage.attempts.model import Attempt, AttemptSink
from moorage.automating import Automation, AutomationParts
from moorage.certificates.service import CertificateService
from moorage.clock import Clock
from moorage.config import Config
from moorage.dialects import device_csv
from moorage.dialects.simulated_telemetry import simulated_message, simulated_source
from moorage.dialects.telemetry_values import values_of
from moorage.events import Event
from moorage.fleet.admission import FleetAdmissions
from moorage.fleet.aliases import Aliases
from moorage.fleet.assignment import Adopter
from moorage.fleet.awaited import AwaitedTwins
from moorage.fleet.commands import Commands
from moorage.fleet.credentials import DeviceCredentials
from moorage.fleet.device_models import DeviceModels
from moorage.fleet.feeds import CalendarFeeds
from moorage.fleet.forecast import Forecast, Kind
from moorage.fleet.gateways import Gateways
from moorage.fleet.groups import Groups
from moorage.fleet.initial_values import InitialValues
from moorage.fleet.limits import OURS, STRICT
from moorage.fleet.model import TemplateId
from moorage.fleet.operations import DeviceOperations
from moorage.fleet.properties import DeviceProperties
from moorage.fleet.rehearsal import Rolls
from moorage.fleet.service import Fleet
from moorage.fleet.sightings import Sightings
from moorage.fleet.simulation import Simulator
from moorage.fleet.supply_chain import SupplyChains
from moorage.fleet.template_model import Content
from moorage.fleet.templates import TemplateService
from moorage.hub.assigner import Assigner
from moorage.hub.configurations import ConfigurationService
from moorage.hub.messages import MessageService
from moorage.hub.methods import MethodService
from moorage.hub.router import Sink
from moorage.hub.routing_model import Endpoint
from moorage.hub.session_log import SessionLog
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import TelemetryLog
from moorage.hub.twins import TwinService
from moorage.hub.uploads import UploadService
from moorage.hub_info import HubInfo
from moorage.identities.access import Access
from moorage.identities.registry import IdentityRegistry
from moorage.ids import HubId
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificates
from moorage.pki.waivers import Waivers
from moorage.provisioning.anchors import vouching_certificates
from moorage.provisioning.default_groups import make_default_groups
from moorage.provisioning.enrollments import EnrollmentService
from moorage.provisioning.model import Assignment
from moorage.provisioning.registrations import RegistrationService
from moorage.servers.expiry_metrics import ExpiryCollector
from moorage.servers.series_metrics import SeriesCollector
from moorage.web.app import Web, build_web
from moorage.web.services import AttemptLog, FileStorage, Presences, Reach, WebServices

__all__ = ["Application", "HubServices"]

# Where a file of devices comes in: the page's form, and REST.
_IMPORT_PATHS: Final = (b"/device-import", f"{BASE}/devices/import".encode())


@dataclass(frozen=True, slots=True)
class HubServices:
    """What a hub gives its application. `every` runs work again and again, and says in the log when it fails."""

    hub: HubId
    name: str
    config: Config
    clock: Clock
    store: SqliteStore
    bus: LocalBus
    egress: Egress
    accounts: Accounts
    registry: IdentityRegistry
    enrollments: EnrollmentService
    registrations: RegistrationService
    assigner: Assigner[Assignment]
    waivers: Callable[[], Waivers]
    twins: TwinService
    methods: MethodService
    messages: MessageService
    uploads: UploadService
    telemetry: TelemetryIntake
    log: TelemetryLog
    presence: Presences
    sessions: SessionLog
    attempts: AttemptLog
    metrics: CollectorRegistry
    attempt_sink: AttemptSink
    watch_attempts: Callable[[Callable[[Attempt], None]], None]
    access: Access
    configurations: ConfigurationService
    sink_of: Callable[[Endpoint], Sink]
    vet: Callable[[Endpoint], None]
    info: Callable[[], HubInfo]
    let_in: Callable[[str], None]
    every: Callable[[float, Callable[[], Awaitable[object]]], Coroutine[Any, Any, None]]


class Application:
    """Make it once the hub's services are there, `start` it before the ports open, `close` it before the stores are."""

    def __init__(self, services: HubServices) -> None:
        self._services = services
        self._closing = AsyncExitStack()
        self._background: list[asyncio.Task[None]] = []
        self._forgetting: set[asyncio.Future[None]] = set()
        self.organizations = Organizations(services.hub, services.store)
        self.roles = Roles(services.hub, services.store)
        self.tokens = Tokens(services.hub, services.store, services.clock)
        self.audit = AuditTrail(
            services.hub,
            SqliteAudit(services.config.data / "audit.db"),
            services.clock,
            timedelta(days=services.config.audit_days),
        )
        self._closing.push_async_callback(self.audit.close_store)
        self.series, self._projector = self._make_series()
        folder = services.config.model_folder
        models = ModelFolders(() if folder is None else (folder,))
        limits = STRICT if services.config.strict_limits else OURS
        self.templates = TemplateService(services.hub, services.store, services.clock, models, limits)
        self.fleet = Fleet(services.hub, services.store, services.clock, self.templates, services.presence, limits)
        self.operations = DeviceOperations(self.fleet, services.store, services.clock)
        self._closing.push_async_callback(self.operations.close)
        services.assigner.first_twins = AwaitedTwins()
        services.registrations.admissions = FleetAdmissions(services.hub, self.templates, limits)
        self._adopter = Adopter(services.hub, services.store, self.templates)
        services.twins.on_model = self._adopter.heard
        self._closing.callback(services.bus.subscribe(self._adopter.told))
        self.simulator = Simulator(
            services.hub,
            services.store,
            self.templates,
            services.telemetry,
            services.clock,
            services.bus,
            partitions=services.config.partitions,
            encode_message=simulated_message,
            encode_source=simulated_source,
        )
        self._closing.callback(self.simulator.close)
        self.groups = Groups(services.hub, services.store, services.clock, limits)
        self.explorer = Explorer(services.hub, services.store, self.series, self.groups, self.fleet, services.clock)
        self.series_queries = SeriesQueries(
            services.hub,
            services.store,
            self.series,
            services.log,
            values_of,
            self.templates.interface_of,
            services.clock,
        )
        self.queries: Boards[SavedQuery] = Boards(
            services.hub, services.store, services.clock, "query", lambda tables: tables.explorer_queries, check_query
        )
        self.dashboards: Boards[Dashboard] = Boards(
            services.hub, services.store, services.clock, "dashboard", lambda tables: tables.dashboards, check_dashboard
        )
        self.models = DeviceModels(self.fleet, self._content_of)
        self.properties = DeviceProperties(services.hub, services.store, self.models, self.fleet, services.clock)
        self._initial_values = InitialValues(services.hub, services.store, self.templates, self.properties)
        self._closing.callback(services.bus.subscribe(self._initial_values.told))
        self.commands = Commands(
            services.hub, services.store, services.methods, services.messages, self.models, services.clock
        )
        self.aliases = Aliases(services.hub, services.store, self.models)
        self.gateways = Gateways(services.hub, services.store, services.clock)
        self.credentials = DeviceCredentials(
            services.hub, services.store, services.enrollments, services.registry, services.clock, services.waivers
        )
        self.sightings, self.forecast = self._make_sightings()
        authorities = CertificateService(services.store)
        self.rolls = Rolls(services.hub, services.store, services.enrollments, authorities, services.clock)
        self.chains = SupplyChains(services.hub, services.registrations.id_scope, services.store, services.clock)
        self.customization = CustomizationService(services.hub, services.store)
        # Known once it is started.
        self._application_id = ""
        self.automation = self._make_automation()
        self.web: Web = build_web(
            WebServices(
                hub=services.hub,
                hub_name=services.name,
                clock=services.clock,
                accounts=services.accounts,
                organizations=self.organizations,
                roles=self.roles,
                tokens=self.tokens,
                audit=self.audit,
                single_sign_on=self._make_single_sign_on(),
                customization=self.customization,
                file_storage=_file_storage(services.config),
                reach=_reach(services.config),
                store=services.store,
                fleet=self.fleet,
                operations=self.operations,
                templates=self.templates,
                credentials=self.credentials,
                sightings=self.sightings,
                forecast=self.forecast,
                rolls=self.rolls,
                feeds=CalendarFeeds(services.hub, services.store, services.accounts),
                chains=self.chains,
                registry=services.registry,
                enrollments=services.enrollments,
                waivers=services.waivers,
                twins=services.twins,
                methods=services.methods,
                log=services.log,
                presence=services.presence,
                attempts=services.attempts,
                series=self.series,
                groups=self.groups,
                automation=self.automation.services(),
                explorer=self.explorer,
                queries=self.queries,
                dashboards=self.dashboards,
                board_store=services.store,
                models=self.models,
                properties=self.properties,
                commands=self.commands,
                aliases=self.aliases,
                gateways=self.gateways,
                sessions=services.sessions,
                uploads=services.uploads,
                info=services.info,
                let_in=services.let_in,
            )
        )

        admission = Admission(
            services.hub,
            services.clock,
            services.access,
            self.tokens,
            services.attempt_sink,
            services.info,
            services.let_in,
            services.config.throttle_central_per_second,
        )
        self.central: ActorApi = build_central(
            CentralServices(
                hub=services.hub,
                clock=services.clock,
                tokens=self.tokens,
                accounts=services.accounts,
                organizations=self.organizations,
                roles=self.roles,
                info=services.info,
                enrollments=services.enrollments,
                fleet=self.fleet,
                credentials=self.credentials,
                templates=self.templates,
                groups=self.groups,
                models=self.models,
                properties=self.properties,
                commands=self.commands,
                series=self.series,
                registry=services.registry,
                jobs=self.automation.jobs,
                scheduled_jobs=self.automation.scheduled_jobs,
                gateways=self.gateways,
                queries=self.series_queries,
                manifests=self.automation.manifests,
                giving=self.automation.services().giving,
                exports=self.automation.services().exports,
                export_runner=self.automation.services().export_runner,
                dashboards=self.dashboards,
                upload_store=services.config.upload_store,
                upload_minutes=services.config.upload_lifetime_minutes,
            ),
            admission,
        )
        self.own: ActorApi = self._make_own(admission)
        # By path; the hub's own port serves them too.
        self.apis = {"api": self.central, BASE.strip("/"): self.own}
        for path, api in self.apis.items():
            self.web.mount(path, api)

    @staticmethod
    def body_limit(raw_path: bytes) -> int | None:
        """As `api.app.Api.body_limit`, for what the application serves."""
        return device_csv.MAX_BYTES if raw_path in _IMPORT_PATHS else None

    def _make_own(self, admission: Admission) -> ActorApi:
        return build_own(
            OwnServices(
                hub=self._services.hub,
                clock=self._services.clock,
                info=self._services.info,
                audit=self.audit,
                customization=self.customization,
                accounts=self._services.accounts,
                roles=self.roles,
                organizations=self.organizations,
                fleet=self.fleet,
                operations=self.operations,
                commands=self.commands,
                aliases=self.aliases,
                uploads=self._services.uploads,
                enrollments=self._services.enrollments,
                rolls=self.rolls,
                sightings=self.sightings,
                chains=self.chains,
                waivers=self._services.waivers,
                automation=self.automation.services(),
                templates=self.templates,
                queries=self.queries,
                pictures=Pictures(self._services.hub, self._services.store, self._services.clock),
                explorer=self.explorer,
            ),
            admission,
        )

    def _content_of(self, template_id: TemplateId) -> Content | None:
        template = self.templates.find(template_id)
        return None if template is None else template.published

    def _make_sightings(self) -> tuple[Sightings, Forecast]:
        services, hub, store = self._services, self._services.hub, self._services.store
        sightings = Sightings(hub, store, lambda: store.scan(lambda tables: vouching_certificates(tables, hub)))
        services.watch_attempts(sightings.heard)
        self._closing.callback(services.bus.subscribe(sightings.told))
        # The last ones, while the store still takes them.
        self._closing.push_async_callback(sightings.flush)
        folder = services.config.data / "server"

        def own() -> list[tuple[Kind, Certificate]]:
            kinds: tuple[tuple[Kind, str], ...] = (("server", "server"), ("server CA", "ca"))
            return [(kind, parse_certificates((folder / f"{stem}_cert.pem").read_bytes())[0]) for kind, stem in kinds]

        forecast = Forecast(hub, store, services.clock, own)
        services.metrics.register(ExpiryCollector(lambda: forecast.latest))
        return sightings, forecast

    def _make_series(self) -> tuple[Series, Projector]:
        services = self._services
        store, pending = SqliteSeries(services.config.data / "series.db"), Pending()
        self._closing.callback(store.close)
        series = Series(store, pending, Progress())
        projector = Projector(services.log, store, pending, series, values_of, services.clock)
        self._closing.push_async_callback(projector.close)
        services.metrics.register(SeriesCollector(series.progress))

        def heard(event: Event) -> None:
            if event.kind == "identity.deleted" and "/" not in event.subject:
                self._forgetting.add(task := asyncio.ensure_future(projector.forget(event.subject)))
                task.add_done_callback(self._forgetting.discard)

        self._closing.callback(services.bus.subscribe(heard))
        return series, projector

    def _make_automation(self) -> Automation:
        services = self._services
        automation = Automation(
            AutomationParts(
                hub=services.hub,
                hub_name=services.name,
                application_id=lambda: self._application_id,
                application_name=lambda: self.customization.current().name,
                config=services.config,
                clock=services.clock,
                store=services.store,
                bus=services.bus,
                egress=services.egress,
                log=services.log,
                info=services.info,
                presence=lambda name: services.presence.of(services.hub, name),
                organizations=self.organizations,
                series=self.series,
                fleet=self.fleet,
                groups=self.groups,
                templates=self.templates,
                configurations=services.configurations,
                properties=self.properties,
                commands=self.commands,
                sink_of=services.sink_of,
                vet=services.vet,
            )
        )
        self._closing.callback(automation.close)
        return automation

    def _make_single_sign_on(self) -> SingleSignOn:
        """Raises `Invalid` (`oidc.secret`)."""
        services, config = self._services, self._services.config
        provider = None
        if config.oidc_issuer is not None and config.oidc_client_id is not None:
            # Imports authlib: slow, and rarely needed.
            from moorage.adapters.oidc import OpenIDProvider, read_secret

            provider = OpenIDProvider(
                services.egress,
                services.clock,
                issuer=config.oidc_issuer,
                client_id=config.oidc_client_id,
                secret=read_secret(config.oidc_client_secret_file),
            )
        return SingleSignOn(services.accounts, provider, parse_rules(config.oidc_roles))

    async def start(self) -> None:
        """What has to be there before anybody comes."""
        services = self._services
        self.audit.attach()
        self._application_id = await self.customization.application_id()
        await make_default_groups(services.hub, services.store, services.enrollments)
        await self.operations.resume()
        every = services.every
        self._background = [
            asyncio.create_task(every(3600.0, services.accounts.sweep)),
            asyncio.create_task(self.audit.run()),
            asyncio.create_task(every(3600.0, self.audit.sweep)),
            asyncio.create_task(self._projector.run()),
            asyncio.create_task(every(1.0, self.sightings.flush)),
            asyncio.create_task(every(3600.0, self.sightings.sweep)),
            asyncio.create_task(every(10.0, self.forecast.refresh)),
            asyncio.create_task(self._adopter.run()),
            asyncio.create_task(self._initial_values.run()),
            asyncio.create_task(self.simulator.run()),
            *(asyncio.create_task(run()) for run in self.automation.runners()),
        ]

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, *self._forgetting, return_exceptions=True)
        await self._closing.aclose()


def _reach(config: Config) -> Reach:
    folder = "" if config.transfer_folder is None else config.transfer_folder.absolute().as_uri()
    return Reach(folder, config.egress_allow, config.kafka_brokers)


def _file_storage(config: Config) -> FileStorage:
    own = (config.data.absolute() / "uploads").as_uri()
    return FileStorage(
        config.upload_store or own, config.upload_store is None, config.upload_lifetime_minutes, config.upload_max_mb
    )
