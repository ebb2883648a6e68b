"""SASL's mechanism TPM on a running hub: as the SDKs speak it, plain and in a WebSocket, and as nobody should."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from moorage.identities.model import BySharedKey
from moorage.identities.sas import key_bytes, make_token
from moorage.ids import DEFAULT_HUB
from moorage.protocols.amqp.framing import AMQP_HEADER, SASL_HEADER
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import (
    Begin,
    Open,
    SaslChallenge,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    encode,
)
from moorage.protocols.amqp.transfers import frame, sasl_frame
from moorage.provisioning.tpm_challenges import ANSWER_WITHIN
from tests.servers.amqp_clients import AMQPClient, Link, dial_amqp
from tests.servers.world import World, named
from tests.soft_tpms import SoftTpm
from tests.tpms import TpmDevice, running_tpm

Tpm = SoftTpm | TpmDevice


async def enroll(world: World, tpm: Tpm, name: str = "pump-01", **members: Any) -> None:
    key = world.policies.get(DEFAULT_HUB, "dps", "provisioningserviceowner").primary
    token = make_token("localhost", key, world.clock.now() + timedelta(hours=1), "provisioningserviceowner")
    body = {
        "registrationId": name,
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": base64.b64encode(tpm.endorsement_key).decode()}},
        **members,
    }
    answer = await world.http.put(
        f"/enrollments/{name}?api-version=2021-10-01", json=body, headers={"authorization": token.reveal()}
    )
    assert answer.status_code == 200, answer.text


class Talk:
    """One exchange, step by step."""

    def __init__(self, world: World, client: AMQPClient, tpm: Tpm, name: str = "pump-01") -> None:
        self.client = client
        self.scope = world.app.info().id_scope
        self.name = name
        self._tpm = tpm
        self._world = world

    async def begin(self, response: bytes | None = None) -> None:
        if response is None:
            response = b"\0" + f"{self.scope}\0{self.name}\0".encode() + self._tpm.endorsement_key
        self.client.raw(SASL_HEADER)
        assert "TPM" in _words(await self.client.expect(SaslMechanisms))
        self.client.raw(sasl_frame(encode(SaslInit("TPM", response, f"{self.scope}/registrations/{self.name}"))))

    async def hears(self) -> bytes | int:
        """The next challenge, or the code of the outcome."""
        heard = await self.client.find(lambda each: isinstance(each.body, SaslChallenge | SaslOutcome))
        assert len(heard.data) <= 512
        return heard.body.challenge if isinstance(heard.body, SaslChallenge) else int(heard.body.code)

    def says(self, response: bytes) -> None:
        self.client.raw(sasl_frame(encode(SaslResponse(response))))

    async def challenge(self) -> bytes:
        """All of what the TPM is to take in, as Java puts it together."""
        await self.begin()
        assert await self.hears() == b"\0"
        self.says(b"\0" + self._tpm.storage_root_key)
        first = await self.hears()
        self.says(b"\0")
        second = await self.hears()
        assert isinstance(first, bytes)
        assert isinstance(second, bytes)
        assert (first[0], second[0]) == (0x80, 0xC1)
        return first[1:] + second[1:]

    def token(self) -> bytes:
        sr = quote(f"{self.scope}/registrations/{self.name}", safe="")
        se = str(int((self._world.clock.now() + timedelta(hours=1)).timestamp()))
        signature = quote(base64.b64encode(self._tpm.sign(f"{sr}\n{se}".encode())).decode(), safe="")
        return f"SharedAccessSignature sr={sr}&sig={signature}&se={se}&skn=registration".encode()

    async def login(self) -> bytes | int:
        self._tpm.activate(await self.challenge())
        self.says(b"\0" + self.token())
        return await self.hears()

    async def links(self) -> tuple[Link, Link]:
        """To register through: questions and answers."""
        self.client.raw(AMQP_HEADER, frame(0, encode(Open("tests"))), frame(0, encode(Begin(None, 0, 2048, 2048))))
        await self.client.expect(Begin)
        address = f"{self.scope}/registrations/{self.name}"
        answers = await self.client.attach(address, is_sender=False, credit=8)
        return await self.client.attach(address), answers

    async def asks(self, links: tuple[Link, Link], operation: str, operation_id: str = "") -> dict[str, Any]:
        """The answer's body, or the error's."""
        body = {"registrationId": self.name, "tpm": {"endorsementKey": "", "storageRootKey": ""}}
        question = Message(
            properties=Properties(correlation_id="1"),
            application_properties={"iotdps-operation-type": operation, "iotdps-operation-id": operation_id},
            data=json.dumps(body).encode(),
        )
        error = await self.client.send(links[0], question)
        answer = (error.description or "").encode() if error else (await self.client.received(links[1])).body
        document: dict[str, Any] = json.loads(answer)
        return document

    async def provisioned(self) -> dict[str, Any]:
        assert await self.login() == 0
        links = await self.links()
        answer = await self.asks(links, "iotdps-register")
        while answer["status"] == "assigning":
            answer = await self.asks(links, "iotdps-get-operationstatus", answer["operationId"])
            await asyncio.sleep(0)
        state: dict[str, Any] = answer["registrationState"]
        self._tpm.activate(base64.b64decode(state["tpm"]["authenticationKey"]))
        return state


def _words(heard: SaslMechanisms) -> Sequence[str]:
    return [str(each) for each in heard.sasl_server_mechanisms]


def key_of(world: World, name: str = "pump-01") -> bytes:
    authentication = world.registry.get(DEFAULT_HUB, named(name)).authentication
    assert isinstance(authentication, BySharedKey)
    return key_bytes(authentication.primary)


@pytest.mark.parametrize("in_websocket", [False, True], ids=["amqp", "amqp-ws"])
async def test_a_tpm_provisions_and_gets_the_key_of_its_identity(world: World, in_websocket: bool) -> None:
    tpm = SoftTpm()
    await enroll(world, tpm)
    talk = Talk(world, await dial_amqp(world, in_websocket=in_websocket), tpm)
    state = await talk.provisioned()
    assert (state["status"], state["deviceId"]) == ("assigned", "pump-01")
    assert tpm.key == key_of(world)
    (attempt, *_) = await world.attempts("pump-01")
    assert (attempt.door, attempt.reason) == ("dps.amqp-ws" if in_websocket else "dps.amqp", None)
    talk.client.close()


async def test_swtpm_provisions_over_amqp(world: World, tmp_path: Path) -> None:
    with running_tpm(tmp_path / "swtpm") as running:
        tpm = TpmDevice(running)
        await enroll(world, tpm)
        talk = Talk(world, await dial_amqp(world), tpm)
        await talk.provisioned()
        talk.client.close()
        soft = SoftTpm()
        soft.key = key_of(world)
        assert tpm.sign(b"any") == soft.sign(b"any")


async def test_a_stranger_takes_every_step_and_hears_no_more_than_that_it_was_in_vain(world: World) -> None:
    tpm, other = SoftTpm(), SoftTpm("another")
    await enroll(world, tpm)
    for name, shown, reason in (
        ("pump-01", other, "attestation.endorsement_key"),
        ("pump-02", tpm, "enrollment.unknown"),
    ):
        talk = Talk(world, await dial_amqp(world), shown, name)
        assert await talk.login() == 1
        assert await talk.client.rest() == []
        assert {each.reason for each in await world.attempts(name)} == {reason, "tpm.challenge_unknown"}


async def test_a_token_that_answers_nothing_is_no_login(world: World) -> None:
    tpm = SoftTpm()
    await enroll(world, tpm)
    for spoil in (b"\0", b"\0nonsense", b"\0SharedAccessSignature sr=a&sig=b&se=1", b"no zero"):
        talk = Talk(world, await dial_amqp(world), tpm)
        await talk.challenge()
        talk.says(spoil)
        assert await talk.hears() == 1
        assert await talk.client.rest() == []
    reasons = [each.reason for each in await world.attempts() if each.door == "dps.amqp"]
    assert reasons == ["tpm.sasl", "tpm.challenge_unknown", "token.malformed", "token.malformed"]


async def test_an_answer_that_comes_too_late_is_no_login(world: World) -> None:
    tpm = SoftTpm()
    await enroll(world, tpm)
    talk = Talk(world, await dial_amqp(world), tpm)
    tpm.activate(await talk.challenge())
    world.clock.set_wall(world.clock.now() + ANSWER_WITHIN)
    talk.says(b"\0" + talk.token())
    assert await talk.hears() == 1
    assert await world.reason("pump-01") == "tpm.challenge_expired"


async def test_the_same_token_is_no_second_login_once_the_device_was_told_its_hub(world: World) -> None:
    tpm = SoftTpm()
    await enroll(world, tpm)
    talk = Talk(world, await dial_amqp(world), tpm)
    tpm.activate(await talk.challenge())
    token = talk.token()
    talk.says(b"\0" + token)
    assert await talk.hears() == 0
    links = await talk.links()
    answer = await talk.asks(links, "iotdps-register")
    while answer["status"] == "assigning":
        answer = await talk.asks(links, "iotdps-get-operationstatus", answer["operationId"])
    again = await talk.asks(links, "iotdps-register")
    assert again["errorCode"] == 401002
    assert await world.reason("pump-01") == "tpm.challenge_used"
    second = Talk(world, await dial_amqp(world), tpm)
    await second.challenge()
    second.says(b"\0" + token)
    assert await second.hears() == 1
    talk.client.close()


async def test_a_disabled_enrollment_is_told_when_the_device_registers(world: World) -> None:
    tpm = SoftTpm()
    await enroll(world, tpm, provisioningStatus="disabled")
    talk = Talk(world, await dial_amqp(world), tpm)
    assert await talk.login() == 0
    answer = await talk.asks(await talk.links(), "iotdps-register")
    assert "is disabled" in answer["message"]
    assert await world.reason("pump-01") == "enrollment.disabled"
    talk.client.close()


async def test_a_tpm_in_the_body_alone_is_told_which_way_to_take(world: World) -> None:
    client = await dial_amqp(world)
    await client.say_hello()
    scope = world.app.info().id_scope
    address = f"{scope}/registrations/pump-01"
    answers = await client.attach(address, is_sender=False, credit=8)
    talk = Talk(world, client, SoftTpm())
    answer = await talk.asks((await client.attach(address), answers), "iotdps-register")
    assert answer["errorCode"] // 1000 == 400
    assert "SASL" in answer["message"]
    client.close()


BAD_BEGINNINGS = (
    b"",
    b"\0",
    b"\0scope",
    b"\0scope\0pump-01",
    b"\0\0pump-01\0key",
    b"scope\0pump-01\0key",
    b"\0\xff\0pump-01\0key",
    b"\0scope\0pump-01\0" + b"k" * 2048,
    b"\x80scope\0pump-01\0key",
)


async def test_an_exchange_that_begins_badly_ends_at_once(world: World) -> None:
    for count, init in enumerate(BAD_BEGINNINGS, 1):
        talk = Talk(world, await dial_amqp(world), SoftTpm())
        await talk.begin(init)
        assert await talk.hears() == 1
        assert await talk.client.rest() == []
        assert [each.reason for each in await world.attempts()] == ["tpm.sasl"] * count


async def test_a_storage_root_key_that_is_none_ends_it(world: World) -> None:
    for storage, reason in (
        (b"\0", "tpm.public_area"),
        (b"\0key", "tpm.public_area"),
        (b"key", "tpm.sasl"),
        (b"", "tpm.sasl"),
    ):
        talk = Talk(world, await dial_amqp(world), SoftTpm())
        await talk.begin()
        assert await talk.hears() == b"\0"
        talk.says(storage)
        assert await talk.hears() == 1
        assert await world.reason("pump-01") == reason


async def test_a_part_is_acknowledged_with_a_zero_and_nothing_else(world: World) -> None:
    tpm = SoftTpm()
    talk = Talk(world, await dial_amqp(world), tpm)
    await talk.begin()
    assert await talk.hears() == b"\0"
    talk.says(b"\0" + tpm.storage_root_key)
    await talk.hears()
    talk.says(b"\0more")
    assert await talk.hears() == 1
    assert await world.reason("pump-01") == "tpm.sasl"


async def test_the_token_of_a_tpm_opens_no_other_registration(world: World) -> None:
    tpm = SoftTpm()
    await enroll(world, tpm)
    await enroll(world, SoftTpm("another"), "pump-02")
    talk = Talk(world, await dial_amqp(world), tpm)
    assert await talk.login() == 0
    talk.name = "pump-02"
    answer = await talk.asks(await talk.links(), "iotdps-register")
    assert answer["errorCode"] == 401002
    assert await world.reason("pump-02") == "token.audience"
    talk.client.close()
