"""Custom allocation: what a hook is asked, what it may answer, and what becomes of a device when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from moorage.adapters.egress import Egress
from moorage.adapters.egress_policy import AllowList
from moorage.adapters.webhook import Webhooks
from moorage.dialects.dps_allocation import WebhookAllocator
from moorage.errors import Exhausted, NotFound
from moorage.hub.model import Twin
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, RegistrationId, Secret
from moorage.provisioning.attestation import Claim
from moorage.provisioning.enrollments import ANY
from moorage.provisioning.linked_hubs import LinkedHubDraft
from moorage.provisioning.model import BySymmetricKey, CustomAllocation, Registration, Reprovisioning
from moorage.provisioning.registrations import MAX_UNFINISHED, failure_of
from tests.callees import Callee, Received, Respond, answer, callee, server_root
from tests.certs import device, root, self_signed

from .world import HOST, SCOPE, World, shows

LEAF = self_signed("pump-01")
PUMP = RegistrationId("pump-01")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with callee(answer()) as some:
        bundle = some.ca_bundle
    assert server_root().certificate.pem == bundle.read_text()
    world = World(egress=Egress(AllowList.of(["127.0.0.0/8"]), ca_bundle=bundle))
    yield world
    await world.close()


def says(document: Any, status: int = 200) -> Respond:
    return answer(status, json.dumps(document).encode())


def hook(server: Callee) -> dict[str, Any]:
    url = Secret(f"{server.url}/allocate?code=open-sesame")
    return {"allocation": "custom", "custom_allocation": CustomAllocation(url, "2021-10-01")}


async def provision(world: World, server: Callee, payload: Any = None, **fields: Any) -> Registration:
    try:
        world.enrollments.get_individual(PUMP)
        if_match: Any = ANY
    except NotFound:
        if_match = None
    await world.enroll("pump-01", LEAF.certificate, if_match=if_match, **{**hook(server), **fields})
    return await world.register("pump-01", shows(LEAF), payload=payload)


def twin(world: World) -> Twin:
    found = world.store.read().twins.find(DEFAULT_HUB, IdentityName(DeviceId("pump-01")))
    assert found is not None
    return found


def asked(server: Callee) -> Any:
    return json.loads(server.received[-1].body)


async def test_an_individual_enrollment_is_shown_to_the_hook_without_its_secrets(world: World) -> None:
    async with callee(says({"iotHubHostName": HOST})) as server:
        done = await provision(world, server, device_id=DeviceId("named"))
    assert (done.status, done.device_id, done.payload) == ("assigned", "named", None)
    document = asked(server)
    assert set(document) == {"individualEnrollment", "deviceRuntimeContext", "linkedHubs"}
    assert document["individualEnrollment"]["registrationId"] == "pump-01"
    assert document["linkedHubs"] == [HOST]
    assert "payload" not in document["deviceRuntimeContext"]
    (received,) = server.received
    assert (received.method, received.target) == ("POST", "/allocate?code=open-sesame")
    assert received.headers["content-type"].startswith("application/json")
    assert b"open-sesame" not in received.body


async def test_a_device_with_a_key_is_shown_without_it(world: World) -> None:
    async with callee(says({"iotHubHostName": HOST})) as server:
        stored = await world.enroll("pump-01", **hook(server))
        assert isinstance(stored.attestation, BySymmetricKey)
        await world.register("pump-01", world.token("pump-01", stored.attestation.primary))
    assert asked(server)["deviceRuntimeContext"] == {"registrationId": "pump-01", "symmetricKey": {}}
    assert stored.attestation.primary.reveal().encode() not in server.received[0].body


@pytest.mark.parametrize("payload", [{"a": [1, None]}, "text", 7, [1], False])
async def test_what_the_device_sends_goes_to_the_hook_and_is_not_kept(world: World, payload: Any) -> None:
    async with callee(says({"iotHubHostName": HOST, "payload": payload})) as server:
        done = await provision(world, server, payload)
    assert asked(server)["deviceRuntimeContext"]["payload"] == payload
    assert (done.payload, done.request_payload) == (payload, None)


async def test_what_a_device_sends_where_no_hook_is_asked_is_not_kept_even_meanwhile(world: World) -> None:
    await world.enroll("pump-01", LEAF.certificate)
    opened = await world.registrations.register(Claim(SCOPE, PUMP), shows(LEAF), {"model": "toaster"})
    assert opened.registration.request_payload is None


async def test_the_hooks_twin_is_for_a_new_device_and_for_a_reset(world: World) -> None:
    said = {"iotHubHostName": HOST, "initialTwin": {"tags": {"by": "hook"}, "properties": {"desired": {"n": 1}}}}
    initial: dict[str, Any] = {"initial_tags": {"by": "enrollment"}}
    async with callee(says(said)) as server:
        await provision(world, server, **initial)
        assert (twin(world).tags, twin(world).desired.value) == ({"by": "hook"}, {"n": 1})
    said["initialTwin"] = {"tags": {"by": "hook again"}}
    async with callee(says(said)) as server:
        await provision(world, server, **initial)
        assert twin(world).tags == {"by": "hook"}
        await provision(world, server, reprovisioning=Reprovisioning(True, False), **initial)
        assert (twin(world).tags, twin(world).desired.value) == ({"by": "hook again"}, {})
    async with callee(says({"iotHubHostname": HOST, "initialTwin": None})) as server:
        await provision(world, server, reprovisioning=Reprovisioning(True, False), **initial)
    assert twin(world).tags == {"by": "enrollment"}


async def test_a_device_that_never_moves_is_offered_its_own_hub_alone(world: World) -> None:
    key = "a" * 43 + "="
    text = Secret(f"HostName=west.example;SharedAccessKeyName=p;SharedAccessKey={key}")
    await world.linked.put(LinkedHubDraft(connection_string=text), by="tests")
    async with callee(says({"iotHubHostName": HOST})) as server:
        await provision(world, server)
        assert asked(server)["linkedHubs"] == [HOST, "west.example"]
        await provision(world, server, linked_hubs=("west.example", HOST, "gone.example"))
        assert asked(server)["linkedHubs"] == ["west.example", HOST]
        await provision(world, server, reprovisioning=Reprovisioning(False, False))
        document = asked(server)
    assert document["linkedHubs"] == [HOST]
    context = document["deviceRuntimeContext"]
    assert (context["currentIotHubHostName"], context["currentDeviceId"]) == (HOST, "pump-01")


# --- no ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (says({"iotHubHostName": "other.example"}), "allocation.webhook_hub"),
        (says({}), "allocation.webhook_hub"),
        (says({"iotHubHostName": None}), "allocation.webhook_hub"),
        (says({"iotHubHostName": 7}), "allocation.webhook_answer"),
        (says([HOST]), "allocation.webhook_answer"),
        (says({"iotHubHostName": HOST, "initialTwin": []}), "allocation.webhook_answer"),
        (says({"iotHubHostName": HOST, "initialTwin": {"tags": 1}}), "allocation.webhook_answer"),
        (answer(200, b"not json"), "allocation.webhook_answer"),
        (answer(200, b'{"iotHubHostName": ' + b"[" * 500), "allocation.webhook_answer"),
        (answer(200, b'"' + b"x" * 200_000 + b'"'), "allocation.webhook_failed"),
        (answer(204), "allocation.webhook_answer"),
        (says({"message": "no such device"}, 400), "allocation.webhook_failed"),
        (answer(401), "allocation.webhook_failed"),
        (answer(500), "allocation.webhook_failed"),
        (answer(302, b"", ("Location", "https://127.0.0.1/")), "allocation.webhook_failed"),
    ],
)
async def test_an_answer_that_places_nobody_fails_the_registration(world: World, respond: Respond, reason: str) -> None:
    async with callee(respond) as server:
        failed = await provision(world, server)
    failure = failure_of(failed)
    assert (failed.status, failed.error_code) == ("failed", 400207)
    assert failure is not None and failure.reason == reason
    assert "open-sesame" not in (failed.error_message or "")
    async with callee(says({"iotHubHostName": HOST})) as server:
        assert (await provision(world, server)).status == "assigned"


async def test_a_twin_that_no_twin_may_hold_fails_the_registration(world: World) -> None:
    async with callee(says({"iotHubHostName": HOST, "initialTwin": {"tags": {"a.b": 1}}})) as server:
        failed = await provision(world, server)
    assert (failed.status, failed.error_code) == ("failed", 400209)
    assert failed.error_message is not None and failed.error_message.startswith("twin.key")


async def test_nobody_listens_and_nobody_may_be_asked(world: World) -> None:
    async with callee(answer()) as server:
        pass
    failed = await provision(world, server)
    assert failed.error_message is not None and "egress.unreachable" in failed.error_message
    world.allocator = WebhookAllocator(Webhooks(Egress(), answer_bytes=1000).post)
    world.registrations = world.new_process()
    failed = await provision(world, server)
    assert failed.error_message is not None and "egress.not_allowed" in failed.error_message


async def test_a_slow_hook_keeps_its_device_waiting_and_nobody_else(world: World) -> None:
    gate = asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await says({"iotHubHostName": HOST})(received, writer)

    async with callee(slow) as server:
        await world.enroll("pump-01", LEAF.certificate, **hook(server))
        claim = Claim(SCOPE, PUMP)
        opened = await world.registrations.register(claim, shows(LEAF))
        other = self_signed("pump-02")
        await world.enroll("pump-02", other.certificate)
        assert (await world.register("pump-02", shows(other))).status == "assigned"
        waiting = await world.registrations.poll(claim, opened.registration.operation_id, shows(LEAF))
        assert waiting.registration.status == "assigning"
        gate.set()
        while waiting.registration.status == "assigning":
            waiting = await world.registrations.poll(claim, opened.registration.operation_id, shows(LEAF))
    assert waiting.registration.status == "assigned"
    assert len(server.received) == 1


async def test_a_hook_that_never_answers_is_given_up(world: World) -> None:
    async def never(_received: Received, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    world.allocator = WebhookAllocator(Webhooks(world.egress, answer_bytes=1000, total_s=0.1).post)
    world.registrations = world.new_process()
    async with callee(never) as server:
        failed = await provision(world, server)
    assert failed.error_message is not None and "egress.timeout" in failed.error_message


async def test_so_many_hooks_are_asked_at_once_and_the_others_wait_their_turn(world: World) -> None:
    most = now = 0
    full = asyncio.Event()

    async def count(received: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        async with asyncio.timeout(30):
            await full.wait()
        await asyncio.sleep(0.01)
        now -= 1
        await says({"iotHubHostName": HOST})(received, writer)

    world.allocator = WebhookAllocator(Webhooks(world.egress, answer_bytes=1000).post, at_once=3)
    world.registrations = world.new_process()
    async with callee(count) as server:
        group = await world.enroll_group("line-7", **hook(server))
        assert isinstance(group.attestation, BySymmetricKey)
        master = group.attestation.primary
        names = [f"pump-{number}" for number in range(12)]
        done = await asyncio.gather(*(world.register(name, world.derived(name, master)) for name in names))
    assert {each.status for each in done} == {"assigned"}
    assert most == 3 and len(server.received) == 12


async def test_what_a_process_left_behind_is_asked_again_with_what_the_device_had_sent(world: World) -> None:
    was_asked = asyncio.Event()

    async def hangs(_received: Received, _writer: asyncio.StreamWriter) -> None:
        was_asked.set()
        await asyncio.sleep(60)

    claim = Claim(SCOPE, PUMP)
    async with callee(hangs) as server:
        await world.enroll("pump-01", LEAF.certificate, **hook(server))
        opened = await world.registrations.register(claim, shows(LEAF), {"model": "toaster"})
        await was_asked.wait()
        # It ends while the hook is being asked: broken off, and told to nobody.
        await world.registrations.aclose()
    assert world.registrations.get(PUMP).status == "assigning"

    async with callee(says({"iotHubHostName": HOST})) as server:
        await world.enroll("pump-01", LEAF.certificate, if_match=ANY, **hook(server))
        world.registrations = world.new_process()
        registration = opened.registration
        while registration.status == "assigning":
            polled = await world.registrations.poll(claim, registration.operation_id, shows(LEAF))
            registration = polled.registration
    assert registration.status == "assigned"
    assert asked(server)["deviceRuntimeContext"]["payload"] == {"model": "toaster"}


class SlowHook:
    """Says where the device goes once it may; `asked` tells that somebody waits for it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self._says = says({"iotHubHostName": HOST})

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.may_answer.wait()
        await self._says(received, writer)


