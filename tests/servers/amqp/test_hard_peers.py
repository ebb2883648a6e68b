"""Peers that do not play by the rules, or not along: each comes to an end, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator

import pytest

from moorage.protocols.amqp.framing import AMQP_HEADER, SASL_HEADER
from moorage.protocols.amqp.message import BATCHED, Message, Properties
from moorage.protocols.amqp.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    Rejected,
    SaslInit,
    Transfer,
    encode,
)
from moorage.protocols.amqp.transfers import frame, sasl_frame
from moorage.protocols.amqp.types import ULong
from moorage.servers.amqp import allowance, nodes
from moorage.servers.amqp.stream import AMQPStream
from tests.servers.amqp.speaking import (
    by_key,
    dialled,
    is_gone,
    next_sent,
    open_plainly,
    outcome_of,
    send_raw,
    token_of,
)
from tests.servers.amqp_clients import AMQPClient, Link
from tests.servers.clients import PATIENCE_S
from tests.servers.world import World, eventually

EVENTS = "/devices/pump-01/messages/events"
HELLO = AMQP_HEADER + frame(0, encode(Open("tests", "localhost"))) + frame(0, encode(Begin(None, 0, 2048, 2048)))


@pytest.fixture
async def pump(world: World) -> World:
    await world.create("pump-01")
    await world.create("bystander")
    return world


@pytest.fixture
async def beside(pump: World) -> AsyncIterator[World]:
    """A hub with another device on AMQP and one on MQTT's place beside, which work before the test and after it."""
    async with dialled(pump) as other:
        await by_key(other, pump, "bystander")
        link = await other.attach("/devices/bystander/messages/events")
        assert await other.send(link, Message(data=b"before")) is None
        yield pump
        assert await other.send(link, Message(data=b"after")) is None
        assert [each.body for each in await pump.telemetry("bystander")] == [b"before", b"after"]


def _streams(world: World) -> list[AMQPStream]:
    """The hub's ends of what is open over AMQP."""
    streams = [each for door in world.app.listeners.doors for each in door.streams]
    return [each._handler for each in streams if isinstance(each._handler, AMQPStream)]


def _peer_of(world: World, name: str) -> AMQPStream:
    return next(each for each in _streams(world) if any(str(of) == name for of in each.sessions))


# --- no credit, no outcomes, no reading -------------------------------------------------------------------------------


async def test_a_device_without_credit_keeps_a_bounded_number_of_answers_waiting(beside: World) -> None:
    await beside.set_desired("pump-01", {"text": "x" * 4000, "more": "y" * 4000})
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        asks = await client.attach("/devices/pump-01/twin", settled=True)
        hears = await client.attach("/devices/pump-01/twin", is_sender=False, settled=True)  # and no credit
        peer = _peer_of(beside, "pump-01")
        most = 0
        request = Message(
            message_annotations={"operation": "GET"}, properties=Properties(correlation_id="1"), data=b" "
        )
        for _ in range(2 * nodes.MAX_WAITING):
            client.transfer(asks, request, settled=True)
            await asyncio.sleep(0)
            most = max(most, peer.waiting_bytes)
        error = await client.detached(hears)
        assert error is not None and error.condition == "amqp:link:detach-forced", error
        assert 0 < most <= nodes.MAX_WAITING_BYTES + 10_000
        await client.rest()
        await eventually(lambda: peer.waiting_bytes == 0)


async def test_a_device_that_never_settles_has_what_it_gave_credit_for_and_no_more(beside: World) -> None:
    for each in range(10):
        await beside.send("pump-01", b"%d" % each)
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        link = await client.attach("/devices/pump-01/messages/devicebound", is_sender=False, credit=100)
        for _ in range(10):
            await next_sent(client, link)
        for _ in range(3):
            beside.turn(62)
            for _ in range(10):
                await next_sent(client, link)
            # It has to be heard of, or it is silent.
            assert await client.put_token(token_of(beside, "pump-01")) == 200
        assert len(beside.queued("pump-01")) == 10
        session = next(iter(_peer_of(beside, "pump-01")._connection.sessions.values()))
        assert len(session.sent) <= session.max_unsettled


async def test_a_device_that_does_not_read_is_read_no_further_and_given_up(beside: World) -> None:
    await beside.set_desired("pump-01", {"text": ["x" * 4000] * 7})
    client_dial = dialled(beside)
    async with client_dial as client:
        await by_key(client, beside, "pump-01")
        asks = await client.attach("/devices/pump-01/twin", settled=True)
        hears = await client.attach(
            "/devices/pump-01/twin", is_sender=False, settled=True, credit=1_000_000, name="hears"
        )
        assert hears.error is None
        peer = _peer_of(beside, "pump-01")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of the loop
        request = Message(
            message_annotations={"operation": "GET"}, properties=Properties(correlation_id="1"), data=b" "
        )
        sent = 0
        while peer._is_writable and sent < 20_000:
            for _ in range(50):
                client.transfer(asks, request, settled=True)
            sent += 50
            await asyncio.sleep(0.005)
        assert not peer._is_writable, "the hub went on writing"
        assert peer._connection.pending_bytes < 1_000_000
        assert peer.stream.is_held
        beside.turn(70)
        await is_gone(beside, "pump-01")


