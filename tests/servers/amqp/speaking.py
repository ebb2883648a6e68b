"""Devices over AMQP as the SDKs have them speak (contract/devices.md 4): one class for what all do, and their habits.

Frames are compared with what the contract says of each client; the SDKs themselves run in tests/e2e.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from moorage.ids import DEFAULT_HUB, Secret
from moorage.protocols.amqp.framing import AMQP_HEADER
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    Accepted,
    Begin,
    DeliveryState,
    Disposition,
    Open,
    Transfer,
)
from tests import certs
from tests.servers.amqp_clients import CBS_TOKEN, AMQPClient, Frame, Link, dial_amqp
from tests.servers.clients import PATIENCE_S
from tests.servers.world import KEY, World, eventually, named

__all__ = [
    "by_key",
    "dialled",
    "is_connected",
    "is_gone",
    "next_sent",
    "open_plainly",
    "outcome_of",
    "put_like",
    "send_raw",
    "settle",
    "settles",
    "token_of",
]


@asynccontextmanager
async def dialled(
    world: World, issued: certs.Issued | None = None, *, in_websocket: bool = False
) -> AsyncIterator[AMQPClient]:
    """A connection for the length of a `with`; nothing is said yet."""
    client = await dial_amqp(world, issued, in_websocket=in_websocket)
    try:
        yield client
    finally:
        client.close()


async def open_plainly(
    client: AMQPClient,
    *,
    max_frame_size: int | None = None,
    idle_time_out: int | None = None,
    properties: Mapping[str, object] | None = None,
) -> Open:
    """Without a layer of SASL; what the hub says of itself."""
    opened = Open(str(uuid.uuid4()), "localhost", max_frame_size, None, idle_time_out, properties=properties)
    client.raw(AMQP_HEADER)
    client.say(opened)
    client.say(Begin(None, 0, 2048, 2048))
    theirs = await client.expect(Open)
    await client.expect(Begin)
    return theirs


def token_of(world: World, name: str, key: Secret = KEY, *, lives: timedelta = timedelta(hours=1)) -> str:
    return world.token(name, key, lives=lives).decode()


async def by_key(client: AMQPClient, world: World, name: str, **more: Any) -> None:
    """No SASL, and a token by CBS."""
    await open_plainly(client)
    assert await client.put_token(token_of(world, name, **more)) == 200, client.told


async def put_like(
    client: AMQPClient, requests: Link, replies: Link, token: str, message_id: object, name: str
) -> Message:
    """Put a token with a message id of any type; the whole answer, which comes after the request was accepted."""
    since = len(client.frames)
    number = client.transfer(
        requests,
        Message(
            properties=Properties(message_id=message_id, to="$cbs", reply_to="cbs"),
            application_properties={"operation": "put-token", "type": CBS_TOKEN, "name": name},
            value=token,
        ),
    )
    answer = await client.received(replies)
    kinds = [type(heard.body) for heard in client.frames[since:]]
    assert kinds.index(Disposition) < kinds.index(Transfer), "an answer before the outcome"
    assert isinstance(await outcome_of(client, number, requests.channel), Accepted)
    return answer


def settles(number: int, channel: int = 0, *, role: bool = True) -> Callable[[Frame], bool]:
    """Whether a frame is the outcome of our delivery, or with `role` False settles the hub's."""

    def is_it(heard: Frame) -> bool:
        body = heard.body
        if not isinstance(body, Disposition) or body.role is not role or heard.channel != channel:
            return False
        return body.first <= number <= (body.first if body.last is None else body.last)

    return is_it


async def outcome_of(client: AMQPClient, number: int, channel: int = 0) -> DeliveryState | None:
    body: Disposition = (await client.find(settles(number, channel))).body
    assert body.settled
    return body.state


def send_raw(client: AMQPClient, link: Link, payload: bytes, *, message_format: int = 0, settled: bool = False) -> int:
    """The number of the delivery."""
    number = client._deliveries
    client._deliveries += 1
    client.say(
        Transfer(link.handle, number, number.to_bytes(4, "big"), message_format, settled=settled),
        channel=link.channel,
        payload=payload,
    )
    return number


async def next_sent(client: AMQPClient, link: Link, within_s: float = PATIENCE_S) -> tuple[Transfer, Message]:
    """The next transfer of the hub's on a link."""
    heard = await client.find(
        lambda heard: (
            isinstance(heard.body, Transfer) and heard.channel == link.channel and heard.body.handle == link.handle
        ),
        within_s,
    )
    return heard.body, Message.decode(heard.payload)


def settle(client: AMQPClient, link: Link, number: int, state: DeliveryState, *, settled: bool = True) -> None:
    client.say(Disposition(RECEIVER, number, number, settled, state), channel=link.channel)


def is_connected(world: World, name: str) -> bool:
    return world.app.live.find(DEFAULT_HUB, named(name)) is not None


async def is_gone(world: World, name: str) -> None:
    """Until nobody is connected as `name`."""
    await eventually(lambda: not is_connected(world, name))