@pytest.mark.parametrize("change", ["deleted", "disabled", "other certificate"])
async def test_a_hook_that_answers_late_places_nobody_whose_enrollment_was_taken_back(
    world: World, change: str
) -> None:
    slow = SlowHook()
    async with callee(slow) as server:
        await world.enroll("pump-01", LEAF.certificate, **hook(server))
        await world.registrations.register(Claim(SCOPE, PUMP), shows(LEAF))
        await slow.asked.wait()
        if change == "deleted":
            await world.enrollments.delete_individual(PUMP, if_match=ANY, by="tests")
        elif change == "disabled":
            await world.enroll("pump-01", LEAF.certificate, if_match=ANY, status="disabled", **hook(server))
        else:
            await world.enroll("pump-01", self_signed("pump-01").certificate, if_match=ANY, **hook(server))
        slow.may_answer.set()
        await world.registrations.aclose()
    assert world.identity("pump-01") is None
    left = world.registrations.find(PUMP)
    assert left is None or left.status != "assigned"


async def test_an_enrollment_that_changed_meanwhile_is_asked_again_and_refuses_nobody(world: World) -> None:
    slow = SlowHook()
    async with callee(slow) as server:
        await world.enroll("pump-01", LEAF.certificate, **hook(server))
        claim = Claim(SCOPE, PUMP)
        begun = (await world.registrations.register(claim, shows(LEAF))).registration
        await slow.asked.wait()
        await world.enroll("pump-01", LEAF.certificate, if_match=ANY, initial_tags={"new": "yes"}, **hook(server))
        slow.may_answer.set()
        while begun.status == "assigning":
            begun = (await world.registrations.poll(claim, begun.operation_id, shows(LEAF))).registration
    assert begun.status == "assigned"
    assert twin(world).tags == {"new": "yes"}