async def test_a_client_that_shuts_its_half_down_is_answered_and_gone(beside: World) -> None:
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        link = await client.attach(EVENTS)
        number = send_raw(client, link, Message(data=b"last words").encode())
        await outcome_of(client, number)
        client.raw(b"\x00\x00\x01\x00\x02")  # the beginning of a frame
        client.close()
    await is_gone(beside, "pump-01")
    assert [each.body for each in await beside.telemetry()] == [b"last words"]


# --- too much ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dense",
    [
        frame(0, b"") * 8,
        frame(0, encode(Flow(0, 2048, 0, 2048))),
        frame(0, encode(Flow(0, 2048, 0, 2048, 0, 0, 1, echo=True))),
        frame(0, encode(Disposition(True, 0, 0xFFFFFF, True))),
        frame(7, encode(Begin(None, 0, 1, 1))) + frame(7, encode(End())),
        frame(0, encode(Attach("x", 9, False, target=None))) + frame(0, encode(Detach(9, True))),
    ],
    ids=["empty", "flow", "echo", "disposition", "begin and end", "attach and detach"],
)
async def test_dense_frames_leave_room_for_others(beside: World, dense: bytes) -> None:
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        await client.attach(EVENTS)
        loop = asyncio.get_running_loop()
        client.raw(dense * (256 * 1024 // len(dense)))
        longest, last, until = 0.0, loop.time(), loop.time() + 0.4
        while loop.time() < until:
            await asyncio.sleep(0)
            now = loop.time()
            longest, last = max(longest, now - last), now
        # Turns of two milliseconds; whatever else this machine does has a wide margin.
        assert longest < 0.2, longest
        assert all(len(each._behind) <= 1_100_000 for each in _streams(beside))


async def test_a_message_over_the_limit_of_its_link_detaches_it_and_the_device_goes_on(beside: World) -> None:
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        link = await client.attach(EVENTS)
        number = client._deliveries
        client._deliveries += 1
        piece = b"x" * 60_000
        for at in range(19):
            client.say(
                Transfer(link.handle, number if at == 0 else None, b"t" if at == 0 else None, 0, more=True),
                payload=piece,
            )
        error = await client.detached(link)
        assert error is not None and error.condition == "amqp:link:message-size-exceeded"
        again = await client.attach(EVENTS)
        assert await client.send(again, Message(data=b"small")) is None


async def test_a_batch_of_too_many_bytes_is_rejected_whole(beside: World) -> None:
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        link = await client.attach(EVENTS)
        one = Message(data=b"x" * 30_000).encode()
        payload = Message(data=(one,) * 9).encode()
        number = client._deliveries
        client._deliveries += 1
        for at in range(0, len(payload), 60_000):
            first = at == 0
            client.say(
                Transfer(
                    link.handle,
                    number if first else None,
                    b"t" if first else None,
                    BATCHED if first else None,
                    more=at + 60_000 < len(payload),
                ),
                payload=payload[at : at + 60_000],
            )
        state = await outcome_of(client, number)
        assert isinstance(state, Rejected) and state.error is not None
        assert state.error.condition == "amqp:link:message-size-exceeded"
        assert await beside.telemetry() == []


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04pump",
        b"AMQP\x00\x00\x09\x01",
        AMQP_HEADER + b"\xff" * 64,
        AMQP_HEADER + frame(0, b"\x00\x53\x10\xc0\x05\x01" + b"\xa1\xff"),
        AMQP_HEADER + frame(0, encode(Begin(None, 0, 1, 1))),
        SASL_HEADER + AMQP_HEADER,
        SASL_HEADER + sasl_frame(encode(SaslInit("KERBEROS", b"", None))),
        SASL_HEADER + sasl_frame(encode(SaslInit("PLAIN", None, None))),
        HELLO + frame(0, encode(Transfer(5, 0, b"t", 0))),
        HELLO + frame(9, encode(Attach("x", 0, False))),
        HELLO + frame(0, b"\x45" * 4000),
        HELLO + b"\x00\x10\x00\x00\x02\x00\x00\x00",
    ],
)
async def test_what_is_no_amqp_ends_its_connection_with_a_reason(beside: World, rubbish: bytes) -> None:
    async with dialled(beside) as client:
        client.raw(rubbish)
        heard = await asyncio.wait_for(client.reader.read(), PATIENCE_S)
        assert heard[:4] in (b"AMQP", b""), heard
        if rubbish.startswith(HELLO):
            assert encode(Close())[:3] in heard
    reason = await beside.reason()
    assert reason is not None and reason.startswith("amqp."), reason


