"""Show as code, run as it stands: what pages print does what their buttons do."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from moorage.accounts.model import OWNER
from moorage.adapters.sqlite.tables import AllTables
from moorage.fleet.model import DeviceDraft, DeviceRecord
from moorage.ids import DEFAULT_HUB, DeviceId, EnrollmentGroupId, RegistrationId, Secret
from moorage.pki.inputs import parse_certificate
from moorage.pki.issue import issue_verification
from moorage.protocols.mqtt.packets import Publish
from moorage.provisioning.drafts import signing_certificates
from moorage.provisioning.model import Attestation, ByClientCertificates, BySymmetricKey, ByTpm
from tests import certs
from tests.servers.world import World
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays

ROOT = certs.root("mytestrootcert")
PUMP = DeviceId("sample-device-01")


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """With the files that pages name, as somebody who makes certificates has them."""
    (shell.folder / "mytestrootcert_cert.pem").write_text(ROOT.certificate.pem)
    (shell.folder / "sampleDevice01_cert.pem").write_text(certs.self_signed(PUMP).certificate.pem)
    return shell


@replays(
    "POST /devices",
)
async def test_a_device_is_made_by_curl(world: World, shell: Shell) -> None:
    await shell.paste("/devices/new", "Create", "curl")
    assert world.app.application.fleet.get(OWNER, DeviceId("my-device-01")).state == "registered"


@replays(
    "POST /groups",
    "POST /groups/{group_id}",
    "POST /groups/{group_id}/{slot}/certificate",
    "POST /groups/{group_id}/{slot}/code",
    "POST /groups/{group_id}/{slot}/verify",
    "POST /groups/{group_id}/{slot}/remove",
    "POST /groups/{group_id}/delete",
)
async def test_a_group_is_proven_and_deleted_by_curl(world: World, browser: Browser, shell: Shell) -> None:
    language = "curl"
    group_id = EnrollmentGroupId("MyX509Group")
    await shell.paste("/groups/new", "Save", "Python")
    await shell.paste("/groups/MyX509Group", "Save", language)
    assert world.app.enrollments.get_group(group_id).status == "enabled"
    slot = "/groups/MyX509Group/primary"
    # The page does not know the file's name before the certificate is there.
    (shell.folder / "root_cert.pem").write_text(ROOT.certificate.pem)
    await shell.paste(slot, "Add certificate", language)
    said = await shell.paste(slot, "Generate verification code", language)
    code = re.findall("[0-9A-F]{48}", said)[0]
    proof = issue_verification(ROOT.certificate, ROOT.key, code, now=certs.NOW)
    (shell.folder / "verification_cert.pem").write_text(proof.pem)
    await shell.paste(slot, "Verify", language)
    group = world.app.enrollments.get_group(group_id)
    assert [signer.proof for _, signer in signing_certificates(group.attestation)] == ["possession"]
    await shell.paste(slot, "Remove", language)
    await shell.paste("/groups/MyX509Group", "Delete", language)
    assert world.app.store.read().groups.find(DEFAULT_HUB, group_id) is None


@replays(
    "POST /devices/{device_id}/connect",
    "POST /devices/{device_id}/connect/remove",
    "POST /devices/{device_id}/block",
    "POST /devices/{device_id}/unblock",
    "POST /devices/{device_id}/delete",
)
async def test_a_device_is_enrolled_blocked_and_deleted_by_python(world: World, shell: Shell) -> None:
    language = "Python"
    fleet = world.app.application.fleet
    await fleet.create(OWNER, DeviceDraft(PUMP))
    connect, acts = f"/devices/{PUMP}/connect", f"/devices/{PUMP}/code"
    assert world.app.info().id_scope in await shell.paste(connect, "Show credentials", language)

    def attestation() -> Attestation | None:
        found = world.app.store.read().individuals.find(DEFAULT_HUB, RegistrationId(PUMP))
        return None if found is None else found.attestation

    keys = {"PRIMARY_KEY": "Zmlyc3Rfa2V5" * 3, "SECONDARY_KEY": "c2Vjb25kYXJ5" * 3}
    shell.environment |= {**keys, "ENDORSEMENT_KEY": "AToAAQALAAMAsgAg" * 16}
    certificate = parse_certificate((shell.folder / "sampleDevice01_cert.pem").read_bytes())
    individual = f"{connect}?type=individual&method="
    await shell.paste(f"{individual}x509", "Save a primary certificate", language)
    assert attestation() == ByClientCertificates(certificate, None)
    await shell.paste(f"{individual}x509", "Save a secondary certificate", "curl")
    assert attestation() == ByClientCertificates(certificate, certificate)
    await shell.paste(f"{individual}symmetricKey", "Save", language)
    made = attestation()
    assert isinstance(made, BySymmetricKey)
    await shell.paste(f"{individual}symmetricKey", "Save", "curl")
    assert attestation() == BySymmetricKey(*map(Secret, keys.values()))
    await shell.paste(f"{individual}tpm", "Save", "curl")
    assert attestation() == ByTpm(shell.environment["ENDORSEMENT_KEY"], None)
    await shell.paste(connect, "Remove individual enrollment", language)
    assert attestation() is None

    assert PUMP in await shell.paste(acts, "Show device", language)
    await shell.paste(acts, "Block", language)
    assert fleet.get(OWNER, PUMP).state == "blocked"
    await shell.paste(acts, "Unblock", language)
    assert fleet.get(OWNER, PUMP).state == "registered"
    await shell.paste(acts, "Delete", language)
    assert await fleet.list(OWNER) == []


@replays(
    "POST /device-templates/{template_id}/publish",
    "POST /device-templates/{template_id}/delete",
)
async def test_a_template_is_published_exported_and_deleted(world: World, browser: Browser, shell: Shell) -> None:
    thermostat = "dtmi:com:example:Thermostat;1"
    page = await browser.submit("/device-templates/from-folder", {"model_id": thermostat})
    here = page.url.raw_path.decode()
    templates = world.app.application.templates
    for language in ("curl", "Python"):
        # What is published while the draft is there takes its place: the page is the same for both.
        await shell.paste(f"{here}/publish", "Publish", language)
    template_id = templates.published_for_model(thermostat)
    assert template_id
    assert thermostat in await shell.paste(here, "Export", "Python")
    await shell.paste(here, "Delete", "curl")
    assert templates.find(template_id) is None


@replays("POST /devices/{device_id}/approve")
async def test_a_command_is_run_and_a_device_that_waits_is_approved_by_curl(world: World, shell: Shell) -> None:
    device = await world.connect("pump-01", await world.create_pinned("pump-01"))
    await device.subscribe("$iothub/methods/POST/#", qos=0)
    asking = asyncio.create_task(shell.paste("/devices/pump-01/code", "Command: reboot", "curl"))
    call = await device.expect(Publish)
    request_id = call.topic.decode().partition("$rid=")[2]
    device.publish(f"$iothub/methods/res/200/?$rid={request_id}", b'{"ok": true}')
    assert json.loads(await asking)["response"] == {"ok": True}

    def waits(tables: AllTables) -> None:
        tables.devices.put(DeviceRecord(DEFAULT_HUB, PUMP, PUMP, world.clock.now(), is_approved=False))

    await world.app.store.write(waits)
    await shell.paste(f"/devices/{PUMP}/code", "Approve", "curl")
    assert world.app.application.fleet.get(OWNER, PUMP).state == "registered"
