"""What an AMQP peer has shown, unjudged: its certificates, and tokens that came by SASL PLAIN or by CBS.

Who somebody is follows when a link is attached, for AMQP's identity is one of the link: many devices may share a
connection, each with a token of its own (devices.md 4.1, 4.2). So a token is kept under the path that it names, and a
link is judged by the nearest one at or above its own path.

Only what says nothing about devices is looked at when a token comes: its form, its end, and the signature of a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from moorage.errors import Forbidden, Refusal, Unauthenticated
from moorage.identities.sas import parse_audience, parse_token
from moorage.ids import Secret
from moorage.pki.certificates import PeerChain
from moorage.protocols.amqp import sasl
from moorage.protocols.amqp.errors import PeerError
from moorage.protocols.amqp.sasl import Authenticator, Outcome, SaslCode, Step
from moorage.servers.streams import ByteStream

__all__ = ["MAX_TOKENS", "CheckToken", "Credentials", "Mechanism", "folded_path"]

# As many as links: .NET pools up to a thousand devices on one connection.
MAX_TOKENS = 1024

# Raises `Unauthenticated` for a token that nobody can use; says nothing of devices.
CheckToken = Callable[[Secret], None]
# Begins an exchange that ends in a token being put here, or in `refused`.
Mechanism = Callable[["Credentials"], Authenticator]


class Credentials:
    """One connection's; also its SASL `Authenticator`.

    `more` are mechanisms that take several steps, by name: each is asked anew for a connection that chooses it.
    """

    __slots__ = (
        "_chain",
        "_check",
        "_folded",
        "_latest",
        "_more",
        "_steps",
        "_stream",
        "_tokens",
        "held_bytes",
        "refused",
        "user",
    )

    def __init__(self, stream: ByteStream, check: CheckToken, more: Mapping[str, Mechanism]) -> None:
        self._stream = stream
        self._check = check
        self._more = more
        self._chain: PeerChain | None = None
        # By the path as it came, and in lower case: ids differ by case, and IoT Edge writes its own in lower case (T8).
        self._tokens: dict[tuple[str, ...], Secret] = {}
        self._folded: dict[tuple[str, ...], Secret] = {}
        self._latest: Secret | None = None
        # About, of the tokens and the paths.
        self.held_bytes = 0
        self._steps: Authenticator | None = None
        # The user name of SASL PLAIN, or what another mechanism names.
        self.user = ""
        # Why the exchange was refused: AMQP has no room for a reason there, and the operator wants one.
        self.refused: Refusal | None = None

    @property
    def stream(self) -> ByteStream:
        return self._stream

    @property
    def chain(self) -> PeerChain | None:
        """The certificates of the TLS handshake; None when there were none."""
        if self._chain is None:
            self._chain = self._stream.peer_chain()
        return self._chain or None

    def put(self, token: Secret) -> tuple[str, ...]:
        """Keep `token`; returns the path that it names, in lower case.

        Raises:
            Unauthenticated: as the `CheckToken`.
            Forbidden: `token.too_many`.
        """
        self._check(token)
        path = parse_audience(parse_token(token.reveal()).resource).path
        before = self._tokens.get(path)
        if before is None and len(self._tokens) >= MAX_TOKENS:
            raise Forbidden("token.too_many", f"one connection holds at most {MAX_TOKENS} tokens")
        self.held_bytes += 3 * (len(token.reveal()) - (0 if before is None else len(before.reveal())))
        folded = folded_path(path)
        self._tokens[path] = self._folded[folded] = self._latest = token
        return folded

    def token(self, path: tuple[str, ...]) -> Secret | None:
        """The token whose audience is nearest at or above `path`; else the last one that came, to be judged wrong."""
        if self._latest is None:
            return None
        folded = folded_path(path)
        for length in range(len(folded), -1, -1):
            found = self._tokens.get(path[:length]) or self._folded.get(folded[:length])
            if found is not None:
                return found
        return self._latest

    # -- SASL ----------------------------------------------------------------------------------------------------------

    @property
    def mechanisms(self) -> Sequence[str]:
        return (*sasl.HUB_MECHANISMS, *self._more)

    def start(self, mechanism: str, initial_response: bytes | None, hostname: str | None) -> Step:
        steps = self._more.get(mechanism)
        if steps is not None:
            self._steps = steps(self)
            return self._steps.start(mechanism, initial_response, hostname)
        if mechanism == sasl.PLAIN:
            return self._plain(initial_response)
        return Outcome(SaslCode.OK)

    def respond(self, response: bytes) -> Step:
        if self._steps is None:
            return Outcome(SaslCode.AUTH)
        return self._steps.respond(response)

    def _plain(self, response: bytes | None) -> Step:
        try:
            _, self.user, password = sasl.parse_plain(response)
            self.put(Secret(password))
        except PeerError as error:
            self.refused = Unauthenticated(error.reason, str(error))
        except Refusal as refusal:
            self.refused = refusal
        return Outcome(SaslCode.OK if self.refused is None else SaslCode.AUTH)


def folded_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """In lower case."""
    return tuple(part.lower() for part in path)
