"""Connect: keys that a group gives, and a device's own enrollment (contract/central.md 4.2 to 4.5)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from moorage.accounts.model import OWNER, Role
from moorage.fleet.model import DeviceDraft
from moorage.hub_info import HubInfo
from moorage.ids import DEFAULT_HUB, DeviceId, RegistrationId, Secret
from moorage.pki.pfx import write_pfx
from moorage.provisioning.attestation import derive_key
from moorage.provisioning.default_groups import DEVICES
from moorage.provisioning.model import ByClientCertificates, BySymmetricKey
from moorage.web.samples import edge_config, sample_variables
from tests import certs
from tests.servers.world import World
from tests.web.browser import Browser, text_of

PUMP = DeviceId("sample-device-01")
PRIMARY, SECONDARY = (certs.self_signed(name) for name in ("mytestselfcertprimary", "mytestselfcertsecondary"))
HERE = "/devices/sample-device-01/connect"


@pytest.fixture
async def device(world: World) -> DeviceId:
    await world.app.application.fleet.create(OWNER, DeviceDraft(PUMP))
    return PUMP


def held(world: World) -> tuple[object, object]:
    found = world.app.store.read().individuals.find(DEFAULT_HUB, RegistrationId(PUMP))
    if found is None:
        return None, None
    assert isinstance(found.attestation, ByClientCertificates)
    return found.attestation.primary, found.attestation.secondary


async def save(browser: Browser, method: str = "x509", **more: object) -> httpx.Response:
    page = await browser.open(HERE, type="individual", method=method)
    fields = {"etag": re.findall(r'name="etag" value="([^"]*)"', page.text)[0], "method": method}
    files = {name: ("c.pem", pem) for name, pem in more.items() if isinstance(pem, bytes)}
    fields |= {name: text for name, text in more.items() if isinstance(text, str)}
    return await browser.submit(HERE, fields, files=files)


async def test_a_device_without_an_enrollment_gets_keys_of_the_default_group(
    world: World, browser: Browser, device: DeviceId
) -> None:
    page = await browser.open(HERE)
    words = text_of(page)
    for label in ("ID scope", "Device ID", "Authentication type", "Shared access signature (SAS)", "Primary key"):
        assert label in words
    group = world.app.enrollments.get_group(DEVICES)
    assert isinstance(group.attestation, BySymmetricKey)
    key = derive_key(group.attestation.primary, RegistrationId(PUMP)).reveal()
    assert f"<code>{key}</code>" in page.text
    assert f"IOTHUB_DEVICE_DPS_DEVICE_KEY={key}" in words
    assert '<svg viewBox="0 0 ' in page.text and 'class="qr"' in page.text
    assert world.app.info().id_scope in words


async def test_a_device_is_told_whom_to_trust_and_anybody_who_is_signed_in_has_the_file(
    world: World, browser: Browser, device: DeviceId
) -> None:
    page = await browser.open(HERE)
    assert "SSL_CERT_FILE" in text_of(page) and 'href="/ca-bundle.pem"' in page.text
    file = await browser.get("/ca-bundle.pem")
    assert file.headers["content-type"].startswith("application/x-pem-file")
    assert file.text == world.app.info().ca_bundle.read_text()


async def test_the_tutorials_individual_enrollment_holds_two_certificates(
    world: World, browser: Browser, device: DeviceId
) -> None:
    part = await browser.part(HERE, "connect", type="individual", method="x509")
    assert part.text.lstrip().startswith('<div id="connect"')
    assert "Authentication method" in text_of(part) and "Certificates (X.509)" in text_of(part)

    page = await save(browser, primary=PRIMARY.certificate.pem.encode(), secondary=SECONDARY.certificate.der)
    assert (page.status_code, page.url.path) == (200, HERE)
    assert held(world) == (PRIMARY.certificate, SECONDARY.certificate)
    printed = re.sub(r"\s", "", page.text)
    for issued in (PRIMARY, SECONDARY):
        assert issued.certificate.sha1 in printed and issued.certificate.sha256 in printed
        assert issued.certificate.not_after.date().isoformat() in page.text
    assert "IOTHUB_DEVICE_X509_CERT=sampleDevice01_cert.pem" in text_of(page)


async def test_one_slot_is_rolled_and_the_other_stays(world: World, browser: Browser, device: DeviceId) -> None:
    await save(browser, primary=PRIMARY.certificate.pem.encode())
    assert held(world) == (PRIMARY.certificate, None)
    page = await save(browser, secondary=SECONDARY.certificate.pem.encode())
    assert held(world) == (PRIMARY.certificate, SECONDARY.certificate)
    assert "Both certificates end on the same day" in text_of(page)


async def test_what_is_wrong_with_a_file_is_told_and_nothing_is_kept(
    world: World, browser: Browser, device: DeviceId
) -> None:
    key = PRIMARY.key_pem()
    for primary, reason in (
        (PRIMARY.certificate.pem.encode() + key, "certificate.private_key"),
        (key, "certificate.private_key"),
        (write_pfx(PRIMARY.key, PRIMARY.certificate, password="1234"), "certificate.private_key"),
        (b"nothing", "certificate.malformed"),
        (b"", "attestation.primary_missing"),
    ):
        page = await save(browser, primary=primary)
        assert (page.status_code, reason in page.text) == (400, True), reason
    assert held(world) == (None, None)
    secret = key.splitlines()[2]
    for file in world.app.config.data.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), file


async def test_what_another_one_saved_meanwhile_is_not_undone_unless_somebody_saves_again(
    world: World, browser: Browser, device: DeviceId
) -> None:
    await save(browser, primary=PRIMARY.certificate.pem.encode())
    stale = {"etag": "stale", "method": "x509"}
    files = {"primary": ("c.pem", SECONDARY.certificate.pem.encode())}
    page = await browser.submit(HERE, stale, files=files)
    assert (page.status_code, "etag.stale" in page.text) == (400, True)
    assert held(world) == (PRIMARY.certificate, None)
    again = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    await browser.submit(HERE, {**stale, "etag": again}, files=files)
    assert held(world) == (SECONDARY.certificate, None)


async def test_removing_it_leads_back_to_the_group(world: World, browser: Browser, device: DeviceId) -> None:
    page = await save(browser, primary=PRIMARY.certificate.pem.encode())
    part = await browser.part(HERE, "connect", type="group")
    assert "It beats every group" in text_of(part)
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    stale = await browser.submit(f"{HERE}/remove", {"etag": "stale"})
    assert (stale.status_code, "etag.stale" in stale.text) == (400, True)
    page = await browser.submit(f"{HERE}/remove", {"etag": etag})
    assert held(world) == (None, None) and "Primary key" in text_of(page)


async def test_keys_are_generated_or_pasted_and_a_tpm_is_enrolled(
    world: World, browser: Browser, device: DeviceId
) -> None:
    page = await save(browser, "symmetricKey", primary="", secondary="")
    assert "Primary key" in text_of(page) and 'class="qr"' in page.text
    wrong = await save(browser, "symmetricKey", primary="no key", secondary="")
    assert (wrong.status_code, "key." in wrong.text, 'value="no key"' in wrong.text) == (400, True, True)
    page = await save(browser, "tpm", endorsement=" QUJD ", root="")
    assert "QUJD" in page.text
    empty = await save(browser, "tpm", endorsement="", root="REVG")
    assert (empty.status_code, "REVG" in empty.text) == (400, True)


async def test_keys_are_for_those_who_may_change_devices_and_a_stranger_sees_no_device(
    world: World, as_role: Callable[[Role], Awaitable[Browser]], device: DeviceId
) -> None:
    browser = await as_role("operator")
    assert "Primary key" in text_of(await browser.open(HERE))
    assert (await browser.open("/devices/nobody/connect")).status_code == 404


def info() -> HubInfo:
    nothing = Secret("")
    return HubInfo(("iot.example.com",), "127.0.0.1", 8883, 443, "0ne1", Path(), Path(), nothing, nothing, 1)


@pytest.mark.parametrize("key", [None, Secret("a2V5")])
def test_what_iot_edge_is_given_is_toml(key: Secret | None) -> None:
    found = tomllib.loads(edge_config(info(), 'gate "1"', key=key))["provisioning"]
    assert found["global_endpoint"] == "https://iot.example.com" and found["id_scope"] == "0ne1"
    attestation = found["attestation"]
    if key is None:
        assert attestation["identity_cert"].endswith("/gate1_fullchain.pem") and "registration_id" not in attestation
    else:
        assert (attestation["registration_id"], attestation["symmetric_key"]["value"]) == ('gate "1"', "a2V5")


def test_variables_are_those_that_the_samples_read() -> None:
    unix, windows = sample_variables(info(), "pump-01", key=Secret("a2V5="))
    assert "export IOTHUB_DEVICE_DPS_ID_SCOPE=0ne1" in unix.text.splitlines()
    assert 'set "IOTHUB_DEVICE_DPS_DEVICE_KEY=a2V5="' in windows.text.splitlines()
