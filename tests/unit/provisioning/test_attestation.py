"""Who may register. Each refusal has a device that only that check refuses, beside one that is let in."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest
from cryptography.x509.oid import NameOID

from moorage.certificates.model import Registry
from moorage.errors import Check, Conflict, Forbidden, NotFound, Refusal, Unauthenticated
from moorage.identities.credentials import Presented
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint
from moorage.identities.policies import Policies
from moorage.identities.sas import key_bytes, make_token, sign
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, IdScope, RegistrationId, Secret
from moorage.pki.issue import issue_verification
from moorage.pki.listed_revocation import ListedRevocation
from moorage.pki.revocation import Policy
from moorage.provisioning.attestation import Claim, Groups, derive_key, judge_group, judge_individual
from moorage.provisioning.drafts import CertificatesDraft
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.group_cache import GroupCache
from moorage.provisioning.model import ByCAReferences, BySigningCertificates, BySymmetricKey, ByTpm
from tests.certs import LIFETIME, NOW, device, intermediate, name, odd, root, self_signed
from tests.unit.pki.lists import the_list

from .world import HOST, NOTHING, SCOPE, World, shows, shows_chain


async def refused(world: World, registration_id: str, presented: Presented, scope: str = SCOPE) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await world.register(registration_id, presented, scope)
    return caught.value


# --- individual enrollments by certificate -----------------------------------------------------------------------


async def test_a_self_signed_certificate_registers_and_becomes_a_thumbprint_identity(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    registration = await world.register("pump-01", shows(leaf))
    assert (registration.status, registration.assigned_hub, registration.device_id) == ("assigned", HOST, "pump-01")
    assert registration.attestation_kind == "x509"
    identity = world.identity("pump-01")
    assert identity is not None
    assert identity.authentication == ByThumbprint(leaf.certificate.sha256, None)


async def test_the_openssl_default_self_signed_certificate_which_is_a_ca_registers_when_it_is_enrolled(
    world: World,
) -> None:
    leaf = root("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"


async def test_a_pinned_certificate_is_matched_by_its_hash_whatever_its_common_name(world: World) -> None:
    leaf = self_signed("mytestselfcertsecondary")
    await world.enroll("mytestselfcertprimary", self_signed("mytestselfcertprimary").certificate, leaf.certificate)
    registration = await world.register("mytestselfcertprimary", shows(leaf))
    assert registration.device_id == "mytestselfcertprimary"


async def test_a_second_certificate_may_stand_alone(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", attestation=CertificatesDraft(None, leaf.certificate))
    await world.register("pump-01", shows(leaf))
    identity = world.identity("pump-01")
    assert identity is not None
    assert identity.authentication == ByThumbprint(None, leaf.certificate.sha256)


async def test_the_device_id_of_the_enrollment_is_what_the_hub_gets(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate, device_id="Pump#1")
    assert (await world.register("pump-01", shows(leaf))).device_id == "Pump#1"
    assert world.identity("Pump#1") is not None


async def test_another_certificate_than_the_enrolled_ones_is_refused_with_both_hashes(world: World) -> None:
    enrolled, other = self_signed("pump-01"), self_signed("pump-02")
    await world.enroll("pump-01", enrolled.certificate)
    refusal = await refused(world, "pump-01", shows(other))
    assert isinstance(refusal, Unauthenticated)
    assert refusal.reason == "attestation.thumbprint"
    assert enrolled.certificate.sha256 in refusal.message
    assert other.certificate.sha256 in refusal.message
    assert [(check.name, check.passed) for check in refusal.checks] == [
        ("enrollment.individual", True),
        ("attestation.thumbprint", False),
    ]


async def test_an_enrolled_certificate_that_has_expired_is_refused(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    world.clock.advance(LIFETIME.total_seconds() + 1)
    assert (await refused(world, "pump-01", shows(leaf))).reason == "chain.expired"


async def test_an_individual_enrollment_goes_before_a_group_that_would_accept_the_chain(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    await world.enroll("pump-01", self_signed("pump-01").certificate)
    assert (await refused(world, "pump-01", shows(device(ca, "pump-01")))).reason == "attestation.thumbprint"
    assert (await world.register("pump-02", shows(device(ca, "pump-02")))).group_id == "line-7"


async def test_a_token_is_no_way_round_an_x509_enrollment(world: World) -> None:
    group = await world.enroll_group("by-key")
    assert isinstance(group.attestation, BySymmetricKey)
    await world.enroll("pump-01", self_signed("pump-01").certificate)
    refusal = await refused(world, "pump-01", world.derived("pump-01", group.attestation.primary))
    assert refusal.reason == "attestation.kind"
    assert isinstance(refusal, Unauthenticated)


async def test_a_disabled_enrollment_tells_its_own_device_and_nobody_else(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate, status="disabled")
    own = await refused(world, "pump-01", shows(leaf))
    assert isinstance(own, Forbidden)
    assert own.reason == "enrollment.disabled"
    assert own.fix == "moorage enrollment update pump-01 --enable"
    assert isinstance(await refused(world, "pump-01", shows(self_signed("pump-02"))), Unauthenticated)


async def test_a_second_spelling_of_an_enrolled_registration_id_is_refused(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("Pump-01", leaf.certificate)
    refusal = await refused(world, "pump-01", shows(leaf))
    assert isinstance(refusal, Conflict)
    assert refusal.reason == "registration.case_conflict"
    assert "'Pump-01'" in refusal.message


async def test_a_certificate_does_not_stand_in_for_an_enrolled_tpm(world: World) -> None:
    await world.enroll("pump-01", attestation=ByTpm("AToAAQ=="))
    assert (await refused(world, "pump-01", shows(self_signed("pump-01")))).reason == "attestation.kind"


# --- groups by certificate ---------------------------------------------------------------------------------------


async def test_a_group_with_a_root_takes_a_leaf_below_an_intermediate_that_is_sent_along(world: World) -> None:
    ca = root()
    leaf = device(intermediate(ca), "pump-01")
    await world.enroll_group("Line-7", ca.certificate)
    registration = await world.register("pump-01", shows(leaf))
    assert (registration.device_id, registration.group_id) == ("pump-01", "Line-7")
    identity = world.identity("pump-01")
    assert identity is not None
    assert identity.authentication == ByAuthority(EnrollmentGroupId("Line-7"))


async def test_a_group_with_an_intermediate_needs_no_root(world: World) -> None:
    line = intermediate(root())
    await world.enroll_group("line-7", None, line.certificate)
    assert (await world.register("pump-01", shows(device(line, "pump-01"), 1))).group_id == "line-7"


async def test_a_device_that_sends_its_leaf_alone_is_helped_by_a_ca_that_is_registered(world: World) -> None:
    ca = root()
    line = intermediate(ca)
    await world.enroll_group("line-7", ca.certificate)
    assert (await refused(world, "pump-01", shows(device(line, "pump-01"), 1))).reason == "chain.incomplete"
    await _register_ca(world, "line", line.certificate.pem)
    assert (await world.register("pump-01", shows(device(line, "pump-01"), 1))).group_id == "line-7"


async def test_the_closest_signer_decides_and_a_disabled_group_is_not_climbed_past(world: World) -> None:
    ca = root()
    line = intermediate(ca)
    leaf = device(line, "pump-01")
    await world.enroll_group("plant", ca.certificate)
    await world.enroll_group("line-7", line.certificate)
    assert (await world.register("pump-01", shows(leaf))).group_id == "line-7"
    await world.enroll_group("line-7", line.certificate, if_match=ANY, status="disabled")
    refusal = await refused(world, "pump-01", shows(leaf))
    assert refusal.reason == "enrollment.disabled"
    assert "line-7" in refusal.message
    await world.enrollments.delete_group(EnrollmentGroupId("line-7"), if_match=ANY, by="tests")
    assert (await world.register("pump-01", shows(leaf))).group_id == "plant"


async def test_a_certificate_in_two_groups_stays_with_the_older_one(world: World) -> None:
    ca = root()
    await world.enroll_group("zebra", ca.certificate)
    world.clock.advance(1)
    await world.enroll_group("aardvark", ca.certificate)
    assert (await world.register("pump-01", shows(device(ca, "pump-01")))).group_id == "zebra"


async def test_the_common_name_has_to_be_the_registration_id_and_becomes_the_device_id(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    refusal = await refused(world, "pump-02", shows(device(ca, "pump-01")))
    assert isinstance(refusal, Unauthenticated)
    assert refusal.reason == "registration.id_mismatch"
    assert "'pump-01'" in refusal.message
    assert "'pump-02'" in refusal.message
    # Registration ids have no case; the hub compares the name in the certificate byte for byte.
    assert (await world.register("pump-01", shows(device(ca, "Pump-01")))).device_id == "Pump-01"


async def test_two_certificates_whose_names_differ_in_case_do_not_share_a_registration(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    await world.register("pump-01", shows(device(ca, "pump-01")))
    assert (await refused(world, "PUMP-01", shows(device(ca, "PUMP-01")))).reason == "registration.case_conflict"
    assert (await refused(world, "pump-01", shows(device(ca, "PUMP-01")))).reason == "registration.case_conflict"
    assert world.identity("PUMP-01") is None


async def test_an_unproven_certificate_admits_nobody_until_it_is_proven(world: World) -> None:
    ca = root()
    leaf = device(ca, "pump-01")
    await world.enroll_group("line-7", ca.certificate, vouched=False)
    refusal = await refused(world, "pump-01", shows(leaf))
    assert isinstance(refusal, Unauthenticated)
    assert refusal.reason == "enrollment.unproven"
    assert "line-7" in refusal.message
    assert refusal.fix == "moorage enrollment-group code line-7"
    assert [check.name for check in refusal.checks if check.passed is False] == ["enrollment.unproven"]
    group_id = EnrollmentGroupId("line-7")
    group = await world.enrollments.issue_code(group_id, "primary", by="tests")
    assert isinstance(group.attestation, BySigningCertificates)
    assert group.attestation.primary is not None
    assert group.attestation.primary.code is not None
    proof = issue_verification(ca.certificate, ca.key, group.attestation.primary.code, now=NOW)
    await world.enrollments.prove_slot(group_id, "primary", proof, by="tests")
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"


async def test_a_ca_of_the_same_name_with_another_key_is_refused(world: World) -> None:
    await world.enroll_group("line-7", root("Plant Root").certificate)
    stranger = device(root("Plant Root", label="other"), "pump-01", label="other")
    assert (await refused(world, "pump-01", shows(stranger))).reason == "chain.signature"


async def test_a_leaf_that_has_expired_is_refused_by_a_group(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    leaf = device(ca, "pump-01", lifetime=timedelta(hours=2))
    world.clock.advance(3 * 3600)
    refusal = await refused(world, "pump-01", shows(leaf))
    assert refusal.reason == "chain.expired"
    assert refusal.checks[0].name == "enrollment.individual"


async def test_a_certificate_without_a_common_name_is_refused_by_a_group(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    nameless = odd(name((NameOID.ORGANIZATION_NAME, "Plant")), issuer=ca)
    assert (await refused(world, "pump-01", shows_chain(nameless))).reason == "certificate.common_name"


async def test_a_stranger_is_told_the_same_whether_the_name_exists_or_not(world: World) -> None:
    await world.enroll("pump-01", self_signed("pump-01").certificate)
    stranger = self_signed("stranger")
    known = await refused(world, "pump-01", shows(stranger))
    unknown = await refused(world, "pump-99", shows(stranger))
    assert isinstance(known, Unauthenticated)
    assert isinstance(unknown, Unauthenticated)
    assert unknown.reason == "enrollment.unknown"
    assert unknown.fix.startswith("moorage enrollment create pump-99")


async def test_a_self_signed_stranger_is_told_to_enroll_whether_or_not_there_are_groups(world: World) -> None:
    leaf = self_signed("pump-01")
    for group_id in ("line-7", "line-8"):
        refusal = await refused(world, "pump-01", shows(leaf))
        assert refusal.reason == "enrollment.unknown"
        assert refusal.fix == "moorage enrollment create pump-01 --certificate FILE"
        await world.enroll_group(group_id, root(group_id).certificate)


async def test_a_good_chain_to_a_proven_ca_without_an_enrollment_is_told_that_there_is_none(world: World) -> None:
    ca = root()
    await _register_ca(world, "plant", ca.certificate.pem)
    refusal = await refused(world, "pump-01", shows(device(ca, "pump-01")))
    assert isinstance(refusal, NotFound)
    assert refusal.reason == "enrollment.unknown"
    assert refusal.fix == "moorage enrollment-group create NAME --ca plant"
    assert [check.name for check in refusal.checks if check.passed is False] == ["enrollment.unknown"]


async def test_a_group_with_ca_references_admits_below_them_as_long_as_they_are_proven(world: World) -> None:
    ca = root()
    await _register_ca(world, "plant", ca.certificate.pem)
    await world.enroll_group("line-7", attestation=ByCAReferences(CAName("plant")))
    assert (await world.register("pump-01", shows(device(ca, "pump-01")))).group_id == "line-7"
    await world.cas.delete(DEFAULT_HUB, "dps", CAName("plant"), by="test", if_match=None)
    assert isinstance(await refused(world, "pump-01", shows(device(ca, "pump-01"))), Unauthenticated)


async def test_a_group_that_refers_to_a_ca_put_back_unproven_says_how_to_prove_that_ca(world: World) -> None:
    ca = root()
    await _register_ca(world, "plant", ca.certificate.pem)
    await world.enroll_group("line-7", attestation=ByCAReferences(CAName("plant")))
    name = CAName("plant")
    await world.cas.delete(DEFAULT_HUB, "dps", name, by="test", if_match=None)
    await world.cas.upload(DEFAULT_HUB, "dps", name, ca.certificate.pem, NOW, by="test", vouched=False)
    refusal = await refused(world, "pump-01", shows(device(ca, "pump-01")))
    assert (refusal.reason, refusal.fix) == ("enrollment.unproven", "moorage ca code plant --for dps")


# --- symmetric keys ----------------------------------------------------------------------------------------------


async def test_either_key_of_an_individual_enrollment_registers(world: World) -> None:
    enrollment = await world.enroll("pump-01")
    keys = enrollment.attestation
    assert isinstance(keys, BySymmetricKey)
    for key, policy in ((keys.primary, None), (keys.secondary, "registration")):
        registration = await world.register("pump-01", world.token("pump-01", key, policy=policy))
        assert (registration.status, registration.attestation_kind) == ("assigned", "symmetricKey")
    identity = world.identity("pump-01")
    assert identity is not None
    assert identity.authentication == BySharedKey(keys.primary, keys.secondary)


async def test_a_device_of_a_group_signs_with_its_derived_key_and_gets_it_as_its_hub_key(world: World) -> None:
    await world.enroll_group("other")
    group = await world.enroll_group("by-key")
    keys = group.attestation
    assert isinstance(keys, BySymmetricKey)
    for master in (keys.primary, keys.secondary):
        assert (await world.register("pump-01", world.derived("pump-01", master))).group_id == "by-key"
    identity = world.identity("pump-01")
    assert identity is not None
    pump = RegistrationId("pump-01")
    assert identity.authentication == BySharedKey(derive_key(keys.primary, pump), derive_key(keys.secondary, pump))


def test_a_derived_key_is_that_of_the_documentation() -> None:
    # The worked example of Azure's article on symmetric keys: its group key, registration id and result.
    master = Secret("8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
    derived = derive_key(master, RegistrationId("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"))
    assert derived.reveal() == "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="


@pytest.mark.parametrize(
    ("resource", "policy", "lifetime", "reason"),
    [
        (f"{SCOPE}/registrations/pump-02", None, 3600, "token.audience"),
        ("0ne00000000/registrations/pump-01", None, 3600, "token.audience"),
        (f"{SCOPE}/registrations", None, 3600, "token.audience"),
        (f"{SCOPE}/registrations/pump-01/x", None, 3600, "token.audience"),
        (f"{SCOPE}/registrations/pump-01", "provisioningserviceowner", 3600, "token.policy"),
        (f"{SCOPE}/registrations/pump-01", None, -3600, "token.expired"),
    ],
)
async def test_a_token_for_something_else_is_refused(
    world: World, resource: str, policy: str | None, lifetime: int, reason: str
) -> None:
    enrollment = await world.enroll("pump-01")
    group = await world.enroll_group("by-key")
    assert isinstance(enrollment.attestation, BySymmetricKey)
    assert isinstance(group.attestation, BySymmetricKey)
    expires = world.clock.now() + timedelta(seconds=lifetime)
    token = make_token(resource, enrollment.attestation.primary, expires, policy)
    assert (await refused(world, "pump-01", Presented(None, token, ""))).reason == reason
    await world.enrollments.delete_individual(RegistrationId("pump-01"), if_match=ANY, by="tests")
    derived = derive_key(group.attestation.primary, RegistrationId("pump-01"))
    token = make_token(resource, derived, expires, policy)
    assert (await refused(world, "pump-01", Presented(None, token, ""))).reason == reason


async def test_where_tokens_of_devices_are_switched_off_none_registers_by_one(world: World) -> None:
    enrollment = await world.enroll("pump-02")
    group = await world.enroll_group("by-key")
    assert isinstance(enrollment.attestation, BySymmetricKey) and isinstance(group.attestation, BySymmetricKey)
    tokens = {
        "pump-02": world.token("pump-02", enrollment.attestation.primary),
        "pump-03": world.derived("pump-03", group.attestation.primary),
    }
    leaf = self_signed("pump-04")
    await world.enroll("pump-04", leaf.certificate)
    policies = Policies(world.store)
    for switches in ({"disable_local_auth": True, "disable_module_sas": True}, {"disable_device_sas": True}):
        await policies.set_switches(DEFAULT_HUB, switches)
        for device_id, token in tokens.items():
            if "disable_device_sas" in switches:
                refusal = await refused(world, device_id, token)
                assert refusal.reason == "sas.disabled_for_devices" and isinstance(refusal, Unauthenticated)
                assert [check.name for check in refusal.checks if check.passed is False] == [refusal.reason]
            else:
                assert (await world.register(device_id, token)).status == "assigned"
    assert (await world.register("pump-04", shows(leaf))).status == "assigned"


async def test_a_lower_cased_audience_is_accepted(world: World) -> None:
    enrollment = await world.enroll("Pump-01")
    assert isinstance(enrollment.attestation, BySymmetricKey)
    presented = world.token("pump-01", enrollment.attestation.primary, scope=SCOPE.lower())
    assert (await world.register("Pump-01", presented)).status == "assigned"


async def test_of_an_audience_that_is_encoded_at_length_200_characters_are_kept(world: World) -> None:
    long = RegistrationId("p" * 100)
    resource = "".join(f"%{ord(each):02X}" for each in f"{SCOPE}/registrations/{long}")
    enrollment = await world.enroll(long)
    group = await world.enroll_group("by-key")
    assert isinstance(enrollment.attestation, BySymmetricKey) and isinstance(group.attestation, BySymmetricKey)
    expiry = str(int(NOW.timestamp()) + 3600)
    claim = Claim(SCOPE, long)

    def shown(key: Secret) -> Presented:
        signature = quote(sign(resource, expiry, key_bytes(key)), safe="")
        return Presented(None, Secret(f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}"), "")

    own = judge_individual(enrollment, claim, shown(enrollment.attestation.primary), NOW)
    derived = shown(derive_key(group.attestation.primary, long))
    for admission in (own, judge_group(Groups(groups=[group]), claim, derived, NOW)):
        assert Check("token.audience", True, resource[:200]) in admission.checks


async def test_a_signature_that_is_no_unicode_is_one_of_none_of_the_groups(world: World) -> None:
    await world.enroll_group("by-key")
    text = f"SharedAccessSignature sr={SCOPE}/registrations/pump-01&sig=\udc80&se={int(NOW.timestamp()) + 3600}"
    assert (await refused(world, "pump-01", Presented(None, Secret(text), ""))).reason == "enrollment.unknown"


async def test_a_key_that_is_not_the_enrolled_one_is_refused_without_showing_any(world: World) -> None:
    await world.enroll("pump-01")
    refusal = await refused(world, "pump-01", world.token("pump-01", Secret("bW9vcmFnZS1ub3QtdGhlLWtleQ==")))
    assert refusal.reason == "token.signature"
    assert "bW9v" not in str(refusal.message) + str(refusal.checks)


async def test_an_enrollment_by_key_takes_no_certificate_and_not_nothing(world: World) -> None:
    await world.enroll("pump-01")
    for presented in (NOTHING, shows(self_signed("pump-01"))):
        assert (await refused(world, "pump-01", presented)).reason == "attestation.kind"


async def test_a_token_of_none_of_the_groups_is_refused_as_if_there_were_no_enrollment(world: World) -> None:
    await world.enroll_group("by-key")
    await world.enroll_group("by-another-key")
    refusal = await refused(world, "pump-01", world.token("pump-01", Secret("bW9vcmFnZS1ub3QtdGhlLWtleQ==")))
    assert refusal.reason == "enrollment.unknown"
    assert "none of 2 groups' keys" in refusal.message


async def test_nothing_shown_garbage_and_a_wrong_scope_are_refused(world: World) -> None:
    await world.enroll_group("by-key")
    assert (await refused(world, "pump-01", NOTHING)).reason == "credential.missing"
    garbage = Presented(None, Secret("SharedAccessSignature sr=&&"), "")
    assert (await refused(world, "pump-01", garbage)).reason == "token.malformed"
    wrong = await refused(world, "pump-01", NOTHING, scope="0ne00000000")
    assert isinstance(wrong, Unauthenticated)
    assert wrong.reason == "scope.unknown"


async def test_a_device_with_an_unknown_certificate_and_a_good_derived_key_is_admitted_by_its_key(world: World) -> None:
    group = await world.enroll_group("by-key")
    assert isinstance(group.attestation, BySymmetricKey)
    await world.enroll_group("line-7", root().certificate)
    token = world.derived("pump-01", group.attestation.primary).token
    both = Presented(self_signed("pump-01").sends(), token, "")
    assert (await world.register("pump-01", both)).group_id == "by-key"


@pytest.mark.parametrize(("policy", "reason"), [("soft", "chain.revoked"), ("hard", "chain.revocation_unknown")])
async def test_a_good_derived_key_is_no_way_round_a_revoked_certificate(
    world: World, policy: Policy, reason: str
) -> None:
    """The chain has selected its group (decisions T4), whether the other group would take the token or not."""
    group = await world.enroll_group("by-key")
    assert isinstance(group.attestation, BySymmetricKey)
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    pump = device(ca, "pump-01")
    token = world.derived("pump-01", group.attestation.primary).token
    both = Presented(pump.sends(), token, "")
    lists = [the_list(ca, pump.certificate.serial_number)] if policy == "soft" else []
    told = ListedRevocation(lists, default=policy)
    cache = GroupCache(DEFAULT_HUB, world.store, world.bus, revocation=told)
    claim = Claim(IdScope(SCOPE), RegistrationId("pump-01"))
    try:
        with pytest.raises(Unauthenticated) as refusal:
            judge_group(await cache.get(), claim, both, NOW)
    finally:
        cache.close()
    assert refusal.value.reason == reason
    # The same group, the same token, and a certificate that says nothing about groups of ours.
    assert (await world.register("pump-01", Presented(self_signed("pump-01").sends(), token, ""))).group_id == "by-key"


async def test_the_checks_of_an_admission_tell_the_story_in_order(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    refusal = await refused(world, "pump-02", shows(device(ca, "pump-01")))
    names = [check.name for check in refusal.checks]
    assert names[0] == "enrollment.individual"
    assert names.index("chain.signature") < names.index("enrollment.group") < names.index("registration.id_mismatch")
    assert [check.name for check in refusal.checks if check.passed is False] == ["registration.id_mismatch"]


async def test_an_attestation_without_certificates_admits_nobody(world: World) -> None:
    await world.enroll("pump-01", attestation=CertificatesDraft())
    await world.enroll_group("line-7", attestation=CertificatesDraft())
    assert (await refused(world, "pump-01", shows(self_signed("pump-01")))).reason == "attestation.thumbprint"
    assert (await refused(world, "pump-02", shows(self_signed("pump-02")))).reason == "enrollment.unknown"


async def _register_ca(world: World, name: str, pem: str, registry: Registry = "dps") -> None:
    await world.cas.upload(DEFAULT_HUB, registry, CAName(name), pem, NOW, by="test", vouched=True)
