from __future__ import annotations

import asyncio
import logging

import pytest

from moorage.certificates.service import HubAnchors
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, TooLarge
from moorage.identities.trust import TrustCache
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, ETag, RegistrationId, Secret, Thumbprint
from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_verification
from moorage.provisioning.anchors import EnrollmentAnchors
from moorage.provisioning.drafts import CertificatesDraft, KeepAttestation, Kept, KeysDraft
from moorage.provisioning.enrollments import ANY, EnrollmentLimits
from moorage.provisioning.model import (
    ByCAReferences,
    ByClientCertificates,
    BySigningCertificates,
    BySymmetricKey,
    ByTpm,
    CustomAllocation,
    EnrollmentGroup,
    IndividualEnrollment,
    SigningCertificate,
    Slot,
)
from tests.certs import NOW, Issued, device, intermediate, root, self_signed

from .world import HOST, World, shows

LINE = EnrollmentGroupId("line-7")


def slots(group: EnrollmentGroup) -> BySigningCertificates:
    assert isinstance(group.attestation, BySigningCertificates)
    return group.attestation


def signer(group: EnrollmentGroup, slot: Slot = "primary") -> SigningCertificate:
    held = slots(group).primary if slot == "primary" else slots(group).secondary
    assert held is not None
    return held


def proof_for(ca: Issued, group: EnrollmentGroup, slot: Slot = "primary") -> Certificate:
    code = signer(group, slot).code
    assert code is not None
    return issue_verification(ca.certificate, ca.key, code, now=NOW)


# --- etags -------------------------------------------------------------------------------------------------------


async def test_creating_what_exists_and_changing_what_does_not_are_refused(world: World) -> None:
    await world.enroll("pump-01")
    with pytest.raises(Conflict) as exists:
        await world.enroll("pump-01")
    assert exists.value.reason == "enrollment.exists"
    with pytest.raises(NotFound) as missing:
        await world.enroll("pump-02", if_match=ANY)
    assert missing.value.reason == "enrollment.unknown"


async def test_an_etag_is_good_for_one_change(world: World) -> None:
    first = await world.enroll("pump-01")
    second = await world.enroll("pump-01", if_match=first.etag)
    assert second.version == 2
    assert second.created == first.created
    with pytest.raises(PreconditionFailed) as stale:
        await world.enroll("pump-01", if_match=first.etag)
    assert stale.value.reason == "etag.stale"
    with pytest.raises(PreconditionFailed):
        await world.enrollments.delete_individual(RegistrationId("pump-01"), if_match=first.etag, by="tests")
    await world.enrollments.delete_individual(RegistrationId("pump-01"), if_match=second.etag, by="tests")


async def test_an_etag_from_before_a_delete_does_not_fit_what_is_made_after_it(world: World) -> None:
    first = await world.enroll("pump-01")
    await world.enrollments.delete_individual(RegistrationId("pump-01"), if_match=None, by="tests")
    world.clock.advance(0.001)
    assert (await world.enroll("pump-01")).etag != first.etag


async def test_names_are_found_without_case_and_a_second_spelling_is_refused(world: World) -> None:
    await world.enroll("Pump-01")
    assert world.enrollments.get_individual(RegistrationId("PUMP-01")).registration_id == "Pump-01"
    for if_match in (None, ANY):
        with pytest.raises(Conflict) as conflict:
            await world.enroll("pump-01", if_match=if_match)
        assert conflict.value.reason == "registration.case_conflict"
    await world.enroll_group("Line-7")
    changed = await world.enroll_group("line-7", if_match=ANY)
    assert changed.group_id == "Line-7"


