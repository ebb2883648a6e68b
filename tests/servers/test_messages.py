"""Cloud-to-device messages on the wire: sent, acknowledged, settled, and sent again when they were not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from moorage.protocols.mqtt.packets import Disconnect, PingReq, PingResp, Publish
from tests.servers.clients import Client, bodies
from tests.servers.world import World, busy_store, eventually, running

MESSAGES = "devices/pump-01/messages/devicebound/#"


async def listening(world: World, *, qos: int = 1, clean: bool = False) -> Client:
    client = await world.connect(clean=clean, keep_alive_s=0, token_lives=timedelta(days=2))
    await client.subscribe(MESSAGES, qos=qos)
    return client


async def test_a_message_reaches_the_device_in_the_spelling_of_the_contract(pump: World) -> None:
    """Contract devices 2.6: `%24.to` comes first and always, nothing is empty, no slash is raw."""
    client = await listening(pump)
    expires = pump.clock.now() + timedelta(minutes=30)
    await pump.send(
        "pump-01",
        b"\x00body",
        message_id="m/1",
        correlation_id="c=1",
        content_type="application/json",
        content_encoding="utf-8",
        user_id="me",
        expires=expires,
        ack="full",
        properties={"a b": "c&d=e/f", "ü": "é"},
    )
    message = await client.expect(Publish)
    assert message.topic.decode() == (
        "devices/pump-01/messages/devicebound/%24.to=%2Fdevices%2Fpump-01%2Fmessages%2FdeviceBound"
        "&%24.mid=m%2F1&%24.cid=c%3D1&%24.uid=me&%24.ct=application%2Fjson&%24.ce=utf-8"
        f"&%24.exp={expires:%Y-%m-%dT%H%%3A%M%%3A%S}.0000000Z&iothub-ack=full"
        "&a%20b=c%26d%3De%2Ff&%C3%BC=%C3%A9"
    )
    assert (message.body, message.qos, message.retain, message.dup) == (b"\x00body", 1, False, False)


async def test_a_puback_settles_durably(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    client.acknowledge(await client.expect(Publish))
    await eventually(lambda: pump.queued("pump-01") == [])


async def test_what_was_sent_while_the_device_was_away_comes_in_order_when_it_is_back(pump: World) -> None:
    first = await listening(pump)
    first.say(Disconnect())
    await first.rest()
    for number in range(5):
        await pump.send("pump-01", b"%d" % number)
    again = await pump.connect(clean=False)
    assert bodies([await again.next() for _ in range(5)]) == [b"0", b"1", b"2", b"3", b"4"]


async def test_messages_wait_for_a_subscription(pump: World) -> None:
    await pump.send("pump-01", b"1")
    client = await pump.connect()
    assert await client.is_silent(0.05)
    await client.subscribe(MESSAGES)
    assert (await client.expect(Publish)).body == b"1"


async def test_qos_0_is_settled_by_sending(pump: World) -> None:
    client = await listening(pump, qos=0)
    await pump.send("pump-01", b"1")
    message = await client.expect(Publish)
    assert (message.qos, message.packet_id) == (0, 0)
    await eventually(lambda: pump.queued("pump-01") == [])
    assert await client.is_silent(0.02)


async def test_a_message_that_is_being_settled_is_not_sent_again(pump: World) -> None:
    """Between a PUBACK and its commit the message still waits in the queue."""
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    message = await client.expect(Publish)
    async with busy_store(pump):
        client.acknowledge(message)
        await client.catch_up()
        # Another reason to look at the queue, while the settlement waits for the disk.
        session = next(iter(pump.app.live))
        session.messages_waiting()
        assert await client.is_silent(0.05)
    await eventually(lambda: pump.queued("pump-01") == [])


async def test_a_hundred_messages_in_a_row_come_once_each(pump: World) -> None:
    client = await listening(pump)
    heard: list[bytes] = []

    async def listen() -> None:
        while len(heard) < 100:
            message = await client.expect(Publish)
            heard.append(message.body)
            client.acknowledge(message)

    listens = asyncio.ensure_future(listen())
    for number in range(100):
        await pump.send("pump-01", b"%d" % number)
        if number % 10 == 0:
            await eventually(lambda: len(pump.queued("pump-01")) < 40)
    await listens
    assert heard == [b"%d" % number for number in range(100)]
    assert await client.is_silent(0.05)


async def test_an_unacknowledged_message_is_sent_again_after_its_lock_marked_dup(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    first = await client.expect(Publish)
    pump.turn(30)
    assert await client.is_silent(0.02)
    pump.turn(35)
    again = await client.expect(Publish)
    assert (again.body, again.packet_id, again.dup) == (b"1", first.packet_id, True)
    client.acknowledge(again)
    await eventually(lambda: pump.queued("pump-01") == [])
    pump.turn(65)
    assert await client.is_silent(0.02)


async def test_an_unacknowledged_message_is_sent_again_after_reconnecting_marked_dup(pump: World) -> None:
    """[MQTT-4.4.0-1]"""
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    await pump.send("pump-01", b"2")
    first, second = await client.expect(Publish), await client.expect(Publish)
    client.acknowledge(first)
    await eventually(lambda: pump.queued("pump-01") == [b"2"])
    client.close()
    await eventually(lambda: not pump.app.live)
    await pump.send("pump-01", b"3")
    again = await pump.connect(clean=False)
    resent, fresh = await again.expect(Publish), await again.expect(Publish)
    assert (resent.body, resent.packet_id, resent.dup) == (b"2", second.packet_id, True)
    assert (fresh.body, fresh.dup) == (b"3", False)
    assert fresh.packet_id != resent.packet_id
    again.acknowledge(resent)
    again.acknowledge(fresh)
    await eventually(lambda: pump.queued("pump-01") == [])


async def test_who_takes_over_gets_the_unacknowledged_marked_dup_too(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    await client.expect(Publish)
    again = await pump.connect(clean=False)
    assert (await again.expect(Publish)).dup
    assert await again.is_silent(0.02)


async def test_a_clean_session_gets_it_as_new(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    await client.expect(Publish)
    again = await listening(pump, clean=True)
    message = await again.expect(Publish)
    assert (message.body, message.dup) == (b"1", False)


async def test_a_puback_for_nothing_settles_nothing(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    message = await client.expect(Publish)
    client.raw(b"\x40\x02\x7f\xff")
    client.say(PingReq())
    assert await client.next() == PingResp()
    assert pump.queued("pump-01") == [b"1"]
    client.acknowledge(message)
    client.acknowledge(message)
    await eventually(lambda: pump.queued("pump-01") == [])


async def test_an_expired_message_is_not_sent_and_a_late_puback_for_one_is_harmless(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1", expires=pump.clock.now() + timedelta(seconds=61))
    late = await client.expect(Publish)
    pump.turn(65)
    assert await client.is_silent(0.02)
    client.acknowledge(late)
    client.close()
    await eventually(lambda: not pump.app.live)
    again = await pump.connect(clean=False)
    assert await again.is_silent(0.05)


async def test_fifty_messages_of_64_kib_reach_a_device(pump: World) -> None:
    """A full queue, more than is sent at once."""
    body = bytes(60 * 1024)
    for number in range(50):
        await pump.send("pump-01", b"%02d" % number + body)
    client = await listening(pump)
    heard = []
    for _ in range(50):
        message = await client.expect(Publish)
        heard.append(int(message.body[:2]))
        client.acknowledge(message)
    assert heard == list(range(50))
    await eventually(lambda: pump.queued("pump-01") == [])


async def test_settlements_and_the_queue_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        await world.create("pump-01")
        client = await listening(world)
        await world.send("pump-01", b"1")
        await world.send("pump-01", b"2")
        client.acknowledge(await client.expect(Publish))
        await eventually(lambda: world.queued("pump-01") == [b"2"])
    async with running(tmp_path / "hub") as world:
        client = await world.connect(clean=False)
        assert (await client.expect(Publish)).body == b"2"


async def test_a_module_gets_its_own_messages(pump: World) -> None:
    await pump.create("pump-01/vision")
    client = await pump.connect("pump-01/vision")
    await client.subscribe("devices/pump-01/modules/vision/#")
    await pump.send("pump-01", b"for the device")
    await pump.send("pump-01/vision", b"for the module")
    message = await client.expect(Publish)
    assert message.body == b"for the module"
    assert message.topic.startswith(b"devices/pump-01/modules/vision/messages/devicebound/%24.to=")


async def test_a_device_that_never_acknowledges_is_let_go(pump: World) -> None:
    client = await pump.connect()
    await client.subscribe("$iothub/twin/PATCH/properties/desired/#")
    for number in range(201):
        await pump.set_desired("pump-01", {"speed": number})
    assert len(await client.rest()) == 200
    await eventually(lambda: not pump.app.live)


async def test_nothing_is_remembered_of_a_device_that_acknowledged(pump: World) -> None:
    client = await listening(pump)
    await pump.send("pump-01", b"1")
    client.acknowledge(await client.expect(Publish))
    await eventually(lambda: pump.queued("pump-01") == [])
    client.close()
    await eventually(lambda: not pump.app.live)
    again = await pump.connect(clean=False)
    assert await again.is_silent(0.05)
