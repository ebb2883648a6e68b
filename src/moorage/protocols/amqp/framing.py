"""The part of a connection below performatives: protocol headers, SASL, frames, and the two idle timers.

`Framing` is at the bottom of `connection.Connection`, which is what there is to use; it calls `_on_frame` for each
frame of AMQP that has a body.

    EXPECT_HEADER ──header SASL──> SASL ──outcome OK──> EXPECT_HEADER
          └─────────header AMQP──> EXPECT_OPEN ──open──> OPEN ──our close──> CLOSING ──peer's close──> CLOSED
                                                          └──peer's close, answered──> CLOSED

Whatever is wrong ends in CLOSED, from every state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from moorage.errors import LocalProtocolError
from moorage.protocols.amqp.errors import Condition, PeerError
from moorage.protocols.amqp.performatives import (
    SaslChallenge,
    SaslFrame,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    decode,
    encode,
)
from moorage.protocols.amqp.sasl import LATER, Authenticator, Challenge, Outcome, SaslCode, Step
from moorage.protocols.amqp.transfers import EMPTY_FRAME, sasl_frame

__all__ = ["AMQP_HEADER", "DEFAULT_LIMITS", "SASL_HEADER", "Framing", "Limits", "State"]

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"

# Responses in one SASL exchange. The longest is TPM's, which sends a challenge in pieces (devices.md 6.7).
_MAX_SASL_STEPS: Final = 16

# How long the peer may take to answer our close.
_CLOSING_S: Final = 5.0

# Empty frames are not sent more often than this, however short the idle-time-out that the peer announces.
_MIN_BEAT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take.

    Attributes:
        max_frame_bytes: the largest frame either way.
        max_sessions: sessions at a time; channel numbers end one below.
        max_links_per_session, max_links: links at a time, in a session and in all; handles end one below the first.
        max_message_bytes: the largest message on a link, where `accept` says nothing else.
        max_partial_bytes: messages of which only some transfers have arrived, all links together.
        incoming_window: transfers that a session may send before it hears from us.
        max_unsettled: deliveries in a session that we sent and that have no outcome.
        max_pending_bytes: what may wait to be written because the peer does not read.
        open_s: how long it may take from the first byte to open.
        silence_s: how long the peer may send nothing once it is open; half of it is announced (2.4.5).
    """

    max_frame_bytes: int = 65_536
    max_sessions: int = 1024
    max_links_per_session: int = 256
    max_links: int = 8192
    max_message_bytes: int = 1_048_576
    max_partial_bytes: int = 4 * 1_048_576
    incoming_window: int = 2048
    max_unsettled: int = 2048
    max_pending_bytes: int = 4 * 1_048_576
    open_s: float = 60.0
    silence_s: float = 240.0


DEFAULT_LIMITS: Final = Limits()


class State(Enum):
    EXPECT_HEADER = "expect-header"
    SASL = "sasl"  # mechanisms were offered; nothing else is served until the outcome
    EXPECT_OPEN = "expect-open"
    OPEN = "open"
    CLOSING = "closing"  # we sent close, and wait for the peer's; what else arrives is dropped
    CLOSED = "closed"


