"""Device connection groups: enrollment groups with the labels of the product (contract/central.md 4.1).

+ New ─► Manage primary ─► Add certificate ─► Verified
                                         └─► Generate verification code ─► Verify ─► Verified
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Final, get_args

from starlette.responses import RedirectResponse, Response

from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.identities.policy_rules import check_key
from moorage.ids import CAName, EnrollmentGroupId, ETag, Secret, parse_enrollment_group_id
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.pki.policy import check_ca
from moorage.provisioning.drafts import (
    AttestationDraft,
    CertificatesDraft,
    GroupDraft,
    KeepAttestation,
    KeysDraft,
    redraft,
    redraft_slot,
    signing_certificates,
)
from moorage.provisioning.model import ByCAReferences, BySymmetricKey, EnrollmentGroup, SigningCertificate, Slot
from moorage.provisioning.shared_certificates import SharedCertificate
from moorage.web.enrollment_code import approval_acts, group_acts, new_group_acts, slot_acts
from moorage.web.forms import about
from moorage.web.pages import Page, Visit, etag_for, segment
from moorage.web.proof import proof_commands
from moorage.web.rendering import Renderer
from moorage.web.samples import edge_config
from moorage.web.services import WebServices
from moorage.web.shared_certificates import sharing_note

__all__ = ["dates_note", "group_pages", "typed_key"]

_SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)
_PAGE: Final = 100
# A month is time to reach a device that is switched off.
_APART_DAYS: Final = 30
# What a group is called, for people.
_MAX_NAME: Final = 148
_NOT_OF_AN_ID: Final = re.compile(r"[^A-Za-z0-9-]+")
# A second one of the same kind, so soon, is the first one sent twice.
_SAME_FORM: Final = timedelta(minutes=1)
# What a form may be told beside its field; anything else is a page of its own.
_TOLD = (Invalid, Conflict, PreconditionFailed, TooLarge)


def group_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Groups(services, renderer)
    one, slot = "/groups/{group_id}", "/groups/{group_id}/{slot}"
    return [
        Page("GET", "/groups", pages.all, "certificates.view"),
        Page("GET", "/groups/new", pages.new, "certificates.manage"),
        Page("POST", "/groups", pages.create, "certificates.manage", keeps=True),
        Page("POST", "/groups/auto-approve", pages.auto_approve, "certificates.manage"),
        Page("GET", one, pages.show, "certificates.view"),
        Page("POST", one, pages.save, "certificates.manage", keeps=True),
        Page("POST", one + "/delete", pages.delete, "certificates.manage"),
        Page("GET", slot, pages.manage, "certificates.view"),
        Page("GET", slot + "/state", pages.state, "certificates.view"),
        Page("POST", slot + "/certificate", pages.add, "certificates.manage", keeps=True),
        Page("POST", slot + "/code", pages.generate_code, "certificates.manage"),
        Page("POST", slot + "/verify", pages.verify, "certificates.manage", keeps=True),
        Page("POST", slot + "/remove", pages.remove, "certificates.manage"),
    ]


@dataclass(frozen=True, slots=True)
class Panel:
    """One slot of a group as a page shows it: a certificate of its own, or the name of a CA that is registered."""

    slot: Slot
    signer: SigningCertificate | None
    ca: CAName | None = None

    @property
    def is_verified(self) -> bool:
        return self.ca is not None or (self.signer is not None and self.signer.proof != "none")


class _Groups:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._enrollments = services.enrollments
        self._renderer = renderer

    async def all(self, visit: Visit) -> Response:
        groups = await self._enrollments.list_groups(_PAGE + 1, visit.query.get("after", ""))
        auto_approve = self._services.fleet.auto_approve()
        shared = await self._enrollments.shared()
        return await self._renderer.long_page(
            visit,
            "groups/list.html",
            groups=[(group, _panels(group), _shared_slots(shared.get(group.group_id, ()))) for group in groups[:_PAGE]],
            after=groups[_PAGE - 1].group_id if len(groups) > _PAGE else "",
            info=self._services.info(),
            auto_approve=auto_approve,
            as_code=approval_acts(self._services.info(), is_on=auto_approve)
            if visit.may("certificates.manage")
            else [],
        )

    async def auto_approve(self, visit: Visit) -> Response:
        """Whether a device that registers by itself comes in at once (central.md SAS-5)."""
        fields = await visit.form()
        await self._services.fleet.set_auto_approve(visit.actor, "on" in fields)
        return RedirectResponse("/groups", HTTPStatus.SEE_OTHER)

    # -- a group -------------------------------------------------------------------------------------------------------

    async def new(self, visit: Visit) -> Response:
        return self._form(visit, {"enabled": "on", "type": "iot", "attestation": "x509"})

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        try:
            visit.check_in_time()
            name = _name(fields)
            group_id = _id_for(fields, name)
            draft = GroupDraft(
                group_id=parse_enrollment_group_id(group_id),
                display_name="" if name == group_id else name,
                attestation=_attestation(fields),
                status="enabled" if "enabled" in fields else "disabled",
                is_edge=fields.get("type") == "iotEdge",
            )
            group = await self._enrollments.put_group(draft, if_match=None, by=visit.by)
        except _TOLD as refusal:
            if refusal.reason == "enrollment.exists" and self._was_just_made(draft):
                # The same form, sent twice.
                return _to(draft.group_id)
            return self._form(visit, fields, refusal)
        return _to(group.group_id)

    def _was_just_made(self, draft: GroupDraft) -> bool:
        present = self._enrollments.get_group(draft.group_id)
        is_same = (
            present.display_name,
            present.status,
            present.is_edge,
            isinstance(present.attestation, BySymmetricKey),
        ) == (draft.display_name, draft.status, draft.is_edge, isinstance(draft.attestation, KeysDraft))
        return is_same and self._services.clock.now() - present.created < _SAME_FORM

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit, self._group(visit))

    async def save(self, visit: Visit) -> Response:
        """The switch of automatic connection; what a page read earlier does not undo what another one wrote."""
        fields = await visit.form()
        group = self._group(visit)
        kept: AttestationDraft = KeysDraft() if isinstance(group.attestation, BySymmetricKey) else KeepAttestation()
        try:
            visit.check_in_time()
            name = _name(fields) if "name" in fields else group.display_name
            changed = replace(
                redraft(group, kept),
                display_name="" if name == group.group_id else name,
                status="enabled" if "enabled" in fields else "disabled",
            )
            await self._enrollments.put_group(changed, if_match=_etag(fields), by=visit.by)
        except _TOLD as refusal:
            return await self._page(visit, self._group(visit), refusal, fields)
        return _to(group.group_id)

    async def delete(self, visit: Visit) -> Response:
        await self._enrollments.delete_group(self._group(visit).group_id, if_match=None, by=visit.by)
        return RedirectResponse("/groups", HTTPStatus.SEE_OTHER)

    # -- a slot --------------------------------------------------------------------------------------------------------

    async def manage(self, visit: Visit) -> Response:
        return await self._slot_page(visit, self._group(visit), _slot(visit))

    async def state(self, visit: Visit) -> Response:
        """What the page asks for again and again while a certificate waits for its proof."""
        group, slot = self._group(visit), _slot(visit)
        panel = _panel(group, slot)
        if panel.is_verified:
            return Response(headers={"hx-refresh": "true"})
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def add(self, visit: Visit) -> Response:
        fields, uploaded = await visit.form(), await visit.upload("certificate")
        group, slot = self._group(visit), _slot(visit)
        try:
            visit.check_in_time()
            if not uploaded:
                raise Invalid("form.file", "no file was chosen")
            with about("certificate"):
                certificate = await asyncio.to_thread(parse_certificate, uploaded)
                check_ca(certificate, self._services.clock.now(), self._services.waivers())
            draft = redraft(group, _with_slot(group, slot, certificate))
            group = await self._enrollments.put_group(
                draft, if_match=_etag(fields), by=visit.by, vouched="verified" in fields
            )
        except _TOLD as refusal:
            return await self._slot_page(visit, self._group(visit), slot, refusal, fields)
        return _to(group.group_id, slot)

    async def generate_code(self, visit: Visit) -> Response:
        return await self._change(visit, self._enrollments.issue_code(self._id(visit), _slot(visit), by=visit.by))

    async def verify(self, visit: Visit) -> Response:
        uploaded = await visit.upload("certificate")

        async def prove() -> EnrollmentGroup:
            visit.check_in_time()
            if not uploaded:
                raise Invalid("form.file", "no file was chosen")
            with about("certificate"):
                proof = await asyncio.to_thread(parse_certificate, uploaded)
                return await self._enrollments.prove_slot(self._id(visit), _slot(visit), proof, by=visit.by)

        return await self._change(visit, prove())

    async def remove(self, visit: Visit) -> Response:
        fields = await visit.form()
        group, slot = self._group(visit), _slot(visit)
        draft = redraft(group, _with_slot(group, slot, None))
        return await self._change(visit, self._enrollments.put_group(draft, if_match=_etag(fields), by=visit.by))

    async def _change(self, visit: Visit, change: Awaitable[EnrollmentGroup]) -> Response:
        try:
            group = await change
        except _TOLD as refusal:
            return await self._slot_page(visit, self._group(visit), _slot(visit), refusal)
        return _to(group.group_id, _slot(visit))

    # ------------------------------------------------------------------------------------------------------------------

    def _id(self, visit: Visit) -> EnrollmentGroupId:
        return parse_enrollment_group_id(visit.path["group_id"])

    def _group(self, visit: Visit) -> EnrollmentGroup:
        return self._enrollments.get_group(self._id(visit))

    async def _shared(self, group: EnrollmentGroup) -> Sequence[SharedCertificate]:
        if isinstance(group.attestation, BySymmetricKey):
            return ()
        return (await self._enrollments.shared()).get(group.group_id, ())

    def _form(self, visit: Visit, fields: dict[str, str], problem: Refusal | None = None) -> Response:
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        name = fields.get("name", "").strip() or "MyX509Group"
        acts = new_group_acts(
            self._services.info(),
            _id_for(fields, name),
            name,
            is_edge=fields.get("type") == "iotEdge",
            is_enabled="enabled" in fields,
            by_keys=fields.get("attestation") == "symmetricKey",
            has_keys=any(fields.get(slot) for slot in _SLOTS),
        )
        return self._renderer.page(visit, "groups/new.html", status, fields=fields, as_code=acts, problem=problem)

    async def _page(
        self,
        visit: Visit,
        group: EnrollmentGroup,
        problem: Refusal | None = None,
        fields: dict[str, str] | None = None,
    ) -> Response:
        shown = {"name": group.display_name or group.group_id, "etag": group.etag}
        shown |= {"enabled": "on"} if group.status == "enabled" else {}
        if fields is not None:
            shown = fields | {"etag": etag_for(fields, problem, group.etag)}
        keys = group.attestation if isinstance(group.attestation, BySymmetricKey) else None
        return self._renderer.page(
            visit,
            "groups/show.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            group=group,
            fields=shown,
            panels=_panels(group),
            keys=keys if visit.may("certificates.manage") else None,
            has_keys=keys is not None,
            info=self._services.info(),
            edge=edge_config(self._services.info()) if group.is_edge and keys is None else "",
            shared=[sharing_note(each) for each in await self._shared(group)],
            note=dates_note([panel.signer.certificate for panel in _panels(group) if panel.signer is not None]),
            acts=group_acts(self._services.info(), group) if visit.may("certificates.manage") else [],
            problem=problem,
        )

    async def _slot_page(
        self,
        visit: Visit,
        group: EnrollmentGroup,
        slot: Slot,
        problem: Refusal | None = None,
        fields: Mapping[str, str] = {},
    ) -> Response:
        if isinstance(group.attestation, BySymmetricKey):
            raise NotFound("enrollment.slot_empty", f"the group {group.group_id!r} has keys, and no certificates")
        panel = _panel(group, slot)
        signer = panel.signer
        commands = (
            proof_commands(signer.certificate, signer.code, group.group_id, slot)
            if signer is not None and signer.code is not None
            else []
        )
        return self._renderer.page(
            visit,
            "groups/slot.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            group=group,
            fields=fields,
            panel=panel,
            commands=commands,
            shared=[sharing_note(each) for each in await self._shared(group) if each.slot == slot],
            acts=slot_acts(
                self._services.info(),
                group,
                slot,
                None if signer is None else signer.certificate,
                is_verified=panel.is_verified,
            )
            if panel.ca is None and visit.may("certificates.manage")
            else [],
            problem=problem,
        )


def dates_note(certificates: Sequence[Certificate]) -> str:
    """ROLL-6: two certificates that end together leave no time in which one is replaced. '' where nothing is amiss."""
    if len(certificates) != 2:
        return ""
    one, other = certificates
    if one == other:
        return "Both slots hold the same certificate: neither is there for the day that the other one has to go."
    apart = abs((one.not_after.date() - other.not_after.date()).days)
    if apart >= _APART_DAYS:
        return ""
    how = "on the same day" if apart == 0 else "a day apart" if apart == 1 else f"{apart} days apart"
    return f"Both certificates end {how}. Give one a later end, so that one is good while the other is replaced."


def _id_for(fields: dict[str, str], name: str) -> str:
    return fields.get("id", "").strip() or _NOT_OF_AN_ID.sub("-", name).strip("-")


def _name(fields: dict[str, str]) -> str:
    """Raises `Invalid` (`form.name`)."""
    name = fields.get("name", "").strip()
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise Invalid("form.name", f"a group has a name of at most {_MAX_NAME} characters, on one line")
    return name


def _attestation(fields: dict[str, str]) -> KeysDraft | CertificatesDraft:
    if fields.get("attestation") != "symmetricKey":
        return CertificatesDraft()
    primary, secondary = (typed_key(fields, slot) for slot in _SLOTS)
    return KeysDraft(primary, secondary)


def typed_key(fields: Mapping[str, str], slot: Slot) -> Secret | None:
    """None where nothing was typed. Raises `Invalid` (`key.*`) with the field."""
    text = fields.get(slot, "").strip()
    with about(slot):
        return check_key(Secret(text)) if text else None


def _panel(group: EnrollmentGroup, slot: Slot) -> Panel:
    if isinstance(group.attestation, ByCAReferences):
        return Panel(slot, None, getattr(group.attestation, slot))
    return Panel(slot, dict(signing_certificates(group.attestation)).get(slot))


def _shared_slots(shared: Sequence[SharedCertificate]) -> dict[Slot, bool]:
    """Of a group: the slots whose certificate other groups have too, and whether devices come in through this one."""
    return {each.slot: each.decides for each in shared}


def _panels(group: EnrollmentGroup) -> list[Panel]:
    return [] if isinstance(group.attestation, BySymmetricKey) else [_panel(group, slot) for slot in _SLOTS]


def _slot(visit: Visit) -> Slot:
    """Raises `NotFound` (`route.unknown`)."""
    for slot in _SLOTS:
        if visit.path["slot"] == slot:
            return slot
    raise NotFound("route.unknown", "there is no such page")


def _with_slot(group: EnrollmentGroup, slot: Slot, certificate: Certificate | None) -> CertificatesDraft:
    """The certificates of `group` as they are, but for one slot.

    Raises `Conflict` (`enrollment.ca_references`): both slots would go with the first certificate of its own.
    """
    if isinstance(group.attestation, ByCAReferences):
        raise Conflict(
            "enrollment.ca_references",
            f"the group '{group.group_id}' refers to CAs that are registered, and has no certificates of its own",
            fix=f"moorage enrollment-group update {group.group_id} --ca NAME",
        )
    return redraft_slot(group.attestation, slot, certificate)


def _etag(fields: dict[str, str]) -> ETag:
    """What the form was made from."""
    return ETag(fields.get("etag", ""))


def _to(group_id: EnrollmentGroupId, slot: Slot | None = None) -> Response:
    there = f"/groups/{segment(group_id)}" + (f"/{slot}" if slot else "")
    return RedirectResponse(there, HTTPStatus.SEE_OTHER)
