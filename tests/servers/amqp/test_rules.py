"""What holds for every device over AMQP: what is acknowledged when, whose session it is, and what a stranger learns."""

from __future__ import annotations

import base64
import re
from datetime import timedelta

import pytest

from moorage.identities.model import ByAuthority
from moorage.identities.sas import make_token
from moorage.ids import Secret
from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.performatives import Accepted, Disposition
from moorage.protocols.amqp.sasl import PLAIN
from tests.disks import HeldDisk
from tests.servers.amqp.speaking import (
    by_key,
    dialled,
    is_connected,
    next_sent,
    open_plainly,
    send_raw,
    settle,
    token_of,
)
from tests.servers.amqp_clients import AMQPClient, plain_response
from tests.servers.world import World, eventually

EVENTS = "/devices/pump-01/messages/events"
_FOREIGN = Secret(base64.b64encode(b"f" * 32).decode())


def _settled(client: AMQPClient) -> set[int]:
    """Our deliveries that the hub has settled, with whatever outcome."""
    bodies = [each.body for each in client.frames if isinstance(each.body, Disposition) and each.body.role]
    return {number for body in bodies for number in range(body.first, (body.last or body.first) + 1)}


# --- durability -------------------------------------------------------------------------------------------------------


async def test_telemetry_is_accepted_when_it_is_durable_and_not_before(held: tuple[World, HeldDisk]) -> None:
    world, disk = held
    async with dialled(world) as client:
        await by_key(client, world, "pump-01")
        link = await client.attach(EVENTS)
        disk.hold()
        numbers = [send_raw(client, link, Message(data=b"%d" % each).encode()) for each in range(20)]
        await client.put_token(token_of(world, "pump-01"))  # everything before it was read
        assert not _settled(client) & set(numbers)
        disk.release()
        waiting = set(numbers)
        while waiting:
            outcome = await client.expect(Disposition)
            if outcome.first in numbers:
                assert outcome.settled and isinstance(outcome.state, Accepted)
                waiting -= set(range(outcome.first, (outcome.last or outcome.first) + 1))
        assert [each.body for each in await world.telemetry()] == [b"%d" % each for each in range(20)]


async def test_telemetry_on_a_disk_that_fails_is_never_accepted(held: tuple[World, HeldDisk]) -> None:
    world, disk = held
    async with dialled(world) as client:
        await by_key(client, world, "pump-01")
        link = await client.attach(EVENTS)
        disk.hold()
        number = send_raw(client, link, Message(data=b"lost").encode())
        await client.put_token(token_of(world, "pump-01"))
        disk.break_it()
        error = await client.detached(link)
        assert error is not None and error.condition == "amqp:link:detach-forced"
        await client.rest()
        assert number not in _settled(client)


async def test_what_an_overtaken_session_sent_is_not_accepted_in_its_name(held: tuple[World, HeldDisk]) -> None:
    world, disk = held
    async with dialled(world) as first, dialled(world) as second:
        await by_key(first, world, "pump-01")
        old = await first.attach(EVENTS)
        disk.hold()
        number = send_raw(first, old, Message(data=b"1").encode())
        await first.put_token(token_of(world, "pump-01"))
        await by_key(second, world, "pump-01")
        new = await second.attach(EVENTS)
        assert new.error is None
        error = await first.detached(old)
        assert error is not None and error.condition == "amqp:link:stolen"
        disk.release()
        assert await second.send(new, Message(data=b"2")) is None
        await first.rest()
        assert number not in _settled(first)


# --- one session for each identity ------------------------------------------------------------------------------------


async def test_a_device_that_comes_over_mqtt_takes_over_from_amqp_and_back(pump: World) -> None:
    async with dialled(pump) as amqp:
        await by_key(amqp, pump, "pump-01")
        link = await amqp.attach(EVENTS)
        mqtt = await pump.connect()
        error = await amqp.detached(link)
        assert error is not None and error.condition == "amqp:link:stolen"
        await amqp.rest()
        async with dialled(pump) as again:
            await by_key(again, pump, "pump-01")
            link = await again.attach(EVENTS)
            assert link.error is None
            assert await mqtt.rest() == []
            assert await again.send(link, Message(data=b"1")) is None
            assert len(pump.app.live) == 1


async def test_several_links_of_one_device_are_one_session_that_ends_with_the_last(pump: World) -> None:
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        links = [
            await client.attach(EVENTS),
            await client.attach("/devices/pump-01/messages/devicebound", is_sender=False, credit=5),
            await client.attach("/devices/pump-01/twin"),
        ]
        for link in links[:-1]:
            client.detach(link)
            assert await client.detached(link) is None
            assert is_connected(pump, "pump-01")
        client.detach(links[-1])
        await eventually(lambda: not is_connected(pump, "pump-01"))
        # The connection is there for the next one (.NET keeps it).
        assert (await client.attach(EVENTS)).error is None


