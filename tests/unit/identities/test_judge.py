"""Logins with real certificates and tokens. Each refusal has a login that differs from an accepted one in one thing."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from moorage.errors import Unauthenticated
from moorage.identities.model import BySharedKey, ByThumbprint, NoCredential, SasSwitches
from moorage.identities.registry import IdentityDraft
from moorage.ids import DEFAULT_HUB, CAName, Secret
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.issue import issue_intermediate
from moorage.pki.keys import make_key
from tests.certs import odd
from tests.unit.identities.world import (
    CA,
    HOST,
    NOW,
    World,
    make_ca,
    named,
    own_token,
    policy_token,
    self_signed,
    thumbprint,
)


def failed(refusal: Unauthenticated) -> list[str]:
    return [check.name for check in refusal.checks if check.passed is False]


# --- CA-signed ---


async def test_a_leaf_below_two_intermediates_of_a_trusted_root_is_let_in(world: World) -> None:
    root = make_ca("Company-X")
    technician = root.intermediate("Factory-Y").intermediate("Technician-Z")
    await world.trust_ca(root)
    await world.x509_device("widget-1")
    chain = technician.leaf("widget-1")
    who = world.login("widget-1", chain=chain)
    assert who.identity.name == named("widget-1")
    assert who.thumbprint == thumbprint(chain)
    assert who.signers == (*(ca.sha256 for ca in technician.sent), root.certificate.sha256)
    assert who.binding == "hub" and who.policy is None
    assert who.expires == Certificate(chain.leaf).not_after + timedelta(seconds=1)
    assert who.serial == Certificate(chain.leaf).serial_number
    assert [issuer.sha256 for issuer in who.issuers] == list(who.signers)
    assert (who.method.scope, who.method.type, who.method.issuer) == ("device", "x509Certificate", "external")


async def test_a_leaf_alone_is_let_in_when_its_intermediate_is_registered_though_unproven(world: World) -> None:
    root = make_ca("root")
    line = root.intermediate("line-7")
    await world.trust_ca(root)
    await world.x509_device("pump-01")
    leaf = PeerChain(line.leaf("pump-01").certificates[:1])
    assert world.refusal("pump-01", chain=leaf).reason == "chain.incomplete"
    await world.certificates.upload(DEFAULT_HUB, "hub", CAName("line"), line.certificate.pem, NOW, by="test")
    assert world.login("pump-01", chain=leaf).signers == (line.certificate.sha256, root.certificate.sha256)


async def test_an_unproven_ca_lets_nobody_in(world: World) -> None:
    root = make_ca("root")
    await world.x509_device("pump-01")
    await world.certificates.upload(DEFAULT_HUB, "hub", CAName("root"), root.certificate.pem, NOW, by="test")
    refusal = world.refusal("pump-01", chain=root.leaf("pump-01"))
    assert refusal.reason == "chain.untrusted" and failed(refusal) == ["chain.untrusted"]
    assert "The CA 'root' is registered here, but nobody has shown" in refusal.message
    assert "another certificate" not in refusal.message
    assert refusal.fix == "moorage ca code root"
    stranger = world.refusal("pump-01", chain=make_ca("root").leaf("pump-01"))
    assert "nobody has shown" not in stranger.message and stranger.fix != refusal.fix


async def test_a_ca_of_the_same_name_but_another_key_lets_nobody_in(world: World) -> None:
    await world.trust_ca(make_ca("root"))
    await world.x509_device("pump-01")
    refusal = world.refusal("pump-01", chain=make_ca("root").leaf("pump-01"))
    assert refusal.reason == "chain.signature"
    assert failed(refusal) == ["chain.signature"]


async def test_an_unproven_ca_that_the_leaf_does_not_hang_on_is_not_pointed_out(world: World) -> None:
    root = make_ca("root")
    line = root.intermediate("line-7")
    await world.trust_ca(root)
    await world.x509_device("pump-01")
    await world.certificates.upload(DEFAULT_HUB, "hub", CAName("line"), line.certificate.pem, NOW, by="test")
    leaf, *others = line.intermediate("cell-2").leaf("pump-01").certificates
    stranger = make_ca("cell-2").leaf("pump-01").certificates[0]
    assert leaf != stranger
    refusal = world.refusal("pump-01", chain=PeerChain((stranger, *others)))
    assert refusal.reason == "chain.signature"
    assert "nobody has shown" not in refusal.message and refusal.fix != "moorage ca code line"


async def test_an_unproven_ca_is_pointed_out_from_further_below_and_a_circle_ends(world: World) -> None:
    root, other = make_ca("root"), make_ca("other")
    line = root.intermediate("line-7").intermediate("cell-2")
    await world.x509_device("pump-01")
    await world.certificates.upload(DEFAULT_HUB, "hub", CAName("root"), root.certificate.pem, NOW, by="test")
    refusal = world.refusal("pump-01", chain=line.leaf("pump-01"))
    assert refusal.fix == "moorage ca code root" and "The CA 'root' is registered here" in refusal.message
    around = [
        issue_intermediate(
            signed.key.public_key(),
            name,
            issuer=by.certificate,
            issuer_key=by.key,
            now=NOW,
            lifetime=timedelta(days=40),
        )
        for signed, name, by in ((other, "other", root), (root, "root", other))
    ]
    circle = make_ca("elsewhere")
    first = CA(around[1], root.key)
    leaf = first.leaf("pump-01").certificates[0]
    await world.certificates.delete(DEFAULT_HUB, "hub", CAName("root"), by="test", if_match=None)
    await world.certificates.upload(DEFAULT_HUB, "hub", CAName("away"), circle.certificate.pem, NOW, by="test")
    refusal = world.refusal("pump-01", chain=PeerChain((leaf, *(each.der for each in around))))
    assert refusal.reason == "chain.incomplete" and "nobody has shown" not in refusal.message


async def test_the_checks_of_a_refused_chain_stand_between_those_before_and_those_not_reached(world: World) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("pump-01")
    later = NOW + timedelta(days=40)
    refusal = world.refusal("pump-01", chain=ca.leaf("pump-01"), now=later)
    assert refusal.reason == "chain.expired"
    names = [(check.name, check.passed) for check in refusal.checks]
    assert names[0] == ("identity.unknown", True)
    assert names[-1] == ("identity.mismatch", None)
    assert failed(refusal) == ["chain.expired"]
    assert refusal.fix == "moorage cert device pump-01 --issuer root --force"
    neighbour = world.refusal("pump-01", chain=ca.leaf("pump-02"), now=later)
    assert neighbour.reason == "chain.expired" and "'pump-02'" in neighbour.message
    assert neighbour.fix == "moorage cert device pump-01 --issuer root"
    assert world.login("pump-01", chain=ca.leaf("pump-01", now=later), now=later).binding == "hub"


async def test_the_common_name_has_to_be_the_device_id(world: World) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("pump-1")
    refusal = world.refusal("pump-1", chain=ca.leaf("pump-01"))
    assert refusal.reason == "identity.mismatch" and failed(refusal) == ["identity.mismatch"]
    assert "'pump-01'" in refusal.message and "'pump-1'" in refusal.message
    assert refusal.fix == "moorage cert device pump-1 --issuer root"
    assert all(check.passed for check in refusal.checks[:-1])


@pytest.mark.parametrize(
    ("common_name", "hint"),
    [("Pump-1", "upper and lower case"), ("pump-1 ", "white space"), ("pump-2", "registered too"), ("x", "")],
)
async def test_a_nearly_equal_common_name_is_pointed_out(world: World, common_name: str, hint: str) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("pump-1")
    await world.x509_device("pump-2")
    refusal = world.refusal("pump-1", chain=ca.leaf(common_name))
    assert refusal.reason == "identity.mismatch"
    assert refusal.message.endswith("they have to be equal") if not hint else hint in refusal.message


@pytest.mark.parametrize("common_names", [(), ("pump-1", "pump-1"), ("x", "pump-1")])
async def test_a_certificate_with_none_or_several_common_names_is_refused(
    world: World, common_names: tuple[str, ...]
) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("pump-1")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*attributes, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Plant")]))
        .issuer_name(ca.certificate.x509.subject)
        .public_key(make_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(ca.key, hashes.SHA256())
    )
    refusal = world.refusal("pump-1", chain=PeerChain.of([Certificate.from_x509(leaf)]))
    assert refusal.reason == "identity.common_name" and failed(refusal) == ["identity.common_name"]


async def test_a_module_is_named_device_slash_module_by_its_certificate(world: World) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("d")
    await world.x509_device("d/m")
    assert world.login("d/m", chain=ca.leaf("d/m")).method.scope == "module"
    assert world.refusal("d/m", chain=ca.leaf("d")).reason == "identity.mismatch"
    assert world.refusal("d", chain=ca.leaf("d/m")).reason == "identity.mismatch"


async def test_a_device_of_an_enrollment_group_is_judged_by_that_group_alone(world: World) -> None:
    """T2: a CA that the hub trusts does not help, and the group's CA helps nobody else."""
    hub_ca, group_ca, other_ca = make_ca("hub"), make_ca("group"), make_ca("other")
    await world.trust_ca(hub_ca)
    world.groups.trusted = {"enrollment:line-7": [group_ca.certificate], "enrollment:x": [other_ca.certificate]}
    await world.x509_device("widget-1", group="Line-7")
    await world.x509_device("byhand")
    assert world.login("widget-1", chain=group_ca.leaf("widget-1")).binding == "enrollment:line-7"
    for stranger in (hub_ca, other_ca):
        refusal = world.refusal("widget-1", chain=stranger.leaf("widget-1"))
        assert refusal.reason == "chain.incomplete" and failed(refusal) == ["chain.incomplete"]
        assert "enrollment group 'Line-7'" in refusal.message
        assert refusal.fix.startswith("moorage enrollment-group update Line-7 ")
    assert world.refusal("byhand", chain=group_ca.leaf("byhand")).reason == "chain.incomplete"