async def test_noise_of_every_kind_is_no_fault_of_ours(beside: World, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(7)
    for _ in range(40):
        async with dialled(beside) as client:
            client.raw(HELLO)
            for _ in range(8):
                body = chance.randbytes(chance.randrange(1, 60))
                client.raw(frame(0, chance.choice((b"", b"\x00\x53" + bytes((chance.randrange(0x10, 0x19),)))) + body))
            client.raw(os.urandom(40))
            await asyncio.wait_for(_to_the_end(client), 20)
    assert not [each for each in caplog.records if "connection_failed" in each.getMessage()]


async def _to_the_end(client: AMQPClient) -> None:
    try:
        while await client.reader.read(65536):
            pass
    except ConnectionError:
        return


# --- strangers --------------------------------------------------------------------------------------------------------


async def test_a_stranger_may_try_so_often_and_is_closed(beside: World) -> None:
    async with dialled(beside) as client:
        await open_plainly(client)
        refused = 0
        with pytest.raises(EOFError):
            while refused < 100:
                link = await client.attach(f"/devices/nobody-{refused}/messages/events")
                assert link.error is not None
                refused += 1
        assert 20 < refused <= 32
        assert client.closed_with is not None and client.closed_with.condition == "amqp:unauthorized-access"


async def test_strangers_share_what_they_may_keep_in_memory(beside: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "SHARED_BYTES", 400_000)
    lent = _streams(beside)[0]._parts.allowance
    async with dialled(beside) as first, dialled(beside) as second:
        for client in (first, second):
            client.raw(HELLO, *(frame(at, encode(Begin(None, 0, 1, 1))) for at in range(1, 301)))
        ended = [await asyncio.wait_for(_closes(each), 20) for each in (first, second)]
        # The one has its three hundred sessions, the other would have been too much.
        assert sorted(each is None for each in ended) == [False, True]
        error = next(each for each in ended if each is not None)
        assert error == "amqp:resource-limit-exceeded"
        assert 0 < lent.lent <= 400_000 + 64 * 1024
    await eventually(lambda: lent.lent == 0)
    assert "amqp.memory" in [each.reason for each in await beside.attempts()]


async def _closes(client: AMQPClient) -> str | None:
    """The condition of the hub's close; None for a connection that still answers."""
    try:
        while client.closed_with is None:
            heard = await client.next(5)
            if isinstance(heard.body, Begin) and heard.channel == 300:
                return None
    except EOFError:
        pass
    return None if client.closed_with is None else client.closed_with.condition


async def test_tokens_and_halves_of_messages_of_a_stranger_count_as_memory(beside: World) -> None:
    async with dialled(beside) as client:
        await open_plainly(client)
        peer = next(each for each in _streams(beside) if not each._is_known)
        before = peer.credentials.held_bytes
        for at in range(20):
            assert await client.put_token(token_of(beside, f"device-{at}-{'x' * 100}")) == 200
        assert peer.credentials.held_bytes - before > 20 * 300
        again = peer.credentials.held_bytes
        assert await client.put_token(token_of(beside, f"device-0-{'x' * 100}")) == 200
        assert peer.credentials.held_bytes == again


async def test_a_token_for_every_path_in_the_world_is_refused_at_some_point(beside: World) -> None:
    async with dialled(beside) as client:
        await open_plainly(client)
        replies = await client.attach("$cbs", is_sender=False, credit=5000)
        requests = await client.attach("$cbs")
        statuses: list[object] = []
        for at in range(1050):
            client.transfer(
                requests,
                Message(
                    properties=Properties(message_id=ULong(at)),
                    application_properties={"operation": "put-token", "type": "servicebus.windows.net:sastoken"},
                    value=token_of(beside, f"device-{at}"),
                ),
                settled=True,
            )
            if at % 50 == 49:
                statuses += [(await client.received(replies)).application_properties["status-code"] for _ in range(50)]
        assert statuses[:1024] == [200] * 1024
        assert set(statuses[1024:]) == {401}


async def test_a_connection_on_which_nothing_is_attached_ends(beside: World) -> None:
    async with dialled(beside) as client:
        await open_plainly(client)
        assert await client.put_token(token_of(beside, "pump-01")) == 200
        beside.turn(61)
        await client.rest()
        assert client.closed_with is not None and client.closed_with.condition == "amqp:connection:forced"
    assert await beside.reason() == "amqp.no_link"


async def test_an_address_that_is_not_there_is_refused_and_said(beside: World) -> None:
    async with dialled(beside) as client:
        await by_key(client, beside, "pump-01")
        links: list[Link] = []
        for address in ("/devices/pump-01/nothing", "", None, "/nowhere", "/devices", f"/{'x' * 5000}"):
            links.append(await client.attach(address))
        conditions = {each.error.condition for each in links if each.error is not None}
        assert len(links) == 6 and all(each.error is not None for each in links)
        assert conditions <= {"amqp:not-found", "com.microsoft:argument-error"}, conditions
        assert (await client.attach(EVENTS, name=str(uuid.uuid4()))).error is None