@pytest.mark.parametrize("change", ["disabled", "deleted", "by certificate"])
async def test_what_changes_at_a_device_ends_its_links_and_not_those_beside_it(pump: World, change: str) -> None:
    await pump.create("pump-02")
    async with dialled(pump) as client:
        await open_plainly(client)
        links = []
        for name in ("pump-01", "pump-02"):
            assert await client.put_token(token_of(pump, name)) == 200
            links.append(await client.attach(f"/devices/{name}/messages/events"))
        if change == "disabled":
            await pump.set_status("pump-01", "disabled")
        elif change == "deleted":
            await pump.delete("pump-01")
        else:
            await pump.update("pump-01", authentication=ByAuthority())
        error = await client.detached(links[0])
        assert error is not None and error.condition == "amqp:unauthorized-access"
        assert await client.send(links[1], Message(data=b"1")) is None
        # Its token is of no more use either.
        assert (await client.attach(EVENTS)).error is not None


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_that_ends_takes_only_the_links_that_it_opened(pump: World) -> None:
    await pump.create("pump-02")
    async with dialled(pump) as client:
        await open_plainly(client)
        links = []
        for name, lives in (("pump-01", timedelta(minutes=-4)), ("pump-02", timedelta(hours=1))):
            assert await client.put_token(token_of(pump, name, lives=lives)) == 200
            links.append(await client.attach(f"/devices/{name}/messages/events"))
        pump.turn(65)
        error = await client.detached(links[0])
        assert error is not None and error.condition == "amqp:unauthorized-access"
        assert await client.send(links[1], Message(data=b"1")) is None
        # With a new one it goes on, on the same connection.
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        assert (await client.attach(EVENTS)).error is None


async def test_a_refresh_with_a_key_that_is_not_the_devices_is_refused_and_the_link_lives_on(pump: World) -> None:
    """The token that let it in is still good."""
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        link = await client.attach(EVENTS)
        wrong = token_of(pump, "pump-01", _FOREIGN)
        assert await client.put_token(wrong) == 401
        assert await client.send(link, Message(data=b"1")) is None
        # Nor is it the fault of whoever shares the connection.
        await pump.create("pump-02")
        assert await client.put_token(token_of(pump, "pump-02")) == 200, client.told
        assert await client.put_token(token_of(pump, "pump-01")) == 200, client.told


@pytest.mark.parametrize(
    ("token", "kind", "operation", "status"),
    [
        ("SharedAccessSignature nonsense", "servicebus.windows.net:sastoken", "put-token", 400),
        ("", "servicebus.windows.net:sastoken", "put-token", 400),
        (b"bytes", "servicebus.windows.net:sastoken", "put-token", 400),
        ("x", "jwt", "put-token", 400),
        ("x", "servicebus.windows.net:sastoken", "delete-token", 400),
    ],
)
async def test_what_cbs_cannot_read_is_answered_with_400_and_nothing_else_happens(
    pump: World, token: object, kind: str, operation: str, status: int
) -> None:
    async with dialled(pump) as client:
        await open_plainly(client)
        assert await client.put_token(token, kind=kind, operation=operation) == status
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        assert (await client.attach(EVENTS)).error is None


async def test_a_token_that_was_good_once_is_answered_with_401(pump: World) -> None:
    async with dialled(pump) as client:
        await open_plainly(client)
        assert await client.put_token(token_of(pump, "pump-01", lives=timedelta(minutes=-6))) == 401


# --- what a stranger learns (T7) --------------------------------------------------------------------------------------


async def _refused(world: World, name: str, token: str, *, plain: bool) -> list[bytes]:
    """Every byte of the hub's answers, without tracking ids."""
    async with dialled(world) as client:
        if plain:
            user = plain_response("x@sas.localhost", token)
            code = await client.say_hello(PLAIN, user)
            assert code == 0, "SASL must not tell"
        else:
            await open_plainly(client)
            assert await client.put_token(token) == 200
        for rest, is_sender in (("messages/events", True), ("messages/devicebound", False), ("twin", True)):
            link = await client.attach(f"/devices/{name}/{rest}", is_sender=is_sender)
            assert link.error is not None
        return [re.sub(rb"[0-9A-F]{32}", b"(tracking id)", each.data) for each in client.frames]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_stranger_cannot_tell_an_unknown_device_from_a_wrong_key_or_a_disabled_one(
    world: World, plain: bool
) -> None:
    names = {"known-1": "wrong key", "know-2x": "disabled", "absent1": "unknown"}
    await world.create("known-1")
    await world.create("know-2x")
    await world.set_status("know-2x", "disabled")
    heard = {
        why: [
            each.replace(name.encode(), b"(device)")
            for each in await _refused(world, name, token_of(world, name, _FOREIGN), plain=plain)
        ]
        for name, why in names.items()
    }
    assert heard["wrong key"] == heard["unknown"] == heard["disabled"]
    reasons = {name: await world.reason(name) for name in names}
    assert len(set(reasons.values())) >= 2, reasons


