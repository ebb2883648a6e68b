"""A provisioning device's conversation over MQTT, byte for byte (contract/devices.md 6.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.dialects.mqtt_dps import ANSWER_FILTER, DpsConversation, DpsLogin, parse_dps_login
from moorage.errors import RemoteProtocolError
from moorage.identities.credentials import Presented
from moorage.ids import Secret
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.model import BySymmetricKey, CustomAllocation
from tests.certs import device, root, self_signed
from tests.unit.provisioning.world import HOST, NOTHING, SCOPE, World, shows

REGISTER = b"$dps/registrations/PUT/iotdps-register/?$rid="
POLL = b"$dps/registrations/GET/iotdps-get-operationstatus/?$rid="


def talk(world: World, presented: Presented, registration_id: str = "pump-01", scope: str = SCOPE) -> DpsConversation:
    return DpsConversation(
        DpsLogin(scope, registration_id, "2019-03-31", "azure-iot-device/2.14"), presented, world.exchange
    )


async def ask(conversation: DpsConversation, topic: bytes, body: bytes = b"") -> tuple[bytes, dict[str, Any]]:
    answer_topic, answer = await conversation.handle(topic, body)
    return answer_topic, json.loads(answer)


# --- user names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_name", "login"),
    [
        (
            "0ne00ABCDEF/registrations/pump-01/api-version=2019-03-31&ClientVersion=azure-iot-device%2F2.14",
            DpsLogin("0ne00ABCDEF", "pump-01", "2019-03-31", "azure-iot-device/2.14"),
        ),
        (
            "0ne00ABCDEF/registrations/pump-01/api-version=2019-03-31",
            DpsLogin("0ne00ABCDEF", "pump-01", "2019-03-31", ""),
        ),
        (
            "0ne00ABCDEF/registrations/p:u.m_p/api-version=2021-06-01&ClientVersion=C/1.0&x=y",
            DpsLogin("0ne00ABCDEF", "p:u.m_p", "2021-06-01", "C/1.0"),
        ),
        ("0ne00ABCDEF/registrations/pump-01", DpsLogin("0ne00ABCDEF", "pump-01", "", "")),
        ("anything/registrations/not%20valid/api-version=1", DpsLogin("anything", "not%20valid", "1", "")),
        ("0ne00ABCDEF/registrations//api-version=1", DpsLogin("0ne00ABCDEF", "", "1", "")),
        ("hub.example/pump-01/?api-version=2021-04-12", None),
        ("hub.example/pump-01/module/?api-version=2021-04-12", None),
        ("hub.example/registrations/?api-version=2021-04-12", None),
        ("hub.example/registrations/module/?api-version=2021-04-12", None),
        ("hub.example/registrations/module", None),
        ("hub.example/registrations", None),
        ("hub.example/pump-01", None),
        ("", None),
    ],
)
def test_a_user_name_is_told_from_a_hubs(user_name: str, login: DpsLogin | None) -> None:
    assert parse_dps_login(user_name) == login


@given(st.text(max_size=60))
def test_any_user_name_is_one_or_the_other(user_name: str) -> None:
    login = parse_dps_login(user_name)
    assert login is None or user_name.startswith(login.scope)


def test_there_is_one_filter_to_subscribe_to() -> None:
    assert ANSWER_FILTER == "$dps/registrations/res/#"


# --- conversations -----------------------------------------------------------------------------------------------


async def test_register_then_poll(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    conversation = talk(world, shows(leaf))
    topic, answer = await ask(conversation, REGISTER + b"6f2c-1", b'{"registrationId":"pump-01","payload":null}')
    assert topic == b"$dps/registrations/res/202/?$rid=6f2c-1&retry-after=1"
    assert answer == {"operationId": answer["operationId"], "status": "assigning"}
    topic, done = await ask(conversation, POLL + b"6f2c-2&operationId=" + answer["operationId"].encode(), b" ")
    assert topic == b"$dps/registrations/res/200/?$rid=6f2c-2"
    assert (done["operationId"], done["status"]) == (answer["operationId"], "assigned")
    state = done["registrationState"]
    assert (state["registrationId"], state["status"]) == ("pump-01", "assigned")
    assert (state["assignedHub"], state["deviceId"], state["x509"]) == (HOST, "pump-01", {})


@pytest.mark.parametrize("body", [b"", b" ", b'{"registrationId":"pump-01"}', b'{"payload":"\\"text\\""}'])
async def test_every_clients_body_registers(world: World, body: bytes) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    topic, _ = await ask(talk(world, shows(leaf)), REGISTER + b"1", body)
    assert topic == b"$dps/registrations/res/202/?$rid=1&retry-after=1"


async def test_a_poll_may_carry_the_registration_body_again(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    conversation = talk(world, shows(leaf))
    _, answer = await ask(conversation, REGISTER + b"1")
    body = b'{"registrationId":"pump-01"}'
    topic, _ = await ask(conversation, POLL + b"2&operationId=" + answer["operationId"].encode(), body)
    assert topic == b"$dps/registrations/res/200/?$rid=2"


async def test_a_topic_without_a_question_mark_and_parameters_in_another_order_are_read(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    conversation = talk(world, shows(leaf))
    _, answer = await ask(conversation, REGISTER.replace(b"?", b"") + b"1")
    operation = answer["operationId"].replace(".", "%2E").encode()
    poll = POLL.replace(b"$rid=", b"operationId=" + operation + b"&$rid=2")
    topic, _ = await ask(conversation, poll)
    assert topic == b"$dps/registrations/res/200/?$rid=2"


async def test_a_refused_device_gets_an_error_as_its_answer(world: World) -> None:
    await world.enroll("pump-01", self_signed("pump-01").certificate)
    topic, error = await ask(talk(world, shows(self_signed("pump-02"))), REGISTER + b"7")
    assert topic == b"$dps/registrations/res/401/?$rid=7"
    assert set(error) == {"errorCode", "trackingId", "message", "timestampUtc"}
    assert error["errorCode"] == 401002
    attempt = world.attempts.kept[-1]
    assert (attempt.door, attempt.reason, attempt.tracking_id) == (
        "dps.mqtt",
        "attestation.thumbprint",
        error["trackingId"],
    )
    assert attempt.client == "azure-iot-device/2.14"


@pytest.mark.parametrize(
    ("registration_id", "scope", "status"),
    [("pump-99", SCOPE, 401), ("pump-01", "0ne00000000", 401), ("no such", SCOPE, 400), ("", SCOPE, 400)],
)
async def test_names_that_lead_nowhere(world: World, registration_id: str, scope: str, status: int) -> None:
    for topic in (REGISTER + b"1", POLL + b"1&operationId=4.a.b"):
        answer_topic, _ = await ask(talk(world, NOTHING, registration_id, scope), topic)
        assert answer_topic == b"$dps/registrations/res/%d/?$rid=1" % status


async def test_a_disabled_enrollment_is_a_status(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate, status="disabled")
    topic, answer = await ask(talk(world, shows(leaf)), REGISTER + b"1")
    assert topic == b"$dps/registrations/res/200/?$rid=1"
    assert answer == {
        "operationId": "",
        "status": "disabled",
        "registrationState": {"registrationId": "pump-01", "status": "disabled"},
    }
    assert world.attempts.reasons() == ["enrollment.disabled"]


async def test_a_failed_placing_keeps_operation_and_status_in_the_body(world: World) -> None:
    leaf = self_signed("pump-01")
    hook = CustomAllocation(Secret("https://127.0.0.1:9/"), "2021-10-01")
    await world.enroll("pump-01", leaf.certificate, allocation="custom", custom_allocation=hook)
    conversation = talk(world, shows(leaf))
    _, answer = await ask(conversation, REGISTER + b"1")
    topic, failed = await ask(conversation, POLL + b"2&operationId=" + answer["operationId"].encode())
    assert topic == b"$dps/registrations/res/200/?$rid=2"
    assert (failed["operationId"], failed["status"]) == (answer["operationId"], "failed")
    assert failed["registrationState"]["errorCode"] == 400207


async def test_an_unknown_operation_is_404202(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    topic, error = await ask(talk(world, shows(leaf)), POLL + b"1")
    assert topic == b"$dps/registrations/res/404/?$rid=1"
    assert error["errorCode"] == 404202


async def test_a_device_that_insists_through_a_roll_is_never_refused(world: World) -> None:
    """Old and new leaf ask in turn, each on its own connection, while both slots of the group are replaced."""
    old, new = root(), root("New Root")
    with_old = talk(world, shows(device(old, "pump-01")))
    with_new = talk(world, shows(device(new, "pump-01", label="new")))
    await world.enroll_group("line-7", old.certificate)
    seen: list[bytes] = []

    async def rounds(*conversations: DpsConversation) -> None:
        for _ in range(3):
            answers = [await ask(conversation, REGISTER + b"1") for conversation in conversations]
            for conversation, (topic, answer) in zip(conversations, answers, strict=True):
                seen.append(topic[:26])
                polled, state = await ask(conversation, POLL + b"2&operationId=" + answer["operationId"].encode())
                while state["status"] == "assigning":
                    polled, state = await ask(conversation, POLL + b"2&operationId=" + answer["operationId"].encode())
                seen.append(polled[:26])

    await rounds(with_old)
    for slots in ((old.certificate, new.certificate), (new.certificate, old.certificate)):
        await world.enroll_group("line-7", *slots, if_match=ANY)
        await rounds(with_old, with_new)
    await world.enroll_group("line-7", new.certificate, if_match=ANY)
    await rounds(with_new)
    assert set(seen) == {b"$dps/registrations/res/202", b"$dps/registrations/res/200"}
    assert set(world.attempts.reasons()) == {None}


async def test_a_key_registers_like_a_certificate(world: World) -> None:
    enrollment = await world.enroll("pump-01")
    assert isinstance(enrollment.attestation, BySymmetricKey)
    conversation = talk(world, world.token("pump-01", enrollment.attestation.secondary))
    topic, answer = await ask(conversation, REGISTER + b"1")
    assert topic.startswith(b"$dps/registrations/res/202/")
    _, done = await ask(conversation, POLL + b"2&operationId=" + answer["operationId"].encode())
    assert done["registrationState"]["symmetricKey"] == {}


# --- what is no question -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    [
        b"",
        b"devices/pump-01/messages/events/",
        b"$dps/registrations/res/200/?$rid=1",
        b"$dps/registrations/PUT/iotdps-register",
        b"$dps/registrations/PUT/iotdps-register/",
        b"$dps/registrations/PUT/iotdps-register/?",
        b"$dps/registrations/PUT/iotdps-register/?$rid=",
        b"$dps/registrations/PUT/iotdps-register/?rid=1",
        b"$dps/registrations/GET/iotdps-register/?$rid=1",
        REGISTER + b"x" * 129,
        REGISTER + b"a b",
        REGISTER + "ä".encode(),
    ],
)
async def test_a_topic_that_is_no_question_breaks_the_protocol(world: World, topic: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        await talk(world, NOTHING).handle(topic, b"")
    assert caught.value.reason == "dps.topic"


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    prefix=st.sampled_from([REGISTER, POLL, b"", b"$dps/"]), rest=st.binary(max_size=40), body=st.binary(max_size=60)
)
async def test_any_topic_and_body_is_answered_or_breaks_the_protocol(
    world: World, prefix: bytes, rest: bytes, body: bytes
) -> None:
    try:
        topic, answer = await talk(world, NOTHING).handle(prefix + rest, body)
    except RemoteProtocolError:
        return
    assert topic.startswith(b"$dps/registrations/res/4")
    assert json.loads(answer)["errorCode"]
