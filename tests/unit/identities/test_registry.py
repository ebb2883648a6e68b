from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, TooLarge
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint, Identity, NoCredential
from moorage.identities.registry import EDGE_MODULES, MAX_MODULES, Fresh, IdentityDraft, decide_update, edge_scope
from moorage.ids import (
    DEFAULT_HUB,
    DeviceId,
    EnrollmentGroupId,
    ETag,
    HubId,
    IdentityName,
    ModuleId,
    Secret,
    version_etag,
)
from tests.unit.identities.world import NOW, World, named, self_signed, thumbprint


async def update(world: World, name: str, if_match: ETag | None = None, **members: Any) -> Identity:
    draft = IdentityDraft(named(name), **members)
    return await world.registry.update(DEFAULT_HUB, draft, NOW + timedelta(hours=1), if_match=if_match)


def key(size: int) -> Secret:
    return Secret(base64.b64encode(bytes(size)).decode())


def events(world: World) -> list[tuple[str, str]]:
    return [(event.kind, event.subject) for event in world.published]


def keys_of(identity: Identity) -> tuple[str, str]:
    assert isinstance(identity.authentication, BySharedKey)
    return identity.authentication.primary.reveal(), identity.authentication.secondary.reveal()


async def test_a_device_without_more_gets_two_keys_and_a_generation_id(world: World) -> None:
    made = await world.device("pump-1")
    primary, secondary = keys_of(made)
    assert primary != secondary and len(base64.b64decode(primary)) == len(base64.b64decode(secondary)) == 32
    assert len(made.generation_id) == 18 and made.generation_id.isdigit()
    assert (made.status, made.is_edge, made.device_scope) == ("enabled", False, None)
    assert world.registry.get(DEFAULT_HUB, named("pump-1")) == made
    assert events(world) == [("identity.created", "pump-1")]


async def test_given_keys_are_kept_and_a_missing_one_is_made(world: World) -> None:
    made = await world.device("a", BySharedKey(key(16), key(64)))
    assert keys_of(made) == (key(16).reveal(), key(64).reveal())
    primary, secondary = keys_of(await world.device("b", BySharedKey(key(16), Secret(""))))
    assert primary == key(16).reveal() and len(base64.b64decode(secondary)) == 32


