"""What is kept about revocation: whose lists are looked at, by which policy, where they come from, and the lists.

A *CRL issuer* is whoever publishes lists under one name: a registered CA, a certificate of an enrollment group, or a CA
below one of those. It is known by its name alone, as RFC 5280 finds a list: a CA that is renewed, or rolled over to
another key, keeps what was decided for it. Which key signed a list is looked at each time it is used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType, Protocol

from moorage.certificates.model import CATable
from moorage.events import Outbox
from moorage.ids import HubId, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.pki.distinguished_names import FoldedName
from moorage.pki.revocation import Policy, Revoked

__all__ = [
    "CRLIssuer",
    "CRLIssuerId",
    "ListKind",
    "OcspRevocation",
    "RevocationTable",
    "RevocationTables",
    "StoredList",
    "issuer_id_of",
]

# 64 hexadecimal digits.
CRLIssuerId = NewType("CRLIssuerId", str)
ListKind = Literal["complete", "delta"]


def issuer_id_of(name: FoldedName) -> CRLIssuerId:
    """The same for every spelling of a name."""
    text = "\x1f".join("\x1e".join(f"{oid}={value}" for oid, value in sorted(parts)) for parts in name)
    return CRLIssuerId(hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class CRLIssuer:
    """One publisher of lists.

    Attributes:
        certificate: a certificate of its, which a registered CA vouches for: for its name, and to verify lists with.
        policy: what becomes of a certificate that nobody knows about; None: `soft` once there is a list or a URL, and
            `off` until then.
        crl_url, ocsp_url: given by an operator, never taken from a certificate.
        fetched, failed: when a list was last fetched, and why it last was not; `failures` in a row.
        next_fetch: when it is to be fetched next; None without a URL.
        etag: what its server called the list that is here.
    """

    hub: HubId
    issuer_id: CRLIssuerId
    certificate: Certificate
    policy: Policy | None = None
    crl_url: str | None = None
    ocsp_url: str | None = None
    fetched: datetime | None = None
    failed: str | None = None
    failures: int = 0
    next_fetch: datetime | None = None
    etag: str | None = None

    def effective_policy(self, *, has_list: bool) -> Policy:
        if self.policy is not None:
            return self.policy
        return "soft" if has_list or self.crl_url or self.ocsp_url else "off"


@dataclass(frozen=True, slots=True)
class StoredList:
    """A list that is kept, without its entries; those lie beside it, in parts.

    `list_id` is the SHA-256 of its DER. Of one signer, kind and scope there is one list, the latest; `slot` says these.
    """

    hub: HubId
    list_id: str
    issuer_id: CRLIssuerId
    slot: str
    kind: ListKind
    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    signer: Certificate
    added: datetime


@dataclass(frozen=True, slots=True)
class OcspRevocation:
    """A certificate that an OCSP responder called revoked, until it calls it good. `until` is when that answer ended.

    `issuer` is the SHA-256 of the CA's certificate, for whose name and key the question was.
    """

    hub: HubId
    issuer: Thumbprint
    serial: int
    revoked: Revoked
    until: datetime


class RevocationTable(Protocol):
    """CRL issuers by (hub, issuer id), lists by (hub, list id), the packed bytes of a list in numbered parts."""

    def find_issuer(self, hub: HubId, issuer_id: CRLIssuerId) -> CRLIssuer | None: ...

    def issuers(self, hub: HubId) -> list[CRLIssuer]:
        """In the order of their ids."""

    def put_issuer(self, issuer: CRLIssuer) -> None: ...

    def delete_issuer(self, hub: HubId, issuer_id: CRLIssuerId) -> None: ...

    def lists(self, hub: HubId) -> list[StoredList]:
        """In the order of their ids."""

    def put_list(self, stored: StoredList) -> None: ...

    def delete_list(self, hub: HubId, list_id: str) -> None:
        """With its parts."""

    def put_part(self, hub: HubId, list_id: str, number: int, data: bytes) -> None: ...

    def packed(self, hub: HubId, list_id: str) -> bytes:
        """All its parts in order; empty when there are none."""

    def ocsp_revocations(self, hub: HubId) -> list[OcspRevocation]: ...

    def put_ocsp_revocation(self, found: OcspRevocation) -> None: ...

    def delete_ocsp_revocation(self, hub: HubId, issuer: Thumbprint, serial: int) -> None: ...

    def delete_ocsp_revocations(self, hub: HubId, before: datetime) -> None:
        """Those whose answers ended by then."""

    def packed_size(self, hub: HubId, list_id: str) -> int:
        """How many bytes `packed` would give."""

    def delete_orphans(self, hub: HubId) -> None:
        """Parts of lists that there are not."""


class RevocationTables(Protocol):
    """What is needed of a store."""

    @property
    def revocation(self) -> RevocationTable: ...

    @property
    def cas(self) -> CATable: ...

    @property
    def outbox(self) -> Outbox: ...
