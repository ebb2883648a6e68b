"""Kafka: each message a record of a topic, at brokers that the machine's operator vouches for (`broker_policy.py`).

    kafka://broker-1.example:9092,broker-2.example:9092      as it is
    kafka+tls://broker-1.example:9093                        TLS, with the certificates of the system and `ca_bundle`

    key       device id, so that the messages of a device are in one partition, in their order
    value     the body as it came; with the option `value=document` the whole message in JSON
    headers   application properties with enrichments, then system properties, which no device can write
    time      when the hub took the message

The topic is the option `topic`, `moorage` when there is none. The credential is `user:password`, shown by the option
`sasl`: `plain` over TLS, `scram-sha-256` or `scram-sha-512`. A record counts as taken when every replica in sync has it
(`acks=all`). The producer is idempotent, so what it sends again by itself is stored once; what is sent again after a
failure comes from another producer, and may come twice.

The client keeps its own list of brokers, from what the first one tells, and anew every few minutes. `_vouched` stands
in front of that list: one stranger in it, and nothing of the list is taken.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import ssl
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from moorage.adapters.broker_policy import BrokerList, parse_place
from moorage.adapters.endpoints.records import Record, record_of
from moorage.errors import Invalid, Refusal, Unavailable
from moorage.hub.router import Outgoing, Refused
from moorage.hub.routing_model import Endpoint

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

__all__ = ["MAX_RECORD_BYTES", "KafkaSink", "check_kafka"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_PORT: Final = 9092
_TOPIC: Final = "moorage"
_SCHEMES: Final = {"kafka": False, "kafka+tls": True}
_MECHANISMS: Final = {"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"}
_TOPIC_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_MAX_TOPIC: Final = 249
_MAX_BROKERS: Final = 20

# Whole deliveries; a request, a connection; an orderly end.
_DELIVERY_S: Final = 15.0
_REQUEST_MS: Final = 10_000
_CLOSE_S: Final = 3.0
_BACKOFF_MS: Final = 500
# Of a partition one batch is gathered while another is on its way. Brokers take batches of 1 MB unless told otherwise.
_BATCH_BYTES: Final = 256 * 1024
# A message has at most 256 KiB, in base64 and with properties some 400; what a topic takes is the broker's to say.
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
# Answers to so many, which come at once, take the loop a millisecond; encoding `_RECORDS_IN_A_ROW` takes it less.
_RECORDS_AT_ONCE: Final = 250
_RECORDS_IN_A_ROW: Final = 20
# Names that are the hub's own: what a device calls so is no header.
_OWN_HEADERS: Final = ("iothub-", "dt-")


class _Place(NamedTuple):
    """Where an endpoint is, as it says."""

    brokers: tuple[tuple[str, int], ...]
    with_tls: bool
    topic: str
    mechanism: str | None
    user: str
    password: str


class _Sent(NamedTuple):
    key: bytes | None
    value: bytes
    timestamp_ms: int
    headers: list[tuple[str, bytes]]


def check_kafka(endpoint: Endpoint, brokers: BrokerList) -> None:
    """Raises `Invalid` (`endpoint.address`, `endpoint.option`, `endpoint.credential`, `endpoint.broker`)."""
    _place(endpoint, brokers)


class KafkaSink:
    """Port: `hub.router.Sink`; keeps one producer. Raises as `check_kafka` besides."""

    linger_s = 0.0

    def __init__(self, endpoint: Endpoint, brokers: BrokerList, ca_bundle: Path | None = None) -> None:
        self._endpoint = endpoint
        self._brokers = brokers
        self._ca_bundle = ca_bundle
        self._producer: AIOKafkaProducer | None = None
        # Done when a broker named one that nobody vouches for.
        self._stranger: asyncio.Future[Invalid] | None = None

    async def deliver(self, messages: Sequence[Outgoing]) -> None:
        place = _place(self._endpoint, self._brokers)
        sent = await asyncio.to_thread(_all_sent, messages, self._endpoint.options.get("value") == "document")
        try:
            async with asyncio.timeout(_DELIVERY_S):
                if self._producer is None:
                    await self._start(place)
                assert self._producer is not None
                for begin in range(0, len(sent), _RECORDS_AT_ONCE):
                    wave = sent[begin : begin + _RECORDS_AT_ONCE]
                    await self._unless_estranged(_send(self._producer, place.topic, wave))
        except Exception as error:
            await self.close()
            if isinstance(error, Invalid):
                raise
            raise self._refusal(error) from error

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        await _end(producer)

    async def _start(self, place: _Place) -> None:
        import aiokafka

        # It tells of each of its tries, several a second; the router tells once what came of them.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        context = await asyncio.to_thread(_tls_context, self._ca_bundle) if place.with_tls else None
        sasl = {}
        if place.mechanism is not None:
            sasl = {
                "sasl_mechanism": place.mechanism,
                "sasl_plain_username": place.user,
                "sasl_plain_password": place.password,
            }
        self._producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=[f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in place.brokers],
            client_id="moorage",
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=_REQUEST_MS,
            retry_backoff_ms=_BACKOFF_MS,
            security_protocol=("SASL_" if sasl else "") + ("SSL" if place.with_tls else "PLAINTEXT"),
            ssl_context=context,
            **sasl,
        )
        self._stranger = asyncio.get_running_loop().create_future()
        cluster = self._producer.client.cluster
        # The one way in for what brokers say of brokers; the client has no hook for it.
        cluster.update_metadata = _vouched(cluster.update_metadata, self._brokers, self._stranger)
        await self._unless_estranged(self._producer.start())

    async def _unless_estranged(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result. Raises `Invalid` (`endpoint.broker`) as soon as a broker names a stranger."""
        assert self._stranger is not None
        task = asyncio.create_task(work)
        try:
            racing: set[asyncio.Future[Any]] = {task, self._stranger}
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            if self._stranger.done():
                raise self._stranger.result()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _refusal(self, error: Exception) -> Refusal:
        from aiokafka import errors

        name = self._endpoint.name
        match error:
            # Of a batch that is too large the router tries each message alone.
            case errors.MessageSizeTooLargeError() | errors.RecordListTooLargeError() | errors.PolicyViolationError():
                return Refused("endpoint.refused", f"endpoint '{name}' answered {type(error).__name__}")
        silent = isinstance(error, TimeoutError) and not str(error)
        why = f"no answer within {_DELIVERY_S:g} s" if silent else str(error) or repr(error)
        return Unavailable("endpoint.failed", f"endpoint '{name}' took nothing: {why[:200]}")


