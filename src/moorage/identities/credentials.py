"""What a peer showed us, unjudged, and what it is once judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from moorage.errors import Check
from moorage.identities.model import Identity
from moorage.ids import Secret, Thumbprint
from moorage.pki.certificates import PeerChain

__all__ = ["AuthMethod", "AuthenticatedIdentity", "Presented"]


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
    SHA-256; `signers` the SHA-256 of each issuer on the path, anchor last; `binding` the trust binding of that anchor.
    `policy` is the shared access policy whose key signed the token, `policy_key` the mark of that key.
    `pinned` is the registered thumbprint that it matched, of either hash.
    `checks` is what was looked at, all of it passed: one tuple for each kind of credential, shared by all connections.
    """

    identity: Identity
    method: AuthMethod
    expires: datetime | None
    thumbprint: Thumbprint | None = None
    serial: tuple[str, int] | None = None
    signers: tuple[Thumbprint, ...] = ()
    binding: str | None = None
    policy: str | None = None
    policy_key: bytes | None = None
    pinned: Thumbprint | None = None
    checks: tuple[Check, ...] = ()
