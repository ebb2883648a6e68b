"""A refusal in the words of IoT Central's REST API (contract/central.md API-7).

    {"error": {"code": "NotFound", "message": "...", "requestId": "...", "time": "Sun, 22 Nov 2026 12:00:00 GMT"}}

The statuses are those of the service's page of common error codes: 400 for what cannot be understood, 422 for a body
that does not fit (`InvalidBody`), 412 for a stale etag. A device that cannot be reached is 404, as the service says it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from moorage.dialects.times import format_http_date
from moorage.dtdl.problems import InvalidModel
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

__all__ = ["CentralError", "central_error", "central_error_json"]


@dataclass(frozen=True, slots=True)
class CentralError:
    """HTTP status and the name that stands in `code` and in the header `x-ms-error-code`."""

    status: int
    code: str


_BY_CLASS: Final[dict[type[Refusal], CentralError]] = {
    Invalid: CentralError(400, "BadRequest"),
    Unauthenticated: CentralError(401, "Unauthenticated"),
    Forbidden: CentralError(403, "Forbidden"),
    NotFound: CentralError(404, "NotFound"),
    Conflict: CentralError(409, "Conflict"),
    PreconditionFailed: CentralError(412, "PreconditionFailed"),
    TooLarge: CentralError(403, "QuotaExceeded"),
    Exhausted: CentralError(429, "TooManyRequests"),
    Unavailable: CentralError(503, "ServiceUnavailable"),
    Refusal: CentralError(502, "BadGateway"),
}
_INVALID_BODY: Final = CentralError(422, "InvalidBody")
_BY_REASON: Final[dict[str, CentralError]] = {
    "api.failed": CentralError(500, "InternalServerError"),
    "body.id": _INVALID_BODY,
    "body.member": _INVALID_BODY,
    "body.size": CentralError(413, "PayloadTooLarge"),
    "json.not_object": _INVALID_BODY,
    "method.timeout": CentralError(504, "GatewayTimeout"),
    "route.method": CentralError(405, "MethodNotAllowed"),
}


def central_error(refusal: Refusal) -> CentralError:
    """By its reason, else by the nearest of its classes."""
    found = _BY_REASON.get(refusal.reason)
    if found is None and isinstance(refusal, InvalidModel):
        # A template that is no DTDL.
        return _INVALID_BODY
    return found or next(_BY_CLASS[kind] for kind in type(refusal).__mro__ if kind in _BY_CLASS)


def central_error_json(error: CentralError, message: str, request_id: str, now: datetime) -> dict[str, Any]:
    """The body of the answer."""
    return {
        "error": {
            "code": error.code,
            "message": message,
            "requestId": request_id,
            "time": format_http_date(now),
        }
    }
