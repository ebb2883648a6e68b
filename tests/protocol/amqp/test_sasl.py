"""What comes before open: headers, SASL in one step and in several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.connection import Connection, State
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.framing import AMQP_HEADER, SASL_HEADER
from moorage.protocols.amqp.performatives import (
    Open,
    SaslChallenge,
    SaslFrame,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    encode,
)
from moorage.protocols.amqp.sasl import HUB_MECHANISMS, LATER, Challenge, Outcome, SaslCode, Step, parse_plain
from moorage.protocols.amqp.transfers import frame, sasl_frame
from tests.protocol.amqp.helpers import Peer, Recorder, parse_frames


class Script:
    """An authenticator that does what it is told, step by step."""

    def __init__(self, *steps: Step, mechanisms: Sequence[str] = HUB_MECHANISMS) -> None:
        self.mechanisms = mechanisms
        self.steps = list(steps)
        self.asked: list[tuple[Any, ...]] = []

    def start(self, mechanism: str, initial_response: bytes | None, hostname: str | None) -> Step:
        self.asked.append((mechanism, initial_response, hostname))
        return self.steps.pop(0)

    def respond(self, response: bytes) -> Step:
        self.asked.append((response,))
        return self.steps.pop(0)


def say(peer: Peer, sasl: SaslFrame) -> None:
    peer.server.receive(sasl_frame(encode(sasl)), peer.now)


def test_mechanisms_are_offered_in_their_order() -> None:
    peer = Peer(authenticator=Script())
    peer.server.receive(SASL_HEADER, peer.now)
    out = peer.server.take()
    assert out[:8] == SASL_HEADER
    assert parse_frames(out) == [(0, SaslMechanisms(("MSSBCBS", "ANONYMOUS", "PLAIN", "EXTERNAL")), b"")]


def test_after_the_outcome_comes_the_plain_header_and_open() -> None:
    script = Script(Outcome(SaslCode.OK))
    peer = Peer(authenticator=script, needs_sasl=True)
    data = SASL_HEADER + sasl_frame(encode(SaslInit("PLAIN", b"\0u\0p", "hub"))) + AMQP_HEADER
    peer.server.receive(data + frame(0, encode(Open("c"))), peer.now)
    assert script.asked == [("PLAIN", b"\0u\0p", "hub")]
    assert peer.server.state is State.OPEN
    assert peer.handler.events == [("opened", "c")]


def test_a_mechanism_may_take_several_steps() -> None:
    script = Script(Challenge(b"1"), Challenge(b"2"), Outcome(SaslCode.OK, b"done"), mechanisms=("TPM",))
    peer = Peer(authenticator=script)
    peer.server.receive(SASL_HEADER, peer.now)
    peer.hear()
    say(peer, SaslInit("TPM", b"\0scope\0id"))
    assert peer.heard() == [SaslChallenge(b"1")]
    say(peer, SaslResponse(b"a"))
    assert peer.heard() == [SaslChallenge(b"2")]
    say(peer, SaslResponse(b"b"))
    assert peer.heard() == [SaslOutcome(0, b"done")]
    assert script.asked[1:] == [(b"a",), (b"b",)]


def test_steps_do_not_go_on_for_ever() -> None:
    peer = Peer(authenticator=Script(*[Challenge(b"")] * 100))
    peer.server.receive(SASL_HEADER, peer.now)
    say(peer, SaslInit("PLAIN"))
    with pytest.raises(PeerError):
        for _ in range(100):
            say(peer, SaslResponse(b""))


def test_a_refusal_ends_the_connection() -> None:
    peer = Peer(authenticator=Script(Outcome(SaslCode.AUTH)))
    peer.server.receive(SASL_HEADER, peer.now)
    peer.hear()
    say(peer, SaslInit("PLAIN", b"\0u\0wrong"))
    assert peer.heard() == [SaslOutcome(1)]
    assert peer.server.is_finished


def test_what_arrives_while_the_answer_is_looked_up_is_held() -> None:
    peer = Peer(authenticator=Script(LATER))
    peer.server.receive(SASL_HEADER + sasl_frame(encode(SaslInit("PLAIN"))) + AMQP_HEADER, peer.now)
    peer.server.receive(frame(0, encode(Open("c"))), peer.now)
    assert peer.handler.events == []
    peer.server.continue_sasl(Outcome(SaslCode.OK))
    peer.server.receive(b"", peer.now)
    assert peer.server.state is State.OPEN


def test_what_is_held_is_bounded() -> None:
    peer = Peer(authenticator=Script(LATER))
    peer.server.receive(SASL_HEADER + sasl_frame(encode(SaslInit("PLAIN"))), peer.now)
    with pytest.raises(PeerError) as caught:
        for _ in range(100):
            peer.server.receive(bytes(1000), peer.now)
    assert caught.value.condition == Condition.RESOURCE_LIMIT_EXCEEDED


def test_an_answer_that_comes_after_the_socket_was_lost_is_dropped() -> None:
    peer = Peer(authenticator=Script(LATER))
    peer.server.receive(SASL_HEADER + sasl_frame(encode(SaslInit("PLAIN"))), peer.now)
    peer.hear()
    peer.server.lose()
    peer.server.continue_sasl(Outcome(SaslCode.OK))
    assert peer.server.take() == b""


def test_a_mechanism_that_was_not_offered_is_refused() -> None:
    peer = Peer(authenticator=Script())
    peer.server.receive(SASL_HEADER, peer.now)
    peer.hear()
    with pytest.raises(PeerError) as caught:
        say(peer, SaslInit("LOGIN"))
    assert caught.value.reason == "amqp.sasl"
    assert peer.heard() == [SaslOutcome(1)]


@pytest.mark.parametrize(
    "sasl", [SaslResponse(b""), SaslMechanisms(("PLAIN",)), SaslOutcome(0), SaslChallenge(b"")], ids=repr
)
def test_an_exchange_begins_with_init(sasl: SaslFrame) -> None:
    peer = Peer(authenticator=Script())
    peer.server.receive(SASL_HEADER, peer.now)
    with pytest.raises(PeerError):
        say(peer, sasl)
    assert peer.server.is_finished


@pytest.mark.parametrize(
    ("header", "with_sasl", "needs_sasl", "answer"),
    [
        (AMQP_HEADER, True, True, SASL_HEADER),
        (SASL_HEADER, False, False, AMQP_HEADER),
        (b"AMQP\x02\x01\x00\x00", True, False, AMQP_HEADER),  # TLS within AMQP
        (b"AMQP\x00\x00\x09\x01", True, False, AMQP_HEADER),  # AMQP 0-9-1
        (b"GET / HT", True, True, SASL_HEADER),
    ],
)
def test_a_header_that_is_not_served_is_answered_by_one_that_is(
    header: bytes, with_sasl: bool, needs_sasl: bool, answer: bytes
) -> None:
    peer = Peer(authenticator=Script() if with_sasl else None, needs_sasl=needs_sasl)
    with pytest.raises(PeerError) as caught:
        peer.server.receive(header, peer.now)
    assert caught.value.reason == "amqp.header"
    assert peer.server.take() == answer
    assert peer.server.is_finished


def test_sasl_is_spoken_once() -> None:
    peer = Peer(authenticator=Script(Outcome(SaslCode.OK)))
    peer.server.receive(SASL_HEADER + sasl_frame(encode(SaslInit("PLAIN"))), peer.now)
    with pytest.raises(PeerError):
        peer.server.receive(SASL_HEADER, peer.now)


def test_sasl_cannot_be_needed_without_an_authenticator() -> None:
    with pytest.raises(LocalProtocolError):
        Connection(Recorder(), container_id="hub", now=0.0, needs_sasl=True)


def test_a_plain_response_is_three_strings() -> None:
    assert parse_plain(b"\0user@sas.hub\0SharedAccessSignature sr=x") == (
        "",
        "user@sas.hub",
        "SharedAccessSignature sr=x",
    )
    for wrong in (None, b"", b"user\0password", b"\0\0\0", b"\0\xff\0p"):
        with pytest.raises(PeerError) as caught:
            parse_plain(wrong)
        assert "password" not in caught.value.description.replace("a PLAIN", "")