@pytest.mark.parametrize(
    ("given", "reason"), [(key(15), "key.length"), (key(65), "key.length"), (Secret("*" * 24), "key.base64")]
)
async def test_a_key_out_of_bounds_is_refused_without_being_shown(world: World, given: Secret, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        await world.device("a", BySharedKey(given, given))
    assert caught.value.reason == reason and given.reveal() not in str(caught.value)


async def test_a_second_device_of_the_name_is_a_conflict_and_another_case_is_another_device(world: World) -> None:
    await world.device("pump")
    with pytest.raises(Conflict) as caught:
        await world.device("pump")
    assert caught.value.reason == "device.exists"
    await world.device("PUMP")
    await world.device("pump/m")
    with pytest.raises(Conflict) as caught:
        await world.device("pump/m")
    assert caught.value.reason == "module.exists"


async def test_a_self_signed_identity_needs_a_thumbprint(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        await world.device("a", ByThumbprint())
    assert caught.value.reason == "authentication.thumbprint_missing"
    await world.device("a", ByThumbprint(secondary=thumbprint(self_signed("a"))))


async def test_modules_need_their_device_and_are_fifty_at_most(world: World) -> None:
    with pytest.raises(NotFound) as missing:
        await world.device("d/m")
    assert missing.value.reason == "device.not_found"
    await world.device("d")
    await world.device("neighbour")
    await world.device("neighbour/m")
    for number in range(MAX_MODULES):
        await world.device(f"d/m{number}")
    with pytest.raises(TooLarge) as caught:
        await world.device("d/one-more")
    assert caught.value.reason == "module.too_many"
    assert len(await world.registry.list_modules(DEFAULT_HUB, DeviceId("d"))) == MAX_MODULES


async def test_an_edge_device_gets_its_modules_and_its_scope(world: World) -> None:
    made = await world.device("gateway", is_edge=True)
    assert made.device_scope == f"ms-azure-iot-edge://gateway-{made.generation_id}"
    modules = await world.registry.list_modules(DEFAULT_HUB, DeviceId("gateway"))
    assert {module.name.module_id for module in modules} == set(EDGE_MODULES)
    assert all(isinstance(module.authentication, BySharedKey) for module in modules)
    assert events(world) == [
        ("identity.created", "gateway"),
        ("identity.created", "gateway/$edgeAgent"),
        ("identity.created", "gateway/$edgeHub"),
    ]
    with pytest.raises(Invalid) as caught:
        await update(world, "gateway", is_edge=False)
    assert caught.value.reason == "edge.fixed"
    assert (await update(world, "gateway", is_edge=True, device_scope=made.device_scope)).is_edge
    with pytest.raises(Invalid) as caught:
        await update(world, "gateway", device_scope="ms-azure-iot-edge://other-1")
    assert caught.value.reason == "device_scope.fixed"
    with pytest.raises(Invalid) as caught:
        await world.device("gateway/m", is_edge=True)
    assert caught.value.reason == "module.edge"


async def test_a_leaf_is_put_below_an_edge_device_and_taken_out_again_in_either_member(world: World) -> None:
    gateway = await world.device("gateway", is_edge=True)
    other = await world.device("gateway-2", is_edge=True)
    scope, elsewhere = gateway.device_scope, other.device_scope
    assert scope is not None and elsewhere is not None
    leaf = await world.device("leaf", device_scope=scope)
    assert (leaf.device_scope, leaf.parent_scopes) == (scope, (scope,))
    moved = await update(world, "leaf", device_scope=elsewhere, parent_scopes=(scope,))
    assert (moved.device_scope, moved.parent_scopes) == (elsewhere, (elsewhere,))
    moved = await update(world, "leaf", device_scope=elsewhere, parent_scopes=(scope,))
    assert moved.device_scope == scope
    assert (await update(world, "leaf", status="disabled")).device_scope == scope
    assert (await update(world, "leaf", device_scope="", parent_scopes=(scope,))).parent_scopes == ()
    assert (await world.device("leaf-2", parent_scopes=(scope,))).device_scope == scope
    assert (await update(world, "leaf-2", device_scope=scope, parent_scopes=())).device_scope is None
    nested = await update(world, "gateway-2", parent_scopes=(scope,))
    assert (nested.device_scope, nested.parent_scopes) == (elsewhere, (scope,))


@pytest.mark.parametrize("scope", ["nonsense", "ms-azure-iot-edge://nobody-123", "ms-azure-iot-edge://plain-1", ""])
async def test_a_scope_of_no_edge_device_is_refused(world: World, scope: str) -> None:
    plain = await world.device("plain")
    edge = await world.device("edge", is_edge=True)
    stale = edge_scope(DeviceId("edge"), str(int(edge.generation_id) - 1))
    for wrong in (scope or stale, edge_scope(DeviceId("plain"), plain.generation_id)):
        with pytest.raises(Invalid) as caught:
            await world.device("leaf", device_scope=wrong)
        assert caught.value.reason == "device_scope.unknown"


async def test_an_update_takes_the_current_etag_or_none(world: World) -> None:
    made = await world.device("a")
    changed = await update(world, "a", if_match=version_etag(made.version), status="disabled", status_reason="lost")
    assert changed.version == made.version + 1
    assert (changed.status, changed.status_reason) == ("disabled", "lost")
    assert changed.status_updated == NOW + timedelta(hours=1)
    with pytest.raises(PreconditionFailed) as caught:
        await update(world, "a", if_match=version_etag(made.version), status="enabled")
    assert caught.value.reason == "etag.stale"
    with pytest.raises(PreconditionFailed):
        await world.registry.delete(DEFAULT_HUB, named("a"), if_match=version_etag(made.version))
    assert (await update(world, "a", status="enabled")).status_reason is None


async def test_only_the_change_that_disables_tells_to_cut(world: World) -> None:
    await world.device("a")
    await update(world, "a", status="disabled")
    await update(world, "a", status="disabled", status_reason="still")
    await update(world, "a", status="enabled")
    assert [kind for kind, _ in events(world)] == [
        "identity.created",
        "identity.disabled",
        "identity.updated",
        "identity.updated",
    ]


async def test_a_device_that_is_created_disabled_says_since_when(world: World) -> None:
    assert (await world.device("a", status="disabled")).status_updated == NOW
    assert (await world.device("b")).status_updated is None


async def test_empty_keys_keep_the_present_ones_and_a_change_of_type_clears_them(world: World) -> None:
    """D-1, D-6."""
    made = await world.device("a")
    empty = BySharedKey(Secret(""), Secret(""))
    assert keys_of(await update(world, "a", authentication=empty)) == keys_of(made)
    assert keys_of(await update(world, "a")) == keys_of(made)
    rolled = await update(world, "a", authentication=BySharedKey(Secret(""), key(32)))
    assert keys_of(rolled) == (keys_of(made)[0], key(32).reveal())
    assert (await update(world, "a", authentication=NoCredential())).authentication == NoCredential()
    assert not set(keys_of(await update(world, "a", authentication=empty))) & set(keys_of(rolled))


async def test_writing_back_what_was_read_does_not_loosen_the_binding_to_a_group(world: World) -> None:
    """T2: the wire says certificateAuthority and no more."""
    made = await world.x509_device("a", group="line-7")
    assert (await update(world, "a", authentication=ByAuthority())).authentication == made.authentication
    moved = await update(world, "a", authentication=ByAuthority(EnrollmentGroupId("line-8")))
    assert moved.authentication == ByAuthority(EnrollmentGroupId("line-8"))
    await update(world, "a", authentication=NoCredential())
    assert (await update(world, "a", authentication=ByAuthority())).authentication == ByAuthority()


async def test_a_device_created_again_is_another_one(world: World) -> None:
    """D-4, and an etag kept from before does not fit."""
    before = await world.device("a")
    await world.device("a/m")
    await world.registry.delete(DEFAULT_HUB, named("a"), if_match=version_etag(before.version))
    for gone in ("a", "a/m"):
        with pytest.raises(NotFound) as caught:
            world.registry.get(DEFAULT_HUB, named(gone))
        assert caught.value.reason == "device.not_found"
    after = await world.device("a")
    assert after.generation_id != before.generation_id and keys_of(after) != keys_of(before)
    with pytest.raises(PreconditionFailed):
        await update(world, "a", if_match=version_etag(before.version))
    assert events(world)[-2:] == [("identity.deleted", "a"), ("identity.created", "a")]


async def test_a_missing_module_is_told_apart_from_a_missing_device(world: World) -> None:
    await world.device("a")
    with pytest.raises(NotFound) as caught:
        await world.registry.delete(DEFAULT_HUB, named("a/m"))
    assert caught.value.reason == "module.not_found"
    with pytest.raises(NotFound) as caught:
        await update(world, "b/m")
    assert caught.value.reason == "device.not_found"


async def test_a_refused_change_leaves_no_trace_and_no_event(world: World) -> None:
    made = await world.device("a")
    with pytest.raises(Invalid):
        await update(world, "a", authentication=BySharedKey(key(1), key(1)))
    with pytest.raises(Invalid):
        await update(world, "a", status_reason="x" * 129)
    assert world.registry.get(DEFAULT_HUB, named("a")) == made
    assert events(world) == [("identity.created", "a")]


async def test_devices_are_listed_by_id_without_their_modules(world: World) -> None:
    for name in ("c", "a", "b", "a/m"):
        await world.device(name)
    listed = await world.registry.list_devices(DEFAULT_HUB, 2)
    assert [identity.name for identity in listed] == [named("a"), named("b")]
    rest = await world.registry.list_devices(DEFAULT_HUB, 2, DeviceId("b"))
    assert [identity.name for identity in rest] == [named("c")]
    assert await world.registry.count_devices(DEFAULT_HUB) == (3, 3)
    assert await world.registry.list_devices(HubId("other")) == []
    for limit in (0, 1001):
        with pytest.raises(Invalid) as caught:
            await world.registry.list_devices(DEFAULT_HUB, limit)
        assert caught.value.reason == "list.limit"


def test_deciding_needs_no_store_and_leaves_what_it_was_given_alone() -> None:
    fresh = Fresh.draw(NOW)
    present = Identity(DEFAULT_HUB, named("a"), "637547758448037735", 7, NoCredential(), NOW)
    changed = decide_update(present, IdentityDraft(named("a"), status="disabled"), fresh, NOW)
    assert (changed.version, changed.status, present.version, present.status) == (8, "disabled", 7, "enabled")
    assert changed.generation_id == present.generation_id


def test_generation_ids_of_one_moment_differ() -> None:
    drawn = {Fresh.draw(NOW).generation_id for _ in range(50)}
    assert len(drawn) > 45 and all(len(each) == 18 for each in drawn)


# --- what the log tells ---------------------------------------------------------------------------------------------


async def test_every_change_of_the_registry_is_in_the_audit_log_and_what_was_refused_is_not(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "moorage.audit")
    name = IdentityName(DeviceId("pump-01"))
    await world.registry.create(DEFAULT_HUB, IdentityDraft(name), NOW)
    with pytest.raises(Conflict):
        await world.registry.create(DEFAULT_HUB, IdentityDraft(name), NOW)
    await world.registry.create(DEFAULT_HUB, IdentityDraft(IdentityName(name.device_id, ModuleId("m1"))), NOW)
    await world.registry.update(DEFAULT_HUB, IdentityDraft(name, ByAuthority()), NOW)
    await world.registry.update(DEFAULT_HUB, IdentityDraft(name, status="disabled"), NOW)
    await world.registry.update(DEFAULT_HUB, IdentityDraft(name, status="enabled"), NOW)
    await world.registry.delete(DEFAULT_HUB, name)
    hub = f"hub={DEFAULT_HUB}"
    assert caplog.messages == [
        f"device.created {hub} name=pump-01 auth=sas status=enabled",
        f"module.created {hub} name=pump-01/m1 auth=sas status=enabled",
        f"device.updated {hub} name=pump-01 auth=certificateAuthority status=enabled",
        f"device.disabled {hub} name=pump-01 auth=certificateAuthority status=disabled",
        f"device.enabled {hub} name=pump-01 auth=certificateAuthority status=enabled",
        f"device.deleted {hub} name=pump-01 auth=certificateAuthority status=enabled",
    ]
