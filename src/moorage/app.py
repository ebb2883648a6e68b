"""The composition root: every part of a hub is made and wired here, and nowhere else.

    Config ──► App ──► start(): ports open, hub.json written ──► stop(): last batch on disk

An app takes a store, a bus and a session directory, so that two can share them, and the disk that telemetry is written
to; without them it makes its own on the data folder.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

from moorage.accounts.service import Accounts
from moorage.adapters.attempts import SqliteAttempts
from moorage.adapters.block_folder import BlockFolder
from moorage.adapters.broker_policy import BrokerList
from moorage.adapters.bus import LocalBus
from moorage.adapters.containers import BlobContainers
from moorage.adapters.data_folder import REGISTRY, claim_folder, owner_key, secrets_key
from moorage.adapters.egress import Egress
from moorage.adapters.egress_policy import AllowList
from moorage.adapters.endpoints.files import FileSink, check_files
from moorage.adapters.endpoints.kafka import KafkaSink, check_kafka
from moorage.adapters.endpoints.nats import NatsSink, check_nats
from moorage.adapters.endpoints.webhook import WebhookSink
from moorage.adapters.file_store import ObjectFiles
from moorage.adapters.files import write_whole
from moorage.adapters.hub_file import HubFile
from moorage.adapters.list_reader import read_revocation_list
from moorage.adapters.log.files import Files
from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.adapters.remote_hub import RemoteHubs
from moorage.adapters.revocation_sources import RevocationSources
from moorage.adapters.sqlite.store import SqliteStore
from moorage.adapters.webhook import Webhooks
from moorage.api.app import build_api
from moorage.api.arm_transfers import arm_transfer_routes
from moorage.api.blobs import blob_routes
from moorage.api.connections import ConnectionParts, connection_routes
from moorage.api.control import ControlPlane, resources_of
from moorage.api.device_door import DeviceDoor
from moorage.api.device_files import blob_uri, device_file_routes
from moorage.api.device_messages import DeviceMessageParts, device_message_routes
from moorage.api.device_methods import by_modules
from moorage.api.dps_device import dps_device_routes
from moorage.api.dps_service import dps_service_routes
from moorage.api.enrollment_groups import enrollment_group_routes
from moorage.api.enrollment_webhooks import enrollment_webhook_routes
from moorage.api.event_sources import event_source_routes
from moorage.api.event_tokens import event_token_routes
from moorage.api.files import file_routes
from moorage.api.hub_configurations import configuration_routes
from moorage.api.hub_digital_twins import digital_twin_routes
from moorage.api.hub_feedback import feedback_routes, file_notification_routes
from moorage.api.hub_jobs import job_routes
from moorage.api.hub_queries import query_routes
from moorage.api.hub_transfers import transfer_routes
from moorage.api.linked_hubs import linked_hub_routes
from moorage.api.message_routing import message_routing_routes
from moorage.api.presence import TrackedPresence
from moorage.api.revocation import RevocationParts, revocation_routes
from moorage.api.services import ApiServices
from moorage.api.users import user_routes
from moorage.api.waivers import waiver_routes
from moorage.application import Application, HubServices
from moorage.attempts.recorder import AttemptRecorder
from moorage.certificates.known_revocation import KnownRevocation, Warned
from moorage.certificates.list_fetching import ListFetcher
from moorage.certificates.ocsp_asking import OcspAsker
from moorage.certificates.revocation import RevocationService
from moorage.certificates.service import CertificateService, HubAnchors
from moorage.certificates.waivers import WaiverService
from moorage.clock import Clock, SystemClock
from moorage.config import CA_BUNDLE, Config
from moorage.dialects.dps_allocation import MAX_WEBHOOK_ANSWER_BYTES, WebhookAllocator
from moorage.dialects.dps_exchange import DpsExchange
from moorage.dialects.feedback_json import FEEDBACK_TYPE, feedback_json
from moorage.dialects.hub_events import encode_notification
from moorage.dialects.job_rows import JobRows
from moorage.dialects.mqtt_dps import DpsConversation
from moorage.dialects.query_rows import TwinSource
from moorage.dialects.routed_message import Selection
from moorage.dialects.transfer_json import LineCodec
from moorage.dialects.upload_json import FILE_NOTIFICATION_TYPE, file_notification_json
from moorage.errors import Unavailable
from moorage.hub.activity import ActivityTracker
from moorage.hub.applier import ConfigurationApplier
from moorage.hub.assigner import Assigner
from moorage.hub.conditions import ConditionTargets
from moorage.hub.configuration_metrics import ConfigurationMetrics, QueryCounts
from moorage.hub.configurations import ConfigurationService
from moorage.hub.connection_events import ConnectionEvents
from moorage.hub.consumer_groups import ConsumerGroups
from moorage.hub.digital_twins import DigitalTwinService
from moorage.hub.event_sources import EventSources
from moorage.hub.feedback import FeedbackService
from moorage.hub.job_runner import JobRunner
from moorage.hub.jobs import JobService
from moorage.hub.message_locks import MessageLocks
from moorage.hub.messages import MessageService
from moorage.hub.methods import MethodService
from moorage.hub.notification_model import parse_source
from moorage.hub.notifier import Notifier
from moorage.hub.queries import QueryService
from moorage.hub.revoked_sessions import RevokedSessions
from moorage.hub.router import Router, Sink
from moorage.hub.routing_model import Endpoint
from moorage.hub.routing_service import RoutingService
from moorage.hub.session_log import SessionLog
from moorage.hub.sessions import LiveSessions, LocalSessionDirectory, SessionDirectory
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.throttles import OperationGroup, Rate, Throttles
from moorage.hub.transfers import TransferService
from moorage.hub.twins import TwinService
from moorage.hub.upload_model import UploadLimits
from moorage.hub.upload_standing import UploadStanding
from moorage.hub.uploads import FileNotificationService, UploadService
from moorage.hub.watch import SessionWatch
from moorage.hub_info import HUB_INFO, HubInfo, hub_name_of
from moorage.identities.access import Access
from moorage.identities.judge import Authenticator
from moorage.identities.policies import Policies, PolicyCache
from moorage.identities.registry import IdentityRegistry
from moorage.identities.trust import TrustCache
from moorage.ids import DEFAULT_HUB, IdScope, new_tracking_id
from moorage.protocols.amqp.sasl import TPM
from moorage.provisioning.anchors import EnrollmentAnchors, vouching_certificates
from moorage.provisioning.enrollments import EnrollmentLimits, EnrollmentService
from moorage.provisioning.linked_hubs import LinkedHubService
from moorage.provisioning.model import Assignment
from moorage.provisioning.placing import Homes
from moorage.provisioning.registrations import RegistrationService
from moorage.provisioning.throttle import DeviceRates
from moorage.servers.amqp.authorized import AuthorizedLinks
from moorage.servers.amqp.cbs import CbsNode
from moorage.servers.amqp.device import DeviceNode
from moorage.servers.amqp.events import EventsParts, ManagementNode, ReaderNode, RedirectNode
from moorage.servers.amqp.provisioning import ProvisioningNode
from moorage.servers.amqp.service import DeviceBoundNode, QueueNode
from moorage.servers.amqp.stream import AMQPParts
from moorage.servers.amqp.tpm import TpmAuthenticator
from moorage.servers.certificate import ServerCertificate
from moorage.servers.hub_session import HubParts
from moorage.servers.listeners import Listeners
from moorage.servers.metrics import Metrics
from moorage.servers.mqtt import MQTTParts
from moorage.servers.revocation_metrics import RevocationCollector
from moorage.servers.routing_metrics import RoutingCollector
from moorage.servers.timers import TimerWheel

__all__ = ["App"]

log = logging.getLogger(__name__)

# There from the start of a hub to its end in good order.
_RUNNING = "running"
_ID_SCOPE = "id_scope"
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")
_MIB = 1024 * 1024
_DAY_MS = 24 * 3_600_000
_REOPEN_SOON_S = 0.5
_REOPEN_AT_LEAST_EVERY_S = 8.0


class App:
    """One hub. Make it, `start` it on a running loop, `stop` it."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        store: SqliteStore | None = None,
        bus: LocalBus | None = None,
        directory: SessionDirectory | None = None,
        telemetry_files: Files | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        claim_folder(config.data)
        self.bus = bus or LocalBus()
        # What was opened is closed, the last first and whatever another one says; also after half a start.
        self._closing = AsyncExitStack()
        self.store = store or SqliteStore(
            config.data / REGISTRY,
            secrets_key=secrets_key(config.data),
            bus=self.bus,
        )
        if store is None:
            self._closing.push_async_callback(asyncio.to_thread, self.store.close)
        self.directory = directory or LocalSessionDirectory(self.bus)
        self._telemetry_files = telemetry_files
        self.live = LiveSessions()
        self.wheel = TimerWheel(self.clock)
        self.listeners = Listeners(config, self.clock, self.wheel, lambda attempt: self.attempts.record(attempt))
        self.metrics = Metrics()
        self.egress = Egress(AllowList.of(config.egress_allow), ca_bundle=config.egress_ca_bundle)
        self._stopping = False
        self._is_marked = False
        self._background: list[asyncio.Task[None]] = []
        self._hub_file = HubFile(config.data / HUB_INFO, self._describe)
        self._job_runner: JobRunner | None = None
        self._warned_of: frozenset[Warned] = frozenset()
        self._names = frozenset((*config.hostnames, "localhost", "127.0.0.1", "::1"))
        self._certificate = ServerCertificate(config.data / "server", config.data / CA_BUNDLE, config.hostnames)

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> HubInfo:
        """Open the ports; everything before that must have worked. Raises `Refusal` with what did not."""
        await self._open_stores()
        self._mark_running()
        mqtt, amqp = self._wire()
        # Events of an earlier run that nobody heard: now there are ears.
        self.store.replay()
        # Before anybody asks to be let in.
        await self.revocation.service.clean_up()
        await self.revocation.known.refresh()
        await self.application.start()
        # The certificate follows real time, whatever the hub's own clock says (decisions S9).
        await self.listeners.open(
            self._certificate.context(datetime.now(UTC)), mqtt, amqp, self.api, self.web, self._body_limit
        )
        self._keep_going()
        await self.transfers.resume()
        info = self._hub_file.publish(self.bus)
        log.info(
            "started mqtt=%s:%d amqp=%s:%d https=%s:%d data=%s",
            *(
                self.config.bind,
                self.listeners.mqtt_port,
                self.config.bind,
                self.listeners.amqp_port,
                self.config.bind,
                self.listeners.https_port,
                self.config.data,
            ),
        )
        return info

    async def stop(self) -> None:
        """Take nothing new, let what is under way finish, put the last batch on disk."""
        if self._hub_file.is_published and not self._stopping:
            log.info("stopping sessions=%d", len(self.live))
        self._stopping = True
        if self._job_runner is not None:
            # Before devices are let go: a job would take their absence for a result.
            await self._job_runner.close()
        self.listeners.take_no_more()
        self.wheel.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        try:
            await self.listeners.close(self.config.shutdown_grace_s)
        finally:
            await self._hub_file.close()
            await self._closing.aclose()
        if self._is_marked:
            self._is_marked = False
            (self.config.data / _RUNNING).unlink(missing_ok=True)
            if self._hub_file.is_published:
                log.info("stopped data=%s", self.config.data)

    def info(self) -> HubInfo:
        """Raises `Unavailable` before the ports are open."""
        return self._hub_file.info()

    # -- parts of starting ---------------------------------------------------------------------------------------------

    async def _open_stores(self) -> None:
        config = self.config
        where = self._telemetry_files or config.data / "telemetry"
        self.log = await asyncio.to_thread(SegmentLog.open, where, _log_settings(config))
        self.telemetry = TelemetryIntake(self.log, self.clock)
        self.log.start(self.telemetry)
        self._closing.push_async_callback(self.log.close)
        self.attempts = AttemptRecorder(
            SqliteAttempts(config.data / "attempts.db", keep=config.attempts_kept), self.clock, self.metrics.attempt
        )
        self._closing.push_async_callback(self.attempts.close)
        self.attempts.watch(self.listeners.attempted)
        self._id_scope = await self._find_id_scope()
        self._policies = Policies(self.store, self._hub_file.settled)
        await self._policies.ensure_defaults(DEFAULT_HUB)
        self._event_sources = EventSources(DEFAULT_HUB, self.store)
        await self._event_sources.settle(map(parse_source, config.hub_events))

    def _mark_running(self) -> None:
        """Called once the stores are ours alone, so a mark that is there is an earlier hub's."""
        mark = self.config.data / _RUNNING
        if mark.exists():
            log.warning("started_after_unclean_end data=%s; what was acknowledged is there", self.config.data)
        write_whole(mark, f"{os.getpid()}\n".encode())
        self._is_marked = True

    def _wire(self) -> tuple[MQTTParts, AMQPParts]:
        """Every service, made once and handed to whoever calls it."""
        config, clock, store, hub = self.config, self.clock, self.store, DEFAULT_HUB
        self.metrics.watch(self.live, self.telemetry, lambda: self.log.backlog_bytes)
        self.metrics.watch_doors(lambda: self.listeners.crowd)

        policy_cache = PolicyCache(store, self.bus)
        revocation = self.revocation = self._make_revocation()
        trust = TrustCache(HubAnchors(store), EnrollmentAnchors(store), self.bus, revocation=revocation.known)
        authenticator = Authenticator(store, policy_cache, trust, lambda: self._names)
        access = Access(policy_cache, owner_key(config.data), lambda: self._names)

        self.activity = ActivityTracker(hub, store, self.directory, self.live, clock)
        sessions = SessionLog(hub, self.activity, self.live, clock)
        connection_events = ConnectionEvents(clock)
        self.activity.listen(connection_events.heard)
        name = hub_name_of(config.hostname)
        self._notifier = Notifier(
            hub,
            store,
            self.telemetry,
            connection_events,
            lambda notification: encode_notification(notification, hub, name, clock.now()),
            config.partitions,
        )
        routing = RoutingService(hub, store, lambda: self.log.durable_end, self._vet)
        self._router = Router(
            hub,
            store,
            self.log,
            self.bus,
            self._sink_of,
            Selection(hub, name),
            clock,
        )
        self.metrics.registry.register(
            RoutingCollector(routing.get, self._router, lambda name: store.read().routing.count_dead(hub, name))
        )
        twins = TwinService(store, clock)
        self.messages = messages = MessageService(store, clock)
        locks = MessageLocks(messages, clock)
        feedback = FeedbackService(store, clock)
        file_notifications = FileNotificationService(store, clock)
        methods = MethodService(store, self.live)
        watch = SessionWatch(hub, self.bus, store, self.live)

        assigner = Assigner(store, clock, hub, config.hostnames, Assignment)
        linked_hubs = LinkedHubService(hub, store, config.hostnames, clock)
        remote_hubs = RemoteHubs(self.egress, clock)
        homes = Homes(linked_hubs, assigner, remote_hubs)
        webhooks = Webhooks(self.egress, answer_bytes=MAX_WEBHOOK_ANSWER_BYTES)
        registrations = RegistrationService(
            hub,
            self._id_scope,
            store,
            homes,
            WebhookAllocator(webhooks.post),
            clock,
            self.bus,
            rates=DeviceRates(config.throttle_registrations_per_minute, config.throttle_polls_per_minute),
            revocation=revocation.known,
        )
        enrollments = self.enrollments = EnrollmentService(
            hub,
            store,
            linked_hubs,
            clock,
            vouching=config.vouched_certificates,
            limits=EnrollmentLimits(config.max_enrollments, config.max_enrollment_groups),
        )
        exchange = DpsExchange(registrations, self.attempts, clock)

        door = DeviceDoor(
            hub,
            clock,
            lambda hub, name, presented: authenticator.authenticate(hub, name, presented, clock.now()),
            self.attempts,
            self.activity.heard,
        )

        upload_standing = UploadStanding(hub, self.bus, store, policy_cache, trust, self.revoked.why_revoked, clock)
        self.uploads = self._make_uploads(upload_standing)
        waivers = WaiverService(store)
        self.accounts = Accounts(hub, store, clock)

        containers = BlobContainers(self.egress, config.transfer_folder)
        self.transfers = TransferService(hub, store, containers, LineCodec(), clock)

        presence = TrackedPresence(self.activity, self.directory)
        device_rows = TwinSource("devices", presence, clock)
        module_rows = TwinSource("devices.modules", presence, clock)
        queries = QueryService(
            store, clock, {"devices": device_rows, "devices.modules": module_rows, "devices.jobs": JobRows()}
        )
        self.targets = ConditionTargets(store, {"devices": device_rows, "devices.modules": module_rows})
        jobs = self._make_jobs(methods)
        self._applier = ConfigurationApplier(hub, store, self.bus, self.targets, clock)
        counts = QueryCounts(queries)
        configuration_metrics = ConfigurationMetrics(hub, store, counts, clock)
        configurations = ConfigurationService(store, counts, clock)

        self._closing.push_async_callback(self._flush_activity)
        self._closing.push_async_callback(self.transfers.aclose)
        self._closing.push_async_callback(registrations.aclose)
        self._closing.push_async_callback(configuration_metrics.close)
        for hears in (policy_cache, trust, watch, upload_standing, self._applier, self._router):
            self._closing.callback(hears.close)

        self.api = build_api(
            ApiServices(
                hub=hub,
                clock=clock,
                let_in=self.listeners.let_in,
                store=store,
                access=access,
                registry=IdentityRegistry(store),
                policies=self._policies,
                twins=twins,
                messages=messages,
                methods=methods,
                certificates=CertificateService(store),
                control=ControlPlane(
                    resources=resources_of(store, linked_hubs, self._hub_file.settled),
                    linked_hubs=linked_hubs,
                    consumer_groups=ConsumerGroups(store),
                    retention_days=config.retention_days,
                    upload_minutes=config.upload_lifetime_minutes,
                    routing=routing,
                    health=self._router.health,
                ),
                presence=presence,
                log=self.log,
                attempts=self.attempts,
                attempt_sink=self.attempts,
                info=self.info,
                not_ready=self._not_ready,
                warnings=lambda: sorted({each.kind for each in revocation.known.warnings(clock.now())}),
                metrics=self.metrics.registry,
                throttles=_throttles(config),
                device_door=door,
                more_routes=[
                    *dps_service_routes(enrollments, registrations),
                    *dps_device_routes(exchange),
                    *device_message_routes(
                        DeviceMessageParts(
                            door=door,
                            telemetry=self.telemetry,
                            locks=locks,
                            partitions=config.partitions,
                        )
                    ),
                    *by_modules(door, store, methods, clock),
                    *device_file_routes(door, self.uploads, self._host_as_called),
                    *blob_routes(self.uploads, self.attempts, clock, self.listeners.let_in),
                    *file_routes(self.uploads),
                    *file_notification_routes(hub, file_notifications),
                    *enrollment_group_routes(enrollments),
                    *enrollment_webhook_routes(enrollments),
                    *user_routes(self.accounts, self.info),
                    *waiver_routes(hub, waivers),
                    *revocation_routes(revocation),
                    *linked_hub_routes(linked_hubs, lambda linked: remote_hubs(linked).check()),
                    *connection_routes(
                        ConnectionParts(
                            hub=hub,
                            clock=clock,
                            directory=self.directory,
                            live=self.live,
                            activity=self.activity,
                            presence=presence,
                            refusals=self.attempts,
                            registry=IdentityRegistry(store),
                            policies=self._policies,
                        )
                    ),
                    *event_source_routes(self._event_sources),
                    *event_token_routes(hub, self._policies, clock, self.info),
                    *message_routing_routes(routing, self._router, hub, store, clock),
                    *query_routes(queries, hub),
                    *job_routes(jobs, lambda job_id: store.read().transfers.find(hub, job_id) is not None),
                    *transfer_routes(self.transfers, hub, store),
                    *feedback_routes(hub, feedback),
                    *arm_transfer_routes(self.transfers, hub, self.info),
                    *configuration_routes(hub, configurations, configuration_metrics),
                    *digital_twin_routes(hub, DigitalTwinService(store, clock), methods, clock),
                ],
            )
        )
        self.application = Application(
            HubServices(
                hub=hub,
                name=name,
                config=config,
                clock=clock,
                store=store,
                bus=self.bus,
                egress=self.egress,
                accounts=self.accounts,
                registry=IdentityRegistry(store),
                enrollments=enrollments,
                registrations=registrations,
                assigner=assigner,
                waivers=lambda: waivers.given(hub),
                twins=twins,
                methods=methods,
                messages=messages,
                uploads=self.uploads,
                telemetry=self.telemetry,
                log=self.log,
                presence=presence,
                sessions=sessions,
                attempts=self.attempts,
                metrics=self.metrics.registry,
                info=self.info,
                attempt_sink=self.attempts,
                watch_attempts=self.attempts.watch,
                access=access,
                configurations=configurations,
                sink_of=self._sink_of,
                vet=self._vet,
                let_in=self.listeners.let_in,
                every=self._every,
            )
        )
        self.web = self.application.web
        for path, api in self.application.apis.items():
            self.api.mount(path, api)
        self._closing.push_async_callback(self.application.close)
        # What this app is called in the session directory.
        owner = new_tracking_id()
        mqtt = MQTTParts(
            session=HubParts(
                hub=hub,
                store=store,
                clock=clock,
                directory=self.directory,
                live=self.live,
                telemetry=self.telemetry,
                twins=twins,
                methods=methods,
                messages=messages,
                activity=self.activity,
                wheel=self.wheel,
                counters=self.metrics,
                partitions=config.partitions,
            ),
            authenticate=lambda hub, name, presented: authenticator.authenticate(hub, name, presented, clock.now()),
            provision=lambda login, presented, tls, door: DpsConversation(
                login, presented, exchange, door=door, tls_version=tls
            ),
            is_ours=lambda host: host.lower().partition(":")[0] in self._names or host.lower() in self._names,
            attempts=self.attempts,
            owner=owner,
            is_stopping=lambda: self._stopping,
        )
        links = AuthorizedLinks(clock.now)
        feedback_node = QueueNode(
            hub, name, ("messages", "servicebound", "feedback"), feedback, feedback_json, FEEDBACK_TYPE, links
        )
        files_node = QueueNode(
            hub,
            name,
            ("messages", "servicebound", "filenotifications"),
            file_notifications,
            file_notification_json,
            FILE_NOTIFICATION_TYPE,
            links,
            batch=1,
        )
        began = clock.now()
        events = EventsParts(
            hub=hub,
            entities=tuple(dict.fromkeys(map(hub_name_of, config.hostnames))),
            log=self.log,
            groups=ConsumerGroups(store),
            links=links,
            created=lambda: began,
            where=lambda: (config.hostname, self.listeners.amqp_port),
        )
        self.wheel.every_second(links.tick)
        listening = {
            "policies.changed": links.recheck,
            "feedback.waiting": feedback_node.waiting,
            "file_notification.waiting": files_node.waiting,
        }
        self._closing.callback(self.bus.subscribe(lambda event: listening.get(event.kind, _ignore)()))
        amqp = AMQPParts(
            hub=hub,
            container_id=config.hostname,
            clock=clock,
            nodes=(
                CbsNode(),
                DeviceNode(mqtt.session, locks, owner),
                ProvisioningNode(exchange),
                DeviceBoundNode(hub, messages, links),
                feedback_node,
                files_node,
                RedirectNode(events),
                ManagementNode(events),
                ReaderNode(events),
            ),
            authenticate=lambda name, presented: authenticator.authenticate(hub, name, presented, clock.now()),
            authorize=lambda header, resource, any_of: access.authorize(
                header, "hub", resource, any_of, clock.now(), hub=hub, is_amqp=True
            ),
            check_token=lambda token: access.look_at(token.reveal(), clock.now(), hub=hub),
            attempts=self.attempts,
            count_end=self.metrics.session_ended,
            is_stopping=lambda: self._stopping,
            mechanisms={TPM: partial(TpmAuthenticator, exchange)},
        )
        return mqtt, amqp

    def _make_revocation(self) -> RevocationParts:
        hub, store, clock = DEFAULT_HUB, self.store, self.clock
        known = KnownRevocation(hub, store, self.bus)
        sources = RevocationSources(self.egress)
        asker = OcspAsker(hub, store, known, clock, sources.post_question)
        self.revoked = RevokedSessions(self.live, known, clock)
        known.on_question, known.on_change = asker.put, self.revoked.sweep
        service = RevocationService(
            hub,
            store,
            known,
            clock,
            read_list=read_revocation_list,
            vouchers=lambda: store.scan(lambda tables: vouching_certificates(tables, hub)),
        )
        self._closing.push_async_callback(known.close)
        self._closing.push_async_callback(asker.close)
        self.metrics.registry.register(RevocationCollector(known, clock))
        fetcher = ListFetcher(hub, store, service, clock, sources.get_list)
        return RevocationParts(service, fetcher, asker, known, clock)

    def _make_uploads(self, standing: UploadStanding) -> UploadService:
        config = self.config
        limits = UploadLimits(
            blob_bytes=config.upload_max_mb * _MIB,
            waiting_bytes=config.upload_waiting_max_mb * _MIB,
            lifetime=timedelta(minutes=config.upload_lifetime_minutes),
        )
        blocks = BlockFolder(config.data / "blocks", most=limits.blob_bytes, most_waiting=limits.waiting_bytes)
        self._closing.callback(blocks.close)
        return UploadService(
            DEFAULT_HUB,
            self.store,
            ObjectFiles(config.upload_store or (config.data.absolute() / "uploads").as_uri()),
            blocks,
            self.clock,
            limits,
            lambda blob_name: blob_uri(self.info().service_host, blob_name),
            standing,
        )

    def _host_as_called(self, host: str) -> str:
        """What a client called this hub, if that is a name of it; with a port where that is not 443."""
        called = _HOST.fullmatch(host.strip().lower())
        if called is None or called["name"].strip("[]") not in self._names:
            return self.info().service_host
        return called[0]

    def _body_limit(self, raw_path: bytes) -> int | None:
        return self.api.body_limit(raw_path) or self.application.body_limit(raw_path)

    def _vet(self, endpoint: Endpoint) -> None:
        """What the settings of this machine say of an endpoint before it is taken; its sink asks again when it is used.

        Raises `Invalid` (`endpoint.*`, `egress.*`).
        """
        match endpoint.kind:
            case "webhook":
                self.egress.check(endpoint.address.reveal())
            case "file":
                check_files(endpoint, self.config.transfer_folder)
            case "nats":
                check_nats(endpoint, self.egress)
            case "kafka":
                check_kafka(endpoint, BrokerList.of(self.config.kafka_brokers))

    def _sink_of(self, endpoint: Endpoint) -> Sink:
        match endpoint.kind:
            case "webhook":
                return WebhookSink(endpoint, self.egress)
            case "file":
                return FileSink(endpoint, self.config.transfer_folder)
            case "nats":
                return NatsSink(endpoint, self.egress, self.config.egress_ca_bundle)
            case "kafka":
                brokers = BrokerList.of(self.config.kafka_brokers)
                return KafkaSink(endpoint, brokers, self.config.egress_ca_bundle)

    def _make_jobs(self, methods: MethodService) -> JobService:
        config = self.config
        runner = JobRunner(
            DEFAULT_HUB,
            self.store,
            self.targets,
            methods,
            self.clock,
            places=config.jobs_at_once,
            history=timedelta(days=config.job_history_days),
        )
        self._job_runner = runner
        self.metrics.watch_jobs(lambda: runner.running)
        return JobService(DEFAULT_HUB, self.store, self.targets, self.clock, runner.wake)

    def _keep_going(self) -> None:
        self.wheel.start()
        if self._job_runner is not None:
            self._job_runner.start()
        self.revocation.asker.start()
        self.wheel.every_second(self._end_expired)
        self.wheel.every_second(self.listeners.tell_of_sheds)
        self._background = [
            asyncio.create_task(self._every(1.0, self.attempts.flush)),
            asyncio.create_task(self._every(5.0, self._flush_activity)),
            asyncio.create_task(self._every(15.0, self._expire_messages)),
            asyncio.create_task(self._every(5.0, self.revocation.fetcher.fetch_due)),
            asyncio.create_task(self._every(5.0, self.tell_of_lists)),
            asyncio.create_task(self._every(15.0, lambda: self.revoked.ask(self.revocation.asker))),
            asyncio.create_task(self._every(60.0, self._retain)),
            asyncio.create_task(self._every(60.0, self.uploads.sweep)),
            asyncio.create_task(self._every(3600.0, self._renew_certificate)),
            asyncio.create_task(self._keep_log_open()),
            asyncio.create_task(self._applier.run()),
            asyncio.create_task(self._notifier.run()),
            asyncio.create_task(self._router.run()),
        ]

    def _describe(self) -> HubInfo:
        config = self.config
        return HubInfo(
            hostnames=config.hostnames,
            bind=config.bind,
            mqtt_port=self.listeners.mqtt_port,
            https_port=self.listeners.https_port,
            amqp_port=self.listeners.amqp_port,
            amqp_plain_port=self.listeners.amqp_plain_port,
            web_port=self.listeners.web_port,
            id_scope=self._id_scope,
            data=config.data,
            ca_bundle=config.data / CA_BUNDLE,
            hub_key=self._policies.get(DEFAULT_HUB, "hub", "iothubowner").primary,
            dps_key=self._policies.get(DEFAULT_HUB, "dps", "provisioningserviceowner").primary,
            pid=os.getpid(),
            warnings=tuple(self.listeners.warnings),
        )

    async def _find_id_scope(self) -> IdScope:
        found = self.store.read().settings.get(_ID_SCOPE)
        if found is None:
            # contract/services.md 6.6: `0ne` and eight hexadecimal digits.
            found = f"0ne{secrets.token_hex(4).upper()}"
            made = found
            await self.store.write(lambda tables: tables.settings.put(_ID_SCOPE, made))
        return IdScope(found)

    # -- while it runs -------------------------------------------------------------------------------------------------

    def _end_expired(self) -> None:
        for session in self.live.expired(self.clock.now()):
            session.end("credential.expired", f"the credential of '{session.name}' has come to its end")

    async def _flush_activity(self) -> None:
        try:
            await self.activity.flush()
        except Unavailable as refusal:
            # Nobody was promised it: neither a full disk nor the end of the hub is worse for it.
            log.warning("activity_not_written reason=%s message=%r", refusal.reason, refusal.message)

    async def _expire_messages(self) -> None:
        """What expired is dropped, and who asked for it told, also where no device comes to look."""
        while await self.messages.expire_all(DEFAULT_HUB):
            pass

    async def tell_of_lists(self) -> None:
        """Once for each that goes wrong or will soon; and a reading of the store that failed is tried again."""
        known = self.revocation.known
        if known.is_behind:
            known.catch_up()
        warned = frozenset(known.warnings(self.clock.now()))
        for each in sorted(warned - self._warned_of):
            log.warning("%s message=%r", each.kind, each.message)
        self._warned_of = warned

    async def _retain(self) -> None:
        await self.log.enforce_retention(self.clock.now())

    async def _keep_log_open(self) -> None:
        """Go on with telemetry once the disk lets us: tried soon after a failure, then less and less often."""
        pause_s = _REOPEN_SOON_S
        while True:
            await asyncio.sleep(pause_s)
            if self.log.failed is None:
                pause_s = _REOPEN_SOON_S
                continue
            try:
                await self.log.reopen()
            except Unavailable as refusal:
                log.warning("log_not_reopened reason=%s message=%r", refusal.reason, refusal.message)
            pause_s = min(2 * pause_s, _REOPEN_AT_LEAST_EVERY_S)

    async def _renew_certificate(self) -> None:
        context = await asyncio.to_thread(self._certificate.renewed, datetime.now(UTC))
        if context is not None:
            self.listeners.present(context)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:
                # The next turn may find the disk free again; until then the log says what is wrong.
                log.exception("background_failed work=%s", getattr(work, "__qualname__", work))

    def _not_ready(self) -> str | None:
        if self._stopping:
            return "the hub is shutting down"
        if not self._hub_file.is_published:
            return "the hub is still starting"
        failed = [each for each in (self.log.failed, self.store.failed) if each is not None]
        return "; ".join(f"{each.reason}: {each.message}" for each in failed) or None


def _ignore() -> None:
    """An event that concerns nobody here."""


def _throttles(config: Config) -> Throttles:
    rates: dict[OperationGroup, Rate] = {
        "registry": Rate(config.throttle_registry_per_minute, 60),
        "queries": Rate(config.throttle_queries_per_minute, 60),
        "twin_reads": Rate(config.throttle_twin_reads_per_second, 1),
        "twin_updates": Rate(config.throttle_twin_updates_per_second, 1),
        "methods": Rate(config.throttle_methods_per_second, 1),
        "messages": Rate(config.throttle_messages_per_minute, 60),
        "configurations": Rate(config.throttle_configurations_per_minute, 60),
        "jobs": Rate(config.throttle_jobs_per_minute, 60),
        "enrollments": Rate(config.throttle_enrollments_per_minute, 60),
    }
    return Throttles(rates)


def _log_settings(config: Config) -> LogSettings:
    return LogSettings(
        partitions=config.partitions,
        segment_bytes=config.segment_bytes,
        retention_ms=config.retention_days * _DAY_MS,
        retention_bytes=config.retention_bytes or None,
        linger_s=config.linger_ms / 1000,
    )
