"""Device connection groups over REST: groups, their certificates, proof of possession (central.md REST-X1 to X6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.calls import ActorCall, etag_in, no_content, page, page_schema
from moorage.api.central.routing import central_route
from moorage.api.central.services import CentralServices
from moorage.api.problems import json_response
from moorage.api.routing import Route
from moorage.api.schemas.central_groups import CODE, GROUP, GROUP_CHANGE, PROOF, SIGNER, UPLOAD
from moorage.dialects.central_groups import (
    GROUP_MEMBERS,
    SLOTS,
    group_json,
    parse_certificate_text,
    parse_group_change,
    parse_upload,
    signer_json,
)
from moorage.errors import Invalid, NotFound
from moorage.ids import EnrollmentGroupId, parse_enrollment_group_id
from moorage.pki.certificates import Certificate
from moorage.provisioning.drafts import (
    AttestationDraft,
    CertificatesDraft,
    GroupDraft,
    KeepAttestation,
    KeysDraft,
    redraft,
    redraft_slot,
)
from moorage.provisioning.enrollments import ANY, EnrollmentService, IfMatch, signer_in
from moorage.provisioning.model import EnrollmentGroup, Slot

__all__ = ["enrollment_group_routes"]

_ONE = "/enrollmentGroups/{id}"
_SLOT = _ONE + "/certificates/{entry}"
_UPLOAD_MEMBERS = ("certificate", "verified", "etag", "info")


def enrollment_group_routes(services: CentralServices) -> list[Route]:
    """central.md 22.2, enrollmentGroups."""
    api = _Groups(services.enrollments)
    view: Permission = "certificates.view"
    manage: Permission = "certificates.manage"
    return [
        central_route("GET", "/enrollmentGroups", api.list, view, "Groups.", answers={200: page_schema(GROUP)}),
        central_route("GET", _ONE, api.get, view, "One group.", answers={200: GROUP}),
        central_route("PUT", _ONE, api.put, manage, "Create or replace a group.", body=GROUP, answers={200: GROUP}),
        central_route("PATCH", _ONE, api.patch, manage, "Change it.", body=GROUP_CHANGE, answers={200: GROUP}),
        central_route("DELETE", _ONE, api.delete, manage, "Delete it.", answers={204: None}),
        central_route("GET", _SLOT, api.get_slot, view, "One of its certificates.", answers={200: SIGNER}),
        central_route("PUT", _SLOT, api.put_slot, manage, "Upload one.", body=UPLOAD, answers={200: SIGNER}),
        central_route("DELETE", _SLOT, api.delete_slot, manage, "Take one away.", answers={204: None}),
        central_route(
            "POST",
            _SLOT + "/generateVerificationCode",
            api.make_code,
            manage,
            "A new code; the one before is void.",
            answers={200: CODE},
        ),
        central_route(
            "POST",
            _SLOT + "/verify",
            api.verify,
            manage,
            "Prove possession of its key.",
            body=PROOF,
            answers={204: None},
        ),
    ]


class _Groups:
    def __init__(self, enrollments: EnrollmentService) -> None:
        self._enrollments = enrollments

    async def list(self, call: ActorCall) -> Response:
        return await page(
            call,
            self._enrollments.list_groups,
            lambda group: group.group_id.lower(),
            lambda group: group_json(group, reveal=_may_see_keys(call)),
        )

    async def get(self, call: ActorCall) -> Response:
        return _answer(call, self._enrollments.get_group(_group_id(call)))

    async def put(self, call: ActorCall) -> Response:
        group_id, body = _group_id(call), await call.members(*GROUP_MEMBERS)
        change = parse_group_change(group_id, body)
        if change.display_name is None or change.is_edge is None or change.attestation is None:
            raise Invalid("body.member", "displayName, type and attestation have to be there")
        stored = self._find(group_id)
        attestation = _merged(stored, change.attestation, CertificatesDraft())
        draft = GroupDraft(group_id=group_id, attestation=attestation)
        draft = replace(
            draft if stored is None else redraft(stored, attestation),
            display_name=change.display_name,
            status="disabled" if change.is_enabled is False else "enabled",
            is_edge=change.is_edge,
        )
        held = None if stored is None else _held(call, body)
        return _answer(call, await self._put(call, draft, change.verified, held))

    async def patch(self, call: ActorCall) -> Response:
        group_id, body = _group_id(call), await call.members(*GROUP_MEMBERS)
        change = parse_group_change(group_id, body)
        stored = self._enrollments.get_group(group_id)
        held = redraft(stored).attestation
        attestation = None if change.attestation is None else _merged(stored, change.attestation, held)
        draft = redraft(stored, attestation)
        if change.display_name is not None:
            draft = replace(draft, display_name=change.display_name)
        if change.is_enabled is not None:
            draft = replace(draft, status="enabled" if change.is_enabled else "disabled")
        if change.is_edge is not None:
            draft = replace(draft, is_edge=change.is_edge)
        # What was read just now is what is changed.
        group = await self._put(call, draft, change.verified, etag_in(call, body) or stored.etag)
        return _answer(call, group)

    async def delete(self, call: ActorCall) -> Response:
        await self._enrollments.delete_group(_group_id(call), if_match=_held(call), by=call.actor.name)
        return no_content()

    async def get_slot(self, call: ActorCall) -> Response:
        return _slot_answer(self._enrollments.get_group(_group_id(call)), _slot_of(call))

    async def put_slot(self, call: ActorCall) -> Response:
        group_id, slot, body = _group_id(call), _slot_of(call), await call.members(*_UPLOAD_MEMBERS)
        upload = parse_upload(body)
        stored = self._enrollments.get_group(group_id)
        attestation = _with_slot(stored, slot, upload.certificate)
        verified: tuple[Slot, ...] = (slot,) if upload.is_verified else ()
        group = await self._put(call, redraft(stored, attestation), verified, etag_in(call, body) or stored.etag)
        return _slot_answer(group, slot)

    async def delete_slot(self, call: ActorCall) -> Response:
        group_id, slot = _group_id(call), _slot_of(call)
        stored = self._enrollments.get_group(group_id)
        signer_in(stored, slot)
        draft = redraft(stored, _with_slot(stored, slot, None))
        await self._enrollments.put_group(draft, if_match=etag_in(call, {}) or stored.etag, by=call.actor.name)
        return no_content()

    async def make_code(self, call: ActorCall) -> Response:
        slot = _slot_of(call)
        group = await self._enrollments.issue_code(_group_id(call), slot, if_match=_held(call), by=call.actor.name)
        return json_response({"verificationCode": signer_in(group, slot).code})

    async def verify(self, call: ActorCall) -> Response:
        group_id, slot, body = _group_id(call), _slot_of(call), await call.members("certificate")
        proof = parse_certificate_text(body)
        await self._enrollments.prove_slot(group_id, slot, proof, if_match=_held(call), by=call.actor.name)
        return no_content()

    async def _put(
        self, call: ActorCall, draft: GroupDraft, verified: tuple[Slot, ...], held: IfMatch
    ) -> EnrollmentGroup:
        """Store it; what the caller vouches for is vouched for, and what is proven stays proven."""
        by = call.actor.name
        if verified:
            self._enrollments.check_vouching(draft.group_id, verified[0])
        group = await self._enrollments.put_group(draft, if_match=held, by=by)
        for slot in verified:
            if signer_in(group, slot).proof == "none":
                group = await self._enrollments.vouch_slot(draft.group_id, slot, if_match=group.etag, by=by)
        return group

    def _find(self, group_id: EnrollmentGroupId) -> EnrollmentGroup | None:
        try:
            return self._enrollments.get_group(group_id)
        except NotFound:
            return None


def _merged(stored: EnrollmentGroup | None, wanted: AttestationDraft, unnamed: AttestationDraft) -> AttestationDraft:
    """What the group attests by: certificates that `wanted` does not name are as in `unnamed`.

    X.509 that names no certificate at all keeps those there are; a group that had none begins without (REST-X2).
    """
    if isinstance(wanted, KeepAttestation):
        kept = CertificatesDraft() if stored is None else redraft(stored).attestation
        return CertificatesDraft() if isinstance(kept, KeysDraft) else kept
    if isinstance(wanted, CertificatesDraft) and isinstance(unnamed, CertificatesDraft):
        return CertificatesDraft(wanted.primary or unnamed.primary, wanted.secondary or unnamed.secondary)
    return wanted


def _with_slot(stored: EnrollmentGroup, slot: Slot, certificate: Certificate | None) -> CertificatesDraft:
    """The certificates of `stored` as they are, but for one slot. Raises `Invalid` (`attestation.kind`)."""
    if not isinstance(redraft(stored).attestation, CertificatesDraft):
        raise Invalid(
            "attestation.kind",
            f"enrollment group {stored.group_id!r} has no certificates of its own: it attests by symmetric keys, or "
            "by CAs that are registered",
        )
    return redraft_slot(stored.attestation, slot, certificate)


def _held(call: ActorCall, body: Mapping[str, Any] = MappingProxyType({})) -> IfMatch:
    return etag_in(call, body) or ANY


def _group_id(call: ActorCall) -> EnrollmentGroupId:
    return parse_enrollment_group_id(call.path["id"])


def _slot_of(call: ActorCall) -> Slot:
    """Raises `NotFound` (`route.unknown`)."""
    entry = call.path["entry"]
    for slot in SLOTS:
        if entry.lower() == slot:
            return slot
    raise NotFound("route.unknown", f"a group has the certificates {' and '.join(SLOTS)}, not {entry[:40]!r}")


def _may_see_keys(call: ActorCall) -> bool:
    """Keys are shown to those who could replace them."""
    return call.actor.may("certificates.manage")


def _answer(call: ActorCall, group: EnrollmentGroup) -> Response:
    return json_response(group_json(group, reveal=_may_see_keys(call)))


def _slot_answer(group: EnrollmentGroup, slot: Slot) -> Response:
    return json_response(signer_json(signer_in(group, slot), group.etag))