async def _end(producer: AIOKafkaProducer) -> None:
    """Give up what was not delivered: `stop` by itself would first deliver it, for as long as that takes."""
    from aiokafka.errors import ProducerClosed

    async def forget() -> None:
        waiting = producer._message_accumulator
        waiting._batches.clear()
        # On their way to a broker that does not answer.
        for batch in list(waiting._pending_batches):
            batch.failure(ProducerClosed())

    for step in (producer._sender.close, forget, producer.stop, producer.client.close):
        try:
            async with asyncio.timeout(_CLOSE_S):
                await step()
        except Exception as error:
            # Of a connection that nobody answers on; the next step closes what is left.
            log.warning("kafka_close_failed step=%s error=%r", step.__name__, error)


async def _send(producer: AIOKafkaProducer, topic: str, sent: Sequence[_Sent]) -> None:
    """Until brokers have answered for each. Raises what most speaks against sending it again."""
    from aiokafka.errors import KafkaError

    waiting = []
    failures: list[BaseException] = []
    for place, each in enumerate(sent):
        if place % _RECORDS_IN_A_ROW == 0:
            await asyncio.sleep(0)
        try:
            answer = await producer.send(
                topic, each.value, key=each.key, timestamp_ms=each.timestamp_ms, headers=each.headers
            )
            # Somebody has to look at it, also where this ends before it asks.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            waiting.append(answer)
        except (KafkaError, OSError) as error:
            failures.append(error)
            break
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    failures += [answer for answer in answers if isinstance(answer, BaseException)]
    if failures:
        raise min(failures, key=lambda each: getattr(each, "retriable", False))