async def test_a_group_that_trusts_nobody_now_is_named_in_the_refusal(world: World) -> None:
    ca = make_ca("group")
    await world.x509_device("widget-1", group="gone")
    assert "which has none now" in world.refusal("widget-1", chain=ca.leaf("widget-1")).message


# --- pinned ---


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
@pytest.mark.parametrize("slot", ["primary", "secondary"])
async def test_a_pinned_certificate_is_matched_by_either_hash_in_either_slot(
    world: World, kind: str, slot: str
) -> None:
    chain = self_signed("anything")
    registered = thumbprint(chain, kind)
    primary, secondary = (registered, None) if slot == "primary" else (None, registered)
    await world.device("pump-1", ByThumbprint(primary, secondary))
    who = world.login("pump-1", chain=chain)
    assert (who.binding, who.signers, who.thumbprint) == (None, (), thumbprint(chain))


async def test_a_pinned_certificate_may_be_issued_by_anyone_and_carry_any_name(world: World) -> None:
    chain = make_ca("nobody's").leaf("mytestselfcertsecondary")
    await world.pinned_device("mytestselfcertprimary", chain)
    assert world.login("mytestselfcertprimary", chain=chain).method.type == "x509Certificate"


async def test_another_certificate_is_refused_with_both_hashes_of_both_sides(world: World) -> None:
    first, second, stranger = self_signed("pump-1"), self_signed("pump-1"), self_signed("pump-1")
    await world.pinned_device("pump-1", first, second)
    assert world.login("pump-1", chain=second).identity.name == named("pump-1")
    refusal = world.refusal("pump-1", chain=stranger)
    assert refusal.reason == "identity.thumbprint" and failed(refusal) == ["identity.thumbprint"]
    for shown in (
        thumbprint(stranger, "sha1"),
        thumbprint(stranger),
        thumbprint(first),
        thumbprint(second),
    ):
        assert shown in refusal.message
    assert refusal.fix == f"moorage device update pump-1 --secondary-thumbprint {thumbprint(stranger)}"


