"""Who is let in over MQTT and who is not: the CONNACK a device gets, and what the operator reads about it."""

from __future__ import annotations

import asyncio
import shlex
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.errors import Unavailable
from moorage.identities.model import ByThumbprint, NoCredential
from moorage.ids import DEFAULT_HUB, Secret, Thumbprint
from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.packets import Connect, PingReq, PingResp, Subscribe, Subscription, Will
from moorage.protocols.mqtt.topics import TopicFilter, TopicName
from tests import certs
from tests.servers.clients import return_code
from tests.servers.world import KEY, OTHER_KEY, World, eventually, running

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


async def test_hubs_run_on_the_loop_of_production(world: World) -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_a_pinned_device_connects(world: World, version: ssl.TLSVersion) -> None:
    client = await world.dial(await world.create_pinned(), version=version)
    assert return_code(await client.say_hello("pump-01")) == 0
    client.say(PingReq())
    assert await client.next() == PingResp()
    (attempt,) = await world.attempts("pump-01")
    assert attempt.tls_version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert attempt.client == "tests"


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
async def test_a_ca_signed_device_connects_below_two_intermediates(world: World, kind: str) -> None:
    top = certs.root(kind=kind)
    line = certs.intermediate(certs.intermediate(top, "Plant", kind=kind), "Line 7", kind=kind)
    await world.create_by_authority("pump-01", ca=top)
    client = await world.connect(issued=certs.device(line, kind=kind))
    assert await client.is_silent(0.02)
    (attempt,) = await world.attempts("pump-01")
    assert len(attempt.chain) == 3
    assert attempt.chain[1:] == tuple(each.der for each in line.fullchain[:2])


async def test_a_leaf_alone_is_enough_when_the_intermediate_is_registered(world: World) -> None:
    top = certs.root()
    line = certs.intermediate(top)
    await world.create_by_authority("pump-01", ca=line)
    client = await world.dial(certs.device(line), sends=1)
    assert return_code(await client.say_hello("pump-01")) == 0


async def test_both_keys_open_a_sas_device_and_an_empty_password_is_none(world: World) -> None:
    await world.create("pump-01")
    await world.connect(key=KEY)
    await world.connect(key=OTHER_KEY)
    client = await world.dial()
    assert return_code(await client.say_hello("pump-01", password=b"")) == 5
    assert await world.reason("pump-01") == "token.missing"


async def test_a_module_connects_with_its_own_certificate(world: World) -> None:
    await world.create("pump-01")
    leaf = await world.create_by_authority("pump-01/vision")
    await world.connect("pump-01/vision", leaf)


@pytest.mark.parametrize("name", ["it's!$(50%)", "a=b", "%41?x", "@home,away;*_.:-"])
async def test_ids_with_odd_characters_connect_and_send(world: World, name: str) -> None:
    await world.create(name)
    await world.create(f"{name}/?m=1")
    for client_id, topic in ((name, f"devices/{name}"), (f"{name}/?m=1", f"devices/{name}/modules/?m=1")):
        client = await world.dial()
        # The SAS resource is percent-encoded; names in user names and topics never are.
        assert return_code(await client.say_hello(client_id, password=world.token(client_id))) == 0
        packet_id = client.publish(f"{topic}/messages/events/a=b", b"x")
        assert await client.acks(1) == [packet_id]
    assert [message.source.module_id for message in await world.telemetry(name)] == [None, "?m=1"]


# --- refused ---------------------------------------------------------------------------------------------------------


async def refused(world: World, name: str, issued: certs.Issued | None = None, **hello: object) -> str | None:
    """Connect, expect CONNACK 5 and the end; the reason that was written down."""
    client = await world.dial(issued)
    assert return_code(await client.say_hello(name, **hello)) == 5  # type: ignore[arg-type]  # as the caller says
    assert await client.rest() == []
    return await world.reason(name)


async def test_an_unknown_device_is_refused(world: World) -> None:
    assert await refused(world, "ghost", certs.self_signed("ghost")) == "identity.unknown"


async def test_a_disabled_device_is_refused(world: World) -> None:
    issued = await world.create_pinned()
    await world.set_status("pump-01", "disabled")
    assert await refused(world, "pump-01", issued) == "identity.disabled"


