"""What a registration that is refused tells its operator, and what is known of one that is let in, word for word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.x509.oid import NameOID

from moorage.certificates.waivers import WaiverService
from moorage.errors import Check
from moorage.identities.credentials import Presented
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, SasSwitches
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, CAName, DeviceId, EnrollmentGroupId, RegistrationId, Secret
from moorage.pki.certificates import PeerChain
from moorage.pki.policy import PASSED
from moorage.provisioning.attestation import (
    Admission,
    Claim,
    Groups,
    check_switches,
    derive_key,
    judge_group,
    judge_individual,
)
from moorage.provisioning.drafts import CertificatesDraft
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.model import ByCAReferences, BySymmetricKey, ByTpm
from tests.certs import IS_A_CA, NOW, Issued, device, intermediate, name, odd, root, self_signed, weak_rsa_key
from tests.unit.provisioning.world import NOTHING, SCOPE, World, shows, shows_chain
from tests.unit.told import compare, refusal_lines

HERE = Path(__file__).parent


def claim(name: str) -> Claim:
    return Claim(SCOPE, RegistrationId(name))


async def test_what_is_told_of_a_device_with_an_enrollment_of_its_own(world: World) -> None:
    lines: list[str] = []
    own, second, other = self_signed("pump-01"), self_signed("second"), self_signed("other")
    both = await world.enroll("pump-01", own.certificate, second.certificate)
    one = await world.enroll("Pump-02", own.certificate)
    empty = await world.enroll("pump-03", attestation=CertificatesDraft())
    keys = await world.enroll("pump-04")
    tpm = await world.enroll("pump-05", attestation=ByTpm("AToAAQ=="))
    off = await world.enroll("pump-06", own.certificate, status="disabled")
    assert isinstance(keys.attestation, BySymmetricKey)

    def told(title: str, *judged: object) -> None:
        lines.extend(refusal_lines(title, lambda: judge_individual(*judged)))  # type: ignore[arg-type] # as it takes

    token = world.token("pump-04", keys.attestation.primary)
    everything = Presented(own.sends(), token.token, "")
    told("nothing shown", both, claim("pump-01"), NOTHING, NOW)
    told("a token shown", both, claim("pump-01"), token, NOW)
    told("another certificate, two listed", both, claim("pump-01"), shows(other), NOW)
    told("another certificate, one listed", one, claim("Pump-02"), shows(other), NOW)
    told("none listed", empty, claim("pump-03"), shows(other), NOW)
    told("yesterday's", both, claim("pump-01"), shows(own), NOW + timedelta(days=31))
    told("in another case", one, claim("pump-02"), shows(own), NOW)
    told("a key, nothing shown", keys, claim("pump-04"), NOTHING, NOW)
    told("a key, a certificate shown", keys, claim("pump-04"), shows(own), NOW)
    told("a TPM, both shown", tpm, claim("pump-05"), everything, NOW)
    told("disabled", off, claim("pump-06"), shows(own), NOW)
    for title, resource, policy, age in (
        ("for another", f"{SCOPE}/registrations/pump-09", None, -1),
        ("for another scope", "0ne00999999/registrations/pump-04", None, -1),
        ("for much", f"{SCOPE}/registrations/" + "z" * 300, None, -1),
        ("of a policy", f"{SCOPE}/registrations/pump-04", "p" * 70, -1),
        ("yesterday's", f"{SCOPE}/registrations/pump-04", None, 24),
    ):
        made = make_token(resource, keys.attestation.primary, NOW - timedelta(hours=age), policy)
        told(f"a token {title}", keys, claim("pump-04"), Presented(None, made, ""), NOW)
    forged = make_token(f"{SCOPE}/registrations/pump-04", Secret("AAECAwQFBgcICQoLDA0ODw=="), NOW + timedelta(hours=1))
    told("a token of somebody's", keys, claim("pump-04"), Presented(None, forged, ""), NOW)
    compare(HERE / "individuals_told.txt", lines)

    until = f"{own.certificate.not_after:%Y-%m-%d}"
    assert judge_individual(one, claim("Pump-02"), shows(own), NOW) == Admission(
        one,
        DeviceId("Pump-02"),
        ByThumbprint(own.certificate.sha256, None),
        "x509",
        (
            Check("enrollment.individual", True, "enrollment 'Pump-02'"),
            Check("attestation.thumbprint", True, f"primary certificate, SHA-256 {own.certificate.sha256}"),
            Check("chain.expired", True, f"'CN=pump-01' is valid until {until}"),
            Check("registration.case_conflict", True, "Pump-02"),
            Check("enrollment.disabled", True, "enrollment 'Pump-02' is enabled"),
        ),
        own.certificate,
    )
    secondary = judge_individual(both, claim("pump-01"), shows(second), NOW)
    assert secondary.authentication == ByThumbprint(own.certificate.sha256, second.certificate.sha256)
    assert secondary.checks[1].detail == f"secondary certificate, SHA-256 {second.certificate.sha256}"
    by_key = judge_individual(keys, claim("pump-04"), token, NOW)
    assert by_key.authentication == BySharedKey(keys.attestation.primary, keys.attestation.secondary)
    assert (by_key.kind, by_key.group_id, by_key.certificate) == ("symmetricKey", None, None)
    assert [(check.name, check.passed, check.detail) for check in by_key.checks] == [
        ("enrollment.individual", True, "enrollment 'pump-04'"),
        ("token.audience", True, f"{SCOPE}%2Fregistrations%2Fpump-04"),
        ("token.signature", True, "enrollment 'pump-04'"),
        ("token.expired", True, f"valid until {NOW + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"),
        ("registration.case_conflict", True, "pump-04"),
        ("enrollment.disabled", True, "enrollment 'pump-04' is enabled"),
    ]
    lower = make_token(f"{SCOPE.lower()}/Registrations/PUMP-04", keys.attestation.secondary, NOW, "REGISTRATION")
    assert judge_individual(keys, claim("pump-04"), Presented(None, lower, ""), NOW).kind == "symmetricKey"
    weak = odd("pump-07", key=weak_rsa_key())
    waived = judge_individual(
        await world.enroll("pump-07", weak), claim("pump-07"), shows_chain(weak), NOW, frozenset({"rsa-1024"})
    )
    assert waived.checks[3] == Check("chain.weak_key", True, "waived: rsa-1024: 'CN=pump-07' has a key of RSA 1024")
    switched = SasSwitches(disable_device_sas=True)
    told_off = refusal_lines("tokens are off", lambda: check_switches(by_key, switched))
    compare(HERE / "switched_told.txt", told_off)
    check_switches(waived, switched)
    check_switches(by_key, SasSwitches(disable_local_auth=True, disable_module_sas=True))


async def test_what_is_told_of_a_device_of_a_group(world: World) -> None:
    lines: list[str] = []
    ca, disabled, unproven, half, twice = (root(each) for each in ("Plant", "Disabled", "Unproven", "Half", "Twice"))
    line = intermediate(ca)
    lone = root("Lone")

    def told(title: str, groups: Groups, who: str, presented: Presented, days: int = 0) -> None:
        now = NOW + timedelta(days=days)
        lines.extend(refusal_lines(title, lambda: judge_group(groups, claim(who), presented, now)))

    nobody = Groups()
    told("no groups, nothing shown", nobody, "pump-01", NOTHING)
    told("no groups, a chain", nobody, "pump-01", shows(device(ca, "pump-01")))
    told("no groups, self-signed", nobody, "pump-01", shows(self_signed("pump-01")))
    told("no groups, a token", nobody, "pump-01", world.token("pump-01", Secret("AAECAwQFBgcICQoLDA0ODw==")))
    await world.enroll_group("line-7", ca.certificate)
    await world.enroll_group("off", disabled.certificate, status="disabled")
    await world.enroll_group("unproven", unproven.certificate, vouched=False)
    await world.enroll_group("half", half.certificate, unproven.certificate, vouched=False)
    for number, each in enumerate((twice, lone)):
        await world.cas.upload(
            DEFAULT_HUB, "dps", CAName(f"ca-{number}"), each.certificate.pem, NOW, by="tests", vouched=True
        )
    await world.enroll_group("by-ca", attestation=ByCAReferences(CAName("ca-0"), None))
    by_key = await world.enroll_group("by-key")
    key_off = await world.enroll_group("key-off", status="disabled")
    assert isinstance(by_key.attestation, BySymmetricKey) and isinstance(key_off.attestation, BySymmetricKey)
    groups = await world.registrations._groups.get()

    told("nothing shown", groups, "pump-01", NOTHING)
    told("self-signed", groups, "pump-01", shows(self_signed("pump-01")))
    told("a CA as a leaf", groups, "pump-01", shows(root("pump-01")))
    told("a stranger's chain", groups, "pump-01", shows(device(root("Stranger"), "pump-01"), 2))
    told("a chain that breaks off", groups, "pump-01", shows(device(line, "pump-01"), 1))
    told("yesterday's", groups, "pump-01", shows(device(ca, "pump-01")), days=31)
    told("a leaf for another", groups, "pump-02", shows(device(ca, "pump-01")))
    told("a leaf for nobody", groups, "pump-01", shows_chain(odd(name((NameOID.ORGANIZATION_NAME, "x")), issuer=ca)))
    told("of a group that is off", groups, "pump-01", shows(device(disabled, "pump-01")))
    told("of a group that nobody proved", groups, "pump-01", shows(device(unproven, "pump-01")))
    told("of a second slot that nobody proved", groups, "pump-01", shows(device(half, "pump-01")))
    told("of a CA of no group", groups, "pump-01", shows(device(lone, "pump-01")))
    told("garbage", groups, "pump-01", Presented(PeerChain((b"garbage",)), None, ""))
    token = world.token("pump-01", Secret("AAECAwQFBgcICQoLDA0ODw==")).token
    told("a token of no group's", groups, "pump-01", Presented(None, token, ""))
    told("a chain and a token of nobody's", groups, "pump-01", Presented(self_signed("pump-01").sends(), token, ""))
    told("a token for another", groups, "pump-02", Presented(None, token, ""))
    told("a token that is none", groups, "pump-01", Presented(None, Secret("hunter2"), ""))
    derived = derive_key(by_key.attestation.primary, RegistrationId("pump-01"))
    old = make_token(f"{SCOPE}/registrations/pump-01", derived, NOW - timedelta(minutes=6))
    told("an old token", groups, "pump-01", Presented(None, old, ""))
    told("a token of a group that is off", groups, "pump-01", world.derived("pump-01", key_off.attestation.secondary))
    compare(HERE / "groups_told.txt", lines)

    leaf = device(ca, "pump-01")
    assert judge_group(groups, claim("PUMP-01"), shows(leaf), NOW) == Admission(
        world.enrollments.get_group(EnrollmentGroupId("line-7")),
        DeviceId("pump-01"),
        ByAuthority(EnrollmentGroupId("line-7")),
        "x509",
        (
            Check("enrollment.individual", None, "there is none for 'PUMP-01'"),
            *PASSED,
            Check("enrollment.group", True, "enrollment group 'line-7', primary: 'CN=Plant'"),
            Check("registration.id_mismatch", True, "the common name is 'pump-01'"),
            Check("enrollment.disabled", True, "enrollment group 'line-7' is enabled"),
        ),
        leaf.certificate,
    )
    for master in (by_key.attestation.primary, by_key.attestation.secondary):
        admission = judge_group(groups, claim("pump-01"), world.derived("pump-01", master), NOW)
        assert admission == Admission(
            by_key,
            DeviceId("pump-01"),
            BySharedKey(
                derive_key(by_key.attestation.primary, RegistrationId("pump-01")),
                derive_key(by_key.attestation.secondary, RegistrationId("pump-01")),
            ),
            "symmetricKey",
            (
                Check("enrollment.individual", None, "there is none for 'pump-01'"),
                Check("token.audience", True, f"{SCOPE}%2Fregistrations%2Fpump-01"),
                Check("enrollment.group", True, "enrollment group 'by-key': the token's key is derived from its key"),
                Check("token.expired", True, f"valid until {NOW + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"),
                Check("enrollment.disabled", True, "enrollment group 'by-key' is enabled"),
            ),
        )
    # What a chain was refused for stands before the token that lets in.
    both = Presented(self_signed("pump-01").sends(), world.derived("pump-01", by_key.attestation.primary).token, "")
    checks = judge_group(groups, claim("pump-01"), both, NOW).checks
    assert [check.name for check in checks if check.passed is False] == ["chain.untrusted"]


async def test_a_weak_group_says_in_both_ways_what_it_passes_by(world: World) -> None:
    weak = Issued(odd("Weak", key=weak_rsa_key(), extensions=[(IS_A_CA, True)]), weak_rsa_key())
    await world.enroll_group("weak", weak.certificate, vouched=False)
    await WaiverService(world.store).change(DEFAULT_HUB, {"rsa-1024": True}, by="tests")
    presented = shows_chain(odd("pump-01", issuer=weak))
    groups = await world.registrations._groups.get()
    unproven = refusal_lines("weak and unproven", lambda: judge_group(groups, claim("pump-01"), presented, NOW))
    compare(HERE / "weak_told.txt", unproven)
    await world.enrollments.vouch_slot(EnrollmentGroupId("weak"), "primary", if_match=ANY, by="tests")
    admission = judge_group(await world.registrations._groups.get(), claim("pump-01"), presented, NOW)
    waived = "waived: rsa-1024: 'CN=Weak' has a key of RSA 1024"
    assert [check.name for check in admission.checks if check.detail == waived] == ["chain.weak_key"]
