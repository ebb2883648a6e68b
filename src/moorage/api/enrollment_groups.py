"""Proof that somebody holds the key of a group's own signing certificate, over our REST (decisions T1).

Azure has no such step: there, whoever may write an enrollment is believed. A hub that believes nobody
(`vouched_certificates = no`) hands out a code for a slot, and takes a certificate back that its key signed.
"""

from __future__ import annotations

from typing import Final, get_args

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Handler, Route
from moorage.api.schemas.certificates import PROOF, SIGNER, SIGNER_WITH_CODE
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import Schema
from moorage.dialects.arm_json import certificate_text
from moorage.dialects.dps_enrollments import signer_json
from moorage.errors import NotFound
from moorage.ids import EnrollmentGroupId, parse_enrollment_group_id, parse_etag
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.enrollments import ANY, EnrollmentService, IfMatch, signer_in
from moorage.provisioning.model import EnrollmentGroup, Slot

__all__ = ["enrollment_group_routes"]

_PATH: Final = "/moorage/v1/enrollment-groups/{id}/certificates/{slot}"
_SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)


def enrollment_group_routes(enrollments: EnrollmentService) -> list[Route]:
    """Routes for the slots of groups; a change takes the group's etag in If-Match, or any without it."""
    api = _Slots(enrollments)
    table: list[tuple[str, str, Handler, str, Schema | None, Schema]] = [
        ("GET", "", api.get, "One of a group's own certificates (primary, secondary) and its proof.", None, SIGNER),
        ("POST", "/code", api.issue_code, "A new code for it; the one before is void.", None, SIGNER_WITH_CODE),
        ("POST", "/verify", api.verify, "Prove possession of its key.", PROOF, SIGNER),
        ("POST", "/vouch", api.vouch, "Trust it without proof, where the hub's settings allow that.", None, SIGNER),
    ]
    return [
        Route(
            method,
            _PATH + action,
            handler,
            "owner",
            "own",
            summary=summary,
            headers=(IF_MATCH,) if method == "POST" else (),
            body=body,
            answers={200: answer},
        )
        for method, action, handler, summary, body, answer in table
    ]


class _Slots:
    def __init__(self, enrollments: EnrollmentService) -> None:
        self._enrollments = enrollments

    async def get(self, call: Call) -> Response:
        group_id, slot = _place(call)
        return _answer(self._enrollments.get_group(group_id), slot)

    async def issue_code(self, call: Call) -> Response:
        group_id, slot = _place(call)
        group = await self._enrollments.issue_code(group_id, slot, if_match=_if_match(call), by=call.principal)
        return _answer(group, slot, with_code=True)

    async def verify(self, call: Call) -> Response:
        group_id, slot = _place(call)
        text = certificate_text(await call.json_object())
        proof = parse_certificate(text)
        group = await self._enrollments.prove_slot(group_id, slot, proof, if_match=_if_match(call), by=call.principal)
        return _answer(group, slot)

    async def vouch(self, call: Call) -> Response:
        group_id, slot = _place(call)
        group = await self._enrollments.vouch_slot(group_id, slot, if_match=_if_match(call), by=call.principal)
        return _answer(group, slot)


def _place(call: Call) -> tuple[EnrollmentGroupId, Slot]:
    """Raises `Invalid` (`id.enrollment_group`), `NotFound` (`route.unknown`)."""
    text = call.path["slot"]
    for slot in _SLOTS:
        if text.lower() == slot:
            return parse_enrollment_group_id(call.path["id"]), slot
    raise NotFound("route.unknown", f"a group has the slots {' and '.join(_SLOTS)}, not {text[:40]!r}")


def _if_match(call: Call) -> IfMatch:
    return parse_etag(call.request.headers.get("if-match")) or ANY


def _answer(group: EnrollmentGroup, slot: Slot, *, with_code: bool = False) -> Response:
    return json_response(signer_json(group, slot, signer_in(group, slot), with_code=with_code))
