"""SASL mechanism TPM: how a provisioning device shows its TPM over AMQP (contract/devices.md 6.7).

    device  ─ init ─────►  0, id scope, 0, registration id, 0, endorsement key
            ◄─ challenge   0
            ─ response ─►  0, storage root key
            ◄─ challenge   control byte, first part of the challenge to the TPM
            ─ response ─►  0
            ◄─ challenge   control byte, the rest
            ─ response ─►  0, SAS token signed with the key in it
            ◄─ outcome     OK, and the token is the connection's as if PLAIN had brought it

A control byte has its highest bit set, the next one for the last part, and the part's number in its two lowest bits.
The challenge goes in two parts wherever that is possible, since Java knows only two; a SASL frame has at most 512
bytes. Whoever asks is given a challenge (`provisioning/tpm_challenges.py`); what it means to have answered one is
decided when the device registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from moorage.attempts.model import Door
from moorage.dialects.dps_exchange import Caller, DpsExchange
from moorage.errors import Invalid, Refusal
from moorage.identities.credentials import Presented
from moorage.ids import Secret
from moorage.pki.tpm import parse_public
from moorage.protocols.amqp import sasl
from moorage.protocols.amqp.sasl import Challenge, Outcome, SaslCode, Step
from moorage.provisioning.tpm_challenges import TpmKeys
from moorage.servers.amqp.credentials import Credentials

__all__ = ["TpmAuthenticator"]

# Of a challenge in one frame of 512 bytes, beside its header and the control byte.
_PART_BYTES: Final = 480
# Longer than any init: an id scope, a registration id, and a key.
_MAX_RESPONSE_BYTES: Final = 2048
_PART, _LAST = 0x80, 0x40
_NEXT: Final = b"\0"


class TpmAuthenticator:
    """One exchange. What it refuses is kept in `credentials.refused`, for the operator."""

    mechanisms: Sequence[str] = (sasl.TPM,)

    def __init__(self, exchange: DpsExchange, credentials: Credentials) -> None:
        self._exchange = exchange
        self._credentials = credentials
        self._caller: Caller | None = None
        self._endorsement = b""
        # What is still to be sent of the challenge; None before the storage root key was shown.
        self._parts: list[bytes] | None = None

    def start(self, mechanism: str, initial_response: bytes | None, hostname: str | None) -> Step:
        """`initial_response` names the device and shows its endorsement key."""
        try:
            self._caller, self._endorsement = self._named(_content(initial_response or b""))
        except Refusal as refusal:
            return self._refuse(refusal)
        return Challenge(b"\0")

    def respond(self, response: bytes) -> Step:
        """The storage root key, then word that a part has come, then the token."""
        caller = self._caller
        if caller is None:
            return Outcome(SaslCode.AUTH)
        try:
            content = _content(response)
            if self._parts is None:
                self._parts = self._challenge(caller, content)
            elif not self._parts:
                return self._answered(caller, content)
            elif content:
                raise Invalid("tpm.sasl", f"{len(content)} bytes came where word of a part of the challenge was due")
            return Challenge(self._parts.pop(0))
        except Refusal as refusal:
            return self._refuse(refusal)

    def _named(self, content: bytes) -> tuple[Caller, bytes]:
        pieces = content.split(b"\0", 2)
        try:
            scope, registration_id = (each.decode("ascii") for each in pieces[:2])
        except ValueError:  # not two, or not ASCII
            scope = ""
        if not scope or len(pieces) < 3:
            raise Invalid("tpm.sasl", "an exchange begins with an id scope, a registration id and an endorsement key")
        self._credentials.user = f"{scope}/registrations/{registration_id}"
        stream = self._credentials.stream
        door = "dps.amqp-ws" if stream.carrier == "websocket" else "dps.amqp"
        presented = Presented(None, None, stream.address)
        return Caller(scope, registration_id, presented, cast(Door, door), stream.tls_version), pieces[2]

    def _challenge(self, caller: Caller, storage: bytes) -> list[bytes]:
        """The challenge to the TPM, in parts."""
        keys = TpmKeys(
            parse_public(self._endorsement, "the endorsement key"), parse_public(storage, "the storage root key")
        )
        wrapped, _ = self._exchange.challenge(caller, keys)
        count = max(2, -(-len(wrapped) // _PART_BYTES))
        size = -(-len(wrapped) // count)
        return [
            bytes([_PART | (_LAST if number == count - 1 else 0) | number])
            + wrapped[number * size : (number + 1) * size]
            for number in range(count)
        ]

    def _answered(self, caller: Caller, content: bytes) -> Step:
        token = Secret(content.decode("ascii", "replace"))
        self._exchange.check_answer(caller, token)
        self._credentials.put(token)
        return Outcome(SaslCode.OK)

    def _refuse(self, refusal: Refusal) -> Step:
        self._caller = None
        self._credentials.refused = refusal
        return Outcome(SaslCode.AUTH)


def _content(response: bytes) -> bytes:
    if response[:1] != b"\0" or len(response) > _MAX_RESPONSE_BYTES:
        raise Invalid(
            "tpm.sasl",
            f"a response of the mechanism TPM begins with a zero byte and has at most {_MAX_RESPONSE_BYTES} bytes; "
            f"this has {len(response)}",
        )
    return response[1:]
