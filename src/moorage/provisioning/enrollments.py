"""Enrollments: who may provision, kept and changed.

A caller describes the whole enrollment it wants (a draft, `drafts.py`); it is merged with what is stored in the
transaction that replaces it. Every change is written to the audit log, with whoever made it (`by`).

A group's signing certificate counts only once possession of its key was proven or somebody with the right to write
enrollments vouched for it (decisions T1). Every change of what a group trusts is told as `anchors.replaced` or
`anchors.removed` in the transaction that makes it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, TooLarge
from moorage.events import Event
from moorage.ids import EnrollmentGroupId, ETag, HubId, RegistrationId
from moorage.pki.certificates import Certificate
from moorage.pki.possession import CODE_LIFETIME, check_possession, make_code
from moorage.provisioning.anchors import anchor_changes, how_to_prove, trusted_slots
from moorage.provisioning.drafts import (
    GroupDraft,
    IndividualDraft,
    merge_group,
    merge_individual,
    merge_webhook,
    signing_certificates,
)
from moorage.provisioning.linked_hubs import LinkedHubService
from moorage.provisioning.model import (
    ByCAReferences,
    BySigningCertificates,
    Enrollment,
    EnrollmentGroup,
    IndividualEnrollment,
    ProvisioningTables,
    SigningCertificate,
    Slot,
)
from moorage.provisioning.shared_certificates import SharedCertificate, all_shared
from moorage.store import Store

__all__ = ["ANY", "EnrollmentLimits", "EnrollmentService", "IfMatch", "signer_in"]

ANY: Final = "*"
# None asks to create, ANY to update whatever is there, an etag to update exactly that (contract/services.md R-7, P-2).
IfMatch = ETag | Literal["*"] | None

audit = logging.getLogger("moorage.audit")


@dataclass(frozen=True, slots=True)
class EnrollmentLimits:
    """How many there may be. Every group costs each device that registers by key two HMACs."""

    individuals: int = 1_000_000
    groups: int = 500


_DEFAULT_LIMITS: Final = EnrollmentLimits()


class EnrollmentService:
    """Individual enrollments and enrollment groups of one hub's provisioning service.

    `vouching` is the hub's switch of decisions T1: whether an upload by somebody with the right to write enrollments
    counts as proof. The limits are kept by a count of this process's own, read once: two processes on one store may go
    over them by as many as the other one made meanwhile.
    """

    def __init__(
        self,
        hub: HubId,
        store: Store[ProvisioningTables],
        linked: LinkedHubService,
        clock: Clock,
        *,
        vouching: bool = True,
        limits: EnrollmentLimits = _DEFAULT_LIMITS,
    ) -> None:
        self.hub = hub
        self._store = store
        self._linked = linked
        self._clock = clock
        self._vouching = vouching
        self._limits = limits
        # How many there are, and how many this process made: both are written in transactions alone.
        self._count: dict[str, int] = {}
        self._taken: Counter[str] = Counter()

    @property
    def vouching(self) -> bool:
        return self._vouching

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

    async def shared(self) -> Mapping[EnrollmentGroupId, list[SharedCertificate]]:
        """The certificates that stand in several groups, by each of these groups (central.md GRP-29)."""
        return await self._store.scan(lambda tables: all_shared(tables, self.hub))

    async def put_individual(self, draft: IndividualDraft, *, if_match: IfMatch, by: object) -> IndividualEnrollment:
        """Create or replace. Hubs that the enrollment names have to be linked when a device comes, not now (P-11).

        Raises:
            Conflict: `enrollment.exists`; `registration.case_conflict`, also for an update.
            NotFound, PreconditionFailed: `enrollment.unknown`, `etag.stale`, when asked to update.
            Invalid: `attestation.kind`, `attestation.certificate_missing`, `allocation.webhook_missing`,
                `allocation.webhook_hidden`, `key.*`.
            TooLarge: `enrollment.too_many`.
        """
        now = self._clock.now()
        take_place = await self._room("individual")

        def work(tables: ProvisioningTables) -> tuple[IndividualEnrollment | None, IndividualEnrollment]:
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
                allocation=draft.allocation or self._linked.default_in(tables),
                linked_hubs=draft.linked_hubs,
                reprovisioning=draft.reprovisioning,
                initial_tags=draft.initial_tags,
                initial_desired=draft.initial_desired,
                is_edge=draft.is_edge,
                custom_allocation=merge_webhook(draft, stored),
                registration_id=draft.registration_id,
                device_id=draft.device_id,
                device_information=draft.device_information,
            )
            take_place(stored is None)
            tables.individuals.put(enrollment)
            return stored, enrollment

        stored, enrollment = await self._store.write(work)
        self._done("individual", enrollment.registration_id, stored, enrollment, by)
        return enrollment

    async def put_group(
        self,
        draft: GroupDraft,
        *,
        if_match: IfMatch,
        by: object,
        vouched: bool = False,
        also: Callable[[ProvisioningTables], object] | None = None,
    ) -> EnrollmentGroup:
        """Create or replace, `also` in the same transaction. With `vouched` new signing certificates count as proven on
        the word of `by`, if the hub takes anybody's.

        Raises as `put_individual`, and `Invalid` (`attestation.ca_unknown`, `attestation.ca_unproven`).
        """
        now = self._clock.now()
        take_place = await self._room("group")
        vouched = vouched and self._vouching

        def work(tables: ProvisioningTables) -> tuple[EnrollmentGroup | None, EnrollmentGroup]:
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
                allocation=draft.allocation or self._linked.default_in(tables),
                linked_hubs=draft.linked_hubs,
                reprovisioning=draft.reprovisioning,
                initial_tags=draft.initial_tags,
                initial_desired=draft.initial_desired,
                is_edge=draft.is_edge,
                custom_allocation=merge_webhook(draft, stored),
                group_id=stored.group_id if stored else draft.group_id,
                display_name=(
                    draft.display_name if draft.display_name is not None else stored.display_name if stored else ""
                ),
            )
            take_place(stored is None)
            self._put_group(tables, stored, group)
            if also is not None:
                also(tables)
            return stored, group

        stored, group = await self._store.write(work)
        self._done("group", group.group_id, stored, group, by)
        # Of one that counted before, somebody else may have said it.
        held = signing_certificates(stored.attestation if stored else None)
        before = {signer.certificate for _, signer in held if signer.proof != "none"}
        for slot, signer in signing_certificates(group.attestation):
            if signer.proof == "vouched" and signer.certificate not in before:
                _audit_slot("enrollment.vouched", group, slot, by)
        return group

    async def delete_individual(self, registration_id: RegistrationId, *, if_match: IfMatch, by: object) -> None:
        """Delete it and the state of its registration. Raises as `put_individual` does for an update."""

        def work(tables: ProvisioningTables) -> IndividualEnrollment:
            stored = _known_individual(tables, self.hub, registration_id)
            _check_match(stored, if_match or ANY, f"enrollment {registration_id!r}")
            tables.individuals.delete(self.hub, registration_id)
            tables.registrations.delete(self.hub, registration_id)
            return stored

        stored = await self._store.write(work)
        self._done("individual", stored.registration_id, stored, None, by)

    async def delete_group(self, group_id: EnrollmentGroupId, *, if_match: IfMatch, by: object) -> None:
        """Delete it; what hung on its certificates is cut. Raises as `put_individual` does for an update."""

        def work(tables: ProvisioningTables) -> EnrollmentGroup:
            stored = _known_group(tables, self.hub, group_id)
            _check_match(stored, if_match or ANY, f"enrollment group {group_id!r}")
            tables.groups.delete(self.hub, group_id)
            _tell(tables, stored, anchor_changes(stored, None, trusted_slots(stored, tables.cas), {}))
            return stored

        stored = await self._store.write(work)
        self._done("group", stored.group_id, stored, None, by)

    async def issue_code(
        self, group_id: EnrollmentGroupId, slot: Slot, *, if_match: IfMatch = ANY, by: object
    ) -> EnrollmentGroup:
        """Give the certificate in `slot` a fresh verification code; an earlier one is void.

        Raises:
            NotFound: `enrollment.unknown`, `enrollment.slot_empty`.
            PreconditionFailed: `etag.stale`.
        """
        expires = self._clock.now() + CODE_LIFETIME
        code = make_code()
        return await self._change_slot(
            group_id,
            slot,
            if_match,
            lambda signer: replace(signer, code=code, code_expires=expires),
            "enrollment.code_issued",
            by,
        )

    async def prove_slot(
        self, group_id: EnrollmentGroupId, slot: Slot, proof: Certificate, *, if_match: IfMatch = ANY, by: object
    ) -> EnrollmentGroup:
        """Take a verification certificate for the certificate in `slot`. Its code is used up.

        Raises:
            NotFound, PreconditionFailed: as `issue_code`.
            Refusal: what `pki.possession.check_possession` finds wrong with the proof; the code stays good.
        """
        now = self._clock.now()

        waivers = self._store.read().waivers.given(self.hub)

        def prove(signer: SigningCertificate) -> SigningCertificate:
            check_possession(
                signer.certificate,
                proof,
                code=signer.code,
                code_expires=signer.code_expires,
                now=now,
                renew=how_to_prove(group_id, slot),
                waivers=waivers,
            )
            return replace(signer, proof="possession", code=None, code_expires=None)

        return await self._change_slot(group_id, slot, if_match, prove, "enrollment.proven", by)

    async def vouch_slot(
        self, group_id: EnrollmentGroupId, slot: Slot, *, if_match: IfMatch = ANY, by: object
    ) -> EnrollmentGroup:
        """Trust the certificate in `slot` on the word of `by` ("verified on upload").

        Raises:
            Conflict: `enrollment.vouching_off`, when the hub's switch forbids it.
            NotFound, PreconditionFailed: as `issue_code`.
        """
        self.check_vouching(group_id, slot)

        def vouch(signer: SigningCertificate) -> SigningCertificate:
            return replace(signer, proof="vouched", code=None, code_expires=None)

        return await self._change_slot(group_id, slot, if_match, vouch, "enrollment.vouched", by)

    def check_vouching(self, group_id: EnrollmentGroupId, slot: Slot) -> None:
        """Whether this hub takes anybody's word. Raises `Conflict` (`enrollment.vouching_off`)."""
        if not self._vouching:
            raise Conflict(
                "enrollment.vouching_off",
                "this hub takes no certificate on somebody's word: possession of its key has to be proven",
                fix=how_to_prove(group_id, slot),
            )

    async def _change_slot(
        self,
        group_id: EnrollmentGroupId,
        slot: Slot,
        if_match: IfMatch,
        change: Callable[[SigningCertificate], SigningCertificate],
        event: str,
        by: object,
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

        group = await self._store.write(work)
        _audit_slot(event, group, slot, by)
        return group

    def _put_group(self, tables: ProvisioningTables, stored: EnrollmentGroup | None, group: EnrollmentGroup) -> None:
        before = trusted_slots(stored, tables.cas) if stored else {}
        tables.groups.put(group)
        _tell(tables, group, anchor_changes(stored, group, before, trusted_slots(group, tables.cas)))

    async def _room(self, kind: Literal["individual", "group"]) -> Callable[[bool], None]:
        """What takes a place for one that is new, to be called in the transaction that writes it; raises `TooLarge`.

        How many there are is known as far as this process made them, and counted anew where the limit seems to be
        reached, since nothing is taken off for those that are deleted, here or with their devices.
        """
        limit = self._limits.individuals if kind == "individual" else self._limits.groups
        taken, count = self._taken[kind], self._count.get(kind)
        if count is None or count >= limit:
            count = await self._store.scan(
                lambda tables: (tables.individuals if kind == "individual" else tables.groups).count(self.hub)
            )

        def take_place(is_new: bool) -> None:
            # Transactions come one after the other; those before this one may have taken the last place.
            present = count if self._taken[kind] == taken else self._count[kind]
            if is_new and present >= limit:
                raise _too_many(present, limit, kind)
            self._taken[kind] += is_new
            self._count[kind] = present + is_new

        return take_place

    def _done(
        self,
        kind: Literal["individual", "group"],
        name: str,
        before: Enrollment | None,
        after: Enrollment | None,
        by: object,
    ) -> None:
        done = "deleted" if after is None else "created" if before is None else "updated"
        shown = after or before
        facts = {
            "hub": self.hub,
            "kind": kind,
            "id": name,
            "status": shown.status if shown else "",
            "allocation": shown.allocation if shown else "",
            "by": str(by),
        }
        event = f"enrollment.{done}"
        text = "%s hub=%s kind=%s id=%s status=%s allocation=%s by=%s"
        audit.info(text, event, *facts.values(), extra={"event": event, "facts": facts})


def _audit_slot(event: str, group: EnrollmentGroup, slot: Slot, by: object) -> None:
    thumbprint = signer_in(group, slot).certificate.sha256
    facts = {"hub": group.hub, "group": group.group_id, "slot": slot, "thumbprint": thumbprint, "by": str(by)}
    audit.info(
        "%s hub=%s group=%s slot=%s thumbprint=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts}
    )


def _too_many(count: int, limit: int, kind: Literal["individual", "group"]) -> TooLarge:
    what = "individual enrollments" if kind == "individual" else "enrollment groups"
    return TooLarge(
        "enrollment.too_many",
        f"there are {count} {what}, {limit} is the limit of this provisioning service (docs/reference/settings.md)",
    )


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