async def test_a_certificate_of_somebody_else_is_not_offered_for_pinning(world: World) -> None:
    own, others = self_signed("pump-1"), self_signed("pump-2")
    await world.pinned_device("pump-1", own)
    refusal = world.refusal("pump-1", chain=others)
    assert refusal.reason == "identity.thumbprint"
    assert "'pump-2'" in refusal.message and "'pump-2'" in refusal.fix
    assert "--secondary-thumbprint" not in refusal.fix and "moorage" not in refusal.fix
    await world.device("pump-3")
    refusal = world.refusal("pump-3", chain=others)
    assert refusal.reason == "token.missing" and "'pump-2'" in refusal.message
    assert refusal.fix.endswith("moorage device show pump-3") and "thumbprint" not in refusal.fix


async def test_a_module_without_a_token_is_told_of_its_own_connection_string(world: World) -> None:
    await world.device("pump-1")
    await world.device("pump-1/camera")
    refusal = world.refusal("pump-1/camera")
    assert refusal.reason == "token.missing"
    assert refusal.fix == "connect with the module's own connection string, SharedAccessKey included"


async def test_garbage_for_a_certificate_explains_nothing_and_raises_nothing(world: World) -> None:
    garbage = PeerChain((b"garbage",))
    refusal = world.refusal("pump-1", chain=garbage)
    assert refusal.reason == "identity.unknown" and refusal.fix == "moorage device create pump-1 --auth sas"
    await world.x509_device("pump-2")
    assert world.refusal("pump-2", chain=garbage).reason == "chain.malformed"


