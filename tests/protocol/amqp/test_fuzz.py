"""Peers that say anything: nothing but `PeerError` comes out, callbacks stay in order, and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.connection import Limits, State
from moorage.protocols.amqp.errors import PeerError
from moorage.protocols.amqp.framing import AMQP_HEADER, SASL_HEADER
from moorage.protocols.amqp.links import Delivery, Link, Sent
from moorage.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    DeliveryState,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Open,
    Received,
    Rejected,
    Released,
    Source,
    Target,
    Transfer,
    encode,
)
from moorage.protocols.amqp.transfers import frame
from tests.protocol.amqp.helpers import Peer, Recorder, parse_frames
from tests.protocol.amqp.shell import Gate

LIMITS = Limits(
    max_frame_bytes=4096,
    max_sessions=3,
    max_links_per_session=3,
    max_links=5,
    max_message_bytes=200,
    max_partial_bytes=500,
    incoming_window=8,
    max_unsettled=6,
    max_pending_bytes=50_000,
)

SMALL = st.integers(0, 4)
NUMBER = st.one_of(SMALL, st.integers(2**32 - 3, 2**32 - 1), st.integers(0, 2**32 - 1))
MAYBE = st.one_of(st.none(), NUMBER)
FLAG = st.sampled_from([None, False, True])
ERROR = st.sampled_from([None, Error("x:y", "z")])
STATE = st.sampled_from([None, Accepted(), Released(), Modified(True), Rejected(Error("a:b")), Received(0, 0)])
SAID = st.one_of(
    st.builds(Begin, st.sampled_from([None, None, None, 0]), NUMBER, NUMBER, NUMBER),
    st.builds(
        Attach,
        st.sampled_from(["a", "b", "c", "d"]),
        SMALL,
        st.booleans(),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([None, 0, 1]),
        st.sampled_from([None, Source(), Source("x")]),
        st.sampled_from([None, Target("y")]),
        st.none(),
        FLAG,
        MAYBE,
        st.sampled_from([None, 0, 3, 1000]),
    ),
    st.builds(Flow, MAYBE, NUMBER, NUMBER, NUMBER, st.one_of(st.none(), SMALL), MAYBE, MAYBE, MAYBE, FLAG, FLAG),
    st.builds(Flow, st.just(0), st.just(9), st.just(0), st.just(9), SMALL, st.just(0), SMALL, st.none(), FLAG, FLAG),
    st.builds(Transfer, SMALL, MAYBE, st.binary(max_size=3), SMALL, FLAG, FLAG, st.none(), STATE, FLAG, FLAG),
    st.builds(Disposition, st.booleans(), NUMBER, MAYBE, FLAG, STATE),
    st.builds(Detach, SMALL, FLAG, ERROR),
    st.builds(End, ERROR),
    st.builds(Close, ERROR),
    st.builds(Open, st.just("c")),
)
STEP = st.tuples(st.one_of(st.just(0), SMALL), SAID, st.one_of(st.just(b""), st.binary(max_size=120)))


class Impulsive(Recorder):
    """Does to the connection what drawn numbers say, from within callbacks; checks what it is told."""

    def __init__(self, whims: st.DataObject) -> None:
        super().__init__()
        self.whims = whims
        self.present: set[Link] = set()
        self.sent: list[Sent] = []
        self.told: set[Sent] = set()
        self.depth = 0

    def act(self, link: Link) -> None:
        if self.depth:
            return
        self.depth += 1
        wire = self._connection()
        whim = self.whims.draw(st.integers(0, 12))
        if whim == 0:
            wire.accept(link, credit=self.whims.draw(st.integers(0, 5)))
        elif whim == 1:
            self.present.discard(link)
            wire.refuse(link, Error("re:fused"))
            if link.state.value in ("attached", "attaching"):
                self.present.add(link)
        elif whim == 2:
            self.present.discard(link)
            wire.detach(link, closed=False)
        elif whim == 3:
            wire.end(link.session)
        elif whim == 4:
            wire.close()
        elif whim == 5:
            wire.accept_all(self.deliveries)
        elif whim == 6:
            wire.grant(link, self.whims.draw(st.integers(0, 5)))
        elif whim == 7:
            wire.drained(link)
        while self.whims.draw(st.booleans()) and link.sendable:
            try:
                self.sent.append(wire.send(link, bytes(self.whims.draw(st.integers(0, 9000))), tag=b"t"))
            except LocalProtocolError:
                assert link.attach.max_message_size
        self.depth -= 1

    def attached(self, link: Link) -> None:
        assert link not in self.present
        self.present.add(link)
        self.links[link.name] = link
        if self.whims.draw(st.booleans()):
            self._connection().accept(link, credit=3)
        self.act(link)

    def delivered(self, link: Link, delivery: Delivery) -> None:
        assert link in self.present
        assert len(delivery.payload) <= link.max_message_bytes
        self.deliveries.append(delivery)
        self.act(link)

    def credited(self, link: Link) -> None:
        assert link in self.present and link.sendable > 0
        self.act(link)

    def drain_requested(self, link: Link) -> None:
        assert link in self.present and link.drain and link.credit
        self.act(link)

    def settled(self, link: Link, sent: Sent, state: DeliveryState | None) -> None:
        assert link in self.present and sent in self.sent and sent not in self.told
        self.told.add(sent)
        if not sent.settled:
            self._connection().settle(sent, state)
        self.act(link)

    def detached(self, link: Link, error: Error | None, *, closed: bool) -> None:
        self.present.remove(link)
        assert not link.sendable


def holds(peer: Peer) -> None:
    """What is true between any two calls."""
    server = peer.server
    links = [link for session in server.sessions.values() for link in session.links.values()]
    assert len(links) <= LIMITS.max_links
    assert server.partial_bytes == sum(len(link.payload) for link in links) <= LIMITS.max_partial_bytes
    for session in server.sessions.values():
        assert len(session.sent) <= LIMITS.max_unsettled
        assert sum(link.unsettled for link in session.links.values()) == len(session.sent) + len(session.incoming)
        for link in session.links.values():
            assert link.unsettled >= 0 and link.credit >= 0
            if link.is_receiver:
                assert link.credit + link.unsettled <= max(5, link.window + link.unsettled)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_peer_may_say_anything_in_any_order(data: st.DataObject) -> None:
    handler = Impulsive(data)
    peer = Peer(handler, limits=LIMITS).open(max_frame_size=512)
    for channel, said, payload in data.draw(st.lists(STEP, max_size=25)):
        if peer.server.is_finished:
            break
        try:
            peer.say(said, channel=channel, payload=payload if isinstance(said, Transfer) else b"")
        except PeerError:
            assert peer.server.is_finished
        if not peer.server.is_finished:
            holds(peer)
        # All that we say can be read, in frames that fit.
        parse_frames(peer.server.take())
    peer.server.lose()
    assert handler.present == set()


BYTES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.integers(0, 3), st.binary(max_size=40)).map(lambda pair: frame(pair[0], b"\x00\x53" + pair[1])),
    STEP.map(lambda step: frame(step[0], encode(step[1]) + step[2])),
)


@given(
    st.sampled_from([b"", AMQP_HEADER, SASL_HEADER, AMQP_HEADER + frame(0, encode(Open("c")))]),
    st.lists(BYTES, max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_are_served_or_end_the_connection(
    head: bytes, pieces: list[bytes], cuts: list[int], flips: list[tuple[int, int]]
) -> None:
    data = bytearray(head + b"".join(pieces))
    for at, byte in flips:
        if len(head) <= at < len(data):
            data[at] = byte
    peer = Peer(limits=LIMITS, authenticator=Gate())
    at = 0
    try:
        while data[at:]:
            size = cuts[at % len(cuts)]
            peer.server.receive(bytes(data[at : at + size]), peer.now)
            at += size
    except PeerError:
        assert peer.server.state is State.CLOSED
    peer.server.take()


def grown_by(data: bytes, times: int, head: list[Any]) -> int:
    """Bytes that the server holds more after hearing `data` so many times than after hearing it a tenth as often."""
    peer = Peer(Recorder(hesitant={"h"}), limits=Limits(max_pending_bytes=10**9))
    peer.server.receive(AMQP_HEADER, peer.now)
    peer.say(*head)
    tracemalloc.start()
    try:
        held = 0
        for number in range(times):
            peer.server.receive(data, peer.now)
            peer.server.take()
            peer.handler.events.clear()
            peer.handler.deliveries.clear()
            if number == times // 10:
                held = tracemalloc.get_traced_memory()[0]
        return tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()


def test_what_a_peer_repeats_is_not_kept() -> None:
    head = [
        Open("c"),
        Begin(None, 0, 2**31, 2**31),
        Attach("up", 0, False, source=Source(), target=Target(), initial_delivery_count=0),
        Attach("down", 1, True, source=Source(), target=Target()),
    ]
    said: dict[str, list[Any]] = {
        "attach and detach": [Attach("x", 2, True, 1, 0, Source(), Target()), Detach(2, True)],
        "hesitate and detach": [Attach("h", 2, False, 1, 0, Source(), Target()), Detach(2, True)],
        "begin and end": [Begin(None, 0, 1, 1), Attach("x", 0, True, 1, 0, Source(), Target()), End()],
        "credit": [Flow(0, 2**31, 0, 1, 1, 0, 2**32 - 1)],
        "dispositions": [Disposition(True, 0, 2**31 - 1, True, Accepted()), Disposition(False, 0, 5, True)],
    }
    for name, frames in said.items():
        channel = 1 if name == "begin and end" else 0
        data = b"".join(frame(channel, encode(each)) for each in frames)
        assert grown_by(data, 1000, head) < 50_000, name


def test_a_frame_that_never_ends_is_not_copied_at_each_byte() -> None:
    peer = Peer().open()
    peer.server.receive(b"\x00\x00\xff\xff\x02\x00\x00\x00", peer.now)
    buffer = peer.server._buffer
    for _ in range(1000):
        peer.server.receive(b"x", peer.now)
    assert peer.server._buffer is buffer
