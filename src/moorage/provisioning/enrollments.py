"""Enrollments: who may provision, kept and changed.

A caller describes the whole enrollment it wants (a draft, `drafts.py`); it is merged with what is stored in the
transaction that replaces it.

A group's signing certificate counts only once possession of its key was proven or somebody with the right to write
enrollments vouched for it (decisions T1). Every change of what a group trusts is told as `anchors.replaced` or
`anchors.removed` in the transaction that makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed
from moorage.events import Event
from moorage.ids import EnrollmentGroupId, ETag, HubId, RegistrationId
from moorage.pki.certificates import Certificate
from moorage.pki.possession import CODE_LIFETIME, check_possession, make_code
from moorage.provisioning.allocation import find_hub
from moorage.provisioning.anchors import anchor_changes, how_to_prove, trusted_slots
from moorage.provisioning.drafts import (
    EnrollmentDraft,
    GroupDraft,
    IndividualDraft,
    merge_group,
    merge_individual,
    signing_certificates,
)
from moorage.provisioning.model import (
    AllocationPolicy,
    ByCAReferences,
    BySigningCertificates,
    Enrollment,
    EnrollmentGroup,
    HubAssigner,
    IndividualEnrollment,
    ProvisioningTables,
    SigningCertificate,
    Slot,
)
from moorage.store import Store

__all__ = ["ANY", "EnrollmentService", "IfMatch", "signer_in"]

ANY: Final = "*"
# None asks to create, ANY to update whatever is there, an etag to update exactly that (contract/services.md R-7, P-2).
IfMatch = ETag | Literal["*"] | None

audit = logging.getLogger("moorage.audit")


class EnrollmentService:
    """Individual enrollments and enrollment groups of one hub's provisioning service.

    `vouching` is the hub's switch of decisions T1: whether an upload by somebody with the right to write enrollments
    counts as proof.
    """

    def __init__(
        self, hub: HubId, store: Store[ProvisioningTables], hubs: HubAssigner, clock: Clock, *, vouching: bool = True
    ) -> None:
        self.hub = hub
        self._store = store
        self._hubs = hubs
        self._clock = clock
        self._vouching = vouching

    def get_individual(self, registration_id: RegistrationId) -> IndividualEnrollment:
        """Raises `NotFound` (`enrollment.unknown`)."""
        return _known_individual(self._store.read(), self.hub, registration_id)

    def get_group(self, group_id: EnrollmentGroupId) -> EnrollmentGroup:
        """Raises `NotFound` (`enrollment.unknown`)."""
        return _known_group(self._store.read(), self.hub, group_id)

    async def list_individuals(self, limit: int, after: str = "") -> list[IndividualEnrollment]:
        """In order of their id without case, those behind `after`."""
        return await self._store.scan(lambda tables: tables.individuals.all(self.hub, limit, after))

    async def list_groups(self, limit: int, after: str = "") -> list[EnrollmentGroup]:
        """In order of their id without case, those behind `after`."""
        return await self._store.scan(lambda tables: tables.groups.all(self.hub, limit, after))

    async def put_individual(self, draft: IndividualDraft, *, if_match: IfMatch) -> IndividualEnrollment:
        """Create or replace.

        Raises:
            Conflict: `enrollment.exists`; `registration.case_conflict`, also for an update.
            NotFound, PreconditionFailed: `enrollment.unknown`, `etag.stale`, when asked to update.
            Invalid: `attestation.kind`, `attestation.certificate_missing`, `allocation.hub_not_linked`, `key.*`.
        """
        now = self._clock.now()
        allocation = self._allocation(draft)

        def work(tables: ProvisioningTables) -> IndividualEnrollment:
            stored = tables.individuals.find(self.hub, draft.registration_id)
            if stored is not None and stored.registration_id != draft.registration_id:
                raise Conflict(
                    "registration.case_conflict",
                    f"registration ids are one name whatever their case: {draft.registration_id!r} exists as "
                    f"{stored.registration_id!r}",
                    fix=f"moorage enrollment show {stored.registration_id}",
                )
            _check_match(stored, if_match, f"enrollment {draft.registration_id!r}")
            enrollment = IndividualEnrollment(
                hub=self.hub,
                attestation=merge_individual(draft.attestation, stored.attestation if stored else None),
                version=stored.version + 1 if stored else 1,
                created=stored.created if stored else now,
                updated=now,
                status=draft.status,
                allocation=allocation,
                linked_hubs=draft.linked_hubs,
                reprovisioning=draft.reprovisioning,
                initial_tags=draft.initial_tags,
                initial_desired=draft.initial_desired,
                is_edge=draft.is_edge,
                custom_allocation=draft.custom_allocation,
                registration_id=draft.registration_id,
                device_id=draft.device_id,
                device_information=draft.device_information,
            )
            tables.individuals.put(enrollment)
            return enrollment

        return await self._store.write(work)

    async def put_group(self, draft: GroupDraft, *, if_match: IfMatch, voucher: str | None = None) -> EnrollmentGroup:
        """Create or replace. New signing certificates are vouched for by `voucher`, if one is named and may.

        Raises as `put_individual`.
        """
        now = self._clock.now()
        allocation = self._allocation(draft)
        vouched = voucher is not None and self._vouching

        def work(tables: ProvisioningTables) -> EnrollmentGroup:
            stored = tables.groups.find(self.hub, draft.group_id)
            _check_match(stored, if_match, f"enrollment group {draft.group_id!r}")
            if isinstance(draft.attestation, ByCAReferences):
                _check_references(tables, self.hub, draft.attestation)
            group = EnrollmentGroup(
                hub=self.hub,
                attestation=merge_group(draft.attestation, stored.attestation if stored else None, vouched),
                version=stored.version + 1 if stored else 1,
                created=stored.created if stored else now,
                updated=now,
                status=draft.status,
                allocation=allocation,
                linked_hubs=draft.linked_hubs,
                reprovisioning=draft.reprovisioning,
                initial_tags=draft.initial_tags,
                initial_desired=draft.initial_desired,
                is_edge=draft.is_edge,
                custom_allocation=draft.custom_allocation,
                group_id=stored.group_id if stored else draft.group_id,
            )
            self._put_group(tables, stored, group)
            return group

        group = await self._store.write(work)
        if vouched:
            for slot, signer in signing_certificates(group.attestation):
                if signer.proof == "vouched":
                    audit.info(
                        "enrollment.vouched group=%s slot=%s thumbprint=%s by=%s",
                        group.group_id,
                        slot,
                        signer.certificate.sha256,
                        voucher,
                    )
        return group

    async def delete_individual(self, registration_id: RegistrationId, *, if_match: IfMatch) -> None:
        """Delete it and the state of its registration. Raises as `put_individual` does for an update."""

        def work(tables: ProvisioningTables) -> None:
            stored = _known_individual(tables, self.hub, registration_id)
            _check_match(stored, if_match or ANY, f"enrollment {registration_id!r}")
            tables.individuals.delete(self.hub, registration_id)
            tables.registrations.delete(self.hub, registration_id)

        await self._store.write(work)

    async def delete_group(self, group_id: EnrollmentGroupId, *, if_match: IfMatch) -> None:
        """Delete it; what hung on its certificates is cut. Raises as `put_individual` does for an update."""

        def work(tables: ProvisioningTables) -> None:
            stored = _known_group(tables, self.hub, group_id)
            _check_match(stored, if_match or ANY, f"enrollment group {group_id!r}")
            tables.groups.delete(self.hub, group_id)
            _tell(tables, stored, anchor_changes(stored, None, trusted_slots(stored, tables.cas), {}))

        await self._store.write(work)

    async def issue_code(self, group_id: EnrollmentGroupId, slot: Slot, *, if_match: IfMatch = ANY) -> EnrollmentGroup:
        """Give the certificate in `slot` a fresh verification code; an earlier one is void.

        Raises:
            NotFound: `enrollment.unknown`, `enrollment.slot_empty`.
            PreconditionFailed: `etag.stale`.
        """
        expires = self._clock.now() + CODE_LIFETIME
        code = make_code()
        return await self._change_slot(
            group_id, slot, if_match, lambda signer: replace(signer, code=code, code_expires=expires)
        )

    async def prove_slot(
        self, group_id: EnrollmentGroupId, slot: Slot, proof: Certificate, *, if_match: IfMatch = ANY
    ) -> EnrollmentGroup:
        """Take a verification certificate for the certificate in `slot`. Its code is used up.

        Raises:
            NotFound, PreconditionFailed: as `issue_code`.
            Refusal: what `pki.possession.check_possession` finds wrong with the proof; the code stays good.
        """
        now = self._clock.now()

        def prove(signer: SigningCertificate) -> SigningCertificate:
            renew = how_to_prove(group_id, slot)
            check_possession(
                signer.certificate, proof, code=signer.code, code_expires=signer.code_expires, now=now, renew=renew
            )
            return replace(signer, proof="possession", code=None, code_expires=None)

        return await self._change_slot(group_id, slot, if_match, prove)

    async def vouch_slot(
        self, group_id: EnrollmentGroupId, slot: Slot, voucher: str, *, if_match: IfMatch = ANY
    ) -> EnrollmentGroup:
        """Trust the certificate in `slot` on the word of `voucher` ("verified on upload").

        Raises:
            Conflict: `enrollment.vouching_off`, when the hub's switch forbids it.
            NotFound, PreconditionFailed: as `issue_code`.
        """
        if not self._vouching:
            raise Conflict(
                "enrollment.vouching_off",
                "this hub takes no certificate on somebody's word: possession of its key has to be proven",
                fix=how_to_prove(group_id, slot),
            )

        def vouch(signer: SigningCertificate) -> SigningCertificate:
            return replace(signer, proof="vouched", code=None, code_expires=None)

        group = await self._change_slot(group_id, slot, if_match, vouch)
        audit.info("enrollment.vouched group=%s slot=%s by=%s", group.group_id, slot, voucher)
        return group

    async def _change_slot(
        self,
        group_id: EnrollmentGroupId,
        slot: Slot,
        if_match: IfMatch,
        change: Callable[[SigningCertificate], SigningCertificate],
    ) -> EnrollmentGroup:
        now = self._clock.now()

        def work(tables: ProvisioningTables) -> EnrollmentGroup:
            stored = _known_group(tables, self.hub, group_id)
            _check_match(stored, if_match, f"enrollment group {group_id!r}")
            slots = dict(signing_certificates(stored.attestation)) | {slot: change(signer_in(stored, slot))}
            attestation = BySigningCertificates(slots.get("primary"), slots.get("secondary"))
            group = replace(stored, attestation=attestation, version=stored.version + 1, updated=now)
            self._put_group(tables, stored, group)
            return group

        return await self._store.write(work)

    def _put_group(self, tables: ProvisioningTables, stored: EnrollmentGroup | None, group: EnrollmentGroup) -> None:
        before = trusted_slots(stored, tables.cas) if stored else {}
        tables.groups.put(group)
        _tell(tables, group, anchor_changes(stored, group, before, trusted_slots(group, tables.cas)))

    def _allocation(self, draft: EnrollmentDraft) -> AllocationPolicy:
        hubs = self._hubs.hubs()
        for name in draft.linked_hubs:
            if find_hub(hubs, name) is None:
                raise Invalid(
                    "allocation.hub_not_linked",
                    f"{name[:253]!r} is not linked to this provisioning service; linked: "
                    f"{', '.join(known for names in hubs for known in names) or 'none'}",
                )
        return draft.allocation or "hashed"


def signer_in(group: EnrollmentGroup, slot: Slot) -> SigningCertificate:
    """The certificate in `slot`. Raises `NotFound` (`enrollment.slot_empty`)."""
    signer = dict(signing_certificates(group.attestation)).get(slot)
    if signer is None:
        raise NotFound(
            "enrollment.slot_empty",
            f"the {slot} slot of enrollment group {group.group_id!r} holds no certificate of its own",
            fix=f"moorage enrollment-group show {group.group_id}",
        )
    return signer


def _check_references(tables: ProvisioningTables, hub: HubId, references: ByCAReferences) -> None:
    for name in (references.primary, references.secondary):
        ca = tables.cas.find(hub, "dps", name) if name is not None else None
        if name is not None and ca is None:
            raise Invalid(
                "attestation.ca_unknown",
                f"no CA named {name!r} is registered for provisioning",
                fix="moorage ca add FILE --for dps --prove-with KEY",
            )
        if ca is not None and not ca.is_verified:
            raise Invalid(
                "attestation.ca_unproven",
                f"the CA {name!r} is registered, but possession of its key is not proven",
                fix=f"moorage ca code {name} --for dps",
            )


def _check_match(stored: Enrollment | None, if_match: IfMatch, what: str) -> None:
    if if_match is None:
        if stored is not None:
            raise Conflict(
                "enrollment.exists", f"{what} exists; send its etag or * in If-Match to change it", fix="If-Match: *"
            )
    elif stored is None:
        raise _unknown(what)
    elif if_match not in (ANY, stored.etag):
        raise PreconditionFailed(
            "etag.stale",
            f"{what} changed since you read it: you hold {if_match[:64]!r}, it is at {stored.etag!r}; read it again",
        )


def _known_individual(tables: ProvisioningTables, hub: HubId, registration_id: RegistrationId) -> IndividualEnrollment:
    enrollment = tables.individuals.find(hub, registration_id)
    if enrollment is None:
        raise _unknown(f"enrollment {registration_id!r}")
    return enrollment


def _known_group(tables: ProvisioningTables, hub: HubId, group_id: EnrollmentGroupId) -> EnrollmentGroup:
    group = tables.groups.find(hub, group_id)
    if group is None:
        raise _unknown(f"enrollment group {group_id!r}")
    return group


def _unknown(what: str) -> NotFound:
    return NotFound("enrollment.unknown", f"there is no {what}")


def _tell(tables: ProvisioningTables, group: EnrollmentGroup, trust: Event | None) -> None:
    tables.outbox.emit(Event("enrollment_groups.changed", group.hub, group.group_id))
    if trust is not None:
        tables.outbox.emit(trust)
