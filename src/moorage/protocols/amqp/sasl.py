"""SASL as a server speaks it before AMQP (AMQP 1.0 part 5.3).

`Connection` runs the exchange and asks an `Authenticator` what each step means: it is told the mechanism that the peer
chose, and answers with a `Challenge`, an `Outcome`, or `LATER` where it has to look something up. Whoever said `LATER`
calls `Connection.continue_sasl(step)`; nothing more is read until then.

What a mechanism means is not decided here: MSSBCBS and ANONYMOUS only say that tokens follow by CBS, EXTERNAL points at
the certificate, PLAIN carries a token, and TPM takes several steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias

from moorage.protocols.amqp.errors import Condition, PeerError

__all__ = [
    "ANONYMOUS",
    "EXTERNAL",
    "HUB_MECHANISMS",
    "LATER",
    "MSSBCBS",
    "PLAIN",
    "TPM",
    "Authenticator",
    "Challenge",
    "Outcome",
    "SaslCode",
    "Step",
    "parse_plain",
]

MSSBCBS: Final = "MSSBCBS"
ANONYMOUS: Final = "ANONYMOUS"
PLAIN: Final = "PLAIN"
EXTERNAL: Final = "EXTERNAL"
TPM: Final = "TPM"

# In the order in which a hub offers them (services.md 3.1 X-1).
HUB_MECHANISMS: Final = (MSSBCBS, ANONYMOUS, PLAIN, EXTERNAL)


class SaslCode(Enum):
    """5.3.3.6."""

    OK = 0
    AUTH = 1
    SYS = 2
    SYS_PERM = 3
    SYS_TEMP = 4


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask the peer for a response to this."""

    data: bytes

    def __repr__(self) -> str:
        return f"Challenge({len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of the exchange. Unless it is OK, the connection is closed once this was sent."""

    code: SaslCode
    additional_data: bytes | None = None


class _Later(Enum):
    LATER = "later"


LATER: Final = _Later.LATER

Step: TypeAlias = Challenge | Outcome | Literal[_Later.LATER]


class Authenticator(Protocol):
    """What a server knows about mechanisms. `mechanisms` are offered in their order; there is at least one."""

    @property
    def mechanisms(self) -> Sequence[str]: ...

    def start(self, mechanism: str, initial_response: bytes | None, hostname: str | None) -> Step:
        """The peer chose one of `mechanisms`. `hostname` is the name of the host that it believes to speak with."""
        ...

    def respond(self, response: bytes) -> Step:
        """The peer answered the last challenge."""
        ...


def parse_plain(response: bytes | None) -> tuple[str, str, str]:
    """Authorization identity, user name and password of a PLAIN response (RFC 4616 2).

    Raises:
        PeerError: `amqp.sasl`. Without the response, for it holds the password.
    """
    parts = (response or b"").split(b"\0")
    try:
        authorization, user, password = (part.decode() for part in parts)
    except ValueError:  # not three, or not UTF-8
        raise PeerError(
            "amqp.sasl", Condition.DECODE_ERROR, "a PLAIN response is three UTF-8 strings with U+0000 between them"
        ) from None
    return authorization, user, password
