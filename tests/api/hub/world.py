"""A hub without sockets: the real store, log and services behind the real API, and devices that answer in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter

from moorage.adapters.attempts import SqliteAttempts
from moorage.adapters.bus import LocalBus
from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.adapters.sqlite import SqliteStore
from moorage.api.app import build_api
from moorage.api.control import ControlPlane, resources_of
from moorage.api.routing import Route
from moorage.api.services import ApiServices
from moorage.attempts.recorder import AttemptRecorder
from moorage.certificates.service import CertificateService
from moorage.clock import HandClock
from moorage.dialects.hub_json import Presence
from moorage.events import Event
from moorage.hub.consumer_groups import ConsumerGroups
from moorage.hub.messages import MessageService
from moorage.hub.methods import BadDeviceReply, MethodReply, MethodService
from moorage.hub.router import Health
from moorage.hub.routing_service import RoutingService
from moorage.hub.sessions import Line, LiveSessions, LocalSessionDirectory
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.telemetry_log import SourceHeader, partition_of
from moorage.hub.throttles import Throttles
from moorage.hub.twins import TwinService
from moorage.hub_info import HubInfo
from moorage.identities.access import Access
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod
from moorage.identities.model import SharedAccessPolicy
from moorage.identities.owner import OwnerKey
from moorage.identities.policies import Policies, PolicyCache
from moorage.identities.registry import IdentityRegistry
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, DeviceId, HubId, IdentityName, ModuleId, Secret
from moorage.provisioning.linked_hubs import LinkedHubService

HOST = "hub.example"
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ARM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices"


class AnsweringDevice:
    """A connected device that answers every method with what `answer` holds; None stays silent."""

    epoch = 1
    last_received = 0.0

    def __init__(self, world: ApiWorld, who: AuthenticatedIdentity) -> None:
        self._world = world
        self.who = who
        self.answer: MethodReply | BadDeviceReply | None = MethodReply(200, {"done": True})
        self.calls: list[tuple[str, bytes]] = []
        self.patches: list[tuple[dict[str, Any], int]] = []

    @property
    def name(self) -> IdentityName:
        return self.who.identity.name

    def end(self, reason: str, message: str) -> None:
        self._world.live.remove(self)

    def desired_changed(self, patch: dict[str, Any], version: int) -> None:
        self.patches.append((patch, version))

    def messages_waiting(self) -> None:
        """It reads its queue when a test says so."""

    def line(self) -> Line:
        return Line("MQTT 3.1.1", "TLSv1.3", "192.0.2.9:50000", None)

    def call_method(self, request_id: str, method: str, payload: bytes) -> bool:
        self.calls.append((method, payload))
        if self.answer is not None:
            asyncio.get_running_loop().call_soon(
                self._world.methods.answered, DEFAULT_HUB, self.name, request_id, self.answer
            )
        return True


@dataclass
class ApiWorld:
    """Everything a test may look at or turn."""

    clock: HandClock
    bus: LocalBus
    store: SqliteStore
    log: SegmentLog
    telemetry: TelemetryIntake
    attempts: AttemptRecorder
    policies: Policies
    owner: OwnerKey
    live: LiveSessions
    directory: LocalSessionDirectory
    methods: MethodService
    messages: MessageService
    client: httpx.AsyncClient
    waiting_for: str | None = None
    events: list[Event] = field(default_factory=list)

    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return Presence(is_connected=self.directory.is_connected(hub, name))

    def count(self, hub: HubId) -> int:
        return self.directory.count(hub)

    def policy(self, name: str) -> SharedAccessPolicy:
        return self.policies.get(DEFAULT_HUB, "hub", name)

    def token(self, policy: str = "iothubowner", resource: str = HOST, *, minutes: int = 60) -> str:
        """An Authorization header value."""
        expires = self.clock.now() + timedelta(minutes=minutes)
        return make_token(resource, self.policy(policy).primary, expires, policy).reveal()

    def bearer(self) -> str:
        return "Bearer " + self.owner.mint("api", timedelta(hours=1), self.clock.now()).reveal()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        policy: str | None = "iothubowner",
        if_match: str | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """`policy` "owner" sends the owner's bearer, None no credential."""
        sent = dict(headers or {})
        if policy is not None:
            sent["authorization"] = self.bearer() if policy == "owner" else self.token(policy)
        if if_match is not None:
            sent["if-match"] = if_match
        if body is not None:
            content = json.dumps(body).encode()
        return await self.client.request(method, path, content=content, headers=sent)

    async def device(self, device_id: str, **members: Any) -> Any:
        response = await self.ask("PUT", f"/devices/{device_id}", {"deviceId": device_id, **members})
        assert response.status_code == 200, response.text
        return response.json()

    def connect(self, device_id: str, module_id: str | None = None) -> AnsweringDevice:
        name = IdentityName(DeviceId(device_id), None if module_id is None else ModuleId(module_id))
        identity = self.store.read().identities.find(DEFAULT_HUB, name)
        assert identity is not None
        method = AuthMethod("device", "x509Certificate", "external")
        device = AnsweringDevice(self, AuthenticatedIdentity(identity, method, None))
        self.directory.claim(DEFAULT_HUB, name, "test")
        self.live.add(device)
        self.methods.came_online(DEFAULT_HUB, name)
        return device

    async def send(
        self,
        device_id: str,
        body: bytes,
        bag: bytes = b"",
        *,
        module_id: str | None = None,
        model_id: str | None = None,
    ) -> None:
        """Telemetry, durable when this returns."""
        source = SourceHeader(
            DEFAULT_HUB, "Telemetry", device_id, module_id, "123", '{"scope":"device"}', model_id
        ).encode()
        before = self.log.durable_end
        partition = partition_of(device_id, self.log.partitions)
        self.log.append(source, partition, bag, body, int(self.clock.now().timestamp() * 1000))
        await self.log.wait_beyond(before)