class Framing:
    """Bytes to frames and back. `state` is to be read.

    Args:
        authenticator: for peers that begin with the SASL header; None refuses them.
        needs_sasl: refuse peers that begin with the plain AMQP header.
        limits: see `Limits`.
        now: when the connection was made.
    """

    def __init__(self, *, now: float, authenticator: Authenticator | None, needs_sasl: bool, limits: Limits) -> None:
        if needs_sasl and authenticator is None:
            raise LocalProtocolError("SASL cannot be needed without an authenticator")
        self.state = State.EXPECT_HEADER
        self.limits = limits
        self._authenticator = authenticator
        self._needs_sasl = needs_sasl
        self._sasl_done = False
        self._sasl_steps = 0
        # The authenticator said LATER, and what arrives is held.
        self._is_held = False
        # The beginning of a frame, and how long it has to become before looking at it again is worth while, so that a
        # frame in a thousand pieces is not read a thousand times.
        self._buffer: bytearray | None = None
        self._needed = 0
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._now = now
        self._deadline = now + limits.open_s
        self._heard_at = now
        self._wrote_at = now
        # Seconds between what we write, once the peer announced an idle-time-out.
        self._beat_s: float | None = None

    # --- arriving -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take what arrived and call back for what is complete.

        Raises:
            PeerError: the peer broke the protocol. What `take()` gives tells it so; then close the socket.
        """
        self._now = now
        if data:
            self._heard_at = now
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer = None
        try:
            at = self._read(data)
            if self._out_bytes > self.limits.max_pending_bytes:
                raise PeerError(
                    "amqp.limit",
                    Condition.RESOURCE_LIMIT_EXCEEDED,
                    f"over {self.limits.max_pending_bytes} bytes wait for a peer that does not read",
                )
        except PeerError as wrong:
            self._fail(wrong)
            raise
        except BaseException:
            self.state = State.CLOSED
            self._buffer = None
            raise
        if at < len(data) and self.state is not State.CLOSED:
            self._buffer = bytearray(data[at:] if at else data)

    def _read(self, data: bytes) -> int:
        """Call back for the frames in `data`; where the first one begins that was not read."""
        at, end = 0, len(data)
        while self.state is not State.CLOSED and at < end:
            if self._is_held:
                if end - at > self.limits.max_frame_bytes:
                    raise PeerError(
                        "amqp.limit", Condition.RESOURCE_LIMIT_EXCEEDED, "too much before the outcome of SASL"
                    )
                self._needed = self.limits.max_frame_bytes + 1
                break
            if end - at < 8:
                self._needed = 8
                break
            if self.state is State.EXPECT_HEADER:
                self._on_header(data[at : at + 8])
                at += 8
                continue
            size = int.from_bytes(data[at : at + 4], "big")
            body = at + 4 * data[at + 4]
            stop = at + size
            if not at + 8 <= body <= stop or size > self.limits.max_frame_bytes:
                raise PeerError(
                    "amqp.framing",
                    Condition.FRAMING_ERROR,
                    f"a frame of {size} bytes whose body begins at byte {body - at}; frames have 8 to "
                    f"{self.limits.max_frame_bytes}",
                    clause="AMQP-2.3.1",
                )
            if data[at + 5] != (1 if self.state is State.SASL else 0):
                raise PeerError(
                    "amqp.framing",
                    Condition.FRAMING_ERROR,
                    f"a frame of type {data[at + 5]} in state {self.state.value}",
                    clause="AMQP-2.3.1",
                )
            if stop > end:
                self._needed = size
                break
            if self.state is State.SASL:
                self._on_sasl_frame(data[body:stop])
            elif body < stop:
                self._on_frame(data[at + 6] << 8 | data[at + 7], data, body, stop)
            at = stop
        return at

    def _on_frame(self, channel: int, data: bytes, body: int, stop: int) -> None:
        raise NotImplementedError

    def _fail(self, wrong: PeerError) -> None:
        """Tell the peer, and be closed."""
        raise NotImplementedError

    # --- headers and SASL ---------------------------------------------------------------------------------------------

    def _on_header(self, header: bytes) -> None:
        if header == AMQP_HEADER and (self._sasl_done or not self._needs_sasl):
            self._write(AMQP_HEADER)
            self.state = State.EXPECT_OPEN
        elif header == SASL_HEADER and self._authenticator is not None and not self._sasl_done:
            self._write(SASL_HEADER)
            self._write_sasl(SaslMechanisms(tuple(self._authenticator.mechanisms)))
            self.state = State.SASL
        else:
            # The answer to a header that is not served is one that is, and the end (2.2).
            self._write(SASL_HEADER if self._needs_sasl and not self._sasl_done else AMQP_HEADER)
            raise PeerError(
                "amqp.header",
                Condition.FRAMING_ERROR,
                f"the connection began with {header!r}, which is not served here",
                clause="AMQP-2.2",
            )

    def _on_sasl_frame(self, body: bytes) -> None:
        authenticator = self._authenticator
        given, end = decode(body)
        if authenticator is None or end != len(body):
            raise PeerError("amqp.sasl", Condition.FRAMING_ERROR, "bytes behind the body of a SASL frame")
        self._sasl_steps += 1
        if isinstance(given, SaslInit) and self._sasl_steps == 1:
            if given.mechanism not in authenticator.mechanisms:
                self.continue_sasl(Outcome(SaslCode.AUTH))
                raise PeerError(
                    "amqp.sasl",
                    Condition.UNAUTHORIZED_ACCESS,
                    f"the mechanism {given.mechanism[:64]!r} was not offered",
                    clause="AMQP-5.3.3.2",
                )
            step = authenticator.start(given.mechanism, given.initial_response, given.hostname)
        elif isinstance(given, SaslResponse) and 1 < self._sasl_steps <= _MAX_SASL_STEPS:
            step = authenticator.respond(given.response)
        else:
            raise PeerError(
                "amqp.sasl", Condition.NOT_ALLOWED, f"{type(given).__name__} as step {self._sasl_steps} of SASL"
            )
        self.continue_sasl(step)

    def continue_sasl(self, step: Step) -> None:
        """What the authenticator says after `LATER`. Call `receive(b"", now)` afterwards: bytes may be waiting."""
        if self.state is not State.SASL:
            return
        self._is_held = step is LATER
        self._needed = 0
        if isinstance(step, Challenge):
            self._write_sasl(SaslChallenge(step.data))
        elif isinstance(step, Outcome):
            self._write_sasl(SaslOutcome(step.code.value, step.additional_data))
            self._sasl_done = step.code is SaslCode.OK
            self.state = State.EXPECT_HEADER if self._sasl_done else State.CLOSED

    def _write_sasl(self, sasl: SaslFrame) -> None:
        self._write(sasl_frame(encode(sasl)))

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self._out_bytes += len(data)

    def take(self) -> bytes:
        """What is to be written, once."""
        out = self._out
        if not out:
            return b""
        self._wrote_at = self._now
        self._out = []
        self._out_bytes = 0
        return b"".join(out)

    @property
    def pending_bytes(self) -> int:
        """How much `take` would give. Stop calling `receive` and `send` while the peer does not read."""
        return self._out_bytes

    @property
    def unread_bytes(self) -> int:
        """Of a frame whose end has not come."""
        return 0 if self._buffer is None else len(self._buffer)

    @property
    def is_finished(self) -> bool:
        """Nothing more is read: close the socket once all is written."""
        return self.state is State.CLOSED

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def wake_at(self) -> float | None:
        """When to call `on_time` next, on the clock of `now`; None once it is closed."""
        if self.state is State.CLOSED:
            return None
        if self.state is not State.OPEN:
            return self._deadline
        dead_at = self._heard_at + self.limits.silence_s
        return dead_at if self._beat_s is None else min(dead_at, self._wrote_at + self._beat_s)

    def on_time(self, now: float) -> None:
        """Send an empty frame if the peer has to hear from us; give up a peer that fell silent.

        Raises:
            PeerError: `amqp.idle`, as from `receive`.
        """
        self._now = now
        if self.state is State.CLOSED:
            return
        is_open = self.state is State.OPEN
        if now >= (self._heard_at + self.limits.silence_s if is_open else self._deadline):
            if self.state is State.CLOSING:
                self.state = State.CLOSED
                return
            wrong = PeerError(
                "amqp.idle",
                Condition.RESOURCE_LIMIT_EXCEEDED,
                f"nothing arrived for {self.limits.silence_s:g} s"
                if is_open
                else f"not open after {self.limits.open_s:g} s",
                clause="AMQP-2.4.5",
            )
            self._fail(wrong)
            raise wrong
        if is_open and self._beat_s is not None and now >= self._wrote_at + self._beat_s:
            self._wrote_at = now
            if not self._out:
                self._write(EMPTY_FRAME)

    def _hear_idle_time_out(self, milliseconds: int | None) -> None:
        """The peer wants to hear from us this often, or does not mind (2.4.5). We write twice as often."""
        if milliseconds:
            self._beat_s = max(_MIN_BEAT_S, milliseconds / 2000)

    def _await_close(self) -> None:
        self.state = State.CLOSING
        self._deadline = self._now + _CLOSING_S
