"""What a login that is refused tells its operator, word for word; and all that is known of one that is let in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from moorage.certificates.service import HubAnchors
from moorage.errors import Check
from moorage.identities import explanations
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod, Presented
from moorage.identities.judge import Authenticator
from moorage.identities.model import ByThumbprint, NoCredential, SharedAccessPolicy
from moorage.identities.policies import key_mark
from moorage.identities.policy_rules import PolicyDraft
from moorage.identities.registry import IdentityDraft
from moorage.identities.sas import make_token
from moorage.identities.trust import TrustCache
from moorage.ids import DEFAULT_HUB, CAName, Secret
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.policy import PASSED_PINNED
from moorage.pki.revocation import GOOD, Policy, Status, Unknown
from tests.certs import Issued, name, odd, weak_rsa_key
from tests.unit.identities.world import (
    CA,
    HOST,
    NOW,
    YEAR,
    World,
    make_ca,
    named,
    own_token,
    self_signed,
    thumbprint,
)
from tests.unit.told import compare, refusal_lines

HERE = Path(__file__).parent
SECOND = timedelta(seconds=1)


async def test_who_is_let_in_is_known_by_what_that_hangs_on(world: World) -> None:
    policy = await world.policy("device")
    sas, module = await world.device("sas"), await world.device("sas/m")
    ca = make_ca("root")
    line = ca.intermediate("line")
    await world.trust_ca(ca)
    authority = await world.x509_device("authority")
    authority_module = await world.x509_device("authority/m")
    own = self_signed("pinned")
    pinned = await world.pinned_device("pinned", self_signed("before"), own)
    passed = explanations.passed
    until = NOW + timedelta(hours=1)

    assert world.login("sas", token=own_token(sas, expires=until)) == AuthenticatedIdentity(
        sas, AuthMethod("device", "sas", "iothub"), until, checks=passed(explanations.BY_OWN_KEY)
    )
    assert world.login("sas/m", token=own_token(module, expires=until)) == AuthenticatedIdentity(
        module, AuthMethod("module", "sas", "iothub"), until, checks=passed(explanations.BY_OWN_KEY)
    )
    for slot, key in (("primary", policy.primary), ("secondary", policy.secondary)):
        assert world.login("sas", token=signed(policy, slot=slot, expires=until)) == AuthenticatedIdentity(
            sas,
            AuthMethod("hub", "sas", "iothub"),
            until,
            policy="device",
            policy_key=key_mark(key),
            checks=passed(explanations.BY_POLICY),
        )
    for identity, scope in ((authority, "device"), (authority_module, "module")):
        chain = line.leaf(str(identity.name))
        leaf = Certificate(chain.leaf)
        who = world.login(str(identity.name), chain=chain)
        assert who == AuthenticatedIdentity(
            identity,
            AuthMethod(scope, "x509Certificate", "external"),
            leaf.not_after + SECOND,
            leaf.sha256,
            leaf.serial_number,
            (line.certificate.sha256, ca.certificate.sha256),
            (line.certificate, ca.certificate),
            "hub",
            checks=passed(explanations.BY_AUTHORITY),
        )
    leaf = Certificate(own.leaf)
    assert world.login("pinned", chain=own) == AuthenticatedIdentity(
        pinned,
        AuthMethod("device", "x509Certificate", "external"),
        leaf.not_after + SECOND,
        leaf.sha256,
        pinned=leaf.sha256,
        checks=(*passed(explanations.BY_THUMBPRINT), *PASSED_PINNED),
    )
    # What is shared by all connections is shared.
    assert world.login("pinned", chain=own).checks is world.login("pinned", chain=own).checks


async def test_what_is_not_known_of_revocation_is_said_of_who_is_let_in_all_the_same(world: World) -> None:
    ca = make_ca("root")
    await world.trust_ca(ca)
    await world.x509_device("pump")
    judge = Authenticator(
        world.store,
        world.policy_cache,
        TrustCache(HubAnchors(world.store), world.groups, world.bus, revocation=Says()),
        lambda: world.hosts,
    )
    chain = ca.intermediate("line").leaf("pump")
    who = judge.authenticate(DEFAULT_HUB, named("pump"), Presented(chain, None, "192.0.2.1"), NOW)
    assert who.checks == (
        *explanations.passed(explanations.BY_AUTHORITY),
        Check("chain.revocation_unknown", None, "whether 'CN=pump' is revoked is not known: nobody published a list"),
    )


class Says:
    """Knows nothing of leaves, and only good of CAs."""

    def policy(self, issuer: Certificate) -> Policy:
        return "soft"

    def status(self, path: Sequence[Certificate], position: int, now: datetime) -> Status:
        return GOOD if position else Unknown("nobody published a list")


async def test_what_is_told_of_each_login_that_is_refused(world: World) -> None:
    lines: list[str] = []
    policy = await world.policy("device")
    draft = PolicyDraft("reader", frozenset({"ServiceConnect", "RegistryRead"}))
    reader = await world.policies.create(DEFAULT_HUB, "hub", draft)
    ca, other = make_ca("root"), make_ca("other")
    line = ca.intermediate("line 7")
    await world.trust_ca(ca)
    sas, module = await world.device("sas"), await world.device("sas/m")
    await world.device("none", NoCredential())
    await world.x509_device("authority")
    await world.x509_device("authority/m")
    await world.x509_device("odd; name")
    own, shown = self_signed("pinned"), self_signed("pinned")
    await world.pinned_device("pinned", own)
    await world.device("half", ByThumbprint(None, thumbprint(own)))
    await world.x509_device("by-group", "Line 7")
    await world.x509_device("by-empty-group", "line-8")
    world.groups.trusted = {"enrollment:line 7": [other.certificate]}
    unproven = make_ca("unproven")
    await world.certificates.upload(DEFAULT_HUB, "hub", CAName("unproven"), unproven.certificate.pem, NOW, by="tests")

    def told(title: str, who: str, **shows: object) -> None:
        lines.extend(refusal_lines(title, lambda: world.login(who, **shows)))  # type: ignore[arg-type] # as `login` takes

    # Nobody of that name, or somebody nearly of it.
    told("unknown, nothing shown", "nobody")
    told("unknown, with a chain", "nobody", chain=ca.leaf("nobody"))
    told("unknown, self-signed", "nobody", chain=self_signed("nobody"))
    told("unknown, another's certificate", "nobody", chain=ca.leaf("authority"))
    told("unknown, with a very long name in the certificate", "nobody", chain=PeerChain((odd(_long_name()).der,)))
    told("unknown, in another case", "SAS", token=own_token(sas))
    told("unknown, in another case than the certificate", "AUTHORITY", chain=ca.leaf("authority"))
    told("unknown module", "sas/none", token=own_token(module))
    told("unknown module of an unknown device", "nobody/m")
    told("unknown module in another case", "sas/M", token=own_token(module))
    told("unknown, with a name for a shell", "a;b$c")
    # No credential, or of the other kind.
    told("type none", "none")
    told("key, nothing shown", "sas")
    told("key, a module, nothing shown", "sas/m")
    told("key, a certificate shown", "sas", chain=ca.leaf("sas"))
    told("key, a certificate shown that cannot be read", "sas", chain=PeerChain((b"garbage",)))
    told("authority, nothing shown", "authority")
    told("authority, a token shown", "authority", token=own_token(sas))
    told("authority, no token shown for one", "authority", token=Secret("hunter2"))
    told("pinned, nothing shown", "pinned")
    told("pinned, a token shown", "pinned", token=own_token(sas))
    # Tokens.
    told("no token", "sas", token=Secret("hunter2"))
    told("an old token", "sas", token=own_token(sas, expires=NOW - timedelta(minutes=6)))
    told("another's token", "sas", token=own_token(sas, resource=f"{HOST}/devices/other"))
    told("a token for another host", "sas", token=own_token(sas, resource="elsewhere.example/devices/sas"))
    told("a forged token", "sas", token=signed(reader, f"{HOST}/devices/sas", by=None))
    told("a forged token of a policy", "sas", token=signed(reader, by="device"))
    told("a policy that there is not", "sas", token=signed(policy, by="p" * 70))
    told("a policy without the right", "sas", token=signed(reader))
    told("an old token of a policy", "sas", token=signed(policy, expires=NOW - timedelta(minutes=6)))
    told("a policy's token for another", "sas", token=signed(policy, f"{HOST}/devices/other"))
    # Chains.
    told("a group's device, by another CA of that name", "by-group", chain=make_ca("other").leaf("by-group"))
    told("a leaf for another", "authority", chain=ca.leaf("pinned"))
    told("a leaf for nobody here", "authority", chain=ca.leaf("elsewhere"))
    told("a leaf in another case", "authority", chain=ca.leaf("Authority"))
    told("a leaf with a space", "authority", chain=ca.leaf("author ity"))
    told("a device's leaf for its module", "authority/m", chain=ca.leaf("authority"))
    told("a leaf without a name", "authority", chain=_leaf(ca, x509.Name([])))
    told("a leaf with two names", "authority", chain=_leaf(ca, name(*((NameOID.COMMON_NAME, each) for each in "ab"))))
    told("a name for a shell", "odd; name", chain=ca.leaf("another; name"))
    told("an old leaf", "authority", chain=ca.leaf("authority"), now=NOW + timedelta(days=31))
    told("an old leaf of somebody else", "authority", chain=ca.leaf("pinned"), now=NOW + timedelta(days=31))
    told("an intermediate that is missing", "authority", chain=PeerChain(line.leaf("authority").certificates[:1]))
    told("a stranger's root", "authority", chain=other.leaf("authority"))
    told("another CA of that name", "authority", chain=make_ca("root").leaf("authority"))
    told("below a CA that nobody proved", "authority", chain=unproven.leaf("authority"))
    told("self-signed", "authority", chain=self_signed("authority"))
    told("a chain that cannot be read", "authority", chain=PeerChain((b"garbage",)))
    told("of a group, below the hub's CA", "by-group", chain=ca.leaf("by-group"))
    told("of a group that trusts nobody", "by-empty-group", chain=ca.leaf("by-empty-group"))
    # Pinned.
    told("another certificate of that name", "pinned", chain=shown)
    told("another certificate", "pinned", chain=self_signed("other"))
    told("another certificate, one slot filled", "half", chain=shown)
    told("an old certificate", "pinned", chain=own, now=NOW + timedelta(days=31))
    # Stopped.
    await world.registry.update(DEFAULT_HUB, IdentityDraft(named("sas"), status="disabled"), NOW)
    told("disabled", "sas", token=own_token(sas))
    told("the module of a disabled device", "sas/m", token=own_token(module))
    await world.registry.update(
        DEFAULT_HUB, IdentityDraft(named("sas"), status="disabled", status_reason="stolen, maybe"), NOW
    )
    told("disabled, and why", "sas", token=own_token(sas))
    told("the module of a disabled device, and why", "sas/m", token=own_token(module))
    await world.registry.update(DEFAULT_HUB, IdentityDraft(named("sas"), status="enabled"), NOW)
    # Switched off.
    await world.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True})
    told("tokens of devices off", "sas", token=own_token(sas))
    told("tokens of devices off, by a policy", "sas", token=signed(policy))
    await world.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": False, "disable_module_sas": True})
    told("tokens of modules off", "sas/m", token=own_token(module))
    await world.policies.set_switches(DEFAULT_HUB, {"disable_module_sas": False, "disable_local_auth": True})
    told("tokens of policies off", "sas", token=signed(policy))
    compare(HERE / "logins_told.txt", lines)


def test_a_text_is_cut_where_it_is_too_long_to_be_shown() -> None:
    longest = "x" * explanations._SHOWN
    assert explanations._quoted(longest) == repr(longest)
    assert explanations._quoted(longest + "y") == repr(longest) + "..."


async def test_what_is_told_of_each_call_that_is_refused(world: World) -> None:
    lines: list[str] = []
    policy, reader = await world.policy("iothubowner"), await world.policy("registryRead")
    dps = world.policies.get(DEFAULT_HUB, "dps", "provisioningserviceowner")
    device = await world.device("sas")

    def told(title: str, header: str | None, *rights: str, scope: str = "hub", resource: str = "devices/d") -> None:
        def call() -> object:
            any_of = frozenset(rights)
            return world.access.authorize(header, scope, resource, any_of, NOW)  # type: ignore[arg-type] # as it takes

        lines.extend(refusal_lines(title, call))

    read, write = ("RegistryRead",), ("RegistryWrite", "ServiceConnect")
    told("nothing", None, *read)
    told("an empty header", "  ", *read)
    told("a scheme that is none of ours", "Basic QUJD", *read)
    told("a key without a scheme", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo= x", *read)
    told("a scheme alone", "Basic", *read)
    told("a bearer of nobody", "Bearer x", *read)
    told("a token that is none", "SharedAccessSignature x", *read)
    told("a device's token", own_token(device).reveal(), *read)
    told("a policy that there is not", signed(policy, by="p" * 70).reveal(), *read)
    told("of another service", signed(dps).reveal(), *read)
    told("a policy there is not at provisioning", signed(policy).reveal(), "EnrollmentRead", scope="dps")
    told("a forged token", signed(policy, by="registryRead").reveal(), *read)
    told("an old token", signed(policy, expires=NOW - timedelta(minutes=6)).reveal(), *read)
    told("a token for something else", signed(policy, resource=f"{HOST}/devices/x").reveal(), *read)
    told("a policy without the right", signed(reader).reveal(), *write)
    told("for the owner alone", signed(policy).reveal())
    await world.policies.set_switches(DEFAULT_HUB, {"disable_local_auth": True})
    told("switched off", signed(policy).reveal(), *read)
    compare(HERE / "calls_told.txt", lines)


async def test_what_is_told_of_weak_certificates(world: World) -> None:
    weak = PeerChain((odd("weak", key=weak_rsa_key(), not_before=NOW - YEAR, not_after=NOW + YEAR).der,))
    await world.pinned_device("weak", weak)
    lines = refusal_lines("a weak key", lambda: world.login("weak", chain=weak))
    compare(HERE / "weak_told.txt", lines)


def _leaf(ca: CA, subject: x509.Name) -> PeerChain:
    """A leaf of this subject, which nobody should issue."""
    leaf = odd(
        subject,
        issuer=Issued(ca.certificate, ca.key),
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=30),
    )
    return PeerChain((leaf.der,))


def signed(
    policy: SharedAccessPolicy,
    resource: str = HOST,
    *,
    slot: str = "primary",
    expires: datetime = NOW + timedelta(hours=1),
    by: str | None = "",
) -> Secret:
    """A token signed with the key of `policy`, which names it, or `by`, or nobody."""
    key = policy.primary if slot == "primary" else policy.secondary
    return make_token(resource, key, expires, policy.name if by == "" else by)


def _long_name() -> x509.Name:
    """Longer than X.520 allows, as the tools of some make it."""
    with pytest.warns(UserWarning, match="length must be"):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 200, _validate=False)])