async def test_a_module_of_a_disabled_device_is_refused(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-01/vision")
    await world.set_status("pump-01", "disabled")
    token = world.token("pump-01/vision")
    assert await refused(world, "pump-01/vision", password=token) == "identity.disabled"


async def test_a_device_without_its_certificate_is_refused(world: World) -> None:
    await world.create_pinned()
    assert await refused(world, "pump-01") == "identity.certificate_missing"


async def test_another_certificate_than_the_pinned_one_is_refused_with_both_hashes(world: World) -> None:
    pinned = await world.create_pinned()
    other = certs.self_signed("pump-01", kind="ec-p384")
    assert await refused(world, "pump-01", other) == "identity.thumbprint"
    (attempt,) = await world.attempts("pump-01")
    assert attempt.chain == (other.certificate.der,)
    assert attempt.credential == "x509"
    for thumbprint in (other.certificate.sha1, other.certificate.sha256, pinned.certificate.sha256):
        assert thumbprint in attempt.message
    assert {check.name: check.passed for check in attempt.checks}["identity.thumbprint"] is False
    assert other.certificate.sha256 in attempt.fix


async def test_a_certificate_of_an_unregistered_ca_is_refused(world: World) -> None:
    await world.create_by_authority("pump-01")
    stranger = certs.device(certs.root("Somebody else"))
    assert await refused(world, "pump-01", stranger) in ("chain.incomplete", "chain.untrusted")
    (attempt,) = await world.attempts("pump-01")
    assert attempt.chain[0] == stranger.certificate.der


async def test_an_expired_certificate_is_refused(world: World) -> None:
    await world.create_by_authority("pump-01")
    old = certs.device(certs.root(), now=certs.NOW - timedelta(days=9), lifetime=timedelta(days=2), label="old")
    assert await refused(world, "pump-01", old) == "chain.expired"


async def test_a_weak_key_comes_through_the_handshake_and_is_refused_by_us(world: World) -> None:
    key = certs.weak_rsa_key()
    weak = certs.Issued(certs.odd("pump-01", key=key), key)
    await world.create("pump-01", ByThumbprint(Thumbprint(weak.certificate.sha256), None))
    assert await refused(world, "pump-01", weak) == "chain.weak_key"


async def test_a_certificate_of_another_device_is_refused(world: World) -> None:
    await world.create_by_authority("pump-01")
    assert await refused(world, "pump-01", certs.device(certs.root(), "pump-02")) == "identity.mismatch"


async def test_a_certificate_does_not_stand_in_for_a_token_nor_a_token_for_a_certificate(world: World) -> None:
    """Decisions T4."""
    await world.create("by-key")
    assert await refused(world, "by-key", certs.self_signed("by-key")) == "token.missing"
    await world.create_pinned("pinned")
    assert await refused(world, "pinned", password=world.token("pinned")) == "identity.certificate_missing"


async def test_wrong_and_old_tokens_are_refused(world: World) -> None:
    await world.create("pump-01")
    wrong = world.token("pump-01", Secret("d3Jvbmc="))
    assert await refused(world, "pump-01", password=wrong) == "token.signature"
    old = world.token("pump-01", lives=-timedelta(hours=1))
    assert await refused(world, "pump-01", password=old) == "token.expired"
    assert await refused(world, "pump-01", password=world.token("pump-02")) == "token.audience"
    assert await refused(world, "pump-01", password=b"\xff\xfe nonsense") == "token.malformed"


async def test_tokens_that_are_switched_off_are_refused(world: World) -> None:
    await world.create("pump-01")
    await world.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True})
    assert await refused(world, "pump-01", password=world.token("pump-01")) == "sas.disabled_for_devices"


async def test_an_identity_without_credentials_is_refused(world: World) -> None:
    await world.create("pump-01", NoCredential())
    assert await refused(world, "pump-01", certs.self_signed()) == "identity.no_credential"


async def test_user_names_that_say_something_else_are_refused(world: World) -> None:
    issued = await world.create_pinned()
    assert await refused(world, "pump-01", issued, client_id="pump-02") == "login.client_id"
    assert await refused(world, "pump-01", issued, client_id="PUMP-01") == "login.client_id"
    assert await refused(world, "pump-01", issued, user_name="elsewhere.example/pump-01/?a=b") == "login.host"
    assert await refused(world, "pump-01", issued, user_name="nonsense") == "login.user_name"
    assert await refused(world, "pump-01", issued, user_name="localhost/bad id/?api-version=1") == "id.device"


