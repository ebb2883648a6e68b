"""What a peer showed us, unjudged, and what it is once judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from moorage.errors import Check
from moorage.identities.model import Identity
from moorage.ids import Secret, Thumbprint
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.waivers import NO_WAIVERS, Waivers

__all__ = ["AuthMethod", "AuthenticatedIdentity", "Presented", "credential_of"]


@dataclass(frozen=True, slots=True)
class Presented:
    """A connection's credentials. `chain` is what came in the TLS handshake, whose key the peer has proven to hold."""

    chain: PeerChain | None
    token: Secret | None
    address: str


@dataclass(frozen=True, slots=True)
class AuthMethod:
    """`iothub-connection-auth-method` (contract/services.md 4.5).

    `scope` is device, module or hub; `type` sas or x509Certificate; `issuer` iothub or external.
    """

    scope: str
    type: str
    issuer: str


@dataclass(frozen=True, slots=True)
class AuthenticatedIdentity:
    """An identity whose credential was checked, and what that credential hangs on.

    `expires` ends the session: the token's `se`, or the first `notAfter` on the path. `thumbprint` is the leaf's
    SHA-256; `issuers` the path above it, anchor last, and `signers` the SHA-256 of each of those; `serial` the leaf's
    serial number where there is an issuer; `binding` the trust binding of the anchor.
    `policy` is the shared access policy whose key signed the token, `policy_key` the mark of that key.
    `pinned` is the registered thumbprint that it matched, of either hash.
    `waivers` are those of the hub without which it had been refused.
    `checks` is what was looked at, all of it passed: one tuple for each kind of credential, shared by all connections,
    unless there are `waivers`.
    """

    identity: Identity
    method: AuthMethod
    expires: datetime | None
    thumbprint: Thumbprint | None = None
    serial: int | None = None
    signers: tuple[Thumbprint, ...] = ()
    issuers: tuple[Certificate, ...] = ()
    binding: str | None = None
    policy: str | None = None
    policy_key: bytes | None = None
    pinned: Thumbprint | None = None
    waivers: Waivers = NO_WAIVERS
    checks: tuple[Check, ...] = ()


def credential_of(presented: Presented, who: AuthenticatedIdentity | None) -> Literal["x509", "token", "none"]:
    """The one that let the peer in; of a peer that is kept out, the one it names itself by."""
    if who is not None:
        return "token" if who.method.type == "sas" else "x509"
    if presented.token is not None:
        return "token"
    return "none" if presented.chain is None else "x509"
