from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import Conflict, Forbidden, NotFound, PreconditionFailed, Refusal
from moorage.hub.model import Twin
from moorage.identities.credentials import Presented
from moorage.identities.model import ByThumbprint
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, ETag, IdentityName, RegistrationId, Secret
from moorage.provisioning.attestation import Claim
from moorage.provisioning.drafts import CertificatesDraft
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.model import CustomAllocation, HubChoice, Reprovisioning
from moorage.provisioning.registrations import failure_of
from tests.certs import device, root, self_signed

from .world import HOST, SCOPE, MemoryHubs, World, shows

PUMP = RegistrationId("pump-01")
CLAIM = Claim(SCOPE, PUMP)


def twin(world: World, device_id: str = "pump-01") -> Twin:
    found = world.store.read().twins.find(DEFAULT_HUB, IdentityName(DeviceId(device_id)))
    assert found is not None
    return found


async def test_the_first_answer_is_assigning_and_is_on_disk(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    answer = await world.registrations.register(CLAIM, shows(leaf))
    assert answer.registration.status == "assigning"
    stored = world.registrations.get(PUMP)
    assert stored.operation_id == answer.registration.operation_id
    done = await world.registrations.poll(CLAIM, stored.operation_id, shows(leaf))
    assert (done.registration.status, done.registration.substatus) == ("assigned", "initialAssignment")


async def test_what_a_dead_process_left_assigning_is_taken_up_by_the_next_poll(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    done = await world.register("pump-01", shows(leaf))
    left = replace(done, status="assigning", assigned_hub=None, device_id=None, substatus=None)
    await world.store.write(lambda tables: tables.registrations.put(left))
    other = world.new_process()
    answer = await other.poll(CLAIM, left.operation_id, shows(leaf))
    assert answer.registration.status == "assigned"
    await other.aclose()


async def test_an_operation_is_known_by_its_id_alone_and_forgotten_with_its_registration(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    registration = await world.register("pump-01", shows(leaf))
    for operation_id in ("", "4.0.0", registration.operation_id + "0"):
        with pytest.raises(NotFound) as caught:
            await world.registrations.poll(CLAIM, operation_id, shows(leaf))
        assert caught.value.reason == "operation.unknown"
    await world.registrations.delete(PUMP, by="tests")
    with pytest.raises(NotFound):
        await world.registrations.poll(CLAIM, registration.operation_id, shows(leaf))
    assert (await world.register("pump-01", shows(leaf))).version < registration.version + 3


async def test_a_poll_is_judged_as_a_registration_is(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    registration = await world.register("pump-01", shows(leaf))
    with pytest.raises(Refusal) as stranger:
        await world.registrations.poll(CLAIM, registration.operation_id, shows(self_signed("pump-02")))
    assert stranger.value.reason == "attestation.thumbprint"
    await world.enroll("pump-01", leaf.certificate, if_match=ANY, status="disabled")
    with pytest.raises(Forbidden):
        await world.registrations.poll(CLAIM, registration.operation_id, shows(leaf))


async def test_many_registrations_of_one_device_at_once_are_one_and_none_is_refused(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    done = await asyncio.gather(*(world.register("pump-01", shows(leaf)) for _ in range(20)))
    assert {registration.status for registration in done} == {"assigned"}
    assert len({registration.operation_id for registration in done}) == 1
    # Twenty requests that come together are one operation: opened once and closed once.
    assert world.registrations.get(PUMP).version == 2


async def test_a_second_spelling_that_comes_at_the_same_time_is_refused(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    both = await asyncio.gather(
        world.register("pump-01", shows(device(ca, "pump-01"))),
        world.register("PUMP-01", shows(device(ca, "PUMP-01"))),
        return_exceptions=True,
    )
    refusals = [each for each in both if isinstance(each, Refusal)]
    assert [(type(each), each.reason) for each in refusals] == [(Conflict, "registration.case_conflict")]


async def test_a_roll_of_an_individual_through_both_slots_refuses_nobody(world: World) -> None:
    old, new = self_signed("pump-01"), self_signed("pump-01-new")
    await world.enroll("pump-01", old.certificate)
    done: dict[str, asyncio.Queue[str]] = {"old": asyncio.Queue(), "new": asyncio.Queue()}

    async def insist(name: str, presented: Presented, stop: asyncio.Event) -> None:
        while not stop.is_set():
            done[name].put_nowait((await world.register("pump-01", presented)).status)

    async def more(*names: str) -> None:
        """Both devices begin and end a registration after now."""
        for name in names:
            while not done[name].empty():
                done[name].get_nowait()
            assert [await done[name].get(), await done[name].get()] == ["assigned", "assigned"]

    old_stops, new_stops = asyncio.Event(), asyncio.Event()
    with_old = asyncio.create_task(insist("old", shows(old), old_stops))
    await more("old")
    await world.enroll("pump-01", old.certificate, new.certificate, if_match=ANY)
    with_new = asyncio.create_task(insist("new", shows(new), new_stops))
    await more("old", "new")
    await world.enroll("pump-01", new.certificate, old.certificate, if_match=ANY)
    await more("old", "new")
    old_stops.set()
    await with_old
    await world.enroll("pump-01", new.certificate, if_match=ANY)
    await more("new")
    new_stops.set()
    await with_new
    identity = world.identity("pump-01")
    assert identity is not None
    assert identity.authentication == ByThumbprint(new.certificate.sha256, None)


async def test_a_roll_of_a_groups_ca_through_both_slots_refuses_nobody(world: World) -> None:
    old, new = root(), root("New Root")
    leaves = (device(old, "pump-01"), device(new, "pump-01", label="new"))
    await world.enroll_group("line-7", old.certificate)
    await world.register("pump-01", shows(leaves[0]))
    for certificates in ((old.certificate, new.certificate), (new.certificate, old.certificate)):
        await world.enroll_group("line-7", *certificates, if_match=ANY)
        done = await asyncio.gather(*(world.register("pump-01", shows(leaf)) for leaf in leaves * 3))
        assert {registration.status for registration in done} == {"assigned"}
    await world.enroll_group("line-7", new.certificate, if_match=ANY)
    assert (await world.register("pump-01", shows(leaves[1]))).status == "assigned"
    with pytest.raises(Refusal):
        await world.register("pump-01", shows(leaves[0]))


async def test_the_initial_twin_is_written_once_and_again_by_a_reset(world: World) -> None:
    leaf = self_signed("pump-01")
    fields: dict[str, Any] = {"initial_tags": {"line": 7}, "initial_desired": {"rate": {"hz": 1}}}
    await world.enroll("pump-01", leaf.certificate, **fields)
    await world.register("pump-01", shows(leaf))
    assert (twin(world).tags, twin(world).desired.value) == ({"line": 7}, {"rate": {"hz": 1}})

    await world.enroll("pump-01", leaf.certificate, if_match=ANY, initial_desired={"rate": {"hz": 2}})
    again = await world.register("pump-01", shows(leaf))
    assert again.substatus == "initialAssignment"
    assert twin(world).desired.value == {"rate": {"hz": 1}}

    reset = Reprovisioning(update_hub_assignment=True, migrate_device_data=False)
    await world.enroll(
        "pump-01", leaf.certificate, if_match=ANY, initial_desired={"rate": {"hz": 2}}, reprovisioning=reset
    )
    assert (await world.register("pump-01", shows(leaf))).substatus == "deviceDataReset"
    assert (twin(world).tags, twin(world).desired.value) == ({}, {"rate": {"hz": 2}})


async def test_a_device_moves_to_another_hub_with_its_data_or_without_or_not_at_all() -> None:
    hubs = MemoryHubs((HubChoice(("east.example",)), HubChoice(("west.example",))))
    world = World(hubs)
    leaf = self_signed("pump-01")
    east, west = (("east.example", DeviceId("pump-01")), ("west.example", DeviceId("pump-01")))
    static: dict[str, Any] = {"allocation": "static", "initial_tags": {"first": True}}
    await world.enroll("pump-01", leaf.certificate, linked_hubs=("east.example",), **static)
    assert (await world.register("pump-01", shows(leaf))).assigned_hub == "east.example"

    never = Reprovisioning(False, False)
    await world.enroll(
        "pump-01", leaf.certificate, if_match=ANY, linked_hubs=("west.example",), reprovisioning=never, **static
    )
    assert (await world.register("pump-01", shows(leaf))).assigned_hub == "east.example"

    static["initial_tags"] = {"second": True}
    await world.enroll("pump-01", leaf.certificate, if_match=ANY, linked_hubs=("west.example",), **static)
    moved = await world.register("pump-01", shows(leaf))
    assert (moved.assigned_hub, moved.substatus) == ("west.example", "deviceDataMigrated")
    assert east not in hubs.devices
    assert hubs.devices[west].tags == {"first": True}

    reset = Reprovisioning(True, False)
    await world.enroll(
        "pump-01", leaf.certificate, if_match=ANY, linked_hubs=("east.example",), reprovisioning=reset, **static
    )
    assert (await world.register("pump-01", shows(leaf))).substatus == "deviceDataReset"
    assert hubs.devices[east].tags == {"second": True}
    assert west not in hubs.devices
    await world.close()


async def test_custom_allocation_is_kept_and_fails_in_the_registrations_state(world: World) -> None:
    leaf = self_signed("pump-01")
    hook = CustomAllocation(Secret("https://127.0.0.1:9/?code=open-sesame"), "2019-03-31")
    stored = await world.enroll("pump-01", leaf.certificate, allocation="custom", custom_allocation=hook)
    assert stored.custom_allocation == hook
    registration = await world.register("pump-01", shows(leaf))
    assert (registration.status, registration.error_code) == ("failed", 400207)
    failure = failure_of(registration)
    assert failure is not None
    assert failure.reason == "allocation.webhook_failed"
    assert "egress.not_allowed" in failure.message and "open-sesame" not in failure.message
    await world.enroll("pump-01", leaf.certificate, if_match=ANY)
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"


async def test_a_hub_that_does_not_take_the_device_fails_the_registration() -> None:
    hubs = MemoryHubs((HubChoice(("east.example",)),), refuses={DeviceId("pump-01")})
    world = World(hubs)
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    registration = await world.register("pump-01", shows(leaf))
    assert (registration.status, registration.error_code) == ("failed", 400209)
    assert registration.error_message == "twin.depth: a twin that nobody may hold"
    hubs.refuses.clear()
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"
    await world.close()


async def test_a_hub_that_is_busy_keeps_the_device_waiting_and_fails_nothing() -> None:
    hubs = MemoryHubs((HubChoice(("east.example",)),), busy=2)
    world = World(hubs)
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    answer = await world.registrations.register(CLAIM, shows(leaf))
    first = await world.registrations.poll(CLAIM, answer.registration.operation_id, shows(leaf))
    assert first.registration.status == "assigning"
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"
    await world.close()


async def test_no_linked_hub_fails_the_registration() -> None:
    world = World(MemoryHubs(()))
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    assert (await world.register("pump-01", shows(leaf))).error_code == 400208
    await world.close()


async def test_deleting_the_state_starts_afresh_and_leaves_the_device_on_its_hub(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    first = await world.register("pump-01", shows(leaf))
    with pytest.raises(PreconditionFailed):
        await world.registrations.delete(PUMP, if_match=ETag("stale"), by="tests")
    await world.registrations.delete(PUMP, if_match=first.etag, by="tests")
    with pytest.raises(NotFound) as gone:
        world.registrations.get(PUMP)
    assert gone.value.reason == "registration.unknown"
    assert world.identity("pump-01") is not None
    second = await world.register("pump-01", shows(leaf))
    assert second.operation_id != first.operation_id


async def test_a_device_looks_up_its_own_state(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    with pytest.raises(NotFound) as none_yet:
        await world.registrations.find_own(CLAIM, shows(leaf))
    assert none_yet.value.reason == "registration.unknown"
    await world.register("pump-01", shows(leaf))
    answer = await world.registrations.find_own(CLAIM, shows(leaf))
    assert answer.registration.assigned_hub == HOST


async def test_the_registrations_of_a_group_are_listed_and_an_unknown_group_is_refused(world: World) -> None:
    ca = root()
    await world.enroll_group("line-7", ca.certificate)
    for name in ("pump-02", "pump-01"):
        await world.register(name, shows(device(ca, name)))
    listed = await world.registrations.list_of_group(EnrollmentGroupId("LINE-7"), 10)
    assert [each.registration_id for each in listed] == ["pump-01", "pump-02"]
    with pytest.raises(NotFound):
        await world.registrations.list_of_group(EnrollmentGroupId("line-8"), 10)


async def test_an_enrollment_that_is_disabled_before_the_device_is_placed_stops_it(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    disabling = asyncio.create_task(world.enroll("pump-01", leaf.certificate, if_match=ANY, status="disabled"))
    await asyncio.sleep(0)
    # The credential is judged before the disabling is on disk, the registration is opened after it.
    with pytest.raises(Forbidden) as caught:
        await world.register("pump-01", shows(leaf))
    assert caught.value.reason == "enrollment.disabled"
    await disabling
    assert world.identity("pump-01") is None


async def changed_while_it_registers(world: World, changing: Coroutine[Any, Any, object], shown: Presented) -> None:
    """Have `changing` committed between the judgement of a device and the opening of its registration."""
    gate = threading.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.store.write(lambda _: gate.wait(30)))
        await asyncio.sleep(0)
        tasks.create_task(changing)
        await asyncio.sleep(0)
        asking = asyncio.create_task(world.registrations.register(CLAIM, shown))
        for _ in range(5):
            await asyncio.sleep(0)
        gate.set()
    await asking


async def test_a_certificate_that_is_taken_out_before_the_device_is_placed_places_it_no_more(world: World) -> None:
    stolen, fresh = self_signed("pump-01"), self_signed("pump-02")
    await world.enroll("pump-01", stolen.certificate)
    with pytest.raises(Refusal) as caught:
        await changed_while_it_registers(world, world.enroll("pump-01", fresh.certificate, if_match=ANY), shows(stolen))
    assert caught.value.reason == "attestation.thumbprint"
    assert world.registrations.find(PUMP) is None


async def test_an_enrollment_that_changes_while_a_device_registers_refuses_nobody_whom_it_still_lets_in(
    world: World,
) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", leaf.certificate)
    change = world.enroll("pump-01", leaf.certificate, if_match=ANY, initial_tags={"line": 7})
    await changed_while_it_registers(world, change, shows(leaf))
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"
    assert twin(world).tags == {"line": 7}


async def test_an_individual_enrollment_without_a_slot_can_be_given_one_later(world: World) -> None:
    leaf = self_signed("pump-01")
    await world.enroll("pump-01", attestation=CertificatesDraft())
    await world.enroll("pump-01", leaf.certificate, if_match=ANY)
    assert (await world.register("pump-01", shows(leaf))).status == "assigned"
