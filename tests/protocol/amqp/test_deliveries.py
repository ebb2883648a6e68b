"""Conversations about messages: credit, windows, transfers in pieces, outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.connection import Limits
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.links import Delivery, Link
from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Received,
    Rejected,
    Released,
    Source,
    Target,
    Transfer,
)
from tests.protocol.amqp.helpers import Peer, Recorder, broken_by

BODY = Message(data=b"hi").encode()


def flows(heard: list[Any]) -> list[Flow]:
    return [each for each in heard if isinstance(each, Flow)]


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_a_delivery_is_accepted() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.transfer(delivery_tag=b"\x00\xff" * 16, message_format=0x80013700)
    (delivery,) = peer.handler.deliveries
    assert (delivery.id, delivery.tag, delivery.format, delivery.settled) == (0, b"\x00\xff" * 16, 0x80013700, False)
    assert delivery.message.body == b"hi"
    peer.server.settle(delivery, Accepted())
    peer.server.settle(delivery, Released())
    assert peer.heard() == [Disposition(RECEIVER, 0, 0, True, Accepted())]


def test_a_delivery_is_rejected_with_a_reason() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.transfer()
    rejected = Rejected(Error("amqp:not-found", "no such device", {"com.microsoft:tracking-id": "t"}))
    peer.server.settle(peer.handler.deliveries[0], rejected)
    assert peer.heard() == [Disposition(RECEIVER, 0, 0, True, rejected)]


def test_a_settled_delivery_is_not_answered() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.transfer(settled=True)
    peer.server.settle(peer.handler.deliveries[0], Accepted())
    assert peer.heard() == []


def test_delivery_ids_count_in_each_session() -> None:
    # services.md 3.1 X-4.
    peer = Peer().open()
    peer.say(Begin(None, 0, 10, 10), channel=1)
    peer.attach_sender("up", 0)
    peer.attach_sender("up", 0, channel=1)
    peer.say(Transfer(0, 0, b"a"), payload=BODY)
    peer.say(Transfer(0, 0, b"b"), payload=BODY, channel=1)
    for delivery in peer.handler.deliveries:
        peer.server.settle(delivery, Accepted())
    said = Disposition(RECEIVER, 0, 0, True, Accepted())
    assert peer.hear() == [(0, said, b""), (1, said, b"")]


def test_those_that_follow_each_other_are_accepted_together() -> None:
    peer = Peer().open()
    peer.attach_sender("a", 0)
    peer.attach_sender("b", 1)
    for number in range(6):
        peer.transfer(handle=number % 2)
    first, *others = peer.handler.deliveries
    peer.server.settle(others.pop(2), Released())
    peer.hear()
    peer.server.accept_all([first, *others, first])
    assert [(each.first, each.last) for each in peer.heard()] == [(0, 2), (4, 5)]


def test_credit_is_refilled_as_deliveries_are_settled() -> None:
    peer = Peer(Recorder(credit=4)).open()
    link = peer.attach_sender()
    for _ in range(4):
        peer.transfer()
    assert flows(peer.heard()) == []
    assert (link.credit, link.unsettled) == (0, 4)
    peer.server.settle(peer.handler.deliveries[0], Accepted())
    (flow,) = flows(peer.heard())
    assert (flow.handle, flow.delivery_count, flow.link_credit) == (0, 4, 1)


def test_credit_is_refilled_at_once_for_what_is_settled() -> None:
    peer = Peer(Recorder(credit=4)).open()
    peer.attach_sender()
    for _ in range(1000):
        peer.transfer(settled=True)
    assert len(peer.handler.deliveries) == 1000


def test_a_peer_that_settles_itself_is_given_credit_again() -> None:
    peer = Peer(Recorder(credit=2)).open()
    link = peer.attach_sender()
    peer.transfer()
    peer.transfer()
    peer.say(Disposition(SENDER, 0, 1, True))
    assert flows(peer.heard())[0].link_credit == 2
    assert [delivery.settled for delivery in peer.handler.deliveries] == [True, True]
    peer.server.settle(peer.handler.deliveries[0], Accepted())
    assert (peer.heard(), link.unsettled) == ([], 0)


def test_credit_can_be_taken_back() -> None:
    peer = Peer().open()
    link = peer.attach_sender()
    peer.server.grant(link, 0)
    assert flows(peer.heard())[0].link_credit == 0
    peer.transfer()
    (detach,) = peer.heard()
    assert detach.error.condition == Condition.TRANSFER_LIMIT_EXCEEDED


def test_a_transfer_without_credit_detaches_its_link_only() -> None:
    peer = Peer(Recorder(credit=1)).open()
    peer.attach_sender("up", 0)
    peer.attach_sender("other", 1)
    peer.transfer()
    peer.transfer()
    assert peer.heard() == [
        Detach(0, True, Error(Condition.TRANSFER_LIMIT_EXCEEDED, "a transfer on a link that has no credit for it"))
    ]
    peer.transfer(handle=1)
    assert peer.handler.events[-2:] == [
        ("detached", "up", Condition.TRANSFER_LIMIT_EXCEEDED, True),
        ("delivered", "other", 2),
    ]


@pytest.mark.parametrize("hesitant", [{"up"}, set()])
def test_a_transfer_on_a_link_that_cannot_take_one_detaches_it(hesitant: set[str]) -> None:
    peer = Peer(Recorder(hesitant=hesitant)).open()
    if hesitant:
        peer.attach_sender("up", 0)
    else:
        peer.attach_receiver("down", 0)
    peer.transfer()
    assert peer.heard()[-1].error.condition == Condition.TRANSFER_LIMIT_EXCEEDED


def test_credit_that_the_peer_lets_go_is_counted() -> None:
    peer = Peer(Recorder(credit=4)).open()
    link = peer.attach_sender()
    peer.say(Flow(0, 10, 0, 10, 0, 3, 1))
    (flow,) = flows(peer.heard())
    assert (flow.delivery_count, flow.link_credit) == (3, 4)
    assert link.delivery_count == 3


def test_a_message_in_pieces_is_put_together() -> None:
    peer = Peer().open()
    peer.attach_sender()
    message = Message(data=b"x" * 1000).encode()
    peer.transfer(message[:10], more=True)
    peer.say(Transfer(0, more=True), payload=message[10:600])
    assert peer.handler.deliveries == []
    peer.say(Transfer(0, 0, b"t0", 0, True, False), payload=message[600:])
    (delivery,) = peer.handler.deliveries
    assert (delivery.payload, delivery.settled) == (message, True)
    assert delivery.link.unsettled == 0


def test_pieces_of_two_links_may_come_by_turns() -> None:
    peer = Peer().open()
    peer.attach_sender("a", 0)
    peer.attach_sender("b", 1)
    peer.transfer(BODY[:2], handle=0, more=True)
    peer.transfer(BODY[:3], handle=1, more=True)
    peer.say(Transfer(0), payload=BODY[2:])
    peer.say(Transfer(1), payload=BODY[3:])
    assert [delivery.payload for delivery in peer.handler.deliveries] == [BODY, BODY]


def test_a_message_that_is_taken_back_is_dropped() -> None:
    peer = Peer().open()
    link = peer.attach_sender()
    peer.transfer(b"half", more=True)
    peer.say(Transfer(0, aborted=True))
    assert (peer.handler.deliveries, link.unsettled) == ([], 0)
    peer.transfer(BODY)
    assert peer.handler.deliveries[0].payload == BODY


def test_a_message_may_not_begin_within_another() -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.transfer(b"half", more=True)
    wrong, _ = broken_by(peer, Transfer(0, 1, b"t1"))
    assert wrong.condition == Condition.NOT_ALLOWED


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_message_that_is_too_large_detaches_its_link(in_pieces: bool) -> None:
    class Small(Recorder):
        def attached(self, link: Link) -> None:
            assert self.connection is not None
            self.links[link.name] = link
            self.connection.accept(link, credit=10, max_message_bytes=100)

    peer = Peer(Small()).open()
    peer.attach_sender()
    peer.transfer(bytes(100), settled=True)
    if in_pieces:
        peer.transfer(bytes(60), more=True)
        peer.say(Transfer(0), payload=bytes(60))
    else:
        peer.transfer(bytes(101))
    (detach,) = peer.heard()
    assert detach.error.condition == Condition.MESSAGE_SIZE_EXCEEDED
    assert len(peer.handler.deliveries) == 1
    peer.say(Transfer(0, 2, b"t", more=True), Detach(0, True))


def test_messages_in_pieces_are_bounded_all_together() -> None:
    peer = Peer(limits=Limits(max_partial_bytes=100_000)).open()
    for handle in range(4):
        peer.attach_sender(f"up{handle}", handle)
        if handle < 3:
            peer.transfer(bytes(30_000), handle=handle, more=True)
    wrong, _ = broken_by(peer, Transfer(3, 9, b"t", more=True), payload=bytes(30_000))
    assert wrong.condition == Condition.RESOURCE_LIMIT_EXCEEDED


def test_pieces_of_a_link_that_is_gone_do_not_count() -> None:
    peer = Peer(limits=Limits(max_partial_bytes=100_000)).open()
    for number in range(10):
        peer.attach_sender(f"up{number}", 0)
        peer.transfer(bytes(30_000), more=True)
        peer.say(Detach(0, True))
        peer.hear()


@pytest.mark.parametrize(
    "wrong", [{"delivery_id": None}, {"delivery_tag": None}, {"delivery_tag": bytes(33)}, {"delivery_id": 0}]
)
def test_a_delivery_has_an_id_that_grows_and_a_tag(wrong: dict[str, Any]) -> None:
    peer = Peer().open()
    peer.attach_sender()
    peer.transfer()
    with pytest.raises(PeerError) as caught:
        peer.transfer(**wrong)
    assert caught.value.condition == Condition.INVALID_FIELD


def test_the_session_window_is_opened_again() -> None:
    peer = Peer(Recorder(credit=10_000), limits=Limits(incoming_window=10)).open()
    peer.attach_sender()
    for number in range(5):
        peer.transfer(settled=True)
        opened = flows(peer.heard())
        assert len(opened) == (1 if number == 4 else 0)
    assert (opened[0].incoming_window, opened[0].next_incoming_id) == (10, 5)


def test_a_peer_that_does_not_read_runs_out_of_window() -> None:
    limits = Limits(incoming_window=10, max_pending_bytes=1000)
    peer = Peer(Recorder(credit=10_000), limits=limits).open()
    peer.attach_sender()
    # Nobody takes what is to be written.
    for channel in range(1, 20):
        peer.say(Begin(None, 0, 1, 1), channel=channel)
    for _ in range(10):
        peer.transfer(settled=True)
    with pytest.raises(PeerError) as caught:
        peer.transfer(settled=True)
    assert caught.value.condition == Condition.WINDOW_VIOLATION


def test_the_window_opens_once_the_peer_reads_again() -> None:
    limits = Limits(incoming_window=10, max_pending_bytes=1000)
    peer = Peer(Recorder(credit=10_000), limits=limits).open()
    peer.attach_sender()
    for channel in range(1, 20):
        peer.say(Begin(None, 0, 1, 1), channel=channel)
    for _ in range(10):
        peer.transfer(settled=True)
    assert flows(peer.heard())[-1].incoming_window == 10
    peer.transfer(settled=True)


def test_what_waits_to_be_written_is_bounded() -> None:
    peer = Peer(limits=Limits(max_pending_bytes=10_000)).open()
    with pytest.raises(PeerError) as caught:
        for _ in range(10_000):
            peer.say(Flow(0, 1, 0, 1, echo=True))
    assert caught.value.condition == Condition.RESOURCE_LIMIT_EXCEEDED
    assert isinstance(peer.heard()[-1], Close)


def test_a_message_that_cannot_be_read_closes_the_connection() -> None:
    class Reader(Recorder):
        def delivered(self, link: Link, delivery: Delivery) -> None:
            assert delivery.message

    peer = Peer(Reader()).open()
    peer.attach_sender()
    with pytest.raises(PeerError):
        peer.transfer(b"no message")
    assert peer.heard()[-1].error.condition == Condition.DECODE_ERROR


# --- what we send -----------------------------------------------------------------------------------------------------


def test_a_message_is_sent_and_accepted() -> None:
    peer = Peer().open()
    link = peer.attach_receiver()
    sent = peer.server.send(link, BODY, tag=b"0123456789abcdef", context="mine")
    assert peer.hear() == [(0, Transfer(1, 0, b"0123456789abcdef", 0, False, False), BODY)]
    peer.say(Disposition(RECEIVER, 0, None, True, Accepted()))
    assert peer.handler.outcomes == [(sent, Accepted())]
    assert (sent.settled, sent.state, sent.context, link.unsettled) == (True, Accepted(), "mine", 0)
    peer.say(Disposition(RECEIVER, 0, 0, True, Released()))
    peer.server.settle(sent, Accepted())
    assert (len(peer.handler.outcomes), peer.heard()) == (1, [])


def test_a_peer_that_settles_second_is_answered() -> None:
    # devices.md 4.4: the C# client.
    peer = Peer().open()
    link = peer.attach_receiver(rcv_settle_mode=1)
    sent = peer.server.send(link, BODY, tag=b"t")
    peer.hear()
    peer.say(Disposition(RECEIVER, 0, 0, False, Accepted()))
    assert (peer.handler.outcomes, sent.settled) == ([(sent, Accepted())], False)
    peer.server.settle(sent, Accepted())
    assert peer.heard() == [Disposition(SENDER, 0, 0, True, Accepted())]
    peer.say(Disposition(RECEIVER, 0, 0, True, Accepted()))
    assert len(peer.handler.outcomes) == 1


def test_how_far_a_peer_got_is_no_outcome() -> None:
    peer = Peer().open()
    link = peer.attach_receiver()
    peer.server.send(link, BODY, tag=b"t")
    peer.say(Disposition(RECEIVER, 0, 0, False, Received(0, 5)), Disposition(RECEIVER, 0, 0))
    assert peer.handler.outcomes == []
    peer.say(Disposition(RECEIVER, 0, 0, True))
    assert [state for _, state in peer.handler.outcomes] == [None]


def test_one_disposition_may_be_about_many() -> None:
    peer = Peer().open()
    link = peer.attach_receiver(credit=100)
    for number in range(10):
        peer.server.send(link, BODY, tag=b"%d" % number)
    peer.say(Disposition(RECEIVER, 2, 5, True, Released()), Disposition(RECEIVER, 0, 2**31 - 1, True, Accepted()))
    assert [sent.id for sent, _ in peer.handler.outcomes] == [2, 3, 4, 5, 0, 1, 6, 7, 8, 9]
    with pytest.raises(PeerError):
        peer.say(Disposition(RECEIVER, 5, 4, True, Accepted()))


@pytest.mark.parametrize(
    ("mode", "asked", "is_settled"), [(0, True, False), (1, False, True), (2, True, True), (2, False, False)]
)
def test_the_links_settle_mode_decides(mode: int, asked: bool, is_settled: bool) -> None:
    peer = Peer().open()
    link = peer.attach_receiver(snd_settle_mode=mode)
    assert peer.server.send(link, BODY, tag=b"t", settled=asked).settled is is_settled
    assert peer.heard()[0].settled is is_settled
    assert link.unsettled == (0 if is_settled else 1)


def test_credit_is_honoured() -> None:
    peer = Peer().open()
    link = peer.attach_receiver(credit=2)
    assert link.sendable == 2
    peer.server.send(link, BODY, tag=b"1")
    peer.server.send(link, BODY, tag=b"2")
    with pytest.raises(LocalProtocolError):
        peer.server.send(link, BODY, tag=b"3")
    # Given before it had the second.
    peer.say(Flow(1, 100, 0, 100, 1, 1, 5))
    assert link.sendable == 4
    assert peer.handler.events[-1] == ("credited", "down", 4)


def test_the_peers_window_is_honoured() -> None:
    peer = Peer().open()
    link = peer.attach_receiver(credit=10)
    peer.say(Flow(0, 2, 0, 100, 1, 0, 10))
    peer.server.send(link, bytes(150_000), tag=b"1")  # three frames
    peer.hear()
    assert link.sendable == 0
    peer.say(Flow(1, 1, 0, 100))
    assert peer.heard() == []
    peer.say(Flow(2, 1, 0, 100))
    assert [each.more for each in peer.heard()] == [False]
    assert link.sendable == 0
    peer.say(Flow(3, 5, 0, 100))
    assert peer.handler.events[-1] == ("credited", "down", 9)


def test_frames_are_no_larger_than_the_peer_takes() -> None:
    peer = Peer().open(max_frame_size=512)
    link = peer.attach_receiver()
    peer.server.send(link, bytes(5000), tag=b"1")
    out = peer.server.take()
    sizes = []
    while out:
        size = int.from_bytes(out[:4], "big")
        sizes.append(size)
        out = out[size:]
    assert max(sizes) == 512
    assert len(sizes) > 10


@pytest.mark.parametrize(("tag", "payload"), [(b"", b""), (bytes(33), b""), (b"t", bytes(101))])
def test_what_the_peer_cannot_take_is_not_sent(tag: bytes, payload: bytes) -> None:
    peer = Peer().open()
    link = peer.attach_receiver(max_message_size=100)
    with pytest.raises(LocalProtocolError):
        peer.server.send(link, payload, tag=tag)


def test_a_peer_may_drain() -> None:
    peer = Peer().open()
    link = peer.attach_receiver(credit=10)
    peer.say(Flow(0, 100, 0, 100, 1, 0, 10, drain=True))
    assert peer.handler.events[-2:] == [("credited", "down", 10), ("drain", "down", 10)]
    peer.server.send(link, BODY, tag=b"1")
    peer.server.drained(link)
    peer.server.drained(link)
    transfer, flow = peer.heard()
    assert (flow.delivery_count, flow.link_credit, flow.drain) == (10, 0, True)
    assert link.sendable == 0
    # Where there is no credit there is nothing to ask for.
    peer.say(Flow(1, 100, 0, 100, 1, 10, 0, drain=True))
    assert [each.drain for each in peer.heard()] == [True]
    assert peer.handler.events[-1] == ("drain", "down", 10)


def test_what_is_drained_is_said_behind_what_waits_for_the_window() -> None:
    peer = Peer().open()
    link = peer.attach_receiver(credit=10)
    peer.say(Flow(0, 1, 0, 100, 1, 0, 10, drain=True))
    peer.server.send(link, bytes(100_000), tag=b"1")
    peer.server.drained(link)
    assert [type(each) for each in peer.heard()] == [Transfer]
    peer.say(Flow(1, 10, 0, 100))
    assert [type(each) for each in peer.heard()] == [Transfer, Flow]


@pytest.mark.parametrize("by_us", [True, False])
def test_what_waits_for_the_window_goes_with_its_link(by_us: bool) -> None:
    peer = Peer().open()
    link = peer.attach_receiver()
    peer.attach_receiver("other", 2)
    peer.say(Flow(0, 1, 0, 100, 1, 0, 10))
    peer.server.send(link, bytes(150_000), tag=b"1")
    peer.hear()
    if by_us:
        peer.server.detach(link)
    else:
        peer.say(Detach(1, True))
    peer.say(Flow(1, 10, 0, 100))
    assert [type(each) for each in peer.heard()] == [Detach]
    assert peer.handler.events[-1] == ("credited", "other", 10)


def test_an_echo_is_answered() -> None:
    peer = Peer().open()
    peer.attach_receiver()
    peer.say(Flow(0, 10, 0, 10, echo=True), Flow(0, 10, 0, 10, 1, 0, 7, echo=True))
    session, link = peer.heard()
    assert (session.handle, session.incoming_window) == (None, 2048)
    assert (link.handle, link.link_credit) == (1, 7)


def test_only_so_much_is_sent_without_outcome() -> None:
    peer = Peer(limits=Limits(max_unsettled=3)).open()
    link = peer.attach_receiver(credit=1000)
    for number in range(3):
        peer.server.send(link, BODY, tag=b"%d" % number)
    assert link.sendable == 0
    peer.say(Disposition(RECEIVER, 1, 1, True, Accepted()))
    assert link.sendable == 1
    assert peer.handler.events[-1] == ("credited", "down", 1)


def test_outcomes_of_a_link_that_is_gone_are_dropped() -> None:
    peer = Peer(limits=Limits(max_unsettled=3)).open()
    link = peer.attach_receiver()
    other = peer.attach_receiver("other", 2)
    sent = [peer.server.send(each, BODY, tag=b"t") for each in (link, other, link)]
    peer.say(Detach(1, True), Disposition(RECEIVER, 0, 2, True, Accepted()))
    assert [each for each, _ in peer.handler.outcomes] == [sent[1]]
    peer.server.settle(sent[0], Accepted())
    assert other.sendable == 3


def test_a_handler_may_end_the_session_in_the_middle_of_outcomes() -> None:
    class Ending(Recorder):
        def settled(self, link: Link, sent: Any, state: Any) -> None:
            super().settled(link, sent, state)
            assert self.connection is not None
            self.connection.end(link.session)

    peer = Peer(Ending()).open()
    link = peer.attach_receiver()
    for number in range(5):
        peer.server.send(link, BODY, tag=b"%d" % number)
    peer.hear()
    peer.say(Disposition(RECEIVER, 0, 4, True, Accepted()))
    assert len(peer.handler.outcomes) == 1
    assert peer.heard() == [End()]


def test_numbers_wrap_around() -> None:
    peer = Peer().open()
    link = peer.attach_receiver(credit=0)
    top = 2**32 - 2
    link.session.next_outgoing_id = link.session.next_delivery_id = link.delivery_count = top
    peer.say(Flow(top, 100, 0, 100, 1, top, 10))
    sent = [peer.server.send(link, BODY, tag=b"t") for _ in range(4)]
    assert [each.id for each in sent] == [top, top + 1, 0, 1]
    peer.say(Flow(1, 100, 0, 100, 1, 1, 10))
    assert link.sendable == 9
    peer.say(Disposition(RECEIVER, top + 1, 0, True, Accepted()))
    assert [each for each, _ in peer.handler.outcomes] == sent[1:3]


def test_incoming_numbers_wrap_around_too() -> None:
    peer = Peer().open()
    peer.say(Begin(None, 2**32 - 1, 10, 10), channel=1)
    peer.attach_sender("up", 0, channel=1)
    for id in (2**32 - 1, 0, 1):
        peer.say(Transfer(0, id, b"t"), payload=BODY, channel=1)
    peer.server.accept_all(peer.handler.deliveries)
    assert [(each.first, each.last) for each in peer.heard()] == [(2**32 - 1, 1)]
    peer.say(Flow(0, 10, 2, 10, echo=True), channel=1)
    assert peer.heard()[0].next_incoming_id == 2


def test_a_link_that_is_accepted_may_be_given_other_termini() -> None:
    class Dynamic(Recorder):
        def attached(self, link: Link) -> None:
            assert self.connection is not None
            self.connection.accept(
                link, source=Source("made-up"), offered_capabilities=("x",), properties={"com.microsoft:epoch": 1}
            )

    peer = Peer(Dynamic()).open()
    peer.say(Attach("down", 0, RECEIVER, source=Source(dynamic=True), target=Target()))
    (attach,) = peer.heard()
    assert (attach.source.address, attach.offered_capabilities) == ("made-up", ("x",))
    assert attach.properties == {"com.microsoft:epoch": 1}