async def test_a_host_that_a_stranger_names_is_one_short_word_of_the_command_that_is_advised(world: World) -> None:
    host = "x;$(reboot)`id`' " + "y" * 600
    assert await refused(world, "pump-01", user_name=f"{host}/pump-01/?a=b") == "login.host"
    (attempt,) = await world.attempts("pump-01")
    assert shlex.split(attempt.fix) == ["start", "the", "hub", "with:", "moorage", "up", "--hostname", host[:253]]
    assert len(attempt.message) < 400


async def test_what_a_refused_client_calls_itself_is_kept_up_to_a_length(world: World) -> None:
    user_name = "localhost/pump-01/?api-version=2021-04-12&DeviceClientType=x%2F2.14%20" + "y" * 600
    assert await refused(world, "pump-01", user_name=user_name) == "identity.unknown"
    (attempt,) = await world.attempts("pump-01")
    assert attempt.client == ("x/2.14 " + "y" * 600)[:200]


async def test_a_connect_without_a_user_name_is_refused(world: World) -> None:
    client = await world.dial()
    client.say(Connect("pump-01"))
    assert return_code(await client.next()) == 5
    assert await world.reason("pump-01") == "login.no_user_name"


@pytest.mark.parametrize("topic", ["devices/pump-02/messages/events/", "devices/pump-01/messages/eventsX", "other"])
async def test_a_will_for_a_topic_of_somebody_else_is_refused(world: World, topic: str) -> None:
    issued = await world.create_pinned()
    will = Will(TopicName(topic.encode()), b"")
    assert await refused(world, "pump-01", issued, will=will) == "login.will"


async def test_a_will_whose_bag_cannot_be_read_is_refused(world: World) -> None:
    issued = await world.create_pinned()
    will = Will(TopicName(b"devices/pump-01/messages/events/a=%ff"), b"")
    assert await refused(world, "pump-01", issued, will=will) == "login.will"


async def test_a_hub_that_stops_says_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await world.dial(await world.create_pinned())
    monkeypatch.setattr(world.app, "_stopping", True)
    assert return_code(await client.say_hello("pump-01")) == 3
    monkeypatch.undo()
    assert await world.reason("pump-01") == "hub.stopping"


async def test_a_registry_that_cannot_be_read_says_come_again(world: World) -> None:
    client = await world.dial(await world.create_pinned())
    world.app.store.close()
    assert return_code(await client.say_hello("pump-01")) == 3
    assert await world.reason("pump-01") == "store.closed"


async def test_an_accepted_attempt_lists_what_was_checked(world: World) -> None:
    await world.create("by-key")
    await world.connect("by-key")
    await world.connect("pinned", await world.create_pinned("pinned"))
    await world.connect("signed", await world.create_by_authority("signed"))
    expected = {"by-key": "token.signature", "pinned": "identity.thumbprint", "signed": "identity.mismatch"}
    for name, last in expected.items():
        (attempt,) = await world.attempts(name)
        assert attempt.is_accepted
        assert {check.passed for check in attempt.checks} == {True}
        assert last in [check.name for check in attempt.checks]
    assert "chain.signature" in [check.name for check in attempt.checks]


# --- what is no CONNECT ----------------------------------------------------------------------------------------------


async def test_mqtt_5_is_refused_with_code_1(world: World) -> None:
    client = await world.dial()
    client.expect_connack()
    client.raw(b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x07pump-01")
    assert return_code(await client.next()) == 1
    assert await client.rest() == []
    assert await world.reason() == "mqtt.protocol_version"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (codec.encode(PingReq()), "mqtt.connect_first"),
        (codec.encode(Subscribe(1, (Subscription(TopicFilter(b"a"), 0),))), "mqtt.connect_first"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "mqtt.connect_first"),
        (b"\x10\xff\xff\xff\x7f", "mqtt.too_large"),
        (b"\x10\x02\x00\x00", "mqtt.malformed"),
    ],
)
async def test_what_does_not_begin_with_connect_is_closed_and_written_down(
    world: World, data: bytes, reason: str
) -> None:
    issued = certs.self_signed()
    client = await world.dial(issued)
    client.raw(data)
    assert await client.rest() == []
    (attempt,) = await world.attempts()
    assert attempt.reason == reason
    assert attempt.chain == (issued.certificate.der,)


async def test_a_second_connect_ends_the_connection(world: World) -> None:
    client = await world.connect(issued=await world.create_pinned())
    client.say(Connect("pump-01", user_name="localhost/pump-01/"))
    assert await client.rest() == []
    await eventually(lambda: not world.app.live)


