"""With what a device may register, when it has no enrollment of its own."""

from __future__ import annotations

from moorage.fleet.credentials import DeviceCredentials
from moorage.identities.registry import IdentityRegistry
from moorage.ids import DEFAULT_HUB
from moorage.pki.waivers import NO_WAIVERS
from moorage.provisioning.default_groups import DEVICES
from tests.certs import root
from tests.unit.fleet.fleets import fleet_of


async def test_keys_come_from_another_group_where_the_default_one_has_certificates() -> None:
    async with fleet_of() as fleet:
        record = (await fleet.add("pump")).record
        registry = IdentityRegistry(fleet.store)
        credentials = DeviceCredentials(
            DEFAULT_HUB, fleet.store, fleet.world.enrollments, registry, fleet.clock, lambda: NO_WAIVERS
        )
        assert await credentials.derived(record) is None
        await fleet.world.enroll_group("line-7")
        await fleet.world.enroll_group(DEVICES, root("Company-X").certificate)
        keys = await credentials.derived(record)
        assert keys is not None
        assert keys.group_id == "line-7"
