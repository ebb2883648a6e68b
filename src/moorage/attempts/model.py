"""One attempt to get in: who claimed to be whom, what was shown, what was checked, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from moorage.errors import Check, Refusal
from moorage.ids import HubId

__all__ = ["MAX_CLIENT", "Attempt", "AttemptSink", "Door", "refused"]

# Where it was made: the TLS handshake itself, a hub login, a provisioning request, a service call; -ws: in a WebSocket.
Door = Literal[
    "tls",
    "hub.mqtt",
    "hub.mqtt-ws",
    "hub.amqp",
    "hub.amqp-ws",
    "hub.https",
    "dps.mqtt",
    "dps.mqtt-ws",
    "dps.amqp",
    "dps.amqp-ws",
    "dps.https",
    "service",
]

# Characters of `Attempt.client` that are kept. What SDKs send has about eighty.
MAX_CLIENT: Final = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """`chain` is DER, leaf first, exactly as sent. `reason` is None when the attempt was accepted.

    `client` is what the peer's software calls itself (MQTT: DeviceClientType or ClientVersion, HTTPS: User-Agent).
    `tracking_id` is also told to the peer where its protocol has room for it.
    """

    at: datetime
    hub: HubId
    door: Door
    tracking_id: str
    address: str
    claimed_id: str
    chain: tuple[bytes, ...] = ()
    tls_version: str = ""
    credential: Literal["x509", "token", "none"] = "none"
    reason: str | None = None
    message: str = ""
    fix: str = ""
    checks: tuple[Check, ...] = ()
    client: str = ""

    @property
    def is_accepted(self) -> bool:
        return self.reason is None


class AttemptSink(Protocol):
    """Takes attempts off the path that makes them: bounded, never blocks, never raises."""

    def record(self, attempt: Attempt) -> None: ...


def refused(attempt: Attempt, refusal: Refusal) -> Attempt:
    """`attempt` with the reason it failed for."""
    return Attempt(
        at=attempt.at,
        hub=attempt.hub,
        door=attempt.door,
        tracking_id=attempt.tracking_id,
        address=attempt.address,
        claimed_id=attempt.claimed_id,
        chain=attempt.chain,
        tls_version=attempt.tls_version,
        client=attempt.client,
        credential=attempt.credential,
        reason=refusal.reason,
        message=refusal.message,
        fix=refusal.fix,
        checks=refusal.checks,
    )