async def test_a_certificate_without_a_common_name_is_for_nobody_by_name(world: World) -> None:
    await world.pinned_device("pump-1", self_signed("pump-1"))
    nameless = PeerChain((odd(x509.Name([])).der,))
    refusal = world.refusal("pump-1", chain=nameless)
    assert refusal.reason == "identity.thumbprint" and "the one shown is for nobody by name" in refusal.message


async def test_only_the_leaf_is_compared_with_the_thumbprint(world: World) -> None:
    """A stranger who sends somebody's public certificate after its own holds only its own key."""
    pinned, stranger = self_signed("pump-1"), self_signed("pump-1")
    await world.pinned_device("pump-1", pinned)
    chain = PeerChain((*stranger.certificates, *pinned.certificates))
    assert world.refusal("pump-1", chain=chain).reason == "identity.thumbprint"


@pytest.mark.parametrize(
    ("days", "reason"), [(-1, "chain.not_yet_valid"), (0, None), (29, None), (31, "chain.expired")]
)
async def test_a_pinned_certificate_is_good_within_its_dates(world: World, days: int, reason: str | None) -> None:
    chain = self_signed("pump-1")
    await world.pinned_device("pump-1", chain)
    now = NOW + timedelta(days=days)
    if reason is None:
        assert world.login("pump-1", chain=chain, now=now).expires == Certificate(chain.leaf).not_after + timedelta(
            seconds=1
        )
    else:
        refusal = world.refusal("pump-1", chain=chain, now=now)
        assert refusal.reason == reason and failed(refusal) == [reason]
        assert ("identity.thumbprint", True) in [(check.name, check.passed) for check in refusal.checks]


@pytest.mark.parametrize("second", [58, 59])
async def test_a_certificate_without_end_is_let_in(world: World, second: int) -> None:
    # RFC 5280 4.1.2.5: what the maker of a chip puts into its certificates, which end with the device.
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    chain = PeerChain((odd("pump-1", not_after=last.replace(second=second)).der,))
    await world.pinned_device("pump-1", chain)
    assert world.login("pump-1", chain=chain).expires == last


# --- by key ---


@pytest.mark.parametrize("slot", ["primary", "secondary"])
async def test_a_token_of_either_own_key_is_let_in_until_it_expires(world: World, slot: str) -> None:
    identity = await world.device("pump-1")
    who = world.login("pump-1", token=own_token(identity, slot=slot))
    assert who.expires == NOW + timedelta(hours=1)
    assert (who.method.scope, who.method.type, who.method.issuer) == ("device", "sas", "iothub")
    assert (who.thumbprint, who.binding, who.policy, who.signers) == (None, None, None, ())


