"""The roots of every "no".

    Refusal                     the domain says no to a well-formed request
    ├── Invalid                 the request itself is wrong: a bad id, certificate, token, body
    ├── Unauthenticated         the credential does not prove who it claims to be
    ├── Forbidden               proven, but not allowed
    ├── NotFound                what it names does not exist
    ├── Conflict                exists already, or is being changed by someone else
    ├── PreconditionFailed      the etag held is not the current one
    ├── TooLarge                beyond a documented limit in size or number
    ├── Exhausted               too often; carries `retry_after_s`
    └── Unavailable             we cannot answer now

    ProtocolError               bytes or calls that the protocol does not allow
    ├── LocalProtocolError      we asked for something illegal: a bug of ours
    └── RemoteProtocolError     the peer broke the protocol: it is told so and closed

A refusal says everything once: `reason` is stable and dotted, `message` names the values compared, `fix` is what to do
next, `checks` is what was looked at on the way. Which wire code it becomes is decided in `dialects/refusals.py` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "Check",
    "Conflict",
    "Exhausted",
    "Forbidden",
    "Invalid",
    "LocalProtocolError",
    "NotFound",
    "PreconditionFailed",
    "ProtocolError",
    "Refusal",
    "RemoteProtocolError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: `name` is dotted and stable; `passed` is None when it was not reached."""

    name: str
    passed: bool | None
    detail: str = ""


class Refusal(Exception):
    """A "no" with its reason.

    Attributes:
        reason: stable dotted code, for example `chain.expired`. Documented in docs/reference/reasons.md.
        message: one sentence for the operator, with the values that were compared. Holds no secret.
        fix: the next step, as a command where there is one; empty when there is none.
        checks: every check made, in order, the failing one included.
        field: the member of what was given that it is about, by its name; empty where nobody said.
    """

    def __init__(
        self, reason: str, message: str, *, fix: str = "", checks: Sequence[Check] = (), field: str = ""
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.fix = fix
        self.checks: tuple[Check, ...] = tuple(checks)
        self.field = field


class Invalid(Refusal):
    """The request itself is wrong."""


class Unauthenticated(Refusal):
    """The credential does not prove who it claims to be."""


class Forbidden(Refusal):
    """Proven, but not allowed."""


class NotFound(Refusal):
    """What it names does not exist."""


class Conflict(Refusal):
    """It exists already, or is being changed by someone else."""


class PreconditionFailed(Refusal):
    """The etag held is not the current one."""


class TooLarge(Refusal):
    """Beyond a documented limit in size or number."""


class Exhausted(Refusal):
    """Too often; try again after `retry_after_s` seconds."""

    def __init__(
        self, reason: str, message: str, *, retry_after_s: int, fix: str = "", checks: Sequence[Check] = ()
    ) -> None:
        super().__init__(reason, message, fix=fix, checks=checks)
        self.retry_after_s = retry_after_s


class Unavailable(Refusal):
    """We cannot answer now."""


class ProtocolError(Exception):
    """Bytes or calls that the protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """We asked for something illegal: a bug of ours, never a device's."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    `reason` is stable and dotted (`mqtt.malformed`); `clause` is the rule broken (`MQTT-3.8.3-3`), or empty.
    """

    def __init__(self, reason: str, message: str, *, clause: str = "") -> None:
        super().__init__(f"[{clause}] {message}" if clause else message)
        self.reason = reason
        self.clause = clause
