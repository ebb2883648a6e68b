"""Devices at the HTTPS door: each request is judged as a CONNECT is (contract/devices.md 5).

The credential is the client certificate of the TLS handshake, or a SAS token in `Authorization`; a blank header, as C
sends it beside a certificate, is none. Which of the two counts is the identity's registered kind (decisions T4), and
what is disabled or revoked between two requests of one connection is kept out of the second.

Every refusal is an attempt of its own. Of those that are let in the first of a connection is written down, and again
after a while: a device that reports each second says nothing new each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request

from moorage.api.routing import Call
from moorage.api.services import identity_of
from moorage.attempts.model import MAX_CLIENT, Attempt, AttemptSink, refused
from moorage.clock import Clock
from moorage.errors import Refusal, Unauthenticated
from moorage.identities.credentials import AuthenticatedIdentity, Presented, credential_of
from moorage.identities.sas import parse_token
from moorage.ids import HubId, IdentityName, Secret
from moorage.pki.certificates import PeerChain

__all__ = ["Authenticate", "DeviceDoor", "is_by_device", "presented_by", "tls_version_of"]

# `identities.judge.Authenticator.authenticate`, at this moment.
Authenticate = Callable[[HubId, IdentityName, Presented], AuthenticatedIdentity]

_AGAIN_S: Final = 60.0
_MAX_REMEMBERED: Final = 4096


class DeviceDoor:
    """Says who sends a request. `heard` is told of everybody who was let in."""

    def __init__(
        self,
        hub: HubId,
        clock: Clock,
        authenticate: Authenticate,
        attempts: AttemptSink,
        heard: Callable[[IdentityName], None],
    ) -> None:
        self.hub = hub
        self._clock = clock
        self._authenticate = authenticate
        self._attempts = attempts
        self._heard = heard
        # When who was last written down as let in, by address and name.
        self._written: OrderedDict[tuple[str, IdentityName], float] = OrderedDict()

    def admit(self, call: Call, name: IdentityName | None = None) -> AuthenticatedIdentity:
        """The identity that the path names, or `name`, which has proven to be it.

        Raises:
            Invalid: `id.device`, `id.module`.
            Unauthenticated: as `Authenticator.authenticate`.
        """
        name = name or identity_of(call)
        presented = presented_by(call)
        try:
            who = self._authenticate(self.hub, name, presented)
        except Refusal as refusal:
            self._attempts.record(refused(self._attempt(call, name, presented, None), refusal))
            raise
        if self._is_news(presented.address, name):
            self._attempts.record(self._attempt(call, name, presented, who))
        self._heard(name)
        return who

    def _is_news(self, address: str, name: IdentityName) -> bool:
        key, now = (address, name), self._clock.monotonic()
        written = self._written.get(key)
        if written is not None and now < written + _AGAIN_S:
            return False
        self._written[key] = now
        self._written.move_to_end(key)
        if len(self._written) > _MAX_REMEMBERED:
            self._written.popitem(last=False)
        return True

    def _attempt(
        self, call: Call, name: IdentityName, presented: Presented, who: AuthenticatedIdentity | None
    ) -> Attempt:
        return Attempt(
            at=self._clock.now(),
            hub=self.hub,
            door="hub.https",
            tracking_id=call.tracking_id,
            address=presented.address,
            claimed_id=str(name),
            chain=() if presented.chain is None else presented.chain.certificates,
            tls_version=tls_version_of(call),
            client=call.request.headers.get("user-agent", "")[:MAX_CLIENT],
            credential=credential_of(presented, who),
            checks=() if who is None else who.checks,
        )


def is_by_device(request: Request) -> bool:
    """Whether a request to a route for both carries a device's own credential, and no back end's: a token that names
    no policy, or a certificate alone.
    """
    header = request.headers.get("authorization", "").strip()
    if not header:
        return bool(_tls(request).get("peer_chain"))
    try:
        return parse_token(header).policy is None
    except Unauthenticated:
        return False


def presented_by(call: Call) -> Presented:
    """What the sender of a request showed: the chain of the TLS handshake, and what `Authorization` holds."""
    request = call.request
    chain: PeerChain | None = _tls(request).get("peer_chain")
    header = request.headers.get("authorization", "").strip()
    address = f"{request.client.host}:{request.client.port}" if request.client else ""
    return Presented(chain or None, Secret(header) if header else None, address)


def tls_version_of(call: Call) -> str:
    """Empty where the request did not come over TLS."""
    return str(_tls(call.request).get("version", ""))


def _tls(request: Request) -> dict[str, Any]:
    tls: dict[str, Any] = request.scope.get("extensions", {}).get("moorage.tls", {})
    return tls