async def test_a_module_connects_with_its_own_key_and_not_with_its_devices(world: World) -> None:
    device = await world.device("d")
    module = await world.device("d/m")
    assert world.login("d/m", token=own_token(module)).method.scope == "module"
    assert isinstance(device.authentication, BySharedKey)
    by_device = replace(module, authentication=device.authentication)
    assert world.refusal("d/m", token=own_token(by_device)).reason == "token.signature"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("token.malformed", lambda identity: Secret("hunter2")),
        ("token.expired", lambda identity: own_token(identity, expires=NOW - timedelta(minutes=6))),
        ("token.audience", lambda identity: own_token(identity, resource=f"{HOST}/devices/pump-2")),
        ("token.audience", lambda identity: own_token(identity, resource="elsewhere.example/devices/pump-1")),
        (
            "token.signature",
            lambda identity: own_token(
                replace(identity, authentication=BySharedKey(Secret("AAAAAAAAAAAAAAAAAAAAAA=="), Secret("")))
            ),
        ),
        ("token.missing", lambda identity: None),
        ("token.missing", lambda identity: Secret("")),
    ],
)
async def test_a_bad_token_is_refused_for_what_is_wrong_with_it(world: World, reason: str, change: object) -> None:
    identity = await world.device("pump-1")
    await world.device("pump-2")
    token = change(identity)  # type: ignore[operator] # one of the lambdas above
    refusal = world.refusal("pump-1", token=token)
    assert refusal.reason == reason and failed(refusal) == [reason]
    if token:
        assert token.reveal() not in str(refusal)
    assert world.login("pump-1", token=own_token(identity)).identity.name == named("pump-1")


async def test_the_names_of_the_hub_are_asked_for_at_each_login(world: World) -> None:
    identity = await world.device("pump-1")
    token = own_token(identity, resource="new.example/devices/pump-1")
    assert world.refusal("pump-1", token=token).reason == "token.audience"
    world.hosts |= {"new.example"}
    assert world.login("pump-1", token=token).policy is None


# --- policies ---


@pytest.mark.parametrize("resource", [HOST, f"{HOST}/devices", f"{HOST}/devices/pump-1"])
async def test_a_policy_with_device_connect_opens_any_device(world: World, resource: str) -> None:
    policy = await world.policy("device")
    await world.device("pump-1")
    for slot in ("primary", "secondary"):
        who = world.login("pump-1", token=policy_token(policy, resource, slot=slot))
        assert (who.policy, who.method.scope) == ("device", "hub")


async def test_a_policy_opens_x509_devices_that_show_no_certificate_and_never_one_of_type_none(world: World) -> None:
    token = policy_token(await world.policy("iothubowner"))
    await world.x509_device("authority")
    await world.pinned_device("pinned", self_signed("pinned"))
    await world.device("none", NoCredential())
    assert world.login("authority", token=token).policy == "iothubowner"
    assert world.login("pinned", token=token).policy == "iothubowner"
    refusal = world.refusal("none", token=token)
    assert refusal.reason == "identity.no_credential" and failed(refusal) == ["identity.no_credential"]


@pytest.mark.parametrize(
    ("reason", "name", "resource"),
    [
        ("token.policy_rights", "service", HOST),
        ("token.policy_rights", "registryReadWrite", HOST),
        ("token.audience", "device", f"{HOST}/devices/pump-2"),
        ("token.audience", "device", f"{HOST}/devices/PUMP-1"),
        ("token.audience", "device", "elsewhere.example"),
    ],
)
async def test_a_policy_token_without_the_right_or_for_something_else_is_refused(
    world: World, reason: str, name: str, resource: str
) -> None:
    await world.device("pump-1")
    refusal = world.refusal("pump-1", token=policy_token(await world.policy(name), resource))
    assert refusal.reason == reason and failed(refusal) == [reason]


async def test_a_policy_token_expires_as_any_other_does(world: World) -> None:
    token = policy_token(await world.policy("device"))
    await world.device("pump-1")
    assert world.login("pump-1", token=token).expires == NOW + timedelta(hours=1)
    later = NOW + timedelta(hours=1, minutes=6)
    refusal = world.refusal("pump-1", token=token, now=later)
    assert refusal.reason == "token.expired" and failed(refusal) == ["token.expired"]