def _vouched(
    update: Callable[[Any], None], brokers: BrokerList, stranger: asyncio.Future[Invalid]
) -> Callable[[Any], None]:
    """`update`, for metadata in which every broker is on the list."""

    def checked(metadata: Any) -> None:
        try:
            # Of each: its number, host, port, and a rack in later versions.
            for _, host, port, *_ in metadata.brokers:
                _check_broker(brokers, host, port, "is named by a broker, and")
        except Invalid as refusal:
            if not stranger.done():
                stranger.set_result(refusal)
            return
        update(metadata)

    return checked


def _check_broker(brokers: BrokerList, host: str, port: int, told: str) -> None:
    if not brokers.names(host, port):
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise Invalid(
            "endpoint.broker",
            f"the Kafka broker {place[:120]} {told} is not among those that the setting kafka_brokers vouches for",
            fix=f"moorage up --kafka-brokers {shlex.quote(place[:120])}",
        )


def _place(endpoint: Endpoint, brokers: BrokerList) -> _Place:
    scheme, sign, rest = endpoint.address.reveal().partition("://")
    found = [parse_place(each.strip()) for each in rest.rstrip("/").split(",")]
    if scheme not in _SCHEMES or not sign or None in found or len(found) > _MAX_BROKERS:
        raise Invalid(
            "endpoint.address", "Kafka is at kafka://host:9092,host:9092 or, with TLS, at kafka+tls://host:9093"
        )
    places = tuple((each[0], each[1] or _PORT) for each in found if each is not None)
    for host, port in places:
        _check_broker(brokers, host, port, "of this endpoint")
    topic = endpoint.options.get("topic", _TOPIC)
    if not 1 <= len(topic) <= _MAX_TOPIC or not _TOPIC_CHARS.issuperset(topic) or topic in (".", ".."):
        raise Invalid(
            "endpoint.option",
            f"{topic[:80]!r} is no topic: 1 to {_MAX_TOPIC} ASCII letters, digits, dots, hyphens and underscores",
        )
    return _Place(places, _SCHEMES[scheme], topic, *_credential(endpoint, with_tls=_SCHEMES[scheme]))


def _credential(endpoint: Endpoint, *, with_tls: bool) -> tuple[str | None, str, str]:
    """Mechanism, user and password; None and nothing where nothing is shown."""
    chosen = endpoint.options.get("sasl")
    text = endpoint.credential.reveal()
    if not text and chosen is None:
        return None, "", ""
    user, colon, password = text.partition(":")
    if not colon or not user or not password:
        raise Invalid("endpoint.credential", "what is shown to Kafka is user:password")
    chosen = chosen or "plain"
    if chosen == "plain" and not with_tls:
        raise Invalid(
            "endpoint.option",
            "sasl=plain shows the password as it is, so it goes over TLS alone: kafka+tls://, or sasl=scram-sha-512",
        )
    return _MECHANISMS[chosen], user, password


def _all_sent(messages: Sequence[Outgoing], as_document: bool) -> list[_Sent]:
    return [_sent(message, record_of(message), as_document) for message in messages]


def _sent(message: Outgoing, record: Record, as_document: bool) -> _Sent:
    own = {name.lower() for name in record.system_properties}
    headers = [
        (name, _bytes(value))
        for name, value in record.properties.items()
        if not name.lower().startswith(_OWN_HEADERS) and name.lower() not in own
    ]
    headers += [(name, _bytes(value)) for name, value in record.system_properties.items()]
    taken = datetime.fromisoformat(record.enqueued_time)
    return _Sent(
        _bytes(message.device_id) if message.device_id else None,
        message.document if as_document else record.body,
        int(taken.timestamp() * 1000),
        headers,
    )


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    return context
