"""The error conditions of AMQP, and the exception for a peer that broke the protocol.

Conditions are plain text here and become symbols on the wire. Those of the service (`com.microsoft:...`) belong to the
dialects, which know what they mean.

Reasons that leave this package as `PeerError`:

    amqp.header         the connection did not begin with an AMQP header that we serve
    amqp.framing        a frame that cannot be one: its size, offset or type
    amqp.decode         bytes that are no AMQP value, or no performative
    amqp.field          a field with a value that it may not have
    amqp.unexpected     a frame that the peer may not send now
    amqp.limit          beyond one of our limits
    amqp.window         more transfers than the session's window
    amqp.handle         a link handle that is in use, or belongs to no link
    amqp.unsupported    transactions and other parts of the standard that are not served
    amqp.idle           silent for longer than we announced to wait
    amqp.sasl           the SASL exchange failed
"""

from __future__ import annotations

from typing import Final

from moorage.errors import RemoteProtocolError

__all__ = ["Condition", "PeerError"]


class Condition:
    """Error conditions of AMQP 1.0, parts 2.8.15 to 2.8.18."""

    INTERNAL_ERROR: Final = "amqp:internal-error"
    NOT_FOUND: Final = "amqp:not-found"
    UNAUTHORIZED_ACCESS: Final = "amqp:unauthorized-access"
    DECODE_ERROR: Final = "amqp:decode-error"
    RESOURCE_LIMIT_EXCEEDED: Final = "amqp:resource-limit-exceeded"
    NOT_ALLOWED: Final = "amqp:not-allowed"
    INVALID_FIELD: Final = "amqp:invalid-field"
    NOT_IMPLEMENTED: Final = "amqp:not-implemented"
    RESOURCE_LOCKED: Final = "amqp:resource-locked"
    PRECONDITION_FAILED: Final = "amqp:precondition-failed"
    RESOURCE_DELETED: Final = "amqp:resource-deleted"
    ILLEGAL_STATE: Final = "amqp:illegal-state"

    CONNECTION_FORCED: Final = "amqp:connection:forced"
    FRAMING_ERROR: Final = "amqp:connection:framing-error"
    CONNECTION_REDIRECT: Final = "amqp:connection:redirect"

    WINDOW_VIOLATION: Final = "amqp:session:window-violation"
    ERRANT_LINK: Final = "amqp:session:errant-link"
    HANDLE_IN_USE: Final = "amqp:session:handle-in-use"
    UNATTACHED_HANDLE: Final = "amqp:session:unattached-handle"

    DETACH_FORCED: Final = "amqp:link:detach-forced"
    TRANSFER_LIMIT_EXCEEDED: Final = "amqp:link:transfer-limit-exceeded"
    MESSAGE_SIZE_EXCEEDED: Final = "amqp:link:message-size-exceeded"
    LINK_REDIRECT: Final = "amqp:link:redirect"
    STOLEN: Final = "amqp:link:stolen"


class PeerError(RemoteProtocolError):
    """The peer broke the protocol; `condition` is what it is told in the close frame."""

    def __init__(self, reason: str, condition: str, message: str, *, clause: str = "") -> None:
        super().__init__(reason, message, clause=clause)
        self.condition = condition
        self.description = message
