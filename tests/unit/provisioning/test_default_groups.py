from __future__ import annotations

from moorage.ids import DEFAULT_HUB, EnrollmentGroupId
from moorage.provisioning.default_groups import DEVICES, EDGE_DEVICES, make_default_groups
from moorage.provisioning.drafts import GroupDraft, KeysDraft
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.model import BySymmetricKey

from .world import World


async def begin(world: World) -> dict[EnrollmentGroupId, bool]:
    """What is there after a start: name and whether it is for IoT Edge."""
    await make_default_groups(DEFAULT_HUB, world.store, world.enrollments)
    return {group.group_id: group.is_edge for group in await world.enrollments.list_groups(10)}


async def test_an_application_begins_with_a_group_of_keys_for_devices_and_one_for_edge_devices(world: World) -> None:
    assert await begin(world) == {DEVICES: False, EDGE_DEVICES: True}
    keys = set()
    for group_id in (DEVICES, EDGE_DEVICES):
        attestation = world.enrollments.get_group(group_id).attestation
        assert isinstance(attestation, BySymmetricKey)
        keys |= {attestation.primary.reveal(), attestation.secondary.reveal()}
    assert len(keys) == 4


async def test_one_that_was_deleted_stays_away_and_the_other_keeps_its_keys(world: World) -> None:
    await begin(world)
    kept = world.enrollments.get_group(EDGE_DEVICES)
    await world.enrollments.delete_group(DEVICES, if_match=ANY, by="tests")
    assert await begin(world) == {EDGE_DEVICES: True}
    assert world.enrollments.get_group(EDGE_DEVICES) == kept


async def test_a_group_of_that_name_that_exists_is_left_as_it_is(world: World) -> None:
    mine = await world.enrollments.put_group(
        GroupDraft(group_id=DEVICES, attestation=KeysDraft(), status="disabled"), if_match=None, by="tests"
    )
    await begin(world)
    assert world.enrollments.get_group(DEVICES) == mine