async def test_who_registers_after_its_state_was_deleted_does_not_wait_for_what_is_forgotten(world: World) -> None:
    slow = SlowHook()
    async with callee(slow) as server:
        await world.enroll("pump-01", LEAF.certificate, **hook(server))
        claim = Claim(SCOPE, PUMP)
        first = (await world.registrations.register(claim, shows(LEAF))).registration
        await slow.asked.wait()
        await world.registrations.delete(PUMP, by="tests")
        again = asyncio.create_task(world.register("pump-01", shows(LEAF)))
        await asyncio.sleep(0)
        slow.may_answer.set()
        done = await again
    assert done.status == "assigned" and done.operation_id != first.operation_id


async def test_a_device_that_asks_with_two_certificates_in_turn_is_placed_by_each_and_has_no_endless_queue(
    world: World,
) -> None:
    ca, slow = root(), SlowHook()
    leaves = [device(ca, "pump-01"), device(ca, "pump-01", label="renewed")]
    async with callee(slow) as server:
        await world.enroll_group("line-7", ca.certificate, **hook(server))
        claim = Claim(SCOPE, PUMP)
        asking = [
            asyncio.create_task(world.registrations.register(claim, shows(each))) for each in leaves * MAX_UNFINISHED
        ]
        async with asyncio.timeout(30):
            # As long as the hook says nothing, they pile up until there is no room for more.
            while not any(each.done() and isinstance(each.exception(), Exhausted) for each in asking):  # noqa: ASYNC110  # one of many
                await asyncio.sleep(0.001)
        slow.may_answer.set()
        done = await asyncio.gather(*asking, return_exceptions=True)
        refused = [each for each in done if isinstance(each, BaseException)]
        # Who shows the certificate of the last that waits, waits for that one; the others are sent away.
        assert {type(each) for each in refused} == {Exhausted}
        # Nobody is locked out by it.
        assert (await world.register("pump-01", shows(leaves[1]))).status == "assigned"
        first, second = (json.loads(each.body)["deviceRuntimeContext"]["x509"] for each in server.received[:2])
        assert first != second
        assert len(server.received) <= MAX_UNFINISHED + 1
