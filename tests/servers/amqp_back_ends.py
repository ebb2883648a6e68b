"""Back ends over AMQP: connections with the token of a policy, and what they ask for credit with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB
from moorage.protocols.amqp.performatives import Error, Flow
from tests.servers.amqp_clients import AMQPClient, Link, dial_amqp
from tests.servers.world import World

__all__ = ["Connect", "back_ends", "condition", "drained", "give"]

# A policy's name, or None for a back end that shows no token; and how long its token lives.
Connect = Callable[..., Awaitable[AMQPClient]]


@asynccontextmanager
async def back_ends(world: World) -> AsyncIterator[Connect]:
    """Makes connections, and drops them all in the end."""
    made: list[AMQPClient] = []

    async def connect(policy: str | None = "service", lives: timedelta = timedelta(hours=1)) -> AMQPClient:
        client = await dial_amqp(world)
        made.append(client)
        assert await client.say_hello() == 0
        if policy is not None:
            key = world.policies.get(DEFAULT_HUB, "hub", policy).primary
            token = make_token("localhost", key, world.clock.now() + lives, policy)
            assert await client.put_token(token.reveal()) == 200
        return client

    try:
        yield connect
    finally:
        for client in made:
            client.close()


def condition(link: Link) -> str:
    """Why the link was refused."""
    assert isinstance(link.error, Error)
    return link.error.condition


def give(client: AMQPClient, link: Link, seen: int, credit: int, *, drain: bool = False) -> None:
    """Credit on a link on which so many deliveries were seen."""
    client.say(Flow(0, 100_000, 0, 2048, link.handle, seen, credit, drain=drain))


async def drained(client: AMQPClient, link: Link) -> tuple[int, int]:
    """Delivery count and credit as the hub says them at the end of a drain."""
    flow = (await client.find(lambda heard: isinstance(heard.body, Flow) and heard.body.handle == link.handle)).body
    return flow.delivery_count, flow.link_credit
