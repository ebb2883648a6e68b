"""AMQP: connections, values, performatives, messages, and what is read out of messages and sources."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from moorage.dialects.amqp_address import parse_address, parse_user
from moorage.dialects.amqp_device import method_answer, telemetry_of, twin_answer, twin_request
from moorage.dialects.amqp_events import start_of
from moorage.dialects.amqp_service import draft_of, recipients
from moorage.errors import LocalProtocolError, Refusal
from moorage.hub.messages import check_draft
from moorage.protocols.amqp import performatives, types
from moorage.protocols.amqp.connection import Limits
from moorage.protocols.amqp.errors import PeerError
from moorage.protocols.amqp.framing import AMQP_HEADER, SASL_HEADER
from moorage.protocols.amqp.links import Delivery, Link
from moorage.protocols.amqp.message import BATCHED, Message, Properties, split_batch
from moorage.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Open,
    Performative,
    SaslInit,
    SaslResponse,
    Source,
    Transfer,
)
from moorage.protocols.amqp.performatives import Target as LinkTarget
from moorage.protocols.amqp.sasl import parse_plain
from moorage.protocols.amqp.transfers import frame
from moorage.protocols.amqp.types import (
    Described,
    Int,
    Long,
    Symbol,
    Timestamp,
    ULong,
    encode,
    encode_binary,
)
from tests.fuzz.targets.model import Target, cut
from tests.protocol.amqp.helpers import Peer, Recorder
from tests.protocol.amqp.shell import Gate

__all__ = ["TARGETS"]

_LIMITS: Final = Limits(
    max_frame_bytes=4096,
    max_sessions=3,
    max_links_per_session=3,
    max_links=5,
    max_message_bytes=300,
    max_partial_bytes=500,
    incoming_window=8,
    max_unsettled=6,
    max_pending_bytes=50_000,
)

# -- connections -------------------------------------------------------------------------------------------------------


class _Handler(Recorder):
    """Settles what comes, and sends when it may."""

    def delivered(self, link: Link, delivery: Delivery) -> None:
        super().delivered(link, delivery)
        if not delivery.settled:
            self._connection().settle(delivery, Accepted())

    def credited(self, link: Link) -> None:
        super().credited(link)
        try:
            self._connection().send(link, b"\x00\x53\x75\xa0\x02hi", tag=b"t")
        except LocalProtocolError:
            # The message is larger than the peer takes.
            assert link.attach.max_message_size

    def drain_requested(self, link: Link) -> None:
        super().drain_requested(link)
        self._connection().drained(link)


def _heard(pieces: Iterable[bytes], *, needs_sasl: bool) -> list[tuple[object, ...]]:
    handler = _Handler(credit=4)
    peer = Peer(handler, limits=_LIMITS, authenticator=Gate(), needs_sasl=needs_sasl)
    server = peer.server
    end = ""
    try:
        for piece in pieces:
            if not server.is_finished:
                server.receive(piece, peer.now)
    except PeerError as error:
        assert server.is_finished
        end = error.reason
    server.take()
    for session in server.sessions.values():
        assert len(session.sent) <= _LIMITS.max_unsettled
        assert all(
            link.credit >= 0 and len(link.payload) <= _LIMITS.max_partial_bytes for link in session.links.values()
        )
    try:
        server.on_time(peer.now + 1000)
    except PeerError as error:
        assert error.reason == "amqp.idle" and server.is_finished
    server.take()
    if not server.is_finished:
        server.lose()
    return [*handler.events, ("end", end)]


def _check_connection(data: bytes) -> None:
    needs_sasl = data.startswith(SASL_HEADER)
    whole = _heard([data], needs_sasl=needs_sasl)
    assert whole == _heard(cut(data), needs_sasl=needs_sasl), "it depends on how the bytes were cut"


def _frames(*said: Performative, payload: bytes = b"") -> bytes:
    return b"".join(
        frame(0, performatives.encode(each) + (payload if isinstance(each, Transfer) else b"")) for each in said
    )


def _sasl(*said: SaslInit | SaslResponse) -> bytes:
    parts = []
    for each in said:
        body = performatives.encode(each)
        parts.append((len(body) + 8).to_bytes(4, "big") + b"\x02\x01\x00\x00" + body)
    return b"".join(parts)


def _connection_seeds() -> Iterable[bytes]:
    begun = AMQP_HEADER + _frames(Open("client", "hub", 512, 3, 60_000), Begin(None, 0, 8, 8))
    up = _frames(Attach("up", 0, False, source=Source("a"), target=LinkTarget("b"), initial_delivery_count=0))
    down = _frames(Attach("down", 1, True, source=Source("b"), target=LinkTarget("a")))
    yield begun
    yield begun + up + _frames(Transfer(0, 0, b"t", 0, False), payload=b"\x00\x53\x75\xa0\x02hi")
    yield begun + up + _frames(Transfer(0, 0, b"t", 0, True, True), Transfer(0, None, None, None, None, False))
    yield begun + down + _frames(Flow(0, 9, 0, 9, 1, 0, 5), Disposition(True, 0, 1, True, Accepted()))
    yield begun + down + _frames(Flow(0, 9, 0, 9, 1, 0, 5, None, True, True), Detach(1, True, Error("a:b", "c")))
    yield begun + up + _frames(End(), Close(Error("x:y", "z")))
    yield SASL_HEADER + _sasl(SaslInit("PLAIN", b"\0user\0secret", "hub")) + begun
    yield SASL_HEADER + _sasl(SaslInit("TPM", b"", None), SaslResponse(b"1"), SaslResponse(b"2")) + begun + up


# -- values ------------------------------------------------------------------------------------------------------------


def _check_values(data: bytes) -> None:
    try:
        value, end = types.decode(data)
    except PeerError:
        return
    assert 0 < end <= len(data)
    if not isinstance(value, Described):
        assert types.skip(data, 0) == end
    again = encode(value)
    read, all_of_it = types.decode(again)
    assert all_of_it == len(again)
    # Values hold NaN, which is not itself; bytes are compared.
    assert encode(read) == again


_VALUES: Final[tuple[object, ...]] = (
    None,
    True,
    7,
    Int(-1),
    Long(2**40),
    ULong(2**63),
    1.5,
    Timestamp(1_700_000_000_000),
    uuid.UUID(int=7),
    b"binary",
    "text",
    Symbol("symbol"),
    [1, [2, []]],
    {"a": Int(1), Symbol("b"): {"c": None}},
    Described(Symbol("apache.org:selector-filter:string"), "amqp.annotation.x-opt-offset > '-1'"),
)


def _value_seeds() -> Iterable[bytes]:
    yield from map(encode, _VALUES)
    # Arrays: of symbols, of lists of nothing, of described values.
    yield b"\xe0\x06\x02\xa3\x01a\x01b"
    yield b"\xe0\x02\x03\x45"
    yield b"\xe0\x08\x02\x00\x53\x01\x50\x01\x02\x03"


# -- performatives -----------------------------------------------------------------------------------------------------


def _check_performatives(data: bytes) -> None:
    try:
        value, end = performatives.decode(data)
    except PeerError:
        return
    again = performatives.encode(value)
    read, all_of_it = performatives.decode(again)
    assert all_of_it == len(again) and end <= len(data)
    assert performatives.encode(read) == again


def _performative_seeds() -> Iterable[bytes]:
    filters: dict[str, object] = {
        Symbol("apache.org:selector-filter:string"): Described(Symbol("apache.org:selector-filter:string"), "x")
    }
    for each in (
        Open("c", "hub", 512, 3, 60_000),
        Begin(None, 0, 8, 8),
        Attach("a", 0, True, 1, 0, Source("s", filter=filters), LinkTarget("t"), properties={Symbol("p"): "q"}),
        Flow(0, 9, 0, 9, 1, 0, 5),
        Transfer(0, 0, b"t", 0, False),
        Disposition(True, 0, 1, True, Accepted()),
        Detach(1, True, Error("a:b", "c")),
        End(),
        Close(),
        SaslInit("PLAIN", b"\0u\0p", "hub"),
    ):
        yield performatives.encode(each)


# -- messages ----------------------------------------------------------------------------------------------------------

_NO: Final = (PeerError, Refusal)
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def _check_messages(data: bytes) -> None:
    try:
        split_batch(data)
    except PeerError:
        pass
    try:
        message = Message.decode(data)
        again = message.encode()
        assert Message.decode(again).encode() == again
    except PeerError:
        return
    link = Peer(Recorder(), limits=_LIMITS).open().attach_sender()
    for format in (0, BATCHED):
        try:
            for each in telemetry_of(Delivery(link, 0, b"t", format, True, data)):
                each.bag.decode("ascii")
        except _NO:
            pass
    for read in (method_answer, recipients):
        try:
            read(message)
        except _NO:
            pass
    try:
        check_draft(draft_of(message), now=_NOW)
    except _NO:
        pass
    try:
        # What identifies a request goes back as it came.
        answer = Message.decode(twin_answer(twin_request(message).correlation, 200, 1, b"{}"))
        assert answer.properties is not None
    except _NO:
        pass


def _message_seeds() -> Iterable[bytes]:
    call = uuid.UUID(int=5)
    yield Message(
        message_annotations={"iothub-interface-id": "i", "dt-subject": "s"},
        properties=Properties(
            message_id="m",
            user_id=b"u",
            to="/devices/pump-01/messages/devicebound",
            correlation_id=call,
            content_type="application/json",
            content_encoding="utf-8",
            absolute_expiry_time=Timestamp(1_900_000_000_000),
        ),
        application_properties={"a": "b", "n": Int(7), "f": True, "t": Timestamp(1), "iothub-ack": "full"},
        data=b"{}",
    ).encode()
    yield Message(
        properties=Properties(correlation_id=call), application_properties={"IoThub-status": Int(200)}
    ).encode()
    for operation, resource in (("GET", None), ("PATCH", "/properties/reported"), ("PUT", "/notifications/twin")):
        yield Message(
            message_annotations={"operation": operation, "resource": resource, "version": Long(3)},
            properties=Properties(correlation_id="c"),
            data=b'{"a":1}',
        ).encode()
    inner = Message(application_properties={"a": "b"}, data=b"one").encode()
    yield b"".join(b"\x00\x53\x75" + encode_binary(each) for each in (inner, inner))
    yield Message(value="text").encode()
    yield Message(value={"a": [1]}, footer={"f": True}).encode()


# -- where links go, and from where ------------------------------------------------------------------------------------


def _check_addresses(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for read in (parse_address, parse_user):
        try:
            str(read(text))
        except Refusal:
            pass
    try:
        parse_plain(data)
    except PeerError:
        pass
    name = Symbol("apache.org:selector-filter:string")
    asked: tuple[dict[str, object], ...] = (
        {name: Described(name, text)},
        {name: text},
        {text: Described(name, text)},
    )
    for filters in asked:
        try:
            start = start_of(Source("s", filter=filters))
        except Refusal:
            continue
        assert start.is_latest or all(value is None or value >= 0 for value in start[:3])


def _address_seeds() -> Iterable[bytes]:
    yield b"amqps://hub.example/devices/pump%2D01/modules/m/messages/events"
    yield b"/devices/pump-01/messages/deviceBound"
    yield b"hub/ConsumerGroups/$Default/Partitions/0"
    yield b"pump-01@sas.hub"
    yield b"iothubowner@sas.root.hub"
    yield b"0ne00000000/registrations/pump-01"
    yield b"\0user\0secret"
    yield b"amqp.annotation.x-opt-offset > '@latest'"
    yield b"amqp.annotation.x-opt-sequence-number >= '12'"
    yield b"amqp.annotation.x-opt-enqueued-time > 1700000000000"


TARGETS: Final = (
    Target("amqp_connection", _check_connection, _connection_seeds, (AMQP_HEADER, SASL_HEADER, b"\x02\x00\x00\x00")),
    Target("amqp_values", _check_values, _value_seeds, (b"\xf0\xff\xff\xff\xff", b"\xc0", b"\xd1", b"\x00\x53")),
    Target("amqp_performatives", _check_performatives, _performative_seeds, (b"\x00\x53\x12\xc0", b"\x00\xa3")),
    Target("amqp_messages", _check_messages, _message_seeds, (b"\x00\x53\x75\xa0", b"\x00\x53\x73\xc0", b"\xc1")),
    Target("amqp_addresses", _check_addresses, _address_seeds, (b"://", b"%2F", b"@sas.", b"x-opt-offset", b"\0"), 512),
)
