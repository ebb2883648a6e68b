"""A refusal as an HTTP answer, in the style of the surface that was asked (contract/services.md 2.12, 5.4).

    registry   `{"Message": "ErrorCode:<Name>;<text>", "ExceptionMessage": "Tracking ID:..."}`
    document   twins and methods: the error document as a JSON string inside `Message`
    dps        the error document itself (devices.md 6.6)
    arm        `{"error": {"code", "message"}}`, and the same flat beside it for the older models
    device     both of `registry`, without the time, and of `dps` (devices.md 5): whichever a client reads
    blob       `<Error><Code>...</Code><Message>...</Message></Error>` of Azure's storage
    own        `{"error": {"code", "reason", "message", "fix", "trackingId"}}`
    central    `{"error": {"code", "message", "requestId", "time"}}` (contract/central.md API-7)
    application  as `own`, with the statuses and codes of plain HTTP

Two audiences. Whoever showed a good credential is told everything: the sentence and the fix, and, for programs whose
style of body has no room for them, the reason in the header `moorage-reason` and the fix in `moorage-fix`, in UTF-8 and
percent-encoded. Whoever did not is told "Unauthorized" and a tracking id, under which the operator finds the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moorage.dialects.blob_http import blob_error, error_xml
from moorage.dialects.central_errors import central_error, central_error_json
from moorage.dialects.dps_json import error_json, retry_after_s
from moorage.dialects.http_errors import http_error
from moorage.dialects.json_text import encode_json
from moorage.dialects.refusals import BY_CLASS, WireError, wire_error
from moorage.dialects.times import format_time
from moorage.errors import Exhausted, Refusal, Unauthenticated

__all__ = [
    "JSON_TYPE",
    "PiecewiseResponse",
    "Problem",
    "Style",
    "encoded_response",
    "error_document",
    "json_response",
    "problem_response",
]

Style = Literal["registry", "document", "device", "blob", "dps", "arm", "own", "central", "application"]
JSON_TYPE = "application/json; charset=utf-8"

# When a device may come again that the hub could not serve: disks are tried again twice a second.
_RETRY_S = 2
# What an unauthenticated caller may hear: it says nothing about who exists or which policies there are.
_HARMLESS = ("authorization.", "bearer.", "token.expired", "token.malformed", "token.missing", "token.policy_missing")


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal on its way out. `text` and `info` override what the contract words exactly (M-5, M-6)."""

    refusal: Refusal
    tracking_id: str
    now: datetime
    text: str | None = None
    info: Mapping[str, Any] | None = None


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON, with the content type that Node's clients insist on (R-4)."""
    return Response(encode_json(value), status, headers, media_type=JSON_TYPE)


