"""What an upload was begun with is judged again at every request for its blob: what ends it, and what does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from moorage.hub import upload_standing
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, Thumbprint
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft
from moorage.provisioning.enrollments import ANY, EnrollmentService
from moorage.provisioning.linked_hubs import LinkedHubService
from tests import certs
from tests.servers.test_device_http import VERSION, call, device
from tests.servers.test_uploads import Upload, code
from tests.servers.world import OTHER_KEY, World, running

NAME: Final = "pump-01"
GROUP: Final = EnrollmentGroupId("line-7")
PATIENCE_S: Final = 20.0

Act = Callable[[World], Awaitable[Any]]
# Registers the device; the certificate and the Authorization header with which it comes.
Arrival = Callable[[World], Awaitable[tuple[certs.Issued | None, str]]]

ROOT, OTHER_ROOT = certs.root(), certs.root(label="other")
PINNED, NEXT = certs.self_signed(NAME), certs.self_signed(NAME)


async def by_key(world: World) -> tuple[certs.Issued | None, str]:
    await world.create(NAME)
    return None, world.token(NAME).decode()


async def by_policy(world: World) -> tuple[certs.Issued | None, str]:
    await world.create(NAME)
    policy = world.policies.get(DEFAULT_HUB, "hub", "device")
    until = world.clock.now() + timedelta(hours=1)
    return None, make_token(f"localhost/devices/{NAME}", policy.primary, until, policy.name).reveal()


async def by_thumbprint(world: World) -> tuple[certs.Issued | None, str]:
    return await world.create_pinned(NAME, PINNED), ""


async def by_one_of_two_thumbprints(world: World) -> tuple[certs.Issued | None, str]:
    await world.create(NAME, ByThumbprint(*(Thumbprint(each.certificate.sha256) for each in (PINNED, NEXT))))
    return PINNED, ""


async def by_authority(world: World) -> tuple[certs.Issued | None, str]:
    return await world.create_by_authority(NAME, ca=ROOT), ""


async def by_group(world: World) -> tuple[certs.Issued | None, str]:
    await put_group(ROOT, is_new=True)(world)
    await world.create(NAME, ByAuthority(GROUP))
    return certs.device(ROOT, NAME), ""


def put_group(
    ca: certs.Issued, secondary: certs.Issued | None = None, *, status: Any = "enabled", is_new: bool = False
) -> Act:
    async def act(world: World) -> None:
        linked = LinkedHubService(DEFAULT_HUB, world.app.store, world.app.config.hostnames, world.clock)
        attestation = CertificatesDraft(ca.certificate, None if secondary is None else secondary.certificate)
        draft = GroupDraft(group_id=GROUP, attestation=attestation, status=status)
        enrollments = EnrollmentService(DEFAULT_HUB, world.app.store, linked, world.clock)
        await enrollments.put_group(draft, if_match=None if is_new else ANY, by="tests", vouched=True)

    return act


def switch(name: str) -> Act:
    return lambda world: world.policies.set_switches(DEFAULT_HUB, {name: True})


def pins(primary: certs.Issued) -> Act:
    return lambda world: world.update(NAME, authentication=ByThumbprint(Thumbprint(primary.certificate.sha256)))


def delete_ca(name: str = "plant") -> Act:
    return lambda world: world.certificates.delete(DEFAULT_HUB, "hub", CAName(name), by="tests", if_match=None)


def in_turn(*acts: Act) -> Act:
    async def act(world: World) -> None:
        for each in acts:
            await each(world)

    return act


async def made_anew(world: World) -> None:
    await world.delete(NAME)
    await world.create(NAME)


ENDS: Final[dict[str, tuple[Arrival, Act]]] = {
    "tokens of devices are switched off": (by_key, switch("disable_device_sas")),
    "and those of policies with them": (by_policy, switch("disable_device_sas")),
    "tokens of policies are switched off": (by_policy, switch("disable_local_auth")),
    "the key of the policy is rolled": (
        by_policy,
        lambda world: world.policies.roll_key(DEFAULT_HUB, "hub", "device", "primary"),
    ),
    "the policy is deleted": (by_policy, lambda world: world.policies.delete(DEFAULT_HUB, "hub", "device")),
    "another way to authenticate": (by_thumbprint, lambda world: world.update(NAME, authentication=ByAuthority())),
    "a certificate instead of a key": (by_key, pins(PINNED)),
    "the thumbprint is taken out": (by_one_of_two_thumbprints, pins(NEXT)),
    "the CA is deleted": (by_authority, delete_ca()),
    "the CA is deleted when another is there": (
        by_authority,
        in_turn(lambda world: world.upload(OTHER_ROOT, "other"), delete_ca()),
    ),
    "the group is disabled": (by_group, put_group(ROOT, status="disabled")),
    "the group is disabled after a roll": (
        by_group,
        in_turn(put_group(OTHER_ROOT), put_group(OTHER_ROOT, status="disabled")),
    ),
    "the group's CA is taken out behind another": (
        by_group,
        in_turn(put_group(ROOT, OTHER_ROOT), put_group(OTHER_ROOT)),
    ),
    "the device is disabled": (by_key, lambda world: world.set_status(NAME, "disabled")),
    "the device is another of its name": (by_key, made_anew),
}
STANDS: Final[dict[str, tuple[Arrival, Act]]] = {
    "tokens of policies are switched off": (by_key, switch("disable_local_auth")),
    "tokens of devices are switched off": (by_authority, switch("disable_device_sas")),
    "tokens of modules are switched off": (by_key, switch("disable_module_sas")),
    "the other key of the policy is rolled": (
        by_policy,
        lambda world: world.policies.roll_key(DEFAULT_HUB, "hub", "device", "secondary"),
    ),
    "the device's keys are rolled": (
        by_key,
        lambda world: world.update(NAME, authentication=BySharedKey(OTHER_KEY, OTHER_KEY)),
    ),
    "the thumbprint is replaced": (by_thumbprint, pins(NEXT)),
    "another CA is deleted": (
        by_authority,
        in_turn(lambda world: world.upload(OTHER_ROOT, "other"), delete_ca("other")),
    ),
    "the group's CA is replaced": (by_group, put_group(OTHER_ROOT)),
}


async def begun(stack: AsyncExitStack, world: World, arrive: Arrival) -> Upload:
    """With its first block there."""
    issued, credential = await arrive(world)
    http = await stack.enter_async_context(device(world, issued))
    header = f"Authorization: {credential}"
    answer = await call(http, "POST", f"/devices/{NAME}/files{VERSION}", header, body=b'{"blobName": "a"}')
    assert answer.status == 200, answer.body
    upload = Upload(world, http, json.loads(answer.body), NAME)
    assert (await upload.put_block("one", b"1")).status == 201
    return upload


async def has_ended(upload: Upload) -> None:
    """At the latest when the change was heard of; and for whatever a client may ask."""
    async with asyncio.timeout(PATIENCE_S):
        while (await upload.put_block("two", b"2")).status == 201:  # noqa: ASYNC110  # only an answer tells
            await asyncio.sleep(0.01)
    for answer in (await upload.put_block("two", b"2"), await upload.commit("one"), await upload.put(b"whole")):
        assert code(answer) == (403, "AuthenticationFailed")


async def is_heard(world: World) -> None:
    """Every event so far was handed to whoever listens."""
    heard: list[object] = []
    end = world.app.bus.subscribe(heard.append)
    await world.set_status("witness", "disabled")
    async with asyncio.timeout(PATIENCE_S):
        while not any(getattr(event, "subject", "") == "witness" for event in heard):  # noqa: ASYNC110  # bounded above
            await asyncio.sleep(0.01)
    end()


@pytest.mark.parametrize(("arrive", "act"), ENDS.values(), ids=ENDS)
async def test_what_cuts_a_session_ends_its_uploads(world: World, arrive: Arrival, act: Act) -> None:
    async with AsyncExitStack() as stack:
        upload = await begun(stack, world, arrive)
        world.clock.advance(1)
        await act(world)
        await has_ended(upload)
    assert await world.app.uploads.files("", "", 1) == []


@pytest.mark.parametrize(("arrive", "act"), STANDS.values(), ids=STANDS)
async def test_a_roll_and_what_is_about_others_ends_no_upload(world: World, arrive: Arrival, act: Act) -> None:
    await world.create("witness")
    async with AsyncExitStack() as stack:
        upload = await begun(stack, world, arrive)
        world.clock.advance(1)
        await act(world)
        await is_heard(world)
        assert (await upload.put_block("two", b"2")).status == 201
        assert (await upload.commit("one", "two")).status == 201


@pytest.mark.parametrize("is_removed", [True, False])
async def test_a_restart_forgets_nothing_that_was_removed(tmp_path: Path, is_removed: bool) -> None:
    async with running(tmp_path / "hub") as world, AsyncExitStack() as stack:
        document = (await begun(stack, world, by_authority)).document
        if is_removed:
            await delete_ca()(world)
    world.clock.advance(1)
    async with running(tmp_path / "hub", clock=world.clock) as after, device(after) as http:
        upload = Upload(after, http, document, NAME)
        assert (await upload.commit("one")).status == (403 if is_removed else 201)


async def test_a_memory_of_removals_that_is_full_forgets_no_removal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_standing, "MAX_REMOVED", 1)
    async with AsyncExitStack() as stack:
        upload = await begun(stack, world, by_authority)
        await world.upload(OTHER_ROOT, "other")
        for name in ("plant", "other"):
            world.clock.advance(1)
            await delete_ca(name)(world)
        await has_ended(upload)