async def test_a_policy_that_does_not_exist_or_did_not_sign_is_refused(world: World) -> None:
    policy = await world.policy("device")
    other = await world.policy("service")
    await world.device("pump-1")
    unknown = policy_token(replace(policy, name="nobody"))
    assert world.refusal("pump-1", token=unknown).reason == "token.policy_unknown"
    forged = policy_token(replace(policy, primary=other.primary))
    refusal = world.refusal("pump-1", token=forged)
    assert refusal.reason == "token.signature" and "policy 'device'" in refusal.message


async def test_a_rolled_policy_key_stops_working_at_once_and_the_other_goes_on(world: World) -> None:
    policy = await world.policy("device")
    await world.device("pump-1")
    assert world.login("pump-1", token=policy_token(policy)).policy == "device"
    await world.policies.roll_key(DEFAULT_HUB, "hub", "device", "primary")
    assert world.refusal("pump-1", token=policy_token(policy)).reason == "token.signature"
    assert world.login("pump-1", token=policy_token(policy, slot="secondary")).policy == "device"


@pytest.mark.parametrize(
    ("switches", "refused"),
    [
        (SasSwitches(disable_local_auth=True), {"policy": "sas.disabled_for_policies"}),
        (
            SasSwitches(disable_device_sas=True),
            {"policy": "sas.disabled_for_devices", "device": "sas.disabled_for_devices"},
        ),
        (SasSwitches(disable_module_sas=True), {"module": "sas.disabled_for_modules"}),
    ],
)
async def test_each_switch_turns_off_its_tokens_and_nothing_else(
    world: World, switches: SasSwitches, refused: dict[str, str]
) -> None:
    policy = await world.policy("device")
    device, module = await world.device("d"), await world.device("d/m")
    logins = {
        "policy": ("d", policy_token(policy)),
        "device": ("d", own_token(device)),
        "module": ("d/m", own_token(module)),
    }
    for name, token in logins.values():
        world.login(name, token=token)
    await world.policies.set_switches(DEFAULT_HUB, asdict(switches))
    for kind, (name, token) in logins.items():
        if kind in refused:
            refusal = world.refusal(name, token=token)
            assert refusal.reason == refused[kind] and failed(refusal) == [refused[kind]]
        else:
            world.login(name, token=token)
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("x")
    world.login("x", chain=ca.leaf("x"))


# --- the registered type selects the credential (T4) ---


async def test_a_good_token_does_not_help_where_the_certificate_is_bad(world: World) -> None:
    token = policy_token(await world.policy("iothubowner"))
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("authority")
    await world.pinned_device("pinned", self_signed("pinned"))
    stranger = self_signed("authority")
    assert world.refusal("authority", chain=stranger, token=token).reason.startswith("chain.")
    assert world.refusal("pinned", chain=stranger, token=token).reason == "identity.thumbprint"


async def test_a_good_certificate_does_not_help_where_the_token_is_bad(world: World) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    identity = await world.device("pump-1")
    chain = ca.leaf("pump-1")
    assert world.refusal("pump-1", chain=chain, token=Secret("x")).reason == "token.malformed"
    refusal = world.refusal("pump-1", chain=chain)
    assert refusal.reason == "token.missing" and "client certificate" in refusal.message
    assert world.login("pump-1", chain=chain, token=own_token(identity)).thumbprint is None


async def test_an_x509_device_with_a_shared_key_in_its_connection_string_logs_in_by_its_certificate(
    world: World,
) -> None:
    """`SharedAccessKey=...;x509=true`."""
    chain = self_signed("pump-1")
    identity = await world.pinned_device("pump-1", chain)
    key = BySharedKey(Secret("AAAAAAAAAAAAAAAAAAAAAA=="), Secret("AAAAAAAAAAAAAAAAAAAAAA=="))
    token = own_token(replace(identity, authentication=key))
    assert world.login("pump-1", chain=chain, token=token).thumbprint == thumbprint(chain)
    for shown in (token, Secret("hunter2"), None):
        refusal = world.refusal("pump-1", token=shown)
        assert refusal.reason == "identity.certificate_missing"
        assert failed(refusal) == ["identity.certificate_missing"]


