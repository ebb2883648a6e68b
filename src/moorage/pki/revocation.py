"""What is asked about revocation while a path is judged, and what may be answered; who answers is a port.

For each certificate of a path below its anchor the answer is `Good`, `Revoked`, or `Unknown` with the reason why. What
becomes of an unknown is a policy of the certificate's issuer: `hard` refuses, `soft` lets pass and says so. A revoked
certificate is refused under either. `off` is for a CA that publishes nothing: nobody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from moorage.pki.certificates import Certificate

__all__ = ["GOOD", "Good", "Policy", "Revocation", "Revoked", "Status", "Unknown"]

Policy = Literal["hard", "soft", "off"]


@dataclass(frozen=True, slots=True)
class Good:
    """Whoever is asked about its revocation says that it is not revoked, and recently enough."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """`reason` is a name of RFC 5280 5.3.1, such as keyCompromise. `source` says who published it, and when."""

    reason: str
    date: datetime
    source: str

    def said_of(self, certificate: Certificate) -> str:
        """The sentence for the operator."""
        return (
            f"'{certificate.subject}' (serial {certificate.serial_number:X}) was revoked by '{certificate.issuer}' on "
            f"{self.date:%Y-%m-%d} ({self.reason}), says {self.source}"
        )


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say; `why` is a sentence."""

    why: str


GOOD = Good()
Status = Good | Revoked | Unknown


class Revocation(Protocol):
    """Whoever knows about revocation. Answers are of the moment: nothing of them is remembered by who asks."""

    def policy(self, issuer: Certificate) -> Policy: ...

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        """Of `path[position]`, whose issuer is the next one; the path is valid up to its last, the anchor.

        What a peer sent besides is not shown: a revoked one would leave out what speaks against it.
        """
