"""What new devices are told of their properties, on a running hub (DTDL-7, W-4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from moorage.accounts.model import OWNER
from moorage.fleet.model import DeviceDraft, TemplateId
from moorage.fleet.template_model import make_content
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, IdentityName, IdScope, RegistrationId
from moorage.provisioning.attestation import Claim
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft
from tests import certs
from tests.servers.world import eventually, running
from tests.unit.dtdl.models import component, interface, telemetry
from tests.unit.provisioning.world import shows

OVEN = TemplateId("dtmi:example:Oven;1")
PLAIN = TemplateId("dtmi:example:Plain;1")


def initialized(name: str, value: object, *types: str, schema: str = "double") -> dict[str, object]:
    kind = ["Property", "Initialized", *types]
    return {"@type": kind, "name": name, "schema": schema, "initialValue": value, "writable": "Cloud" not in types}


async def test_a_new_device_is_told_the_initial_values_that_nobody_has_set(tmp_path: Path) -> None:
    part = interface(initialized("limit", 3.5), telemetry(), name="Part")
    oven = interface(
        initialized("target", 21.5),
        initialized("site", "Bergen", "Cloud", schema="string"),
        initialized("owner", "nobody", "Cloud", schema="string"),
        component("door", part),
        name="Oven",
    )
    async with running(tmp_path / "hub") as world:
        application, first = world.app.application, DeviceId("oven-1")
        await application.templates.put_published(OWNER, OVEN, make_content("Oven", "", oven))
        await application.templates.put_published(OWNER, PLAIN, make_content("Plain", "", interface(telemetry())))
        for name, template in (("oven-1", OVEN), ("plain-1", PLAIN), ("none-1", TemplateId(""))):
            await application.fleet.create(OWNER, DeviceDraft(DeviceId(name), template=template))
        # Set before the device came, also where a template begins with another value.
        await application.properties.set(OWNER, first, {"door": {"limit": 9}})
        await application.properties.patch(OWNER, DeviceId("none-1"), {"rate": 5})
        await application.fleet.set_cloud_properties(OWNER, first, {"owner": "Ada"})
        for name in ("none-1", "plain-1", "oven-1"):
            await world.create(name)

        def desired(name: str) -> object:
            return dict(world.twins.get(DEFAULT_HUB, IdentityName(DeviceId(name))).desired.value)

        await eventually(lambda: desired("oven-1") == {"target": 21.5, "door": {"__t": "c", "limit": 9}})
        assert application.fleet.cloud_properties(OWNER, first) == {"site": "Bergen", "owner": "Ada"}
        assert (desired("plain-1"), desired("none-1")) == ({}, {"rate": 5})
        version = world.twins.get(DEFAULT_HUB, IdentityName(first)).desired.version
        # What people set later is theirs.
        await application.properties.set(OWNER, first, {"": {"target": 30}})
        assert world.twins.get(DEFAULT_HUB, IdentityName(first)).desired.version == version + 1


async def test_a_device_that_registers_has_what_waited_for_it_in_its_first_twin(tmp_path: Path) -> None:
    """In the transaction that makes it: nothing is left for the background, and the first version is the only one."""
    async with running(tmp_path / "hub") as world:
        application, root, oven = world.app.application, certs.root("Plant"), DeviceId("oven-1")
        draft = GroupDraft(
            group_id=EnrollmentGroupId("line-7"),
            attestation=CertificatesDraft(root.certificate),
            initial_desired={"rate": 1, "target": 2},
        )
        await world.app.enrollments.put_group(draft, if_match=None, by="tests", vouched=True)
        await application.fleet.create(OWNER, DeviceDraft(oven))
        await application.properties.patch(OWNER, oven, {"target": 30})
        written: list[int] = []
        world.app.bus.subscribe(lambda event: written.append(1) if event.kind == "twin.desired" else None)
        registrations, presented = application._services.registrations, shows(certs.device(root, "oven-1"))
        claim = Claim(IdScope(world.app.info().id_scope), RegistrationId("oven-1"))
        answer = await registrations.register(claim, presented, None)
        async with asyncio.timeout(30):
            while answer.registration.status == "assigning":
                answer = await registrations.poll(claim, answer.registration.operation_id, presented)
        assert answer.registration.status == "assigned"
        assert world.twins.get(DEFAULT_HUB, IdentityName(oven)).desired.value == {"rate": 1, "target": 30}
        assert written == []