async def test_an_empty_chain_is_no_certificate(world: World) -> None:
    await world.x509_device("pump-1")
    assert world.refusal("pump-1", chain=PeerChain(())).reason == "identity.certificate_missing"


# --- unknown and disabled ---


async def test_an_unknown_device_is_refused_with_the_command_that_creates_it(world: World) -> None:
    ca, alone = make_ca("root"), self_signed("new")
    assert world.refusal("new").fix == "moorage device create new --auth sas"
    assert world.refusal("new", chain=ca.leaf("new")).fix == "moorage device create new --auth x509-ca"
    refusal = world.refusal("new", chain=alone)
    assert refusal.fix == (f"moorage device create new --auth x509-thumbprint --primary-thumbprint {thumbprint(alone)}")
    assert refusal.reason == "identity.unknown" and failed(refusal) == ["identity.unknown"]
    assert refusal.checks[-1].passed is None
    garbage = PeerChain((b"not a certificate",))
    assert world.refusal("new", chain=garbage).fix == "moorage device create new --auth sas"


async def test_an_unknown_module_of_a_known_device_says_so(world: World) -> None:
    await world.device("d")
    refusal = world.refusal("d/m")
    assert "without that module" in refusal.message
    assert refusal.fix == "moorage device create d --auth sas --module m"


@pytest.mark.parametrize("registered", ["pump-01", "PUMP-01", "Pump-01"])
async def test_another_case_of_a_known_device_is_pointed_out(world: World, registered: str) -> None:
    await world.device(registered)
    refusal = world.refusal("pUmP-01")
    assert f"'{registered}' is, and ids are compared with case" in refusal.message


async def test_the_spelling_of_the_certificate_is_pointed_out(world: World) -> None:
    await world.x509_device("pUmP-01")
    refusal = world.refusal("pump-01", chain=make_ca("x").leaf("pUmP-01"))
    assert "'pUmP-01' is, and ids are compared with case" in refusal.message
    assert "'other'" in world.refusal("nobody", chain=make_ca("x").leaf("other")).message


async def test_an_id_cannot_put_a_command_into_the_fix(world: World) -> None:
    fix = world.refusal("a;$(x)'b").fix
    assert shlex.split(fix)[3] == "a;$(x)'b"


@pytest.mark.parametrize("kind", ["key", "pinned", "authority"])
async def test_a_disabled_device_is_refused_whatever_it_shows_and_let_in_again_after(world: World, kind: str) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    chain, token = None, None
    if kind == "key":
        token = own_token(await world.device("d"))
    elif kind == "pinned":
        chain = self_signed("d")
        await world.pinned_device("d", chain)
    else:
        chain = ca.leaf("d")
        await world.x509_device("d")
    world.login("d", chain=chain, token=token)
    draft = IdentityDraft(named("d"), status="disabled", status_reason="stolen")
    await world.registry.update(DEFAULT_HUB, draft, NOW)
    refusal = world.refusal("d", chain=chain, token=token)
    assert refusal.reason == "identity.disabled" and failed(refusal) == ["identity.disabled"]
    assert "stolen" in refusal.message and refusal.fix == "moorage device enable d"
    assert type(refusal) is type(world.refusal("nobody"))
    await world.registry.update(DEFAULT_HUB, IdentityDraft(named("d"), status="enabled"), NOW)
    world.login("d", chain=chain, token=token)


async def test_a_module_of_a_disabled_device_is_refused(world: World) -> None:
    await world.device("d")
    module = await world.device("d/m")
    world.login("d/m", token=own_token(module))
    await world.registry.update(DEFAULT_HUB, IdentityDraft(named("d"), status="disabled"), NOW)
    refusal = world.refusal("d/m", token=own_token(module))
    assert refusal.reason == "identity.disabled" and "device 'd'" in refusal.message


async def test_hubs_do_not_know_each_others_devices(world: World) -> None:
    identity = await world.device("d")
    other = replace(identity, hub=type(identity.hub)("other"), authentication=NoCredential())
    await world.store.write(lambda tables: tables.identities.put(other))
    assert world.login("d", token=own_token(identity)).identity == identity