def _no_routes(world: ApiWorld) -> Sequence[Route]:
    return ()


@asynccontextmanager
async def open_world(
    folder: Path,
    *,
    more_routes: Callable[[ApiWorld], Sequence[Route]] = _no_routes,
    throttles: Throttles | None = None,
) -> AsyncIterator[ApiWorld]:
    clock, bus = HandClock(NOW), LocalBus()
    store = SqliteStore(":memory:", secrets_key=bytes(32), bus=bus)
    log = SegmentLog.open(folder / "telemetry", LogSettings())
    telemetry = TelemetryIntake(log, clock)
    log.start(telemetry)
    attempts = AttemptRecorder(SqliteAttempts(folder / "attempts.db", keep=1000), clock, lambda door, reason: None)
    policies = Policies(store)
    await policies.ensure_defaults(DEFAULT_HUB)
    cache = PolicyCache(store, bus)
    owner = OwnerKey.generate()
    names = frozenset({HOST, "localhost"})
    access = Access(cache, owner, lambda: names)
    live, directory = LiveSessions(), LocalSessionDirectory(bus)
    methods, messages = MethodService(store, live), MessageService(store, clock)
    metrics = CollectorRegistry()
    Counter("moorage_tests", "Tests that ran.", registry=metrics).inc()
    world = ApiWorld(
        clock=clock,
        bus=bus,
        store=store,
        log=log,
        telemetry=telemetry,
        attempts=attempts,
        policies=policies,
        owner=owner,
        live=live,
        directory=directory,
        methods=methods,
        messages=messages,
        client=httpx.AsyncClient(),
    )
    info = HubInfo(
        hostnames=(HOST,),
        bind="127.0.0.1",
        mqtt_port=8883,
        https_port=443,
        id_scope="0ne00000001",
        data=folder,
        ca_bundle=folder / "ca-bundle.pem",
        hub_key=Secret("a2V5"),
        dps_key=Secret("a2V5"),
        pid=1,
    )
    linked = LinkedHubService(DEFAULT_HUB, store, (HOST,), clock)
    api = build_api(
        ApiServices(
            hub=DEFAULT_HUB,
            clock=clock,
            store=store,
            access=access,
            registry=IdentityRegistry(store),
            policies=policies,
            twins=TwinService(store, clock),
            messages=messages,
            methods=methods,
            certificates=CertificateService(store),
            control=ControlPlane(
                resources=resources_of(store, linked),
                linked_hubs=linked,
                consumer_groups=ConsumerGroups(store),
                retention_days=7,
                upload_minutes=60,
                routing=RoutingService(DEFAULT_HUB, store, lambda: 0, lambda endpoint: None),
                health=lambda endpoint: Health(),
            ),
            presence=world,
            log=log,
            attempts=attempts,
            attempt_sink=attempts,
            info=lambda: info,
            not_ready=lambda: world.waiting_for,
            metrics=metrics,
            more_routes=more_routes(world),
            throttles=throttles or Throttles(),
        )
    )
    await world.client.aclose()
    world.client = httpx.AsyncClient(
        transport=httpx.ASGITransport(api, client=("192.0.2.7", 40000)), base_url=f"https://{HOST}"
    )
    bus.subscribe(world.events.append)
    try:
        yield world
    finally:
        await world.client.aclose()
        await attempts.close()
        await log.close()
        store.close()