async def test_deleting_an_individual_enrollment_forgets_its_registration(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    await world.register("pump-01", shows(leaf))
    await world.enrollments.delete_individual(RegistrationId("pump-01"), if_match=None, by="tests")
    assert world.registrations.find(RegistrationId("pump-01")) is None


async def test_a_hub_that_is_not_linked_may_be_named_and_fails_whoever_comes_before_it_is(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate, linked_hubs=("other.example",))
    failed = await world.register("pump-01", shows(leaf))
    assert (failed.status, failed.error_code) == ("failed", 400208)
    assert failed.error_message is not None and "other.example" in failed.error_message
    await world.enroll("pump-01", leaf.certificate, linked_hubs=("HUB.example",), if_match=ANY)
    assert (await world.register("pump-01", shows(leaf))).assigned_hub == HOST


async def test_the_services_policy_is_that_of_enrollments_which_name_none_from_then_on(world: World) -> None:
    assert (await world.enroll("before")).allocation == "hashed"
    await world.linked.set_default_allocation("static", by="tests")
    assert (await world.enroll("after")).allocation == "static"
    assert (await world.enroll("own", allocation="geoLatency")).allocation == "geoLatency"
    assert world.enrollments.get_individual(RegistrationId("before")).allocation == "hashed"


async def test_there_are_no_more_either_where_many_are_made_at_once() -> None:
    world = World(limits=EnrollmentLimits(3, 2))
    for make, left in ((world.enroll, 3), (world.enroll_group, 2)):
        # The second time all places are taken but one, and the count is made anew.
        for room in (left, 1):
            made = await asyncio.gather(*(make(f"{room}-{number}") for number in range(8)), return_exceptions=True)
            assert [getattr(each, "reason", None) for each in made].count("enrollment.too_many") == 8 - room
            if room > 1:
                [first, *_] = [each for each in made if isinstance(each, EnrollmentGroup | IndividualEnrollment)]
                if isinstance(first, EnrollmentGroup):
                    await world.enrollments.delete_group(first.group_id, if_match=None, by="tests")
                else:
                    await world.enrollments.delete_individual(first.registration_id, if_match=None, by="tests")
    assert len(await world.enrollments.list_individuals(10)) == 3
    assert len(await world.enrollments.list_groups(10)) == 2
    await world.close()


async def test_there_are_as_many_enrollments_as_the_limits_say() -> None:
    world = World(limits=EnrollmentLimits(2, 1))
    await world.enroll("a")
    await world.enroll("b")
    await world.enroll("a", if_match=ANY)
    for more in (world.enroll("c"), world.enroll("d")):
        with pytest.raises(TooLarge) as full:
            await more
        assert full.value.reason == "enrollment.too_many"
    await world.enrollments.delete_individual(RegistrationId("b"), if_match=None, by="tests")
    await world.enroll("c")
    await world.enroll_group("one")
    with pytest.raises(TooLarge):
        await world.enroll_group("two")
    await world.close()


async def test_every_change_of_an_enrollment_is_in_the_audit_log_with_whoever_made_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    await world.enroll("pump-01")
    await world.enroll("pump-01", if_match=ANY, status="disabled")
    await world.enrollments.delete_individual(RegistrationId("pump-01"), if_match=None, by="somebody")
    ca = root().certificate
    await world.enroll_group("line-7", ca)
    await world.enrollments.issue_code(LINE, "primary", by="another")
    await world.enrollments.delete_group(LINE, if_match=None, by="tests")
    assert [record.getMessage() for record in caplog.records] == [
        "enrollment.created hub=hub kind=individual id=pump-01 status=enabled allocation=hashed by=tests",
        "enrollment.updated hub=hub kind=individual id=pump-01 status=disabled allocation=hashed by=tests",
        "enrollment.deleted hub=hub kind=individual id=pump-01 status=disabled allocation=hashed by=somebody",
        "enrollment.created hub=hub kind=group id=line-7 status=enabled allocation=hashed by=tests",
        f"enrollment.vouched hub=hub group=line-7 slot=primary thumbprint={ca.sha256} by=tests",
        f"enrollment.code_issued hub=hub group=line-7 slot=primary thumbprint={ca.sha256} by=another",
        "enrollment.deleted hub=hub kind=group id=line-7 status=enabled allocation=hashed by=tests",
    ]


HOOK = CustomAllocation(Secret("https://hook.example/a?code=open-sesame"), "2021-10-01")


async def test_a_web_hooks_url_is_kept_when_it_comes_back_as_it_was_shown(world: World) -> None:
    stored = await world.enroll("pump-01", allocation="custom", custom_allocation=HOOK)
    assert stored.custom_allocation is not None and stored.custom_allocation.shown_url == "https://hook.example/a?****"
    shown = CustomAllocation(Secret("https://hook.example/a?****"), "2019-03-31")
    again = await world.enroll("pump-01", if_match=ANY, allocation="custom", custom_allocation=shown)
    assert again.custom_allocation == CustomAllocation(HOOK.webhook_url, "2019-03-31")
    for wrong in ("https://elsewhere.example/a?****", "https://hook.example/b?****"):
        with pytest.raises(Invalid) as hidden:
            await world.enroll(
                "pump-01", if_match=ANY, allocation="custom", custom_allocation=CustomAllocation(Secret(wrong), "")
            )
        assert hidden.value.reason == "allocation.webhook_hidden"
    with pytest.raises(Invalid) as hidden:
        await world.enroll("new", allocation="custom", custom_allocation=shown)
    assert hidden.value.reason == "allocation.webhook_hidden"


async def test_custom_allocation_names_its_web_hook(world: World) -> None:
    for nothing in (None, CustomAllocation(Secret(""), "2021-10-01")):
        with pytest.raises(Invalid) as missing:
            await world.enroll("pump-01", allocation="custom", custom_allocation=nothing)
        assert missing.value.reason == "allocation.webhook_missing"


# --- read, modify, write -----------------------------------------------------------------------------------------


async def test_keys_that_are_not_sent_again_stay_and_missing_ones_are_made(world: World) -> None:
    made = (await world.enroll("pump-01")).attestation
    assert isinstance(made, BySymmetricKey)
    assert made.primary.reveal() != made.secondary.reveal()
    kept = (await world.enroll("pump-01", attestation=KeysDraft(), if_match=ANY)).attestation
    assert kept == made
    new = Secret("bW9vcmFnZS1hLW5ldy1rZXk=")
    rolled = (await world.enroll("pump-01", attestation=KeysDraft(secondary=new), if_match=ANY)).attestation
    assert rolled == BySymmetricKey(made.primary, new)
    with pytest.raises(Invalid) as short:
        await world.enroll("pump-01", attestation=KeysDraft(primary=Secret("c2hvcnQ=")), if_match=ANY)
    assert short.value.reason == "key.length"


async def test_certificates_known_by_their_thumbprint_stay_and_change_places(world: World) -> None:
    old, new = self_signed("pump-01").certificate, self_signed("pump-02").certificate
    await world.enroll("pump-01", old, new)
    swapped = CertificatesDraft(Kept(new.sha256), Kept(old.sha1))
    enrollment = await world.enroll("pump-01", attestation=swapped, if_match=ANY)
    assert enrollment.attestation == ByClientCertificates(new, old)
    assert (await world.enroll("pump-01", attestation=KeepAttestation(), if_match=ANY)).attestation == (
        enrollment.attestation
    )
    alone = await world.enroll("pump-01", attestation=CertificatesDraft(Kept()), if_match=ANY)
    assert alone.attestation == ByClientCertificates(new, None)


@pytest.mark.parametrize(
    "attestation",
    [
        KeepAttestation(),
        CertificatesDraft(Kept()),
        CertificatesDraft(Kept(Thumbprint("0" * 40))),
        CertificatesDraft(None, Kept(Thumbprint("0" * 64))),
    ],
)
async def test_a_certificate_that_was_never_stored_cannot_be_kept(
    world: World, attestation: KeepAttestation | CertificatesDraft
) -> None:
    for if_match in (None, ANY):
        with pytest.raises(Invalid) as individual:
            await world.enroll("pump-01", attestation=attestation, if_match=if_match)
        with pytest.raises(Invalid) as group:
            await world.enroll_group("line-7", attestation=attestation, if_match=if_match)
        assert individual.value.reason == group.value.reason == "attestation.certificate_missing"
        if if_match is None:
            await world.enroll("pump-01")
            await world.enroll_group("line-7")


async def test_each_kind_of_enrollment_takes_its_own_attestations(world: World) -> None:
    with pytest.raises(Invalid) as individual:
        await world.enroll("pump-01", attestation=ByCAReferences(CAName("plant")))
    with pytest.raises(Invalid) as group:
        await world.enroll_group("line-7", attestation=ByTpm("AToAAQ=="))
    assert individual.value.reason == group.value.reason == "attestation.kind"


async def test_a_ca_reference_needs_a_ca_that_is_registered_and_proven(world: World) -> None:
    reference = ByCAReferences(None, CAName("plant"))
    with pytest.raises(Invalid) as unknown:
        await world.enroll_group("line-7", attestation=reference)
    assert unknown.value.reason == "attestation.ca_unknown"
    await world.cas.upload(DEFAULT_HUB, "dps", CAName("plant"), root().certificate.pem, NOW, by="test")
    with pytest.raises(Invalid) as unproven:
        await world.enroll_group("line-7", attestation=reference)
    assert unproven.value.reason == "attestation.ca_unproven"


# --- proof -------------------------------------------------------------------------------------------------------


async def test_an_upload_by_a_credential_is_vouched_for_and_written_to_the_audit_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ca = root().certificate
    with caplog.at_level(logging.INFO, "moorage.audit"):
        group = await world.enroll_group("line-7", ca)
    assert signer(group).proof == "vouched"
    assert ca.sha256 in caplog.text
    assert "by=tests" in caplog.text


async def test_only_a_certificate_that_did_not_count_before_is_vouched_for_by_whoever_writes_the_group(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old, unproven, new = root("Old").certificate, root("Unproven").certificate, root("New").certificate
    await world.enroll_group("line-7", old)
    await world.enroll_group("line-7", old, unproven, if_match=ANY, vouched=False)
    caplog.set_level("INFO", "moorage.audit")
    caplog.clear()
    await world.enroll_group("line-7", attestation=CertificatesDraft(Kept(), Kept()), if_match=ANY, status="disabled")
    await world.enroll_group("line-7", old, unproven, if_match=ANY)
    await world.enroll_group("line-7", unproven, new, if_match=ANY)
    vouched = [record for record in caplog.records if record.getMessage().startswith("enrollment.vouched")]
    assert [record.getMessage().split()[4] for record in vouched] == [
        f"thumbprint={each.sha256}" for each in (unproven, new)
    ]


async def test_the_switch_of_the_hub_forbids_vouching() -> None:
    world = World(vouching=False)
    group = await world.enroll_group("line-7", root().certificate)
    assert signer(group).proof == "none"
    with pytest.raises(Conflict) as caught:
        await world.enrollments.vouch_slot(LINE, "primary", by="owner")
    assert caught.value.reason == "enrollment.vouching_off"
    await world.close()


async def test_an_operator_can_vouch_for_a_slot(world: World) -> None:
    await world.enroll_group("line-7", root().certificate, vouched=False)
    assert signer(await world.enrollments.vouch_slot(LINE, "primary", by="owner")).proof == "vouched"


async def test_proof_survives_being_sent_again_and_moving_to_the_other_slot_but_not_another_certificate(
    world: World,
) -> None:
    ca, other = root(), root("Other Root")
    await world.enroll_group("line-7", ca.certificate, vouched=False)
    coded = await world.enrollments.issue_code(LINE, "primary", by="tests")
    await world.enrollments.prove_slot(LINE, "primary", proof_for(ca, coded), by="tests")
    again = await world.enroll_group("line-7", ca.certificate, vouched=False, if_match=ANY)
    assert signer(again).proof == "possession"
    moved = await world.enroll_group(
        "line-7",
        attestation=CertificatesDraft(other.certificate, Kept(ca.certificate.sha256)),
        vouched=False,
        if_match=ANY,
    )
    assert (signer(moved).proof, signer(moved, "secondary").proof) == ("none", "possession")


async def test_a_code_is_used_once_and_a_wrong_proof_leaves_it_good(world: World) -> None:
    ca, other = root(), root("Plant Root", label="other")
    await world.enroll_group("line-7", ca.certificate, vouched=False)
    coded = await world.enrollments.issue_code(LINE, "primary", by="tests")
    with pytest.raises(Invalid) as wrong:
        await world.enrollments.prove_slot(LINE, "primary", proof_for(other, coded), by="tests")
    assert wrong.value.reason == "proof.wrong_signer"
    proof = proof_for(ca, coded)
    assert signer(await world.enrollments.prove_slot(LINE, "primary", proof, by="tests")).code is None
    with pytest.raises(Invalid) as used:
        await world.enrollments.prove_slot(LINE, "primary", proof, by="tests")
    assert used.value.reason == "proof.no_code"


async def test_a_code_is_bound_to_its_slot_and_to_the_state_it_was_made_for(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate, ca.certificate, vouched=False)
    coded = await world.enrollments.issue_code(LINE, "primary", by="tests")
    with pytest.raises(Invalid) as other_slot:
        await world.enrollments.prove_slot(LINE, "secondary", proof_for(ca, coded), by="tests")
    assert other_slot.value.reason == "proof.no_code"
    with pytest.raises(PreconditionFailed):
        await world.enrollments.issue_code(LINE, "primary", if_match=ETag("stale"), by="tests")
    proof = proof_for(ca, coded)
    await world.enroll_group("line-7", ca.certificate, vouched=False, if_match=ANY)
    with pytest.raises(Invalid) as replaced:
        await world.enrollments.prove_slot(LINE, "primary", proof, by="tests")
    assert replaced.value.reason == "proof.no_code"


async def test_an_empty_slot_has_no_code(world: World) -> None:
    await world.enroll_group("line-7", root().certificate)
    with pytest.raises(NotFound) as caught:
        await world.enrollments.issue_code(LINE, "secondary", by="tests")
    assert caught.value.reason == "enrollment.slot_empty"


# --- what is told about trust ------------------------------------------------------------------------------------


def heard(world: World) -> list[tuple[str, str, object]]:
    events, world.events[:] = world.events[:], []
    return [
        (event.kind, event.subject, event.data.get("thumbprints"))
        for event in events
        if event.kind.startswith("anchors.")
    ]


async def test_a_roll_through_both_slots_replaces_and_only_taking_away_removes(world: World) -> None:
    old, new = root().certificate, root("New Root").certificate
    binding = "enrollment:line-7"
    await world.enroll_group("Line-7", old)
    assert heard(world) == [("anchors.replaced", binding, None)]
    await world.enroll_group("line-7", old, new, if_match=ANY)
    assert heard(world) == [("anchors.replaced", binding, None)]
    await world.enroll_group("line-7", new, new, if_match=ANY)
    assert heard(world) == [("anchors.replaced", binding, None)]
    await world.enroll_group("line-7", new, if_match=ANY)
    assert heard(world) == []
    await world.enroll_group("line-7", new, old, if_match=ANY)
    heard(world)
    await world.enroll_group("line-7", new, if_match=ANY)
    assert heard(world) == [("anchors.removed", binding, [old.sha256])]


async def test_a_roll_that_moves_the_new_certificate_up_takes_the_old_one_away(world: World) -> None:
    old, new, newer = root().certificate, root("New Root").certificate, root("Newer Root").certificate
    binding = "enrollment:line-7"
    await world.enroll_group("line-7", old, new)
    heard(world)
    await world.enroll_group("line-7", new, if_match=ANY)
    assert heard(world) == [("anchors.removed", binding, [old.sha256])]
    await world.enroll_group("line-7", new, old, if_match=ANY)
    heard(world)
    await world.enroll_group("line-7", None, new, if_match=ANY)
    assert heard(world) == [("anchors.removed", binding, [old.sha256])]
    await world.enroll_group("line-7", old, new, if_match=ANY)
    heard(world)
    await world.enroll_group("line-7", new, newer, if_match=ANY)
    assert heard(world) == [("anchors.replaced", binding, None)]
    await world.enroll_group("line-7", newer, new, if_match=ANY)
    assert heard(world) == []


async def test_disabling_and_deleting_a_group_remove_and_enabling_replaces(world: World) -> None:
    ca, other = root().certificate, root("Other Root").certificate
    binding = "enrollment:line-7"
    await world.enroll_group("line-7", ca, other)
    heard(world)
    await world.enroll_group("line-7", ca, other, if_match=ANY, status="disabled")
    assert heard(world) == [("anchors.removed", binding, [ca.sha256, other.sha256])]
    await world.enroll_group("line-7", ca, other, if_match=ANY)
    assert heard(world) == [("anchors.replaced", binding, None)]
    await world.enrollments.delete_group(LINE, if_match=None, by="tests")
    assert heard(world) == [("anchors.removed", binding, [ca.sha256, other.sha256])]


async def test_a_change_that_touches_no_trust_tells_nothing(world: World) -> None:
    await world.enroll_group("line-7", root().certificate, vouched=False)
    await world.enroll_group("by-key")
    await world.enroll("pump-01")
    assert heard(world) == []


async def test_the_trust_cache_follows_a_group(world: World) -> None:
    anchors = EnrollmentAnchors(world.store)
    cache = TrustCache(HubAnchors(world.store), anchors, world.bus)
    binding = "enrollment:line-7"

    def trusted() -> tuple[Certificate, ...]:
        return cache.validator(DEFAULT_HUB, binding).anchors.anchors

    assert trusted() == ()
    ca = root()
    await world.enroll_group("LINE-7", ca.certificate, vouched=False)
    assert trusted() == ()
    coded = await world.enrollments.issue_code(LINE, "primary", by="tests")
    await world.enrollments.prove_slot(LINE, "primary", proof_for(ca, coded), by="tests")
    assert trusted() == (ca.certificate,)
    await world.enroll_group("line-7", ca.certificate, if_match=ANY, status="disabled")
    assert trusted() == ()
    assert anchors.anchors(DEFAULT_HUB, "hub") == ()
    assert anchors.anchors(DEFAULT_HUB, "enrollment:") == ()
    cache.close()


async def test_the_trust_cache_follows_a_referenced_ca(world: World) -> None:
    anchors = EnrollmentAnchors(world.store)
    cache = TrustCache(HubAnchors(world.store), anchors, world.bus)
    ca, line = root(), intermediate(root())
    for name, pem in (("plant", ca.certificate.pem), ("line", line.certificate.pem)):
        await world.cas.upload(DEFAULT_HUB, "dps", CAName(name), pem, NOW, by="test", vouched=True)
    await world.enroll_group("line-7", attestation=ByCAReferences(CAName("PLANT")))
    validator = cache.validator(DEFAULT_HUB, "enrollment:line-7")
    assert validator.anchors.anchors == (ca.certificate,)
    # The other CA is trusted for nothing and completes the chain of a device that sends its leaf alone.
    assert validator.validate(device(line, "pump-01").sends(1), NOW).anchor == ca.certificate
    await world.cas.delete(DEFAULT_HUB, "dps", CAName("plant"), by="test", if_match=None)
    assert cache.validator(DEFAULT_HUB, "enrollment:line-7").anchors.anchors == ()
    cache.close()


async def test_lists_are_in_order_and_go_on_behind_a_name(world: World) -> None:
    for name in ("b", "A", "c"):
        await world.enroll(name)
        await world.enroll_group(name)
    assert [each.registration_id for each in await world.enrollments.list_individuals(2)] == ["A", "b"]
    assert [each.group_id for each in await world.enrollments.list_groups(9, after="a")] == ["b", "c"]