async def test_who_sends_no_connect_is_closed_after_60_s_however_slowly_it_comes(world: World) -> None:
    client = await world.dial()
    hello = codec.encode(Connect("pump-01", user_name="localhost/pump-01/"))
    for byte in hello[:7]:
        client.raw(bytes((byte,)))
        assert await client.is_silent(0.005)
        world.turn(8)
    assert await client.is_silent(0.05)
    world.turn(5)
    assert await client.rest() == []
    assert await world.reason() == "mqtt.no_connect"


async def test_what_follows_a_refused_connect_is_not_acted_on(world: World) -> None:
    """[MQTT-3.1.4-5]"""
    await world.create("pump-01")
    client = await world.dial()
    publish = b"\x32\x24\x00\x1edevices/pump-01/messages/events\x00\x01hi"
    client.say(Connect("pump-01", user_name="localhost/pump-01/"))
    client.raw(publish)
    assert [return_code(packet) for packet in await client.rest()] == [5]
    assert await world.telemetry() == []


async def test_what_is_sent_along_with_connect_is_taken_after_connack(world: World) -> None:
    await world.create("pump-01")
    client = await world.dial()
    hello = Connect("pump-01", True, 60, "localhost/pump-01/", world.token("pump-01"))
    topic = b"devices/pump-01/messages/events/"
    publish = b"\x32" + bytes((len(topic) + 6,)) + len(topic).to_bytes(2, "big") + topic + b"\x00\x07hi"
    client.expect_connack()
    client.raw(codec.encode(hello), publish, publish)
    assert return_code(await client.next()) == 0
    assert await client.acks(2) == [7, 7]


async def test_a_name_for_provisioning_is_let_in_to_be_judged_when_it_registers(world: World) -> None:
    client = await world.dial()
    scope = world.app.info().id_scope
    answer = await client.say_hello("reg-1", user_name=f"{scope}/registrations/reg-1/api-version=2019-03-31")
    assert return_code(answer) == 0
    await client.subscribe("$dps/registrations/res/#")
    client.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}")
    await client.acks(1)
    topic = getattr(await client.next(), "topic", b"")
    assert topic.startswith(b"$dps/registrations/res/401/?$rid=1")
    assert await world.reason("reg-1") is not None


async def test_a_provisioning_device_that_asks_for_other_things_is_closed(world: World) -> None:
    for topic_filter in ("devices/reg-1/messages/devicebound/#", "#"):
        client = await world.dial()
        scope = world.app.info().id_scope
        await client.say_hello("reg-1", user_name=f"{scope}/registrations/reg-1/api-version=2019-03-31")
        client.say(Subscribe(1, (Subscription(TopicFilter(topic_filter.encode()), 1),)))
        assert await client.rest() == []


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_full_port_drops_a_stranger_for_a_newcomer_and_nobody_who_was_let_in(tmp_path: Path) -> None:
    async with running(tmp_path / "hub", max_connections=2) as world:
        first = await world.connect(issued=await world.create_pinned())
        stranger = await world.dial()
        second = await world.connect("pump-02", issued=await world.create_pinned("pump-02"))
        assert await stranger.rest() == []
        assert [attempt.reason for attempt in await world.attempts() if attempt.door == "tls"] == ["connections.limit"]
        with pytest.raises((ConnectionError, ssl.SSLError, EOFError)):
            third = await world.dial()
            await third.next()
        for client in (first, second):
            client.say(PingReq())
            assert await client.next() == PingResp()


async def test_a_session_that_cannot_be_forgotten_is_refused_with_come_again(world: World) -> None:
    """Decisions S5: what CONNACK promises is on disk."""
    await world.create("pump-01")
    kept = await world.connect(clean=False)
    await kept.subscribe("$iothub/methods/POST/#")
    client = await world.dial()
    store = world.app.store

    async def full(_work: object) -> None:
        raise Unavailable("store.unwritten", "the disk is full")

    write, store.write = store.write, full  # type: ignore[method-assign, assignment]  # the disk has no port
    try:
        answer = await client.say_hello("pump-01", password=world.token("pump-01"))
    finally:
        store.write = write  # type: ignore[method-assign]  # put back what was taken out above
    assert return_code(answer) == 3
    assert await world.reason("pump-01") == "store.unwritten"