@pytest.mark.parametrize("plain", [False, True])
async def test_a_stranger_cannot_tell_a_policy_that_there_is_not_from_a_wrong_key(world: World, plain: bool) -> None:
    heard = []
    for policy, reason in (("iothubowner", "token.signature"), ("nobody", "token.policy_unknown")):
        token = make_token("localhost", _FOREIGN, world.clock.now() + timedelta(hours=1), policy).reveal()
        async with dialled(world) as client:
            if plain:
                assert await client.say_hello(PLAIN, plain_response("x@sas.root.localhost", token)) == 1
                await client.rest()
            else:
                await open_plainly(client)
                assert await client.put_token(token) == 401
            heard.append([re.sub(rb"[0-9A-F]{32}", b"(tracking id)", each.data) for each in client.frames])
        assert await world.reason() == reason
    assert heard[0] == heard[1] != []


# --- certificates -----------------------------------------------------------------------------------------------------


async def test_the_links_of_another_are_refused_to_a_certificate(world: World) -> None:
    issued = await world.create_by_authority("pump-01")
    await world.create_by_authority("pump-02")
    async with dialled(world, issued) as client:
        await open_plainly(client)
        assert (await client.attach(EVENTS)).error is None
        link = await client.attach("/devices/pump-02/messages/events")
        assert link.error is not None and link.error.condition == "amqp:unauthorized-access"
        assert await world.reason("pump-02") == "identity.mismatch"


# --- messages to devices ----------------------------------------------------------------------------------------------


async def test_a_message_that_is_not_settled_is_sent_again_after_its_lock(pump: World) -> None:
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        link = await client.attach("/devices/pump-01/messages/devicebound", is_sender=False, credit=10)
        await pump.send("pump-01", b"one")
        first, _ = await next_sent(client, link)
        pump.turn(62)
        second, message = await next_sent(client, link)
        assert message.data == (b"one",)
        assert second.delivery_tag != first.delivery_tag
        # The old lock settles nothing any more, the new one does.
        assert first.delivery_id is not None and second.delivery_id is not None
        settle(client, link, first.delivery_id, Accepted())
        assert await client.put_token(token_of(pump, "pump-01")) == 200
        assert pump.queued("pump-01") == [b"one"]
        settle(client, link, second.delivery_id, Accepted())
        await eventually(lambda: not pump.queued("pump-01"))


async def test_a_message_that_an_earlier_session_held_is_sent_when_its_lock_ends(pump: World) -> None:
    where = "/devices/pump-01/messages/devicebound"
    await pump.send("pump-01", b"one")
    async with dialled(pump) as lost:
        await by_key(lost, pump, "pump-01")
        await next_sent(lost, await lost.attach(where, is_sender=False, credit=10))
    await eventually(lambda: not is_connected(pump, "pump-01"))
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        link = await client.attach(where, is_sender=False, credit=10)
        assert await client.is_silent()
        pump.turn(62)
        again, message = await next_sent(client, link)
        assert message.data == (b"one",)
        assert again.delivery_id is not None
        settle(client, link, again.delivery_id, Accepted())
        await eventually(lambda: not pump.queued("pump-01"))


async def test_a_content_type_that_is_no_symbol_breaks_no_connection(pump: World) -> None:
    await pump.send("pump-01", b"one", content_type="text/pläin", content_encoding="ütf-8")
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        link = await client.attach("/devices/pump-01/messages/devicebound", is_sender=False, credit=10)
        _, message = await next_sent(client, link)
        assert message.properties is not None
        assert (message.properties.content_type, message.properties.content_encoding) == (
            "text/pl\\xe4in",
            "\\xfctf-8",
        )


async def test_a_message_that_is_too_large_for_a_link_is_in_nobodys_way(
    pump: World, caplog: pytest.LogCaptureFixture
) -> None:
    await pump.send("pump-01", bytes(64 * 1024))
    await pump.send("pump-01", b"two")
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        where = "/devices/pump-01/messages/devicebound"
        link = await client.attach(where, is_sender=False, credit=10, max_message_size=65_536)
        sent, message = await next_sent(client, link)
        assert message.data == (b"two",)
        assert sent.delivery_id is not None
        settle(client, link, sent.delivery_id, Accepted())
        await eventually(lambda: len(pump.queued("pump-01")) == 1)
        assert is_connected(pump, "pump-01")
    assert [each for each in caplog.records if "message_too_large_for_link" in each.getMessage()]
    assert not [each for each in caplog.records if each.exc_info is not None]


async def test_messages_wait_for_credit_in_their_order(pump: World) -> None:
    for each in range(5):
        await pump.send("pump-01", b"%d" % each)
    async with dialled(pump) as client:
        await by_key(client, pump, "pump-01")
        link = await client.attach("/devices/pump-01/messages/devicebound", is_sender=False, credit=2)
        got = [(await next_sent(client, link))[1].body for _ in range(2)]
        assert got == [b"0", b"1"]
        assert await client.is_silent()
        assert len(pump.queued("pump-01")) == 5
