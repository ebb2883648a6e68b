from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId
from moorage.provisioning.attestation import Groups
from moorage.provisioning.group_cache import GroupCache
from moorage.provisioning.model import ProvisioningTables
from moorage.store import Store
from tests.certs import NOW, root

from .world import World

R = TypeVar("R")


class HeldStore:
    """The store, but what a scan has read is handed over only when `release` is set."""

    def __init__(self, store: Store[ProvisioningTables]) -> None:
        self._store = store
        self.has_read, self.release = asyncio.Event(), asyncio.Event()
        self.scans = 0

    def read(self) -> ProvisioningTables:
        return self._store.read()

    async def scan(self, work: Callable[[ProvisioningTables], R]) -> R:
        self.scans += 1
        result = await self._store.scan(work)
        self.has_read.set()
        await self.release.wait()
        return result

    async def write(self, work: Callable[[ProvisioningTables], R]) -> R:
        return await self._store.write(work)


def names(groups: Groups) -> set[str]:
    return {signer.group.group_id for signer in groups.signers} | {group.group_id for group, _ in groups.key_groups}


async def test_groups_are_read_again_only_after_a_change(world: World) -> None:
    store = HeldStore(world.store)
    store.release.set()
    cache = GroupCache(DEFAULT_HUB, store, world.bus)
    assert names(await cache.get()) == set()
    await world.enroll_group("by-key")
    assert names(await cache.get()) == {"by-key"}
    await world.enroll("pump-01")
    await cache.get()
    assert store.scans == 2
    await world.enroll_group("line-7", root().certificate, vouched=False)
    assert names(await cache.get()) == {"by-key", "line-7"}
    await world.enrollments.delete_group(EnrollmentGroupId("by-key"), if_match=None, by="tests")
    assert names(await cache.get()) == {"line-7"}
    await world.cas.upload(DEFAULT_HUB, "dps", CAName("plant"), root().certificate.pem, NOW, by="test")
    assert [ca.name for ca in (await cache.get()).authorities] == ["plant"]
    cache.close()


async def test_what_was_read_before_a_change_is_not_kept_after_it(world: World) -> None:
    store = HeldStore(world.store)
    cache = GroupCache(DEFAULT_HUB, store, world.bus)
    reading = asyncio.create_task(cache.get())
    await store.has_read.wait()
    await world.enroll_group("line-7", root().certificate)
    store.release.set()
    assert names(await reading) == set()
    assert names(await cache.get()) == {"line-7"}
    cache.close()
