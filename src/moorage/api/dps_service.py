"""The provisioning service's REST API for operators: enrollments, groups, registrations (contract/services.md 6).

Each handler parses, calls and answers. Individual enrollments and groups have the same five operations; what differs
between them is in `_Collection`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from starlette.responses import Response

from moorage.api.problems import encoded_response, json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.parameters import IF_MATCH, PAGE_HEADERS, PAGED
from moorage.api.schemas.provisioning import (
    ATTESTATION,
    ENROLLMENT,
    ENROLLMENT_BULK,
    ENROLLMENT_CHANGE,
    ENROLLMENTS,
    GROUP,
    GROUP_BULK,
    GROUP_CHANGE,
    GROUPS,
    OPERATION_BULK_RESULT,
    QUERY,
    REGISTRATION,
    REGISTRATIONS,
)
from moorage.dialects.dps_enrollments import (
    attestation_json,
    group_json,
    individual_json,
    parse_group,
    parse_individual,
)
from moorage.dialects.dps_json import registration_json
from moorage.dialects.dps_query import check_selects_all
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import get_text
from moorage.dialects.refusals import wire_error
from moorage.errors import Invalid, Refusal
from moorage.ids import EnrollmentGroupId, RegistrationId, parse_enrollment_group_id, parse_etag, parse_registration_id
from moorage.provisioning.enrollments import ANY, EnrollmentService, IfMatch
from moorage.provisioning.model import Enrollment, EnrollmentGroup, IndividualEnrollment, Registration
from moorage.provisioning.registrations import RegistrationService

__all__ = ["dps_service_routes"]

# The right to write includes reading (services.md 1.3). Keys are shown only to those who could replace them.
_READ: Final[Gate] = frozenset({"EnrollmentRead", "EnrollmentWrite"})
_WRITE: Final[Gate] = frozenset({"EnrollmentWrite"})
_STATE_READ: Final[Gate] = frozenset({"RegistrationStatusRead", "RegistrationStatusWrite"})
_STATE_WRITE: Final[Gate] = frozenset({"RegistrationStatusWrite"})

_DEFAULT_PAGE: Final = 100
_MAX_PAGE: Final = 1000
# Encoding so many takes about a millisecond.
_PIECE: Final = 50
# services.md P-10
_MAX_BULK: Final = 10
_MODES: Final = ("create", "update", "updateIfMatchETag", "delete")

Id = TypeVar("Id", bound=str)
Entry = TypeVar("Entry", bound=Enrollment)
Listed = TypeVar("Listed")


def dps_service_routes(enrollments: EnrollmentService, registrations: RegistrationService) -> list[Route]:
    """Routes of services.md 6.1."""
    routes: list[Route] = []
    individual = (ENROLLMENT, ENROLLMENT_CHANGE, ENROLLMENTS, ENROLLMENT_BULK)
    group = (GROUP, GROUP_CHANGE, GROUPS, GROUP_BULK)
    for path, api, what, (shown, change, page, bulk) in (
        ("/enrollments", _Api(_individuals(enrollments, registrations)), "enrollment", individual),
        ("/enrollmentGroups", _Api(_groups(enrollments)), "enrollment group", group),
    ):
        one = f"{path}/{{id}}"
        routes += [
            Route("GET", one, api.get, _READ, "dps", summary=f"One {what}.", answers={200: shown}),
            Route(
                "PUT",
                one,
                api.put,
                _WRITE,
                "dps",
                summary=f"Create one {what}, or with If-Match change it.",
                headers=(IF_MATCH,),
                body=change,
                answers={200: shown},
            ),
            Route(
                "DELETE",
                one,
                api.delete,
                _WRITE,
                "dps",
                summary=f"Delete one {what}.",
                headers=(IF_MATCH,),
                answers={204: None},
            ),
            Route(
                "POST",
                f"{one}/attestationmechanism",
                api.attestation,
                _WRITE,
                "dps",
                summary="How it attests, keys and certificates included.",
                answers={200: ATTESTATION},
            ),
            Route(
                "POST",
                path,
                api.bulk,
                _WRITE,
                "dps",
                summary="Up to ten at once, each by itself; 200 says what failed.",
                body=bulk,
                answers={200: OPERATION_BULK_RESULT},
            ),
            Route(
                "POST",
                f"{path}/query",
                api.query,
                _READ,
                "dps",
                summary=f"Each {what}, by pages.",
                headers=PAGED,
                body=QUERY,
                answers={200: page},
                answer_headers=PAGE_HEADERS,
            ),
        ]
    states = _States(registrations)
    one = "/registrations/{id}"
    return [
        *routes,
        Route("GET", one, states.get, _STATE_READ, "dps", summary="One registration.", answers={200: REGISTRATION}),
        Route(
            "DELETE",
            one,
            states.delete,
            _STATE_WRITE,
            "dps",
            summary="Forget a registration.",
            headers=(IF_MATCH,),
            answers={204: None},
        ),
        Route(
            "POST",
            f"{one}/query",
            states.query,
            _STATE_READ,
            "dps",
            summary="The registrations of a group, by pages.",
            headers=PAGED,
            answers={200: REGISTRATIONS},
            answer_headers=PAGE_HEADERS,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Collection(Generic[Id, Entry]):
    """What tells individual enrollments and groups apart. `put` and `delete` are told who asks."""

    id_member: str
    bulk_member: str
    item_type: str
    parse_id: Callable[[str], Id]
    get: Callable[[Id], Entry]
    put: Callable[[Id, Mapping[str, Any], IfMatch, object], Awaitable[Entry]]
    delete: Callable[[Id, IfMatch, object], Awaitable[None]]
    list_after: Callable[[int, str], Awaitable[list[Entry]]]
    id_of: Callable[[Entry], str]
    encode: Callable[[Entry, bool], dict[str, Any]]


def _individuals(
    enrollments: EnrollmentService, registrations: RegistrationService
) -> _Collection[RegistrationId, IndividualEnrollment]:
    async def put(
        registration_id: RegistrationId, body: Mapping[str, Any], if_match: IfMatch, by: object
    ) -> IndividualEnrollment:
        return await enrollments.put_individual(parse_individual(registration_id, body), if_match=if_match, by=by)

    return _Collection(
        id_member="registrationId",
        bulk_member="enrollments",
        item_type="Enrollment",
        parse_id=parse_registration_id,
        get=enrollments.get_individual,
        put=put,
        delete=lambda name, if_match, by: enrollments.delete_individual(name, if_match=if_match, by=by),
        list_after=enrollments.list_individuals,
        id_of=lambda entry: entry.registration_id,
        encode=lambda entry, reveal: individual_json(entry, registrations.find(entry.registration_id), reveal=reveal),
    )


def _groups(enrollments: EnrollmentService) -> _Collection[EnrollmentGroupId, EnrollmentGroup]:
    async def put(
        group_id: EnrollmentGroupId, body: Mapping[str, Any], if_match: IfMatch, by: object
    ) -> EnrollmentGroup:
        return await enrollments.put_group(parse_group(group_id, body), if_match=if_match, by=by, vouched=True)

    return _Collection(
        id_member="enrollmentGroupId",
        bulk_member="enrollmentGroups",
        item_type="EnrollmentGroup",
        parse_id=parse_enrollment_group_id,
        get=enrollments.get_group,
        put=put,
        delete=lambda name, if_match, by: enrollments.delete_group(name, if_match=if_match, by=by),
        list_after=enrollments.list_groups,
        id_of=lambda entry: entry.group_id,
        encode=lambda entry, reveal: group_json(entry, reveal=reveal),
    )


class _Api(Generic[Id, Entry]):
    def __init__(self, collection: _Collection[Id, Entry]) -> None:
        self._all = collection

    async def get(self, call: Call) -> Response:
        return json_response(self._all.encode(self._all.get(self._id(call)), False))

    async def put(self, call: Call) -> Response:
        """200 for create and update alike. The answer shows keys, since whoever asked has just set or made them."""
        body = await call.json_object()
        entry = await self._all.put(self._id(call), body, _if_match(call), call.principal)
        return json_response(self._all.encode(entry, True))

    async def delete(self, call: Call) -> Response:
        await self._all.delete(self._id(call), _if_match(call), call.principal)
        return Response(status_code=204)

    async def attestation(self, call: Call) -> Response:
        return json_response(attestation_json(self._all.get(self._id(call)).attestation, reveal=True))

    async def query(self, call: Call) -> Response:
        check_selects_all((await call.json_object()).get("query"))
        return await _page(
            call, self._all.item_type, self._all.list_after, self._all.id_of, lambda each: self._all.encode(each, False)
        )

    async def bulk(self, call: Call) -> Response:
        """P-10: each entry by itself; what fails is told in the answer, which is 200 either way."""
        body = await call.json_object()
        mode, entries = body.get("mode"), body.get(self._all.bulk_member)
        if mode not in _MODES:
            raise Invalid("body.member", f"mode is {str(mode)[:40]!r}, it has to be one of {', '.join(_MODES)}")
        if not isinstance(entries, list) or not 0 < len(entries) <= _MAX_BULK:
            raise Invalid("body.member", f"{self._all.bulk_member} has to be an array of 1 to {_MAX_BULK} enrollments")
        # All of them before the first is done: a request that is refused has changed nothing.
        named = [(self._name_in(entry), entry) for entry in entries]
        errors = []
        for name, entry in named:
            try:
                await self._bulk_entry(mode, self._all.parse_id(name), entry, call.principal)
            except Refusal as refusal:
                errors.append(
                    {
                        self._all.id_member: name,
                        "errorCode": wire_error(refusal).dps_code,
                        "errorStatus": refusal.message,
                    }
                )
        return json_response({"isSuccessful": not errors, "errors": errors})

    def _name_in(self, entry: object) -> str:
        name = entry.get(self._all.id_member) if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            raise Invalid("body.member", f"an entry of {self._all.bulk_member} has no {self._all.id_member}")
        return name

    async def _bulk_entry(self, mode: str, entry_id: Id, entry: Mapping[str, Any], by: object) -> None:
        held: IfMatch = parse_etag(get_text(entry, "etag"))
        match mode:
            case "create":
                await self._all.put(entry_id, entry, None, by)
            case "update":
                await self._all.put(entry_id, entry, ANY, by)
            case "updateIfMatchETag":
                if held is None:
                    raise Invalid("etag.missing", "updateIfMatchETag takes the etag that was read, and there is none")
                await self._all.put(entry_id, entry, held, by)
            case _:
                await self._all.delete(entry_id, held or ANY, by)

    def _id(self, call: Call) -> Id:
        return self._all.parse_id(call.path["id"])


class _States:
    """Registration records."""

    def __init__(self, registrations: RegistrationService) -> None:
        self._registrations = registrations

    async def get(self, call: Call) -> Response:
        registration = self._registrations.get(parse_registration_id(call.path["id"]))
        return json_response(registration_json(registration))

    async def delete(self, call: Call) -> Response:
        await self._registrations.delete(
            parse_registration_id(call.path["id"]), if_match=_if_match(call), by=call.principal
        )
        return Response(status_code=204)

    async def query(self, call: Call) -> Response:
        """The registrations of a group. A body may be absent: the path says it all."""
        group_id = parse_enrollment_group_id(call.path["id"])

        async def list_after(limit: int, after: str) -> list[Registration]:
            return await self._registrations.list_of_group(group_id, limit, after)

        return await _page(call, "DeviceRegistration", list_after, lambda each: each.registration_id, registration_json)


async def _page(
    call: Call,
    item_type: str,
    list_after: Callable[[int, str], Awaitable[Sequence[Listed]]],
    id_of: Callable[[Listed], str],
    encode: Callable[[Listed], dict[str, Any]],
) -> Response:
    """One page and, unless it is the last, the way to the next (Q-1 to Q-4)."""
    limit = _page_size(call)
    listed = await list_after(limit + 1, _parse_continuation(call.request.headers.get("x-ms-continuation")))
    headers = {"x-ms-item-type": item_type}
    if len(listed) > limit:
        last = id_of(listed[limit - 1]).lower()
        headers["x-ms-continuation"] = base64.urlsafe_b64encode(last.encode()).decode("ascii")
    shown, parts = listed[:limit], list[bytes]()
    for start in range(0, len(shown), _PIECE):
        parts += [encode_json(encode(each)) for each in shown[start : start + _PIECE]]
        # The loop has its turn between the pieces (decisions S8).
        await asyncio.sleep(0)
    return encoded_response(b"[" + b",".join(parts) + b"]", headers)


def _page_size(call: Call) -> int:
    text = call.request.headers.get("x-ms-max-item-count", "").strip()
    if text in ("", "-1"):
        return _DEFAULT_PAGE
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        raise Invalid("query.page_size", f"x-ms-max-item-count is {text[:40]!r}, it has to be a whole number from 1")
    return min(int(text), _MAX_PAGE)


def _parse_continuation(token: str | None) -> str:
    if not token:
        return ""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Invalid("query.continuation", "x-ms-continuation is not one that was given out here") from None


def _if_match(call: Call) -> IfMatch:
    """None without the header; all spellings of `*` are `ANY` (P-1, R-6)."""
    header = call.request.headers.get("if-match")
    return None if header is None else parse_etag(header) or ANY