def encoded_response(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """200 with JSON that was encoded elsewhere."""
    return Response(body, headers=headers, media_type=JSON_TYPE)


class PiecewiseResponse(Response):
    """200 with JSON that was encoded elsewhere, sent piece by piece: the loop has its turn between them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(media_type=JSON_TYPE, headers={"content-length": str(sum(map(len, pieces)))})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_document(problem: Problem, error: WireError, text: str) -> dict[str, Any]:
    """The error document of twins, methods and the provisioning service (devices.md 6.6)."""
    document: dict[str, Any] = {"errorCode": error.code, "trackingId": problem.tracking_id, "message": text}
    if problem.info is not None:
        document["info"] = problem.info
    document["timestampUtc"] = format_time(problem.now)
    return document


def problem_response(problem: Problem, style: Style) -> Response:
    """The answer that says no."""
    refusal, error = problem.refusal, wire_error(problem.refusal)
    if style == "device" and isinstance(refusal, Unauthenticated):
        error = BY_CLASS[Unauthenticated]
    if style == "dps":
        return _dps_response(problem)
    if style == "blob":
        return _blob_response(problem)
    if style == "central":
        return _central_response(problem)
    if style == "application":
        return _application_response(problem)
    # For a device these tell that it exists, and how it logs in (decisions T7).
    harmless = () if style == "device" else _HARMLESS
    told = not isinstance(refusal, Unauthenticated) or refusal.reason.startswith(harmless)
    text = problem.text or (_sentence(refusal) if told else "Unauthorized")
    headers = {"iothub-errorcode": error.name}
    if told:
        headers |= _own_headers(refusal)
    if isinstance(refusal, Exhausted):
        headers["retry-after"] = str(refusal.retry_after_s)
    elif style == "device" and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(_RETRY_S)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer" if style in ("arm", "own") else "SharedAccessSignature"
    return json_response(_body(problem, error, text, told, style), error.status, headers)


def _dps_response(problem: Problem) -> Response:
    document = error_json(problem.refusal, problem.tracking_id, problem.now)
    headers = {"x-ms-error-code": str(document["errorCode"])}
    if not isinstance(problem.refusal, Unauthenticated):
        headers |= _own_headers(problem.refusal)
    wait_s = retry_after_s(problem.refusal)
    if wait_s is not None:
        headers["retry-after"] = str(wait_s)
    return json_response(document, wire_error(problem.refusal).dps_status, headers)


def _blob_response(problem: Problem) -> Response:
    refusal, error = problem.refusal, blob_error(problem.refusal)
    headers = {"x-ms-error-code": error.code, "x-ms-request-id": problem.tracking_id}
    text = "Server failed to authenticate the request."
    if not isinstance(refusal, Unauthenticated):
        text = _sentence(refusal)
        headers |= _own_headers(refusal)
    body = error_xml(error.code, text, problem.tracking_id, problem.now)
    return Response(body, error.status, headers, media_type="application/xml")


def _central_response(problem: Problem) -> Response:
    refusal, error = problem.refusal, central_error(problem.refusal)
    told = not isinstance(refusal, Unauthenticated) or refusal.reason.startswith(_HARMLESS)
    headers = {"x-ms-error-code": error.code, "x-ms-request-id": problem.tracking_id}
    text = "The provided authentication token is not valid."
    if told:
        text = _sentence(refusal)
        headers |= _own_headers(refusal)
    if isinstance(refusal, Exhausted):
        headers["retry-after"] = str(refusal.retry_after_s)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "SharedAccessSignature"
    return json_response(central_error_json(error, text, problem.tracking_id, problem.now), error.status, headers)


def _application_response(problem: Problem) -> Response:
    refusal, error = problem.refusal, http_error(problem.refusal)
    told = not isinstance(refusal, Unauthenticated) or refusal.reason.startswith(_HARMLESS)
    headers = {"x-ms-request-id": problem.tracking_id}
    if told:
        headers |= _own_headers(refusal)
    if isinstance(refusal, Exhausted):
        headers["retry-after"] = str(refusal.retry_after_s)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "SharedAccessSignature"
    return json_response(_own_document(problem, error.code, "Unauthorized", told), error.status, headers)


def _own_headers(refusal: Refusal) -> dict[str, str]:
    headers = {"moorage-reason": refusal.reason}
    if refusal.fix:
        headers["moorage-fix"] = quote(refusal.fix, safe=" /:;,=()'*")
    return headers


def _sentence(refusal: Refusal) -> str:
    return f"{refusal.message}. {refusal.fix}" if refusal.fix else refusal.message


def _body(problem: Problem, error: WireError, text: str, told: bool, style: Style) -> dict[str, Any]:
    if style == "registry":
        stamp = problem.now.strftime("%m/%d/%Y %H:%M:%S")
        return {
            "Message": f"ErrorCode:{error.name};{text}",
            "ExceptionMessage": f"Tracking ID:{problem.tracking_id}-G:0-TimeStamp:{stamp}",
        }
    if style == "device":
        return {
            "Message": f"ErrorCode:{error.name};{text}",
            "ExceptionMessage": f"Tracking ID:{problem.tracking_id}",
            **error_document(problem, error, text),
        }
    if style == "document":
        inner = encode_json(error_document(problem, error, text)).decode()
        return {"Message": inner, "ExceptionMessage": ""}
    if style == "arm":
        flat = {"code": error.name, "message": text}
        return {**flat, "httpStatusCode": str(error.status), "details": problem.tracking_id, "error": flat}
    return _own_document(problem, error.name, text, told)


def _own_document(problem: Problem, code: str, text: str, told: bool) -> dict[str, Any]:
    """`text` is for whoever is told no more."""
    document = {"code": code, "message": text, "trackingId": problem.tracking_id}
    if told:
        document |= {"reason": problem.refusal.reason, "message": problem.refusal.message, "fix": problem.refusal.fix}
    return {"error": document}
