"""A flood of bad certificates, as a process of its own: `python -m tests.servers.flooder PORT ADDRESSES SECONDS PEM`.

So many peers at one time that the hub is never without one, each from the next of ADDRESSES in 127.0/16: a handshake
with the key and certificate in PEM, a CONNECT, and again. Two others beside each begin a handshake and leave it there,
which costs the hub more than it costs them: this flood has to be more than the hub can judge. Prints how many were
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import sys
import time

import uvloop

from moorage.protocols.mqtt import codec
from moorage.protocols.mqtt.packets import Connect

__all__ = ["PEERS", "address"]

PEERS = 150


def address(number: int) -> str:
    """In eight networks of one /16."""
    return f"127.0.{1 + number % 8}.{1 + number // 8}"


async def flood(port: int, addresses: int, seconds: float, pem: str) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pem)
    hello = codec.encode(Connect("pump-01", user_name="localhost/pump-01/"))
    first = _client_hello(context)
    numbers = itertools.count()
    until = time.monotonic() + seconds
    answered = 0

    async def peer() -> None:
        nonlocal answered
        while time.monotonic() < until:
            source = (address(next(numbers) % addresses), 0)
            # Whatever the hub does with one, the next comes.
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(contextlib.suppress(OSError, ssl.SSLError))
                for _ in range(2):
                    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
                    stack.callback(writer.transport.abort)
                    writer.write(first)
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=source)
                stack.callback(writer.transport.abort)
                writer.write(hello)
                answered += bool(await reader.read(4))

    peers = [asyncio.ensure_future(peer()) for _ in range(PEERS)]
    await asyncio.sleep(seconds)
    for each in peers:
        each.cancel()
    await asyncio.gather(*peers, return_exceptions=True)
    return answered


def _client_hello(context: ssl.SSLContext) -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(flood(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))}\n")
