"""One CA in several groups: what is told of it is what happens to devices below it (central.md GRP-29)."""

from __future__ import annotations

from itertools import product

import pytest

from moorage.errors import Refusal
from moorage.ids import EnrollmentGroupId
from moorage.provisioning.enrollments import ANY
from moorage.web.shared_certificates import sharing_note
from tests.certs import device, root
from tests.unit.provisioning.world import World, shows

ROOT = root()


async def notes(world: World) -> dict[str, list[str]]:
    return {
        group: [sharing_note(each) for each in shared] for group, shared in (await world.enrollments.shared()).items()
    }


@pytest.mark.parametrize(
    ("is_old_verified", "is_new_verified", "is_old_on", "is_new_on"), list(product((True, False), repeat=4))
)
async def test_the_group_that_is_named_is_the_one_that_a_device_comes_in_through(
    world: World, is_old_verified: bool, is_new_verified: bool, is_old_on: bool, is_new_on: bool
) -> None:
    await world.enroll_group(
        "old", ROOT.certificate, vouched=is_old_verified, status="enabled" if is_old_on else "disabled"
    )
    world.clock.advance(60)
    await world.enroll_group(
        "new", None, ROOT.certificate, vouched=is_new_verified, status="enabled" if is_new_on else "disabled"
    )
    shared = await world.enrollments.shared()
    (of_old,), (of_new,) = shared[EnrollmentGroupId("old")], shared[EnrollmentGroupId("new")]
    assert (of_old.slot, of_new.slot) == ("primary", "secondary")
    assert of_old.deciding == of_new.deciding
    try:
        registration = await world.register("pump-01", shows(device(ROOT, "pump-01")))
        came_through = registration.group_id
    except Refusal:
        came_through = None
    told = await notes(world)
    deciding = of_old.deciding
    if deciding is None:
        assert came_through is None
        assert all("lets nobody in" in told[group][0] for group in ("old", "new"))
    elif deciding.group.status == "disabled":
        assert came_through is None
        assert all(told[group][0].endswith("It is disabled, so they are refused.") for group in ("old", "new"))
    else:
        other = "new" if came_through == "old" else "old"
        assert came_through == deciding.group.group_id
        assert "through here." in told[came_through][0]
        assert f"through {came_through}." in told[other][0] or f"which is {came_through}:" in told[other][0]


async def test_a_certificate_that_one_group_has_twice_is_not_shared(world: World) -> None:
    await world.enroll_group("old", ROOT.certificate, ROOT.certificate)
    await world.enroll_group("another", root().certificate)
    await world.enroll_group("by-key")
    assert await world.enrollments.shared() == {}
    await world.enroll_group("old", root().certificate, if_match=ANY)
    assert await world.enrollments.shared() == {}


async def test_of_many_groups_some_are_named(world: World) -> None:
    for number in range(8):
        await world.enroll_group(f"line-{number}", ROOT.certificate)
        world.clock.advance(60)
    told = (await notes(world))["line-7"]
    (note,) = told
    assert note == (
        "The primary certificate also stands in line-0 (primary), line-1 (primary), line-2 (primary), line-3 (primary),"
        " line-4 (primary) and 2 more. Of the groups where it is verified the one that was made first decides, which "
        "is line-0: devices below it come in through that one, and none through here."
    )
