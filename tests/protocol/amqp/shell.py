"""A small server on a real socket for clients that nobody here wrote: tokens, a queue, and an event hub to read."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from moorage.protocols.amqp.connection import Connection
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.message import BATCHED, Message, Properties, split_batch
from moorage.protocols.amqp.performatives import Accepted, DeliveryState, Error, Open, Rejected, Released
from moorage.protocols.amqp.sasl import HUB_MECHANISMS, Challenge, Outcome, SaslCode, Step, parse_plain
from moorage.protocols.amqp.types import Array, Int, Long, Timestamp

__all__ = ["Desk", "Shell", "serve"]

EVENTS = 1000


class Gate:
    """Lets everybody in; PLAIN only with the password `secret`; TPM after two challenges."""

    mechanisms: Sequence[str] = (*HUB_MECHANISMS, "TPM")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.responses: list[bytes] = []

    def start(self, mechanism: str, initial_response: bytes | None, hostname: str | None) -> Step:
        self.seen.append(mechanism)
        if mechanism == "TPM":
            return Challenge(b"first")
        if mechanism == "PLAIN" and parse_plain(initial_response)[2] != "secret":
            return Outcome(SaslCode.AUTH)
        return Outcome(SaslCode.OK)

    def respond(self, response: bytes) -> Step:
        self.responses.append(response)
        return Challenge(b"second") if len(self.responses) == 1 else Outcome(SaslCode.OK)


class Desk:
    """The handler of one connection. `shell` is what all share."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.connection: Connection | None = None
        self.tags = itertools.count(1)
        # Answers that wait for credit, by link.
        self.answers: dict[Link, deque[bytes]] = {}

    @property
    def wire(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def opened(self, opened: Open) -> None:
        self.shell.opened.append(opened)

    def attached(self, link: Link) -> None:
        terminus = link.target if link.is_receiver else link.source
        address = (terminus.address if terminus is not None else None) or ""
        link.context = node = "/" + address.split("://", 1)[-1].split("/", 1)[-1]
        self.shell.attached.append(node)
        if node == "/nowhere":
            self.wire.refuse(link, Error(Condition.NOT_FOUND, f"{address} is not here"))
            return
        self.answers[link] = deque()
        if "/Partitions/" in node:
            self.answers[link].extend(_events(EVENTS if node.endswith("/0") else 3))
        self.wire.accept(link, credit=50)
        if node == "/queue" and not link.is_receiver:
            self.shell.readers.append((self, link))
            self._serve_queue(link)

    def delivered(self, link: Link, delivery: Delivery) -> None:
        node = link.context
        if node in ("/$cbs", "/$management"):
            request = delivery.message
            self.wire.settle(delivery, Accepted())
            self._answer(link, request)
            return
        for encoded in split_batch(delivery.payload) if delivery.format == BATCHED else [delivery.payload]:
            message = Message.decode(encoded)
            self.shell.received.append(message)
            if message.body == b"reject me":
                self.wire.settle(delivery, Rejected(Error("com.microsoft:argument-error", "no such thing")))
            elif node == "/queue":
                self.shell.queue.append(encoded)
        self.wire.settle(delivery, Accepted())
        for desk, reader in list(self.shell.readers):
            desk._serve_queue(reader)

    def _answer(self, link: Link, request: Message) -> None:
        asked = request.properties or Properties()
        self.shell.requests.append(dict(request.application_properties))
        value: object = None
        if link.context == "/$management":
            kind = request.application_properties["type"]
            now = Timestamp(1_700_000_000_000)
            value = {
                "name": "hub",
                "type": kind,
                "created_at": now,
                "partition_count": Int(2),
                "partition_ids": Array(str, ("0", "1")),
            }
            if kind == "com.microsoft:partition":
                value |= {
                    "partition": request.application_properties["partition"],
                    "begin_sequence_number": Long(0),
                    "last_enqueued_sequence_number": Long(EVENTS - 1),
                    "last_enqueued_offset": str(EVENTS - 1),
                    "last_enqueued_time_utc": now,
                    "is_partition_empty": False,
                }
        answer = Message(
            properties=Properties(correlation_id=asked.message_id),
            application_properties={"status-code": Int(200), "status-description": "OK"},
            value=value,
        )
        for other in link.session.links.values():
            if not other.is_receiver and other.context == link.context:
                self.answers[other].append(answer.encode())
                self.credited(other)
                return

    def _serve_queue(self, link: Link) -> None:
        while self.shell.queue and link.sendable:
            encoded = self.shell.queue.popleft()
            self.wire.send(link, encoded, tag=uuid.uuid4().bytes, context=encoded)
        self.shell.flush(self)

    def credited(self, link: Link) -> None:
        if link.context == "/queue":
            self._serve_queue(link)
            return
        waiting = self.answers[link]
        while waiting and link.sendable:
            self.wire.send(link, waiting.popleft(), tag=next(self.tags).to_bytes(4, "big"))

    def drain_requested(self, link: Link) -> None:
        self.credited(link)
        self.wire.drained(link)

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None:
        self.shell.outcomes.append(state)
        self.wire.settle(sent, state)
        if isinstance(state, Released) and sent.context is not None:
            self.shell.queue.append(sent.context)
            self._serve_queue(link)

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None:
        self.answers.pop(link, None)
        self.shell.readers = [(desk, reader) for desk, reader in self.shell.readers if reader is not link]

    def closed(self, error: Error | None) -> None:
        self.shell.closed += 1


def _events(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield Message(
            message_annotations={
                "x-opt-sequence-number": Long(number),
                "x-opt-offset": str(number),
                "x-opt-enqueued-time": Timestamp(1_700_000_000_000 + number),
                "iothub-connection-device-id": "pump",
            },
            properties=Properties(content_type="application/json", message_id=f"m{number}"),
            application_properties={"number": str(number)},
            # One of them takes several frames.
            data=b"x" * 150_000 if number == 7 else b'{"n":%d}' % number,
        ).encode()


class Shell:
    """What all connections share."""

    def __init__(self, *, needs_sasl: bool) -> None:
        self.needs_sasl = needs_sasl
        self.gate = Gate()
        self.opened: list[Open] = []
        self.attached: list[str] = []
        self.requests: list[dict[str, object]] = []
        self.received: list[Message] = []
        self.queue: deque[bytes] = deque()
        self.readers: list[tuple[Desk, Link]] = []
        self.outcomes: list[DeliveryState | None] = []
        self.errors: list[PeerError] = []
        self.closed = 0
        self.writers: dict[Desk, asyncio.StreamWriter] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def flush(self, desk: Desk) -> None:
        self.writers[desk].write(desk.wire.take())

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        desk = Desk(self)
        wire = desk.connection = Connection(
            desk, container_id="hub", now=time.monotonic(), authenticator=self.gate, needs_sasl=self.needs_sasl
        )
        self.writers[desk] = writer
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while not wire.is_finished:
                wake_at = wire.wake_at
                timeout = None if wake_at is None else max(0.0, wake_at - time.monotonic())
                try:
                    data = await asyncio.wait_for(reader.read(65_536), timeout)
                except TimeoutError:
                    wire.on_time(time.monotonic())
                else:
                    if not data:
                        break
                    wire.receive(data, time.monotonic())
                self.flush(desk)
                await writer.drain()
        except PeerError as wrong:
            self.errors.append(wrong)
            self.flush(desk)
        except ConnectionError:
            pass  # the client is gone: as good as the end of its stream
        finally:
            wire.lose()
            writer.close()


@contextmanager
def serve(*, needs_sasl: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[tuple[Shell, int]]:
    """The shell and its port on loopback, in a thread of its own: some clients block theirs."""
    shell = Shell(needs_sasl=needs_sasl)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(shell.speak, "127.0.0.1", 0, ssl=tls))
    port: int = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield shell, port
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server, shell), loop).result(timeout=30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()


async def _stop(server: asyncio.Server, shell: Shell) -> None:
    server.close()
    for writer in shell.writers.values():
        writer.transport.abort()
    await asyncio.gather(*shell.tasks)
