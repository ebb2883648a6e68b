"""An enrollment of one device's own, and the keys that a group gives it (contract/central.md 4.2 to 4.4)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.errors import Invalid, NotFound, PreconditionFailed, Refusal, Unauthenticated
from moorage.fleet.credentials import DerivedKeys, DeviceCredentials
from moorage.fleet.model import DeviceRecord
from moorage.identities.model import ByThumbprint
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, ETag
from moorage.pki.waivers import NO_WAIVERS
from moorage.provisioning.default_groups import DEVICES, EDGE_DEVICES, make_default_groups
from moorage.provisioning.drafts import CertificatesDraft, Kept, KeysDraft
from moorage.provisioning.enrollments import ANY
from tests.certs import LIFETIME, NOW, device, odd, root, self_signed, weak_rsa_key

from .world import World, shows

RECORD = DeviceRecord(DEFAULT_HUB, DeviceId("pump-01"), "Pump", NOW)
FIRST, SECOND, THIRD = (self_signed("pump-01", label=label) for label in ("first", "second", "third"))


def of(world: World) -> DeviceCredentials:
    registry = IdentityRegistry(world.store)
    return DeviceCredentials(DEFAULT_HUB, world.store, world.enrollments, registry, world.clock, lambda: NO_WAIVERS)


async def enroll(world: World, draft: CertificatesDraft, if_match: ETag | None = None) -> ETag:
    return (await of(world).put(RECORD, draft, if_match=if_match, by="tests")).etag


async def refused(world: World, issued: object) -> str:
    with pytest.raises(Refusal) as refusal:
        await world.register("pump-01", shows(issued))  # type: ignore[arg-type]  # an Issued
    return refusal.value.reason


async def test_keys_come_from_the_default_group_of_the_devices_kind(world: World) -> None:
    await make_default_groups(DEFAULT_HUB, world.store, world.enrollments)
    keys = await of(world).derived(RECORD)
    assert keys is not None and keys.group_id == DEVICES
    registration = await world.register("pump-01", world.token("pump-01", keys.primary))
    assert registration.status == "assigned"
    edge = await of(world).derived(DeviceRecord(DEFAULT_HUB, DeviceId("gate"), "", NOW, is_edge=True))
    assert edge is not None and edge.group_id == EDGE_DEVICES


async def test_without_the_default_group_another_one_gives_keys_and_without_any_there_are_none(world: World) -> None:
    assert await of(world).derived(RECORD) is None
    await world.enroll_group("disabled", status="disabled")
    await world.enroll_group("edge", is_edge=True)
    assert await of(world).derived(RECORD) is None
    await world.enroll_group("line-7")
    keys = await of(world).derived(RECORD)
    assert isinstance(keys, DerivedKeys) and keys.group_id == EnrollmentGroupId("line-7")


async def test_either_certificate_lets_the_device_in_and_its_enrollment_beats_a_group(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    await enroll(world, CertificatesDraft(FIRST.certificate, SECOND.certificate))
    for issued in (FIRST, SECOND):
        registration = await world.register("pump-01", shows(issued))
        assert (registration.status, registration.group_id) == ("assigned", None)
    assert await refused(world, device(ca, "pump-01")) == "attestation.thumbprint"


async def test_a_roll_by_the_second_slot_never_leaves_the_device_outside(world: World) -> None:
    etag = await enroll(world, CertificatesDraft(FIRST.certificate))
    await world.register("pump-01", shows(FIRST))
    etag = await enroll(world, CertificatesDraft(Kept(), SECOND.certificate), etag)
    identity = world.identity("pump-01")
    assert identity is not None
    # At the hub at once: the device need not register again to change over.
    assert identity.authentication == ByThumbprint(FIRST.certificate.sha256, SECOND.certificate.sha256)
    for issued in (FIRST, SECOND):
        assert (await world.register("pump-01", shows(issued))).status == "assigned"
    await enroll(world, CertificatesDraft(THIRD.certificate, Kept()), etag)
    assert (await world.register("pump-01", shows(SECOND))).status == "assigned"
    assert await refused(world, FIRST) == "attestation.thumbprint"


async def test_a_certificate_that_leaked_opens_neither_provisioning_nor_the_hub(world: World) -> None:
    etag = await enroll(world, CertificatesDraft(FIRST.certificate))
    await world.register("pump-01", shows(FIRST))
    await enroll(world, CertificatesDraft(SECOND.certificate), etag)
    assert await refused(world, FIRST) == "attestation.thumbprint"
    identity = world.identity("pump-01")
    assert identity is not None and identity.authentication == ByThumbprint(SECOND.certificate.sha256)


async def test_an_identity_that_somebody_made_by_hand_is_left_alone(world: World) -> None:
    etag = await enroll(world, CertificatesDraft(FIRST.certificate))
    await world.register("pump-01", shows(FIRST))
    registry = IdentityRegistry(world.store)
    identity = world.identity("pump-01")
    assert identity is not None
    by_hand = ByThumbprint(THIRD.certificate.sha256)
    await registry.update(DEFAULT_HUB, IdentityDraft(identity.name, authentication=by_hand), NOW)
    await enroll(world, CertificatesDraft(SECOND.certificate), etag)
    identity = world.identity("pump-01")
    assert identity is not None and identity.authentication == by_hand


async def test_what_cannot_be_a_devices_certificate_is_refused(world: World) -> None:
    old = self_signed("pump-01", now=NOW - LIFETIME - timedelta(days=1), label="old")
    weak = odd("pump-01", key=weak_rsa_key())
    for draft, reason in (
        (CertificatesDraft(old.certificate), "attestation.certificate_expired"),
        (CertificatesDraft(FIRST.certificate, old.certificate), "attestation.certificate_expired"),
        (CertificatesDraft(weak), "attestation.certificate_weak"),
        (CertificatesDraft(None, FIRST.certificate), "attestation.primary_missing"),
    ):
        with pytest.raises(Invalid) as refusal:
            await enroll(world, draft)
        assert refusal.value.reason == reason
    assert of(world).individual(RECORD.device_id) is None


async def test_one_that_is_not_valid_yet_waits_for_its_day(world: World) -> None:
    later = self_signed("pump-01", now=NOW + timedelta(days=2), label="later")
    await enroll(world, CertificatesDraft(FIRST.certificate, later.certificate))
    assert await refused(world, later) == "chain.not_yet_valid"
    world.clock.advance(3 * 86400)
    assert (await world.register("pump-01", shows(later))).status == "assigned"


async def test_a_change_that_rests_on_what_is_not_there_any_more_is_refused(world: World) -> None:
    etag = await enroll(world, CertificatesDraft(FIRST.certificate))
    await enroll(world, CertificatesDraft(SECOND.certificate), etag)
    with pytest.raises(PreconditionFailed):
        await enroll(world, CertificatesDraft(THIRD.certificate), etag)


async def test_without_an_enrollment_of_its_own_the_device_goes_back_to_its_group(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    await of(world).put(RECORD, KeysDraft(), if_match=None, by="tests")
    with pytest.raises(Unauthenticated):
        await world.register("pump-01", shows(device(ca, "pump-01")))
    await of(world).delete(RECORD, if_match=ANY, by="tests")
    registration = await world.register("pump-01", shows(device(ca, "pump-01")))
    assert registration.group_id == "line-7"
    with pytest.raises(NotFound):
        await of(world).delete(RECORD, by="tests")


async def test_an_enrollment_that_is_another_devices_is_not_this_ones(world: World) -> None:
    await world.enroll("pump-01", device_id=DeviceId("pump-99"))
    assert of(world).individual(RECORD.device_id) is None
