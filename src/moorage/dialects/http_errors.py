"""A refusal as plain HTTP has it (RFC 9110 15), for what is nobody's but ours: pages, and our own API beside them.

IoT Hub's statuses and IoT Central's, which differ, are for their clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moorage.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

__all__ = ["HTTPError", "http_error"]


@dataclass(frozen=True, slots=True)
class HTTPError:
    """`code` is the status in one word."""

    status: int
    code: str


_BY_CLASS: Final[dict[type[Refusal], HTTPError]] = {
    Invalid: HTTPError(400, "BadRequest"),
    Unauthenticated: HTTPError(401, "Unauthorized"),
    Forbidden: HTTPError(403, "Forbidden"),
    NotFound: HTTPError(404, "NotFound"),
    Conflict: HTTPError(409, "Conflict"),
    PreconditionFailed: HTTPError(412, "PreconditionFailed"),
    TooLarge: HTTPError(413, "ContentTooLarge"),
    Exhausted: HTTPError(429, "TooManyRequests"),
    Unavailable: HTTPError(503, "ServiceUnavailable"),
    # A refusal of no class of its own is a bad answer from the other side of a call.
    Refusal: HTTPError(502, "BadGateway"),
}
_BY_REASON: Final[dict[str, HTTPError]] = {
    "api.failed": HTTPError(500, "InternalServerError"),
    "route.method": HTTPError(405, "MethodNotAllowed"),
}


def http_error(refusal: Refusal) -> HTTPError:
    """By its reason, else by the nearest of its classes."""
    found = _BY_REASON.get(refusal.reason)
    return found or next(_BY_CLASS[kind] for kind in type(refusal).__mro__ if kind in _BY_CLASS)
