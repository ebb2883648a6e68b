"""A hub inside the test, with a clock that is turned by hand, and short ways to what a test changes in it."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from moorage.adapters.bus import LocalBus
from moorage.adapters.log.files import Files
from moorage.adapters.sqlite.store import SqliteStore
from moorage.app import App
from moorage.attempts.model import Attempt
from moorage.certificates.service import CertificateService
from moorage.clock import HandClock
from moorage.config import load_config
from moorage.hub.messages import MessageDraft, MessageService
from moorage.hub.model import CloudMessage
from moorage.hub.sessions import SessionDirectory
from moorage.hub.telemetry_log import StoredMessage
from moorage.hub.twins import TwinChange, TwinService
from moorage.identities.model import Authentication, ByAuthority, BySharedKey, ByThumbprint, Identity, Status
from moorage.identities.policies import Policies
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, CAName, DeviceId, IdentityName, ModuleId, Secret, Thumbprint
from moorage.protocols.mqtt.packets import ConnAck, Will
from tests import certs
from tests.servers.clients import PATIENCE_S, Client, tls_context

__all__ = ["KEY", "World", "busy_store", "eventually", "named", "running"]

KEY = Secret(base64.b64encode(b"k" * 32).decode())
OTHER_KEY = Secret(base64.b64encode(b"o" * 32).decode())


def named(text: str) -> IdentityName:
    device, slash, module = text.partition("/")
    return IdentityName(DeviceId(device), ModuleId(module) if slash else None)


async def eventually(holds: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait until `holds`; it has to within the time."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.002)


class World:
    def __init__(self, app: App, clock: HandClock) -> None:
        self.app = app
        self.clock = clock
        self.registry = IdentityRegistry(app.store)
        self.certificates = CertificateService(app.store)
        self.policies = Policies(app.store)
        self.twins = TwinService(app.store, clock)
        self.messages = MessageService(app.store, clock)
        self._clients: list[Client] = []

    # -- the registry ----------------------------------------------------------------------------------------------

    async def create(self, name: str, authentication: Authentication | None = None) -> Identity:
        """A device, or a module of one that exists; by a key unless told otherwise."""
        draft = IdentityDraft(named(name), authentication or BySharedKey(KEY, OTHER_KEY))
        return await self.registry.create(DEFAULT_HUB, draft, self.clock.now())

    async def create_pinned(self, name: str = "pump-01", issued: certs.Issued | None = None) -> certs.Issued:
        """A device registered by the thumbprint of its self-signed certificate."""
        issued = issued or certs.self_signed(name)
        await self.create(name, ByThumbprint(Thumbprint(issued.certificate.sha256), None))
        return issued

    async def create_by_authority(self, name: str, *, ca: certs.Issued | None = None) -> certs.Issued:
        """A device registered as CA-signed, its CA registered and proven, and its leaf."""
        issuer = ca or certs.root()
        known = {each.name for each in self.certificates.all(DEFAULT_HUB, "hub")}
        if CAName("plant") not in known:
            await self.upload(issuer)
        await self.create(name, ByAuthority())
        return certs.device(issuer, name)

    async def upload(self, ca: certs.Issued, name: str = "plant") -> None:
        await self.certificates.upload(
            DEFAULT_HUB, "hub", CAName(name), ca.certificate.pem, self.clock.now(), by="tests", vouched=True
        )

    async def set_status(self, name: str, status: Status) -> None:
        await self.update(name, status=status)

    async def update(self, name: str, **changes: Any) -> None:
        await self.registry.update(DEFAULT_HUB, IdentityDraft(named(name), **changes), self.clock.now())

    async def delete(self, name: str) -> None:
        await self.registry.delete(DEFAULT_HUB, named(name))

    async def send(self, name: str, body: bytes, **more: Any) -> CloudMessage:
        """Queue a cloud-to-device message."""
        return await self.messages.enqueue(DEFAULT_HUB, named(name), MessageDraft(body, **more))

    def queued(self, name: str) -> list[bytes]:
        return [message.body for message in self.messages.waiting(DEFAULT_HUB, named(name))]

    async def set_desired(self, name: str, desired: Mapping[str, Any]) -> None:
        await self.twins.patch(DEFAULT_HUB, named(name), TwinChange(desired=desired))

    # -- devices ---------------------------------------------------------------------------------------------------

    async def dial(
        self,
        issued: certs.Issued | None = None,
        *,
        version: ssl.TLSVersion | None = None,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        sends: int | None = None,
    ) -> Client:
        """A TLS connection to the MQTT port; nothing is said yet."""
        context = context or tls_context(self.app.info().ca_bundle, issued, version=version, sends=sends)
        client = self.keep(await Client.dial(self.app.info().mqtt_port, context, session=session))
        await self.shaken(client.writer)
        return client

    def keep(self, client: Client) -> Client:
        """Close it in the end."""
        self._clients.append(client)
        return client

    async def shaken(self, writer: asyncio.StreamWriter) -> None:
        """Until the hub, too, is done with the TLS handshake: in TLS 1.3 the client is done first."""
        address = "{}:{}".format(*writer.get_extra_info("sockname")[:2])
        streams = [each for door in self.app.listeners.doors for each in door.streams if each.address == address]
        await eventually(lambda: all(each.is_closing or each._handler is not None for each in streams))

    async def connect(
        self,
        name: str = "pump-01",
        issued: certs.Issued | None = None,
        *,
        key: Secret = KEY,
        clean: bool = True,
        keep_alive_s: int = 240,
        will: Will | None = None,
        token_lives: timedelta = timedelta(hours=1),
        model: str = "",
    ) -> Client:
        """A device that is let in: by its certificate, or by a token of `key`."""
        client = await self.dial(issued)
        answer = await client.say_hello(
            name,
            password=None if issued else self.token(name, key, lives=token_lives),
            clean=clean,
            keep_alive_s=keep_alive_s,
            will=will,
            user_name=None if not model else f"localhost/{name}/?api-version=2021-04-12&model-id={model}",
        )
        assert isinstance(answer, ConnAck) and answer.return_code == 0, answer
        client.session_present = answer.session_present
        return client

    def token(self, name: str, key: Secret = KEY, *, lives: timedelta = timedelta(hours=1)) -> bytes:
        path = "/devices/{}/modules/{}".format(*name.split("/")) if "/" in name else f"/devices/{name}"
        return make_token(f"localhost{path}", key, self.clock.now() + lives).reveal().encode()

    # -- what happened ---------------------------------------------------------------------------------------------

    async def attempts(self, device: str | None = None, limit: int = 50) -> list[Attempt]:
        """Newest first."""
        return await self.app.attempts.find(DEFAULT_HUB, device=device, thumbprint=None, tracking_id=None, limit=limit)

    async def reason(self, device: str | None = None) -> str | None:
        """Why the latest attempt failed; None when it was let in."""
        return (await self.attempts(device, 1))[0].reason

    async def telemetry(self, device: str = "pump-01") -> list[StoredMessage]:
        return (await self.app.log.read(device_id=device, limit=1000)).messages

    def turn(self, seconds: float) -> None:
        """Let time pass, for timers and for the wall clock alike."""
        self.clock.advance(seconds)
        self.app.wheel.turn()

    # -- services --------------------------------------------------------------------------------------------------

    @cached_property
    def http(self) -> httpx.AsyncClient:
        """The service's REST, as iothubowner."""
        return httpx.AsyncClient(
            base_url=f"https://localhost:{self.app.info().https_port}",
            verify=ssl.create_default_context(cafile=self.app.info().ca_bundle),
            params={"api-version": "2021-04-12"},
            headers={"Authorization": self.service_token().reveal()},
            timeout=60,
        )

    def service_token(self) -> Secret:
        info = self.app.info()
        return make_token("localhost", info.hub_key, self.clock.now() + timedelta(hours=1), "iothubowner")

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        if "http" in self.__dict__:
            await self.http.aclose()


@asynccontextmanager
async def busy_store(world: World) -> AsyncIterator[None]:
    """While it lasts, whatever is to be written to the registry waits."""
    gate = threading.Event()
    held = asyncio.ensure_future(world.app.store.write(lambda _tables: gate.wait()))
    try:
        yield
    finally:
        gate.set()
        await held


@asynccontextmanager
async def running(
    data: Path,
    *,
    clock: HandClock | None = None,
    store: SqliteStore | None = None,
    bus: LocalBus | None = None,
    directory: SessionDirectory | None = None,
    files: Files | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A hub for the length of a `with`, stopped well at its end."""
    clock = clock or HandClock(certs.NOW)
    config = load_config(
        {
            "data": str(data),
            "mqtt_port": 0,
            "https_port": 0,
            "amqp_port": 0,
            "amqp_plain_port": 0,
            "web_port": 0,
            **settings,
        },
        {},
    )
    app = App(config, clock=clock, store=store, bus=bus, directory=directory, telemetry_files=files)
    try:
        await app.start()
        world = World(app, clock)
        try:
            yield world
        finally:
            await world.close()
    finally:
        await app.stop()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
