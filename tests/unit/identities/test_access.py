"""Who may call the service APIs, and the owner's own credential."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Conflict, Forbidden, Invalid, NotFound, Refusal, Unauthenticated
from moorage.identities.model import Right
from moorage.identities.owner import MAX_LIFETIME, OwnerKey
from moorage.identities.policy_rules import DEFAULT_POLICIES
from moorage.ids import DEFAULT_HUB, HubId, Secret
from tests.unit.identities.world import HOST, NOW, World, own_token, policy_token

READ: frozenset[Right] = frozenset({"RegistryRead"})
HOUR = timedelta(hours=1)


def refused(world: World, header: str | None, any_of: frozenset[Right] = READ) -> Refusal:
    with pytest.raises((Unauthenticated, Forbidden)) as caught:
        world.access.authorize(header, "hub", "devices/pump-1", any_of, NOW)
    return caught.value


# --- policies ---


async def test_a_new_hub_has_the_policies_of_every_hub_and_keeps_them(world: World) -> None:
    await world.policies.ensure_defaults(DEFAULT_HUB)
    made = {policy.name: policy for policy in world.policies.all(DEFAULT_HUB, "hub")}
    assert {name: policy.rights for name, policy in made.items()} == DEFAULT_POLICIES["hub"]
    dps = world.policies.all(DEFAULT_HUB, "dps")
    assert {policy.name: policy.rights for policy in dps} == DEFAULT_POLICIES["dps"]
    keys = [key.reveal() for policy in made.values() for key in (policy.primary, policy.secondary)]
    assert len(set(keys)) == 10
    published = len(world.published)
    await world.policies.ensure_defaults(DEFAULT_HUB)
    assert {policy.name: policy for policy in world.policies.all(DEFAULT_HUB, "hub")} == made
    assert len(world.published) == published


async def test_rolling_a_key_leaves_the_other_and_never_makes_both_the_same(world: World) -> None:
    before = await world.policy("service")
    after = await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "secondary")
    assert after.primary.reveal() == before.primary.reveal()
    assert after.secondary.reveal() != before.secondary.reveal()
    with pytest.raises(Conflict) as caught:
        await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "primary", after.secondary)
    assert caught.value.reason == "policy.same_key"
    with pytest.raises(NotFound) as missing:
        await world.policies.roll_key(DEFAULT_HUB, "hub", "nobody", "primary")
    assert missing.value.reason == "policy.not_found"
    with pytest.raises(Invalid):
        await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "primary", Secret("c2hvcnQ="))


@pytest.mark.parametrize("resource", [HOST, f"{HOST}:8443", "localhost", f"{HOST}/devices", f"{HOST}/devices/pump-1"])
async def test_a_policy_token_with_the_right_is_let_in(world: World, resource: str) -> None:
    policy = await world.policy("registryRead")
    header = policy_token(policy, resource).reveal()
    who = world.access.authorize(header, "hub", "devices/pump-1", READ, NOW)
    assert (who.kind, who.name, str(who), who.expires) == ("policy", "registryRead", "policy:registryRead", NOW + HOUR)


async def test_writing_includes_reading_and_not_the_reverse(world: World) -> None:
    writer = policy_token(await world.policy("registryReadWrite")).reveal()
    reader = policy_token(await world.policy("registryRead")).reveal()
    write: frozenset[Right] = frozenset({"RegistryWrite"})
    assert world.access.authorize(writer, "hub", "devices/pump-1", write, NOW).name == "registryReadWrite"
    refusal = refused(world, reader, write)
    assert isinstance(refusal, Forbidden) and refusal.reason == "token.policy_rights"
    assert "RegistryWrite" in refusal.message and "RegistryRead" in refusal.message
    owner = policy_token(await world.policy("iothubowner")).reveal()
    assert refused(world, owner, frozenset()).reason == "token.policy_rights"


async def test_any_one_of_the_rights_asked_for_is_enough(world: World) -> None:
    service = policy_token(await world.policy("service")).reveal()
    either: frozenset[Right] = frozenset({"RegistryRead", "ServiceConnect"})
    assert world.access.authorize(service, "hub", "devices/query", either, NOW).name == "service"
    assert refused(world, service).reason == "token.policy_rights"


async def test_a_policy_of_one_service_does_not_open_the_other(world: World) -> None:
    hub_policy = await world.policy("iothubowner")
    dps_policy = world.policies.get(DEFAULT_HUB, "dps", "provisioningserviceowner")
    write: frozenset[Right] = frozenset({"EnrollmentWrite"})
    who = world.access.authorize(policy_token(dps_policy).reveal(), "dps", "enrollments/x", write, NOW)
    assert who.name == "provisioningserviceowner"
    with pytest.raises(Unauthenticated) as caught:
        world.access.authorize(policy_token(hub_policy).reveal(), "dps", "enrollments/x", write, NOW)
    assert caught.value.reason == "token.policy_unknown"
    assert refused(world, policy_token(dps_policy).reveal()).reason == "token.policy_unknown"


async def test_a_devices_own_token_is_never_good_for_service_operations(world: World) -> None:
    """A-8."""
    identity = await world.device("pump-1")
    assert refused(world, own_token(identity).reveal()).reason == "token.policy_missing"


async def test_headers_that_are_no_credential_are_refused_by_kind(world: World) -> None:
    policy = await world.policy("registryRead")
    good = policy_token(policy).reveal()
    assert refused(world, None).reason == "authorization.missing"
    assert refused(world, "  ").reason == "authorization.missing"
    assert refused(world, "Basic dXNlcjpwYXNz").reason == "authorization.scheme"
    assert refused(world, "SharedAccessSignature sr=x").reason == "token.malformed"
    assert refused(world, policy_token(policy, "elsewhere.example").reveal()).reason == "token.audience"
    assert refused(world, policy_token(policy, f"{HOST}/twins").reveal()).reason == "token.audience"
    with pytest.raises(Unauthenticated) as caught:
        world.access.authorize(good, "hub", "devices/pump-1", READ, NOW + timedelta(hours=2))
    assert caught.value.reason == "token.expired"
    with pytest.raises(Unauthenticated) as caught:
        world.access.authorize(good, "hub", "devices/pump-1", READ, NOW, hub=HubId("other"))
    assert caught.value.reason == "token.policy_unknown"


async def test_a_key_that_was_sent_without_a_scheme_is_not_repeated(world: World) -> None:
    """The refusal goes into an answer and into the record of attempts."""
    policy = await world.policy("registryRead")
    for header in (policy.primary.reveal(), f"{policy.primary.reveal()} x", "moorage-owner-c2VjcmV0c2VjcmV0", "Secret"):
        refusal = refused(world, header)
        assert refusal.reason == "authorization.scheme"
        assert header.split()[0] not in refusal.message
        assert header[:12] not in refusal.message
    assert "'Basic'" in refused(world, "Basic dXNlcjpwYXNz").message


async def test_a_rolled_key_and_the_local_auth_switch_work_at_once(world: World) -> None:
    token = policy_token(await world.policy("registryRead")).reveal()
    world.access.authorize(token, "hub", "devices/pump-1", READ, NOW)
    await world.policies.set_switches(DEFAULT_HUB, {"disable_local_auth": True})
    assert refused(world, token).reason == "sas.disabled_for_policies"
    bearer = world.owner.mint("api", HOUR, NOW).reveal()
    assert world.access.authorize(f"Bearer {bearer}", "hub", "devices/pump-1", READ, NOW).kind == "owner"
    await world.policies.set_switches(DEFAULT_HUB, {"disable_local_auth": False})
    world.access.authorize(token, "hub", "devices/pump-1", READ, NOW)
    await world.policies.roll_key(DEFAULT_HUB, "hub", "registryRead", "primary")
    assert refused(world, token).reason == "token.signature"


# --- the owner ---


async def test_the_owner_may_do_anything_with_a_bearer_or_the_key_itself(world: World) -> None:
    for any_of in (READ, frozenset[Right]()):
        bearer = world.owner.mint("api", HOUR, NOW).reveal()
        who = world.access.authorize(f"Bearer {bearer}", "hub", "anything", any_of, NOW)
        assert (str(who), who.expires) == ("owner", NOW + HOUR)
        key = world.owner.text().reveal()
        assert world.access.authorize(f"bearer {key}", "dps", "anything", any_of, NOW).expires is None


async def test_a_stub_bearer_opens_nothing(world: World) -> None:
    """T11."""
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd25lciJ9."
    for text in ("", "x", "fake-token", jwt, "moorage.api.99999999999.00.00", "é" * 10):
        refusal = refused(world, f"Bearer {text}")
        assert isinstance(refusal, Unauthenticated) and refusal.reason == "bearer.foreign"
        assert refusal.fix == "moorage token"


@pytest.mark.parametrize(
    ("reason", "purpose", "after"),
    [("bearer.expired", "api", HOUR), ("bearer.purpose", "sign-in", timedelta(0))],
)
def test_a_bearer_is_for_one_purpose_and_one_time(reason: str, purpose: str, after: timedelta) -> None:
    key = OwnerKey.generate()
    bearer = key.mint("api" if purpose == "api" else "sign-in", HOUR, NOW).reveal()
    with pytest.raises(Unauthenticated) as caught:
        key.check(bearer, "api", NOW + after)
    assert caught.value.reason == reason
    wanted = "api" if purpose == "api" else "sign-in"
    assert key.check(bearer, wanted, NOW + HOUR - timedelta(seconds=1)) == NOW + HOUR  # type: ignore[arg-type] # one of two


def test_a_bearer_of_another_key_is_refused_and_so_is_the_key_itself_for_signing_in() -> None:
    key = OwnerKey.generate()
    with pytest.raises(Unauthenticated) as caught:
        key.check(OwnerKey.generate().mint("api", HOUR, NOW).reveal(), "api", NOW)
    assert caught.value.reason == "bearer.signature"
    with pytest.raises(Unauthenticated) as caught:
        key.check(key.text().reveal(), "sign-in", NOW)
    assert caught.value.reason == "bearer.foreign"
    with pytest.raises(Unauthenticated):
        key.check(OwnerKey.generate().text().reveal(), "api", NOW)


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_bearer_that_was_changed_anywhere_is_refused(position: int, put: str) -> None:
    key = OwnerKey(bytes(32))
    bearer = key.mint("api", HOUR, NOW).reveal()
    position %= len(bearer)
    changed = bearer[:position] + put + bearer[position + 1 :]
    if changed != bearer:
        with pytest.raises(Unauthenticated):
            key.check(changed, "api", NOW)


def test_a_bearer_is_short_lived() -> None:
    key = OwnerKey.generate()
    key.mint("api", MAX_LIFETIME, NOW)
    for lifetime in (timedelta(0), timedelta(seconds=-1), MAX_LIFETIME + timedelta(seconds=1)):
        with pytest.raises(Invalid) as caught:
            key.mint("api", lifetime, NOW)
        assert caught.value.reason == "bearer.lifetime"


def test_the_key_is_read_back_from_its_text_and_never_printed() -> None:
    key = OwnerKey.generate()
    text = key.text()
    again = OwnerKey.parse(text.reveal() + "\n")
    assert again.check(key.mint("api", HOUR, NOW).reveal(), "api", NOW) == NOW + HOUR
    assert text.reveal() not in repr(key) + str(key) + repr(text) + str(text)
    for wrong, reason in (
        ("", "owner_key.malformed"),
        (text.reveal()[1:], "owner_key.malformed"),
        (text.reveal()[:-4], "owner_key.length"),
        ("moorage-owner-!!!", "owner_key.malformed"),
    ):
        with pytest.raises(Invalid) as caught:
            OwnerKey.parse(wrong)
        assert caught.value.reason == reason


# --- tokens that are looked at before it is known what for ---


async def test_a_token_is_looked_at_for_its_form_its_end_and_the_signature_of_a_policy(world: World) -> None:
    policy = await world.policy("service")
    device = await world.device("pump-1")

    def look(token: Secret) -> str:
        try:
            world.access.look_at(token.reveal(), NOW)
        except Unauthenticated as refusal:
            return refusal.reason
        return ""

    assert look(policy_token(policy)) == look(policy_token(policy, slot="secondary")) == ""
    assert look(own_token(device)) == "", "whether it exists is for nobody to find out"
    assert look(Secret("SharedAccessSignature sr=&&")) == "token.malformed"
    assert look(own_token(device, expires=NOW - HOUR)) == "token.expired"
    await world.policies.roll_key(DEFAULT_HUB, "hub", "service", "primary")
    assert look(policy_token(policy)) == "token.signature"
    await world.policies.delete(DEFAULT_HUB, "hub", "service")
    assert look(policy_token(policy, slot="secondary")) == "token.policy_unknown"
