"""MQTT sessions: taken over, resumed, ended by the hub, and what they subscribe to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.hub.sessions import LocalSessionDirectory
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, Status
from moorage.identities.policy_rules import PolicyDraft
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, Thumbprint
from moorage.protocols.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from moorage.protocols.mqtt.topics import TopicFilter, TopicName
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft
from moorage.provisioning.enrollments import ANY, EnrollmentService, IfMatch
from moorage.provisioning.linked_hubs import LinkedHubService
from tests import certs
from tests.servers.clients import CUT_S, Client, return_code
from tests.servers.world import KEY, OTHER_KEY, World, busy_store, eventually, named, running

METHODS = "$iothub/methods/POST/#"
TWIN = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"
MESSAGES = "devices/pump-01/messages/devicebound/#"
EVENTS = "devices/pump-01/messages/events/"


async def is_alive(client: Client) -> bool:
    client.say(PingReq())
    return await client.next() == PingResp()


@pytest.fixture
async def pump(world: World) -> World:
    """With a device that has a key."""
    await world.create("pump-01")
    return world


# --- keep-alive ------------------------------------------------------------------------------------------------------


async def test_silence_for_one_and_a_half_keep_alives_ends_the_session(pump: World) -> None:
    client = await pump.connect(keep_alive_s=60)
    pump.turn(85)
    assert await is_alive(client)
    pump.turn(85)
    assert await is_alive(client)
    pump.turn(95)
    assert await client.rest() == []
    await eventually(lambda: not pump.app.live)


async def test_no_keep_alive_is_the_cap_of_1767_s(pump: World) -> None:
    """Contract devices 2.1."""
    client = await pump.connect(keep_alive_s=0, token_lives=timedelta(days=1))
    pump.turn(1760)
    assert await client.is_silent(0.02)
    pump.turn(10)
    assert await client.rest() == []


async def test_any_packet_resets_the_timer(pump: World) -> None:
    client = await pump.connect(keep_alive_s=60, token_lives=timedelta(days=1))
    for _ in range(4):
        pump.turn(80)
        client.publish(EVENTS, b"x")
        await client.acks(1)
    assert await client.is_silent(0.02)


# --- take-over -------------------------------------------------------------------------------------------------------


async def test_the_second_connection_takes_over_and_the_first_gets_nothing_more(pump: World) -> None:
    first = await pump.connect()
    first.publish(EVENTS, b"1")
    await first.acks(1)
    second = await pump.connect()
    assert await first.rest() == []
    assert await is_alive(second)
    assert len(pump.app.live) == 1
    assert pump.app.directory.is_connected(DEFAULT_HUB, named("pump-01"))
    assert pump.app.directory.count(DEFAULT_HUB) == 1


async def test_a_device_and_its_modules_do_not_take_over_from_each_other(pump: World) -> None:
    await pump.create("pump-01/vision")
    device = await pump.connect()
    module = await pump.connect("pump-01/vision")
    assert await is_alive(device)
    assert await is_alive(module)
    assert pump.app.directory.count(DEFAULT_HUB) == 1


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """Two apps that share a store, a bus and a session directory (decisions S1)."""
    bus = LocalBus()
    store = SqliteStore(MEMORY, secrets_key=bytes(32), bus=bus)
    directory = LocalSessionDirectory(bus)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        apps = [
            await stack.enter_async_context(running(tmp_path / name, store=store, bus=bus, directory=directory))
            for name in ("a", "b")
        ]
        await apps[0].create("pump-01")
        yield apps[0], apps[1]


async def test_a_device_that_moves_to_another_app_is_gone_from_the_first(two: tuple[World, World]) -> None:
    here, there = two
    first = await here.connect()
    second = await there.connect()
    assert await first.rest() == []
    assert await is_alive(second)
    assert (len(here.app.live), len(there.app.live)) == (0, 1)


async def test_no_puback_leaves_a_session_that_another_app_took_over(tmp_path: Path) -> None:
    """A stale epoch can neither acknowledge nor settle (decisions S1), also before the app has heard that it is one."""
    directory = LocalSessionDirectory(LocalBus())  # a bus that the app does not hear
    async with running(tmp_path / "hub", directory=directory) as world:
        await world.create("pump-01")
        client = await world.connect()
        await client.subscribe(MESSAGES)
        await world.send("pump-01", b"settle me")
        message = await client.expect(Publish)
        client.publish(EVENTS, b"in time")
        await client.acks(1)
        directory.claim(DEFAULT_HUB, named("pump-01"), "another app")
        client.publish(EVENTS, b"too late")
        client.acknowledge(message)
        assert await client.catch_up() == []
        await eventually(lambda: not world.app.log.backlog_bytes)
        assert await client.is_silent(0.1)
        assert world.queued("pump-01") == [b"settle me"]
        assert len(await world.telemetry()) == 2


async def test_disabling_on_one_app_cuts_the_session_on_the_other(two: tuple[World, World]) -> None:
    here, there = two
    client = await there.connect()
    await here.set_status("pump-01", "disabled")
    assert await client.rest(CUT_S) == []


async def test_a_desired_patch_on_one_app_reaches_the_device_on_the_other(two: tuple[World, World]) -> None:
    here, there = two
    client = await there.connect()
    await client.subscribe(DESIRED)
    await here.set_desired("pump-01", {"speed": 3})
    assert (await client.expect(Publish)).topic == b"$iothub/twin/PATCH/properties/desired/?$version=2"


# --- what ends a session from our side -------------------------------------------------------------------------------


async def test_disabling_ends_the_sessions_of_a_device_and_of_its_modules(pump: World) -> None:
    await pump.create("pump-01/vision")
    await pump.create("pump-02")
    device, module = await pump.connect(), await pump.connect("pump-01/vision")
    other = await pump.connect("pump-02")
    await pump.set_status("pump-01", "disabled")
    assert await device.rest(CUT_S) == []
    assert await module.rest(CUT_S) == []
    assert await is_alive(other)


async def test_deleting_a_module_leaves_its_device_alone(pump: World) -> None:
    await pump.create("pump-01/vision")
    device, module = await pump.connect(), await pump.connect("pump-01/vision")
    await pump.delete("pump-01/vision")
    assert await module.rest(CUT_S) == []
    assert await is_alive(device)
    await pump.delete("pump-01")
    assert await device.rest(CUT_S) == []


async def test_a_disable_that_races_connects_never_leaves_one_standing(pump: World) -> None:
    """Decisions S2: either CONNECT reads the change, or the change finds the session."""
    for status in ("enabled", "disabled") * 6:
        clients = [await pump.dial() for _ in range(3)]
        hellos = [client.say_hello("pump-01", password=pump.token("pump-01")) for client in clients]
        await asyncio.gather(pump.set_status("pump-01", status), *hellos, return_exceptions=True)
        await asyncio.sleep(0)
        if status == "disabled":
            await eventually(lambda: not pump.app.live, within_s=CUT_S)
            client = await pump.dial()
            assert return_code(await client.say_hello("pump-01", password=pump.token("pump-01"))) == 5


async def test_a_change_of_the_kind_of_credential_ends_a_session_and_a_new_key_does_not(pump: World) -> None:
    """Decisions T5."""
    client = await pump.connect()
    await pump.update("pump-01", authentication=BySharedKey(OTHER_KEY, KEY))
    assert await is_alive(client)
    await pump.update("pump-01", authentication=ByThumbprint(Thumbprint("A" * 64), None))
    assert await client.rest(CUT_S) == []


@pytest.mark.parametrize("shown", ["sha1", "sha256"])
async def test_taking_a_thumbprint_out_cuts_its_session_and_rolling_it_does_not(world: World, shown: str) -> None:
    """Decisions T5."""
    issued = certs.self_signed("pump-01")
    pin: Thumbprint = getattr(issued.certificate, shown)
    other, third = Thumbprint("A" * 64), Thumbprint("B" * 64)
    await world.create("pump-01", ByThumbprint(pin, other))
    client = await world.connect(issued=issued)
    await world.update("pump-01", authentication=ByThumbprint(other, pin))
    await world.update("pump-01", authentication=ByThumbprint(other, third))
    assert await is_alive(client)
    await world.update("pump-01", authentication=ByThumbprint(pin, other))
    client = await world.connect(issued=issued)
    await world.update("pump-01", authentication=ByThumbprint(other, None))
    assert await client.rest(CUT_S) == []


async def test_removing_a_ca_cuts_its_sessions_and_replacing_it_does_not(world: World) -> None:
    """Decisions T5."""
    issued = await world.create_by_authority("pump-01")
    client = await world.connect(issued=issued)
    await world.certificates.replace(
        DEFAULT_HUB,
        "hub",
        CAName("plant"),
        certs.root(label="rolled").certificate.pem,
        world.clock.now(),
        by="tests",
        if_match=None,
        vouched=True,
    )
    assert await is_alive(client)
    second = await world.connect("pump-02", await world.create_by_authority("pump-02", ca=certs.root(label="rolled")))
    await world.certificates.delete(DEFAULT_HUB, "hub", CAName("plant"), by="tests", if_match=None)
    assert await second.rest(CUT_S) == []
    # The hub trusts nobody any more: neither the CA that was replaced before.
    assert await client.rest(CUT_S) == []


async def test_disabling_a_group_cuts_those_too_that_hang_on_a_certificate_replaced_before(world: World) -> None:
    """Decisions T5."""
    old, new = certs.root(), certs.root(label="rolled")
    linked = LinkedHubService(DEFAULT_HUB, world.app.store, ("localhost",), world.clock)
    enrollments = EnrollmentService(DEFAULT_HUB, world.app.store, linked, world.clock)
    group = EnrollmentGroupId("line-7")

    async def put(ca: certs.Issued, status: Status = "enabled", *, if_match: IfMatch = ANY) -> None:
        draft = GroupDraft(group_id=group, attestation=CertificatesDraft(ca.certificate), status=status)
        await enrollments.put_group(draft, if_match=if_match, by="tests", vouched=True)

    await put(old, if_match=None)
    await world.create("pump-01", ByAuthority(group))
    client = await world.connect(issued=certs.device(old))
    await put(new)
    assert await is_alive(client)
    await put(new, "disabled")
    assert await client.rest(CUT_S) == []


async def test_a_session_ends_with_its_token(pump: World) -> None:
    client = await pump.connect(token_lives=timedelta(minutes=10), keep_alive_s=0)
    pump.turn(590)
    assert await client.is_silent(0.02)
    pump.turn(400)
    assert await client.rest(CUT_S) == []


async def test_a_session_ends_with_its_certificate(world: World) -> None:
    await world.create_by_authority("pump-01")
    short = certs.device(certs.root(), lifetime=timedelta(minutes=20))
    client = await world.connect(issued=short, keep_alive_s=0)
    world.turn(1100)
    assert await client.is_silent(0.02)
    world.turn(150)
    assert await client.rest(CUT_S) == []


async def test_switching_tokens_off_cuts_those_who_came_with_one(pump: World) -> None:
    await pump.create("pump-01/vision")
    device, module = await pump.connect(), await pump.connect("pump-01/vision")
    signed = await pump.connect("pump-02", await pump.create_by_authority("pump-02"))
    await pump.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True})
    assert await device.rest(CUT_S) == []
    assert await is_alive(module)
    await pump.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True, "disable_module_sas": True})
    assert await module.rest(CUT_S) == []
    assert await is_alive(signed)


async def by_policy(world: World, name: str, policy: str = "device", *, secondary: bool = False) -> Client:
    """A device that comes in by a token of a policy."""
    found = world.policies.get(DEFAULT_HUB, "hub", policy)
    key, expires = found.secondary if secondary else found.primary, world.clock.now() + timedelta(hours=1)
    client = await world.dial()
    token = make_token(f"localhost/devices/{name}", key, expires, policy).reveal().encode()
    answer = await client.say_hello(name, password=token)
    assert isinstance(answer, ConnAck) and answer.return_code == 0
    return client


async def test_a_rolled_policy_key_cuts_those_who_came_in_by_it_and_nobody_else(pump: World) -> None:
    for name in ("by-primary", "by-secondary", "by-another"):
        await pump.create(name)
    own = await pump.connect()
    primary, secondary = await by_policy(pump, "by-primary"), await by_policy(pump, "by-secondary", secondary=True)
    another = await by_policy(pump, "by-another", "iothubowner")
    await pump.policies.swap_keys(DEFAULT_HUB, "hub", "device")
    assert await is_alive(primary) and await is_alive(secondary)
    # What was the primary key is the secondary one now.
    await pump.policies.roll_key(DEFAULT_HUB, "hub", "device", "secondary")
    assert await primary.rest(CUT_S) == []
    assert await is_alive(secondary) and await is_alive(another) and await is_alive(own)


async def test_a_policy_that_is_deleted_or_may_not_connect_any_more_cuts_its_devices(pump: World) -> None:
    await pump.create("pump-02")
    first, second = await by_policy(pump, "pump-01"), await by_policy(pump, "pump-02", "iothubowner")
    await pump.policies.update(DEFAULT_HUB, "hub", PolicyDraft("device", frozenset({"RegistryRead"})))
    assert await first.rest(CUT_S) == []
    await pump.policies.update(DEFAULT_HUB, "hub", PolicyDraft("device", frozenset({"DeviceConnect"})))
    third = await by_policy(pump, "pump-01")
    await pump.policies.delete(DEFAULT_HUB, "hub", "device")
    assert await third.rest(CUT_S) == []
    assert await is_alive(second)


# --- stored sessions -------------------------------------------------------------------------------------------------


async def test_a_kept_session_is_present_when_it_comes_back_and_gone_after_a_clean_one(pump: World) -> None:
    first = await pump.connect(clean=False)
    assert not first.session_present
    assert await first.subscribe(MESSAGES) == (1,)
    again = await pump.connect(clean=False)
    assert again.session_present
    clean = await pump.connect(clean=True)
    assert not clean.session_present
    after = await pump.connect(clean=False)
    assert not after.session_present


async def test_a_clean_session_leaves_nothing_behind(pump: World) -> None:
    first = await pump.connect(clean=True)
    await first.subscribe(MESSAGES)
    again = await pump.connect(clean=False)
    assert not again.session_present


async def test_stored_subscriptions_need_no_subscribe(pump: World) -> None:
    first = await pump.connect(clean=False)
    await first.subscribe(DESIRED, TWIN)
    first.say(Disconnect())
    await first.rest()
    again = await pump.connect(clean=False)
    await pump.set_desired("pump-01", {"speed": 3})
    assert (await again.expect(Publish)).topic.startswith(b"$iothub/twin/PATCH/properties/desired/")


async def test_stored_sessions_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        await world.create("pump-01")
        client = await world.connect(clean=False)
        await client.subscribe(MESSAGES)
    async with running(tmp_path / "hub") as world:
        await world.send("pump-01", b"after the restart")
        client = await world.connect(clean=False)
        assert client.session_present
        assert (await client.expect(Publish)).body == b"after the restart"


async def test_two_subscribes_sent_at_once_are_both_kept_and_both_granted(pump: World) -> None:
    client = await pump.connect(clean=False)
    for packet_id, text in enumerate((DESIRED, TWIN, METHODS), 1):
        client.say(Subscribe(packet_id, (Subscription(TopicFilter(text.encode()), 1),)))
    answers = [await client.expect(SubAck) for _ in range(3)]
    assert [(answer.packet_id, answer.codes) for answer in answers] == [(1, (1,)), (2, (1,)), (3, (1,))]
    await pump.set_desired("pump-01", {"speed": 3})
    assert (await client.expect(Publish)).topic.startswith(b"$iothub/twin/PATCH/")
    again = await pump.connect(clean=False)
    await pump.set_desired("pump-01", {"speed": 4})
    assert (await again.expect(Publish)).topic.startswith(b"$iothub/twin/PATCH/")


async def test_a_repeated_subscribe_does_not_overtake_one_that_is_being_stored(pump: World) -> None:
    client = await pump.connect(clean=False)
    for packet_id, text in enumerate((DESIRED, METHODS, METHODS, METHODS), 1):
        client.say(Subscribe(packet_id, (Subscription(TopicFilter(text.encode()), 0),)))
    assert [(await client.expect(SubAck)).packet_id for _ in range(4)] == [1, 2, 3, 4]
    client.say(Unsubscribe(5, (TopicFilter(DESIRED.encode()),)), Unsubscribe(6, (TopicFilter(DESIRED.encode()),)))
    assert [(await client.expect(UnsubAck)).packet_id for _ in range(2)] == [5, 6]


async def test_unsubscribing_is_stored_too(pump: World) -> None:
    client = await pump.connect(clean=False)
    await client.subscribe(DESIRED, MESSAGES)
    await client.unsubscribe(DESIRED)
    again = await pump.connect(clean=False)
    assert again.session_present
    await pump.set_desired("pump-01", {"speed": 3})
    assert await again.is_silent(0.05)


async def test_whoever_takes_over_from_a_clean_start_does_not_find_what_it_forgot(pump: World) -> None:
    first = await pump.connect(clean=False)
    await first.subscribe(MESSAGES)
    clean, kept = await pump.dial(), await pump.dial()
    password = pump.token("pump-01")
    async with busy_store(pump):
        waits = asyncio.ensure_future(clean.say_hello("pump-01", password=password, clean=True))
        assert await first.rest() == []
        answer = await kept.say_hello("pump-01", password=password, clean=False)
        assert isinstance(answer, ConnAck) and not answer.session_present
    with pytest.raises(EOFError):
        await waits
    await kept.subscribe(MESSAGES)
    assert (await pump.connect(clean=False)).session_present


async def test_what_is_sent_before_connack_waits_for_it(pump: World) -> None:
    """[MQTT-3.1.4-5]: a clean start that has something to forget takes a moment, and reading stops meanwhile."""
    first = await pump.connect(clean=False)
    await first.subscribe(MESSAGES)
    client = await pump.dial()
    async with busy_store(pump):
        client.say(Connect("pump-01", True, 60, "localhost/pump-01/", pump.token("pump-01")))
        body = bytes(100_000)
        for packet_id in range(1, 13):
            client.say(Publish(TopicName(EVENTS.encode()), body, 1, packet_id))
        assert await first.rest() == []
        assert await client.is_silent(0.1)
        assert pump.app.telemetry.accepted == 0
    assert return_code(await client.next()) == 0
    assert await client.acks(12) == list(range(1, 13))


# --- subscribing -----------------------------------------------------------------------------------------------------


async def test_every_documented_filter_is_granted_in_order(pump: World) -> None:
    client = await pump.connect()
    assert await client.subscribe(MESSAGES, METHODS, TWIN, DESIRED, qos=1) == (1, 1, 1, 1)
    assert await client.subscribe(MESSAGES, TWIN, qos=0) == (0, 0)
    assert await client.subscribe(METHODS, qos=2) == (1,)


async def test_every_documented_filter_of_a_module_is_granted(pump: World) -> None:
    await pump.create("pump-01/vision")
    client = await pump.connect("pump-01/vision")
    base = "devices/pump-01/modules/vision"
    filters = (f"{base}/messages/devicebound/#", f"{base}/inputs/#", f"{base}/#", METHODS, TWIN, DESIRED)
    assert await client.subscribe(*filters) == (1,) * 6


@pytest.mark.parametrize(
    "text",
    ["#", "devices/pump-01/#", "devices/pump-02/messages/devicebound/#", "devices/+/messages/devicebound/#",
     "devices/pump-01/messages/events/#", "devices/pump-01/messages/devicebound", "$iothub/#", "$iothub/twin/res/+",
     "devices/pump-01/modules/vision/#", "$SYS/#", "Devices/pump-01/messages/devicebound/#"],
)  # fmt: skip
async def test_any_other_filter_ends_the_connection(pump: World, text: str) -> None:
    client = await pump.connect()
    client.say(
        Subscribe(1, (Subscription(TopicFilter(DESIRED.encode()), 1), Subscription(TopicFilter(text.encode()), 1)))
    )
    assert await client.rest() == []


async def test_anything_may_be_unsubscribed_from(pump: World) -> None:
    client = await pump.connect()
    await client.unsubscribe("#", "devices/pump-02/messages/devicebound/#", MESSAGES)
    assert await is_alive(client)


# --- Will ------------------------------------------------------------------------------------------------------------

WILL = Will(TopicName((EVENTS + "%24.ct=text%2Fplain").encode()), b"farewell", qos=1, retain=True)


async def test_a_will_is_telemetry_when_the_device_is_lost(pump: World) -> None:
    client = await pump.connect(will=WILL)
    before = pump.app.log.durable_end
    client.close()
    await eventually(lambda: not pump.app.live)
    await pump.app.log.wait_beyond(before)
    (message,) = await pump.telemetry()
    assert message.body == b"farewell"
    assert message.bag == b"%24.ct=text%2Fplain&mqtt-retain=true&iothub-MessageType=Will"


async def test_a_will_is_published_after_keep_alive_and_take_over_and_a_fault(pump: World) -> None:
    client = await pump.connect(will=WILL, keep_alive_s=10)
    pump.turn(20)
    await client.rest()
    await pump.connect(will=WILL)
    client = await pump.connect(will=WILL)
    client.raw(b"\xf0\x00")
    await client.rest()
    await eventually(lambda: not pump.app.live)
    await eventually(lambda: pump.app.telemetry.accepted == 3)


async def test_no_will_after_disconnect_nor_from_who_was_turned_away(pump: World) -> None:
    client = await pump.connect(will=WILL)
    client.say(Disconnect())
    await client.rest()
    client = await pump.connect(will=WILL)
    await pump.set_status("pump-01", "disabled")
    await client.rest()
    await eventually(lambda: not pump.app.live)
    assert pump.app.telemetry.accepted == 0


async def test_nothing_is_read_after_disconnect(pump: World) -> None:
    """[MQTT-3.14.4-2]"""
    client = await pump.connect()
    client.say(Disconnect(), Publish(TopicName(EVENTS.encode()), b"too late", 1, 1))
    assert await client.rest() == []
    assert pump.app.telemetry.accepted == 0
