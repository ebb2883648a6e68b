"""The switches that refuse tokens (contract/services.md 5.4), at every door: what each refuses, and whom it cuts.

A door is asked by everybody whose token it takes, and by a certificate, which no switch is about.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import pytest

from moorage.identities.model import BySharedKey
from moorage.identities.owner import OwnerKey
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, Secret
from moorage.protocols.amqp.sasl import ANONYMOUS, EXTERNAL, PLAIN
from moorage.protocols.mqtt.packets import ConnAck, PingReq, PingResp
from tests import certs
from tests.attacks.scene import SEND, ask_registration, device_address
from tests.servers.amqp.speaking import dialled
from tests.servers.amqp_clients import plain_response
from tests.servers.clients import CUT_S, Client, tls_context
from tests.servers.http_clients import RawHTTP
from tests.servers.world import KEY, OTHER_KEY, World

VERSION: Final = "api-version=2021-04-12"
# Who is refused by which switch. `policy` is a back end, `device by policy` a device with a token of DeviceConnect.
REFUSED: Final = {
    "disable_local_auth": {"policy", "device by policy", "module by policy"},
    "disable_device_sas": {"device", "device by policy", "registration"},
    "disable_module_sas": {"module", "module by policy"},
}
WHO: Final = {who for refused in REFUSED.values() for who in refused} | {"certificate"}


def _name(who: str) -> str:
    """What the device or module is called."""
    return {"certificate": "pump-02"}.get(who, "pump-01/camera" if who.startswith("module") else "pump-01")


class Peers:
    """Everybody who might come, and how each asks at the doors that it has."""

    def __init__(self, world: World, pinned: certs.Issued) -> None:
        self.world = world
        self.pinned = pinned

    @classmethod
    async def of(cls, world: World) -> Peers:
        await world.create("pump-01")
        await world.create("pump-01/camera")
        return cls(world, await world.create_pinned("pump-02"))

    def token(self, who: str) -> str:
        """The right one for who it is."""
        until = self.world.clock.now() + timedelta(hours=1)
        if who == "registration":
            return make_token(f"{self.world.app.info().id_scope}/registrations/pump-03", KEY, until).reveal()
        resource = "localhost/devices/pump-01" + ("/modules/camera" if who.startswith("module") else "")
        if who == "policy":
            resource, policy = "localhost", self.world.policies.get(DEFAULT_HUB, "hub", "iothubowner")
        elif "policy" in who:
            policy = self.world.policies.get(DEFAULT_HUB, "hub", "device")
        else:
            return make_token(resource, KEY, until).reveal()
        return make_token(resource, policy.primary, until, policy.name).reveal()

    async def mqtt(self, who: str) -> Client | None:
        """A session of who it is; None when it was turned away."""
        name = _name(who)
        client = await self.world.dial(self.pinned if who == "certificate" else None)
        password = None if who == "certificate" else self.token(who).encode()
        answer = await client.say_hello(name, password=password)
        assert isinstance(answer, ConnAck)
        return client if answer.return_code == 0 else None

    async def ask(self, method: str, path: str, credential: str, body: bytes = b"", *, issued: bool = False) -> int:
        context = tls_context(self.world.app.info().ca_bundle, self.pinned if issued else None)
        async with RawHTTP(self.world, context) as http:
            headers = [f"Authorization: {credential}"] if credential else []
            http.ask(method, path, *headers, body=body)
            return (await http.response()).status

    async def https(self, who: str) -> int:
        """Telemetry over HTTPS."""
        name = "pump-02" if who == "certificate" else "pump-01"
        path = f"/devices/{name}{'/modules/camera' if who.startswith('module') else ''}/messages/events?{VERSION}"
        certificate = who == "certificate"
        return await self.ask("POST", path, "" if certificate else self.token(who), b"x", issued=certificate)

    async def service(self) -> int:
        return await self.ask("GET", f"/devices/pump-01?{VERSION}", self.token("policy"))

    async def amqp(self, who: str, *, in_websocket: bool = False, by_plain: bool = False) -> bool:
        """A link of who it is: a device's or module's for telemetry, a back end's for messages to devices.

        The token is put on `$cbs`, or is the password of SASL PLAIN; who is refused it gets no link either.
        """
        name = _name(who)
        address = SEND if who == "policy" else device_address(name)
        issued = self.pinned if who == "certificate" else None
        async with dialled(self.world, issued, in_websocket=in_websocket) as client:
            if by_plain:
                is_back_end = who == "policy"
                user = "iothubowner@sas.root" if is_back_end else f"{name.replace('/', '/modules/')}@sas"
                if await client.say_hello(PLAIN, plain_response(f"{user}.localhost", self.token(who))):
                    assert await client.rest() == []
                    return False
                is_taken = True
            elif issued is not None:
                is_taken = await client.say_hello(EXTERNAL) == 0
            else:
                assert await client.say_hello(ANONYMOUS) == 0
                is_taken = await client.put_token(self.token(who)) == 200
            link = await client.attach(address)
            assert is_taken or link.error is not None, "a link is open by a token that was refused"
            return link.error is None

    async def register_by_amqp(self, *, in_websocket: bool = False) -> str:
        """A registration by a token, which is the password of SASL PLAIN."""
        registration = f"{self.world.app.info().id_scope}/registrations/pump-03"
        async with dialled(self.world, in_websocket=in_websocket) as client:
            assert await client.say_hello(PLAIN, plain_response(registration, self.token("registration"))) == 0
            return await ask_registration(client, registration, b"{}")

    async def register(self) -> int:
        """A registration by a token, over HTTPS."""
        body = json.dumps({"registrationId": "pump-03"}).encode()
        path = f"/{self.world.app.info().id_scope}/registrations/pump-03/register?api-version=2019-03-31"
        return await self.ask("PUT", path, self.token("registration"), body)

    async def enroll(self) -> None:
        policy = self.world.policies.get(DEFAULT_HUB, "dps", "provisioningserviceowner")
        expires = self.world.clock.now() + timedelta(hours=1)
        credential = make_token("localhost", policy.primary, expires, policy.name).reveal()
        keys = {"primaryKey": KEY.reveal(), "secondaryKey": OTHER_KEY.reveal()}
        attestation = {"type": "symmetricKey", "symmetricKey": keys}
        body = json.dumps({"registrationId": "pump-03", "attestation": attestation}).encode()
        assert await self.ask("PUT", "/enrollments/pump-03?api-version=2021-10-01", credential, body) == 200


DOORS: Final[dict[str, Callable[[Peers, str], Awaitable[bool]]]] = {}


def door(*who: str) -> Callable[[Callable[[Peers, str], Awaitable[bool]]], Callable[[Peers, str], Awaitable[bool]]]:
    """Where each of `who` is let in, while no switch is on."""

    def add(ask: Callable[[Peers, str], Awaitable[bool]]) -> Callable[[Peers, str], Awaitable[bool]]:
        for each in who:
            DOORS[f"{ask.__name__}, {each}"] = ask
        return ask

    return add


@door("device", "module", "device by policy", "module by policy", "certificate")
async def hub_mqtt(peers: Peers, who: str) -> bool:
    return await peers.mqtt(who) is not None


@door("device", "module", "device by policy", "module by policy", "certificate")
async def device_https(peers: Peers, who: str) -> bool:
    return await peers.https(who) == 204


@door("policy")
async def service_api(peers: Peers, who: str) -> bool:
    return await peers.service() == 200


@door("registration")
async def provisioning(peers: Peers, who: str) -> bool:
    return await peers.register() == 202


@door("device", "module", "device by policy", "module by policy", "certificate", "policy")
async def hub_amqp(peers: Peers, who: str) -> bool:
    return await peers.amqp(who)


@door("device", "module", "device by policy", "module by policy", "certificate", "policy")
async def hub_amqp_in_websocket(peers: Peers, who: str) -> bool:
    return await peers.amqp(who, in_websocket=True)


@door("device", "module", "device by policy", "module by policy", "policy")
async def hub_amqp_plain(peers: Peers, who: str) -> bool:
    return await peers.amqp(who, by_plain=True)


@door("device", "module", "device by policy", "module by policy", "policy")
async def hub_amqp_plain_in_websocket(peers: Peers, who: str) -> bool:
    return await peers.amqp(who, by_plain=True, in_websocket=True)


@door("registration")
async def provisioning_amqp(peers: Peers, who: str) -> bool:
    return await peers.register_by_amqp() == "202"


@door("registration")
async def provisioning_amqp_in_websocket(peers: Peers, who: str) -> bool:
    return await peers.register_by_amqp(in_websocket=True) == "202"


@pytest.mark.parametrize("switch", REFUSED)
async def test_a_switch_refuses_its_tokens_at_every_door_and_nobody_else(world: World, switch: str) -> None:
    peers = await Peers.of(world)
    await peers.enroll()
    for place, ask in DOORS.items():
        assert await ask(peers, place.partition(", ")[2]), place
    await world.policies.set_switches(DEFAULT_HUB, {switch: True})
    for place, ask in DOORS.items():
        who = place.partition(", ")[2]
        assert await ask(peers, who) is (who not in REFUSED[switch]), place
    await world.policies.set_switches(DEFAULT_HUB, {switch: False})
    for place, ask in DOORS.items():
        assert await ask(peers, place.partition(", ")[2]), place


def test_everybody_whom_a_switch_is_about_has_a_door() -> None:
    assert {place.partition(", ")[2] for place in DOORS} == WHO


@pytest.mark.parametrize("switch", REFUSED)
@pytest.mark.parametrize("who", ["device", "module", "device by policy", "module by policy", "certificate"])
async def test_a_switch_cuts_the_sessions_it_outlaws_and_no_others(world: World, switch: str, who: str) -> None:
    peers = await Peers.of(world)
    session = await peers.mqtt(who)
    assert session is not None
    await world.policies.set_switches(DEFAULT_HUB, {switch: True})
    if who in REFUSED[switch]:
        assert await session.rest(CUT_S) == []
    else:
        session.say(PingReq())
        assert await session.next() == PingResp()


async def test_with_all_three_the_owner_still_gets_in(world: World) -> None:
    peers = await Peers.of(world)
    await world.policies.set_switches(DEFAULT_HUB, dict.fromkeys(REFUSED, True))
    owner = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    bearer = owner.mint("api", timedelta(hours=1), world.clock.now()).reveal()
    assert await peers.ask("GET", f"/devices/pump-01?{VERSION}", f"Bearer {bearer}") == 200
    assert await peers.service() == 401
    await world.create("pump-04", BySharedKey(Secret(KEY.reveal()), OTHER_KEY))
    assert await hub_mqtt(peers, "certificate")
