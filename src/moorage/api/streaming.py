"""Answers without an end, as server-sent events: they end with the credential that they were asked for with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from moorage.clock import Clock
from moorage.dialects.json_text import encode_json
from moorage.errors import Refusal, Unauthenticated
from moorage.identities.access import Principal

__all__ = ["HEARTBEAT_S", "Lease", "encode_refusal"]

HEARTBEAT_S: Final = 15.0
# A timer may come a moment early, and is then set once more.
_LEAST_WAIT_S: Final = 0.01


class Lease:
    """How long whoever asked may follow."""

    def __init__(self, principal: Principal | None, clock: Clock) -> None:
        self._expires: datetime | None = None if principal is None else principal.expires
        self._clock = clock

    @property
    def patience_s(self) -> float:
        """How long to wait for what comes next before saying that nothing did."""
        if self._expires is None:
            return HEARTBEAT_S
        left_s = (self._expires - self._clock.now()).total_seconds()
        return min(HEARTBEAT_S, max(_LEAST_WAIT_S, left_s))

    def why_ended(self) -> Refusal | None:
        """`stream.expired`; None as long as it goes on."""
        if self._expires is None or self._clock.now() < self._expires:
            return None
        return Unauthenticated(
            "stream.expired",
            f"the credential of this stream expired at {self._expires.isoformat()}; ask again with another",
        )


def encode_refusal(event: str, refusal: Refusal, *, resume: str | None = None, **more: Any) -> bytes:
    """An event that tells of a refusal; `resume` is what `Last-Event-ID` goes on from."""
    document = {
        "reason": refusal.reason,
        "message": refusal.message,
        **({"fix": refusal.fix} if refusal.fix else {}),
        **more,
    }
    at = b"" if resume is None else b"id: %b\n" % resume.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (at, event.encode(), encode_json(document))
