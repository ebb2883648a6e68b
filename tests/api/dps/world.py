"""The provisioning service behind the real API, without sockets; certificates come in the ASGI scope."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.adapters.remote_hub import RemoteHubs
from moorage.api.app import build_api
from moorage.api.control import ControlPlane, resources_of
from moorage.api.dps_device import dps_device_routes
from moorage.api.dps_service import dps_service_routes
from moorage.api.enrollment_groups import enrollment_group_routes
from moorage.api.enrollment_webhooks import enrollment_webhook_routes
from moorage.api.linked_hubs import linked_hub_routes
from moorage.api.services import ApiServices
from moorage.attempts.model import Attempt
from moorage.dialects.hub_json import Presence
from moorage.errors import Unavailable
from moorage.events import Event
from moorage.hub.consumer_groups import ConsumerGroups
from moorage.hub.messages import MessageService
from moorage.hub.methods import MethodService
from moorage.hub.router import Health
from moorage.hub.routing_service import RoutingService
from moorage.hub.sessions import LiveSessions
from moorage.hub.telemetry import TelemetryIntake
from moorage.hub.twins import TwinService
from moorage.identities.access import Access
from moorage.identities.model import RegistryTables, Right, SharedAccessPolicy
from moorage.identities.owner import OwnerKey
from moorage.identities.policies import Policies, PolicyCache, make_key
from moorage.identities.registry import IdentityRegistry
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, HubId, IdentityName, Secret
from moorage.pki.certificates import PeerChain
from tests.certs import Issued
from tests.unit.provisioning.world import HOST, SCOPE, World

OWNER = "provisioningserviceowner"


class NothingFound:
    """Attempts that nobody asks for here."""

    async def find(
        self, hub: HubId, *, device: str | None, thumbprint: str | None, tracking_id: str | None, limit: int
    ) -> list[Attempt]:
        return []


class NobodyConnected:
    def of(self, hub: HubId, name: IdentityName) -> Presence:
        return Presence()

    def count(self, hub: HubId) -> int:
        return 0


@dataclass
class DpsWorld:
    """`chain` is what the client's TLS handshake shows from now on."""

    world: World
    policies: Policies
    owner: OwnerKey
    client: httpx.AsyncClient
    chain: PeerChain | None = None

    def token(self, policy: str = OWNER, resource: str = HOST) -> str:
        key = self.policies.get(DEFAULT_HUB, "dps", policy).primary
        return make_token(resource, key, self.world.clock.now() + timedelta(hours=1), policy).reveal()

    async def add_policy(self, name: str, *rights: Right) -> None:
        policy = SharedAccessPolicy(DEFAULT_HUB, "dps", name, make_key(), make_key(), frozenset(rights))

        def work(tables: RegistryTables) -> None:
            tables.policies.put(policy)
            tables.outbox.emit(Event("policies.changed", DEFAULT_HUB, "dps"))

        await self.world.store.write(work)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        policy: str | None = OWNER,
        if_match: str | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if policy is not None:
            sent["authorization"] = self.token(policy)
        if if_match is not None:
            sent["if-match"] = if_match
        if body is not None:
            content = json.dumps(body).encode()
        separator = "&" if "?" in path else "?"
        return await self.client.request(
            method, f"{path}{separator}api-version=2021-10-01", content=content, headers=sent
        )

    async def ask_as_owner(
        self, method: str, path: str, body: Any = None, *, if_match: str | None = None
    ) -> httpx.Response:
        bearer = self.owner.mint("api", timedelta(hours=1), self.world.clock.now()).reveal()
        headers = {"authorization": f"Bearer {bearer}"}
        return await self.ask(method, path, body, policy=None, if_match=if_match, headers=headers)

    async def put(self, path: str, attestation: dict[str, Any], **members: Any) -> Any:
        """Create or, with `etag` among the members, change; the answer's body."""
        response = await self.ask("PUT", path, {"attestation": attestation, **members}, if_match=members.get("etag"))
        assert response.status_code == 200, response.text
        return response.json()

    def shows(self, issued: Issued | None) -> None:
        self.chain = None if issued is None else issued.sends()

    async def device(
        self, method: str, path: str, content: bytes = b"", *, token: Secret | None = None
    ) -> httpx.Response:
        headers = {} if token is None else {b"authorization": token.reveal().encode("latin-1")}
        return await self.client.request(method, f"/{SCOPE}/registrations/{path}", content=content, headers=headers)


def with_certificates(api: ASGIApp, dps: DpsWorld) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tls = {"peer_chain": dps.chain, "version": "TLSv1.3"}
        await api({**scope, "extensions": {"moorage.tls": tls}}, receive, send)

    return app


@asynccontextmanager
async def open_dps(folder: Path, *, vouching: bool = True) -> AsyncIterator[DpsWorld]:
    world = World(vouching=vouching)
    store, clock, bus = world.store, world.clock, world.bus
    log = SegmentLog.open(folder / "telemetry", LogSettings())
    log.start(TelemetryIntake(log, clock))
    policies = Policies(store)
    await policies.ensure_defaults(DEFAULT_HUB)
    cache = PolicyCache(store, bus)
    names = frozenset({HOST, "localhost"})
    owner = OwnerKey.generate()

    def starting() -> Any:
        raise Unavailable("hub.starting", "no ports are open in this test")

    api = build_api(
        ApiServices(
            hub=DEFAULT_HUB,
            clock=clock,
            store=store,
            access=Access(cache, owner, lambda: names),
            registry=IdentityRegistry(store),
            policies=policies,
            twins=TwinService(store, clock),
            messages=MessageService(store, clock),
            methods=MethodService(store, LiveSessions()),
            certificates=world.cas,
            control=ControlPlane(
                resources=resources_of(store, world.linked),
                linked_hubs=world.linked,
                consumer_groups=ConsumerGroups(store),
                retention_days=7,
                upload_minutes=60,
                routing=RoutingService(DEFAULT_HUB, store, lambda: 0, lambda endpoint: None),
                health=lambda endpoint: Health(),
            ),
            presence=NobodyConnected(),
            log=log,
            attempts=NothingFound(),
            attempt_sink=world.attempts,
            info=starting,
            not_ready=lambda: None,
            metrics=CollectorRegistry(),
            more_routes=[
                *dps_service_routes(world.enrollments, world.registrations),
                *dps_device_routes(world.exchange),
                *enrollment_group_routes(world.enrollments),
                *enrollment_webhook_routes(world.enrollments),
                *linked_hub_routes(world.linked, lambda linked: RemoteHubs(world.egress, clock)(linked).check()),
            ],
        )
    )
    dps = DpsWorld(world, policies, owner, httpx.AsyncClient())
    await dps.client.aclose()
    transport = httpx.ASGITransport(with_certificates(api, dps), client=("192.0.2.7", 40000))
    dps.client = httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}")
    try:
        yield dps
    finally:
        await dps.client.aclose()
        await log.close()
        await world.close()
