"""Conversations on one connection: opening, sessions, links, and what is not allowed."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.protocols.amqp.connection import Limits, State
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.framing import AMQP_HEADER
from moorage.protocols.amqp.links import Link, LinkState
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Close,
    Detach,
    End,
    Error,
    Flow,
    Open,
    SaslOutcome,
    Source,
    Target,
    Transfer,
    encode,
)
from moorage.protocols.amqp.transfers import EMPTY_FRAME, frame
from tests.protocol.amqp.helpers import Peer, Recorder, broken_by


def test_open_is_answered_with_our_limits() -> None:
    peer = Peer()
    peer.server.receive(AMQP_HEADER, peer.now)
    peer.say(Open("client", "hub.example", properties={"product": "p"}))
    assert peer.heard() == [Open("hub", None, 65_536, 1023, 120_000)]
    assert peer.server.remote_open == Open("client", "hub.example", properties={"product": "p"})


def test_bytes_may_be_cut_anywhere() -> None:
    data = AMQP_HEADER + b"".join(
        frame(3, encode(each))
        for each in (
            Open("c"),
            Begin(None, 0, 10, 10),
            Attach("up", 0, SENDER, source=Source(), target=Target("there"), initial_delivery_count=0),
        )
    )
    data += frame(3, encode(Transfer(0, 0, b"t", 0, True)) + b"\x00\x53\x75\xa0\x01x")
    for size in (1, 3, 7, 50):
        peer = Peer()
        for at in range(0, len(data), size):
            peer.server.receive(data[at : at + size], peer.now)
        assert [each.message.body for each in peer.handler.deliveries] == [b"x"]


def test_a_handler_may_refuse_an_open() -> None:
    class Refusing(Recorder):
        def opened(self, opened: Open) -> None:
            assert self.connection is not None
            self.connection.close(Error(Condition.NOT_FOUND, "no such hub"))

    peer = Peer(Refusing())
    peer.server.receive(AMQP_HEADER, peer.now)
    peer.say(Open("client"))
    assert [type(each) for each in peer.heard()] == [Open, Close]
    peer.say(Begin(None, 0, 1, 1), Close())
    assert peer.server.is_finished


def test_sessions_have_any_channel_up_to_the_limit() -> None:
    peer = Peer().open()
    # services.md 3.1 X-5: azure-eventhub begins with 1.
    peer.say(Begin(None, 5, 100, 100), channel=1023)
    assert peer.hear() == [(1023, Begin(1023, 0, 2048, 0x7FFFFFFF, 255), b"")]
    wrong, said = broken_by(peer, Begin(None, 0, 1, 1), channel=1024)
    assert (wrong.reason, said.error.condition) == ("amqp.limit", Condition.FRAMING_ERROR)


def test_an_attach_is_answered_with_its_source_and_target() -> None:
    peer = Peer().open()
    asked = Attach(
        "up", 7, SENDER, 1, 1, Source("me"), Target("/devices/pump/messages/events"), initial_delivery_count=9
    )
    peer.say(asked)
    attach, flow = peer.heard()
    assert attach == Attach("up", 7, RECEIVER, 1, 0, asked.source, asked.target, max_message_size=1_048_576)
    assert (flow.handle, flow.delivery_count, flow.link_credit) == (7, 9, 100)


def test_an_attach_without_source_and_target_is_answered_with_both() -> None:
    peer = Peer().open()
    peer.say(Attach("up", 0, SENDER), Attach("down", 1, RECEIVER))
    answers = [each for each in peer.heard() if isinstance(each, Attach)]
    assert [(each.source, each.target) for each in answers] == [(Source(), Target())] * 2


def test_where_we_send_the_delivery_count_is_said() -> None:
    # services.md 3.1 X-14.
    peer = Peer().open()
    peer.say(Attach("down", 0, RECEIVER, 0, 1, Source("x"), Target()))
    (attach,) = peer.heard()
    assert (attach.initial_delivery_count, attach.max_message_size, attach.rcv_settle_mode) == (0, None, 1)


def test_a_refused_link_is_attached_with_nulls_and_detached() -> None:
    peer = Peer(Recorder(hesitant={"up"})).open()
    link = peer.attach_sender()
    error = Error("amqp:unauthorized-access", "not yours", {"com.microsoft:tracking-id": "1"})
    peer.server.refuse(link, error)
    attach, detach = peer.heard()
    assert (attach.source, attach.target) == (None, None)
    assert detach == Detach(0, True, error)
    assert link.state.value == "detaching"
    peer.say(Detach(0, True))
    assert peer.heard() == []
    assert link.state is LinkState.DETACHED
    assert ("detached", "up", None, True) not in peer.handler.events
    peer.attach_sender()  # the handle and the name are free again


def test_an_attach_may_be_answered_late_and_credit_is_told_then() -> None:
    peer = Peer(Recorder(hesitant={"down"})).open()
    link = peer.attach_receiver()
    assert ("credited", "down", 10) not in peer.handler.events
    peer.server.accept(link)
    assert peer.handler.events[-1] == ("credited", "down", 10)


def test_a_link_that_is_detached_before_it_was_answered_is_answered() -> None:
    peer = Peer(Recorder(hesitant={"up"})).open()
    link = peer.attach_sender()
    peer.say(Detach(0, True))
    attach, detach = peer.heard()
    assert (attach.target, detach) == (None, Detach(0, True))
    peer.server.accept(link)
    peer.server.refuse(link, Error("x"))
    assert peer.heard() == []


@pytest.mark.parametrize("closed", [True, False])
def test_a_link_may_be_attached_again_after_it_was_detached(closed: bool) -> None:
    peer = Peer().open()
    first = peer.attach_sender()
    peer.say(Detach(0, closed))
    assert peer.heard() == [Detach(0, closed)]
    assert peer.handler.events[-1] == ("detached", "up", None, closed)
    assert peer.attach_sender() is not first


def test_we_detach_with_an_error_and_drop_what_was_on_its_way() -> None:
    peer = Peer().open()
    link = peer.attach_sender()
    peer.server.detach(link, Error(Condition.STOLEN))
    assert peer.heard() == [Detach(0, True, Error(Condition.STOLEN))]
    peer.transfer()
    peer.say(Flow(0, 10, 0, 10, 0, 0, 5))
    assert peer.handler.deliveries == []
    peer.say(Detach(0, True))
    assert link.state is LinkState.DETACHED


def test_the_same_name_may_be_in_two_sessions_and_in_both_directions_but_not_twice() -> None:
    # devices.md 4.4: devices that share a connection have equal names in different sessions.
    peer = Peer().open()
    peer.say(Begin(None, 0, 10, 10), channel=1)
    peer.attach_sender("same", 0)
    peer.attach_sender("same", 0, channel=1)
    peer.attach_receiver("same", 1)
    peer.say(Attach("same", 2, SENDER, source=Source(), target=Target()))
    attach, detach = peer.heard()
    assert (attach.target, detach.error.condition) == (None, Condition.NOT_ALLOWED)
    peer.say(Detach(2, True))
    peer.say(Attach("same", 2, SENDER, source=Source(), target=Target()))
    assert peer.heard()[-1].error.condition == Condition.NOT_ALLOWED


def test_a_session_that_ends_takes_its_links_along() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.attach_receiver()
    peer.say(End(Error("x:y")))
    assert peer.heard() == [End()]
    assert peer.handler.events[-2:] == [("detached", "up", "x:y", False), ("detached", "down", "x:y", False)]
    peer.say(Begin(None, 0, 10, 10))
    peer.attach_sender()


def test_we_end_a_session_and_drop_what_was_on_its_way() -> None:
    peer = Peer().open()
    link = peer.attach_sender()
    session = link.session
    peer.server.end(session, Error(Condition.RESOURCE_LIMIT_EXCEEDED))
    peer.server.end(session)
    assert peer.heard() == [End(Error(Condition.RESOURCE_LIMIT_EXCEEDED))]
    peer.transfer()
    peer.say(Detach(0, True), End())
    assert peer.heard() == []
    assert peer.server.sessions == {}
    peer.say(Begin(None, 0, 10, 10))
    assert [type(each) for each in peer.heard()] == [Begin]


def test_what_comes_behind_an_end_is_dropped() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.say(End(), Detach(0, False), Close())  # as azure-eventhub does
    assert [type(each) for each in peer.heard()] == [End, Close]


def test_close_is_answered_and_ends_all() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.say(Close(Error("a:b")))
    assert peer.heard() == [Close()]
    assert peer.handler.events[-2:] == [("detached", "up", "a:b", False), ("closed", "a:b")]
    assert peer.server.is_finished
    peer.server.receive(b"anything", peer.now)


def test_our_close_waits_for_the_peers() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.server.close(Error(Condition.CONNECTION_FORCED))
    peer.server.close()
    assert peer.heard() == [Close(Error(Condition.CONNECTION_FORCED))]
    assert peer.handler.events[-1] == ("detached", "up", Condition.CONNECTION_FORCED, False)
    peer.transfer()
    assert not peer.server.is_finished
    peer.say(Close())
    assert peer.server.is_finished
    assert ("closed", None) not in peer.handler.events


def test_a_peer_that_does_not_answer_our_close_is_given_up() -> None:
    peer = Peer().open()
    peer.server.close()
    assert peer.server.wake_at is not None
    peer.server.on_time(peer.server.wake_at)
    assert peer.server.is_finished
    assert peer.server.wake_at is None


def test_a_lost_socket_detaches_the_links() -> None:
    peer = Peer().open()
    link = peer.attach_sender()
    peer.transfer()
    peer.server.lose()
    peer.server.lose()
    assert peer.handler.events[-1] == ("detached", "up", None, False)
    peer.server.settle(peer.handler.deliveries[0], None)
    peer.server.detach(link)
    peer.server.grant(link, 5)
    assert peer.server.take() == b""


# --- what is not allowed ----------------------------------------------------------------------------------------------


def attach(handle: int = 0, **values: Any) -> Attach:
    return Attach("n", handle, SENDER, source=Source(), target=Target(), **values)


@pytest.mark.parametrize(
    ("said", "reason", "condition"),
    [
        (Open("again"), "amqp.unexpected", Condition.NOT_ALLOWED),
        (Begin(None, 0, 1, 1), "amqp.unexpected", Condition.NOT_ALLOWED),
        (SaslOutcome(0), "amqp.unexpected", Condition.NOT_ALLOWED),
        (attach(256), "amqp.limit", Condition.FRAMING_ERROR),
        (attach(snd_settle_mode=3), "amqp.field", Condition.INVALID_FIELD),
        (attach(rcv_settle_mode=2), "amqp.field", Condition.INVALID_FIELD),
        (Detach(9), "amqp.handle", Condition.UNATTACHED_HANDLE),
        (Transfer(9, 0, b"t"), "amqp.handle", Condition.UNATTACHED_HANDLE),
        (Flow(0, 0, 0, 0, 9), "amqp.handle", Condition.UNATTACHED_HANDLE),
        (Flow(5, 0, 0, 0), "amqp.window", Condition.WINDOW_VIOLATION),
    ],
)
def test_what_is_not_allowed_closes_the_connection(said: Any, reason: str, condition: str) -> None:
    peer = Peer().open()
    peer.attach_sender("up", 3)
    wrong, last = broken_by(peer, said)
    assert (wrong.reason, wrong.condition) == (reason, condition)
    assert isinstance(last, Close) and last.error is not None and last.error.condition == condition
    assert peer.handler.events[-1] == ("detached", "up", condition, False)
    assert peer.server.is_finished


def test_a_handle_in_use_cannot_be_attached() -> None:
    peer = Peer().open()
    peer.attach_sender()
    wrong, _ = broken_by(peer, attach(0))
    assert wrong.condition == Condition.HANDLE_IN_USE


@pytest.mark.parametrize("said", [attach(), Transfer(0, 0, b"t"), Begin(3, 0, 1, 1)])
def test_a_channel_without_a_session_takes_nothing(said: Any) -> None:
    wrong, _ = broken_by(Peer().open(), said, channel=9)
    assert wrong.condition == Condition.NOT_ALLOWED


@pytest.mark.parametrize("said", [Begin(None, 0, 1, 1), Close(), attach()])
def test_the_first_frame_is_open_and_a_close_of_ours_follows_our_open(said: Any) -> None:
    peer = Peer()
    peer.server.receive(AMQP_HEADER, peer.now)
    with pytest.raises(PeerError) as caught:
        peer.say(said)
    assert caught.value.condition == Condition.NOT_ALLOWED
    assert [type(each) for each in peer.heard()] == [Open, Close]


def test_a_frame_size_that_is_too_small_to_work_with_is_refused() -> None:
    peer = Peer()
    peer.server.receive(AMQP_HEADER, peer.now)
    with pytest.raises(PeerError) as caught:
        peer.say(Open("c", max_frame_size=511))
    assert caught.value.condition == Condition.INVALID_FIELD
    assert Peer().open(max_frame_size=512).server.state is State.OPEN


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x07\x02\x00\x00\x00",
        b"\x00\x00\x00\x10\x01\x00\x00\x00",
        b"\x00\x00\x00\x10\x05\x00\x00\x00",
        b"\x00\x01\x00\x01\x02\x00\x00\x00",
        b"\xff\xff\xff\xff\x02\x00\x00\x00",
        b"\x00\x00\x00\x10\x02\x01\x00\x00",
        b"\x00\x00\x00\x10\x02\x07\x00\x00",
    ],
)
def test_a_frame_that_cannot_be_one_is_refused_by_its_first_bytes(head: bytes) -> None:
    peer = Peer().open()
    with pytest.raises(PeerError) as caught:
        peer.server.receive(head, peer.now)
    assert caught.value.condition == Condition.FRAMING_ERROR
    assert peer.heard()[-1].error.condition == "amqp:connection:framing-error"


def test_a_frame_may_have_an_extended_header_and_no_body() -> None:
    peer = Peer().open()
    body = encode(Begin(None, 0, 1, 1))
    peer.server.receive((12 + len(body)).to_bytes(4, "big") + b"\x03\x00\x00\x01abcd" + body, peer.now)
    peer.server.receive(EMPTY_FRAME + b"\x00\x00\x00\x0c\x03\x00\x00\x09abcd", peer.now)
    assert [channel for channel, _, _ in peer.hear()] == [1]


def test_links_and_sessions_are_limited() -> None:
    peer = Peer(limits=Limits(max_links=3, max_sessions=2, max_links_per_session=8)).open()
    for handle in range(3):
        peer.attach_sender(f"up{handle}", handle)
    wrong, said = broken_by(peer, attach(4))
    assert wrong.condition == said.error.condition == Condition.RESOURCE_LIMIT_EXCEEDED


def test_a_bug_of_a_handler_is_its_own_and_closes_too() -> None:
    class Clumsy(Recorder):
        def attached(self, link: Link) -> None:
            raise ZeroDivisionError

    peer = Peer(Clumsy()).open()
    with pytest.raises(ZeroDivisionError):
        peer.say(attach())
    assert peer.server.is_finished


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_empty_frame_is_sent_at_half_of_what_the_peer_waits() -> None:
    peer = Peer().open(idle_time_out=60_000)
    assert peer.server.wake_at == peer.now + 30
    peer.server.on_time(peer.now + 29)
    assert peer.server.take() == b""
    peer.server.on_time(peer.now + 30)
    assert peer.server.take() == EMPTY_FRAME
    assert peer.server.wake_at == peer.now + 60


def test_what_we_send_anyway_counts() -> None:
    peer = Peer().open(idle_time_out=60_000)
    peer.now += 20
    peer.attach_sender()
    assert peer.server.wake_at == peer.now + 30


def test_a_peer_cannot_make_us_send_all_the_time() -> None:
    peer = Peer().open(idle_time_out=1)
    assert peer.server.wake_at == peer.now + 0.5


def test_nothing_is_piled_up_for_a_peer_that_does_not_read() -> None:
    peer = Peer().open(idle_time_out=2000)
    for second in range(1, 100):
        peer.server.on_time(peer.now + second)
    assert peer.server.pending_bytes == len(EMPTY_FRAME)
    assert peer.server.wake_at is not None and peer.server.wake_at > peer.now + 99


def test_a_silent_peer_is_given_up() -> None:
    peer = Peer().open()
    assert peer.server.wake_at == peer.now + 240
    peer.server.receive(EMPTY_FRAME, peer.now + 100)
    peer.server.on_time(peer.now + 339)
    with pytest.raises(PeerError) as caught:
        peer.server.on_time(peer.now + 340)
    assert caught.value.reason == "amqp.idle"
    assert peer.heard()[-1].error.condition == Condition.RESOURCE_LIMIT_EXCEEDED
    peer.server.on_time(peer.now + 1000)


def test_a_peer_that_does_not_open_in_time_is_given_up_however_busy_it_is() -> None:
    peer = Peer()
    peer.server.receive(AMQP_HEADER, peer.now + 50)
    peer.server.receive(EMPTY_FRAME, peer.now + 59)
    assert peer.server.wake_at == peer.now + 60
    with pytest.raises(PeerError):
        peer.server.on_time(peer.now + 60)
    assert peer.server.is_finished
