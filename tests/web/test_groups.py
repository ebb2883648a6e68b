"""Device connection groups, as the tutorials click through them (contract/central.md 4.1, PC-1 to PC-3)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import httpx

from moorage.accounts.model import Role
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId
from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_verification
from moorage.provisioning.drafts import GroupDraft, signing_certificates
from moorage.provisioning.enrollments import EnrollmentService
from moorage.provisioning.model import ByCAReferences, BySymmetricKey
from tests import certs
from tests.servers.world import World
from tests.web.browser import Browser, text_of

ROOT = certs.root("mytestrootcert")
GROUP = {"name": "MyX509Group", "enabled": "on", "type": "iot", "attestation": "x509"}


def enrollments(world: World) -> EnrollmentService:
    return world.app.enrollments


def proofs(world: World) -> dict[str, str]:
    group = enrollments(world).get_group(EnrollmentGroupId("MyX509Group"))
    return {slot: signer.proof for slot, signer in signing_certificates(group.attestation)}


def verification(code: str, issuer: certs.Issued = ROOT) -> Certificate:
    return issue_verification(issuer.certificate, issuer.key, code, now=certs.NOW)


async def add(browser: Browser, slot: str, pem: bytes, *, vouched: bool = False) -> httpx.Response:
    page = await browser.open(f"/groups/MyX509Group/{slot}")
    fields = {"etag": re.findall(r'name="etag" value="([^"]+)"', page.text)[0]}
    if vouched:
        fields["verified"] = "on"
    return await browser.submit(
        f"/groups/MyX509Group/{slot}/certificate", fields, files={"certificate": ("c.pem", pem)}
    )


async def prove(browser: Browser, proof: Certificate) -> httpx.Response:
    files = {"certificate": ("verification_cert.pem", proof.pem.encode())}
    return await browser.submit("/groups/MyX509Group/primary/verify", files=files)


async def code_of(browser: Browser) -> str:
    page = await browser.submit("/groups/MyX509Group/primary/code")
    return str(re.findall(r"<code>([0-9A-F]{48})</code>", page.text)[0])


async def test_the_way_of_the_tutorial_ends_with_verified(world: World, browser: Browser) -> None:
    page = await browser.submit("/groups", GROUP)
    assert page.url.path == "/groups/MyX509Group"
    words = text_of(page)
    assert world.app.info().id_scope in words
    assert "Manage primary" in words and "Manage secondary" in words

    page = await add(browser, "primary", ROOT.certificate.pem.encode())
    assert "Needs verification" in text_of(page)
    assert proofs(world) == {"primary": "none"}
    assert (await browser.get("/groups/MyX509Group/primary/state")).status_code == 204

    code = await code_of(browser)
    page = await prove(browser, verification(code))
    assert "Verified" in text_of(page)
    assert proofs(world) == {"primary": "possession"}
    assert (await browser.get("/groups/MyX509Group/primary/state")).headers["hx-refresh"] == "true"


async def test_verified_on_upload_asks_for_no_code(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    page = await add(browser, "secondary", ROOT.certificate.pem.encode(), vouched=True)
    assert "Verified" in text_of(page)
    assert "Generate verification code" not in text_of(page)
    assert proofs(world) == {"secondary": "vouched"}


async def test_a_wrong_verification_certificate_is_told_what_is_wrong_with_it(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    await add(browser, "primary", ROOT.certificate.pem.encode())
    stale = await code_of(browser)
    code = await code_of(browser)
    wrong = {
        "proof.wrong_signer": verification(code, certs.root("another root")),
        "proof.wrong_code": verification(stale),
    }
    for reason, proof in wrong.items():
        page = await prove(browser, proof)
        assert page.status_code == 400
        assert reason in page.text
    assert proofs(world) == {"primary": "none"}
    assert "Verified" in text_of(await prove(browser, verification(code)))


async def test_a_file_with_a_private_key_is_refused_and_the_key_is_nowhere(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    key = ROOT.key_pem()
    page = await add(browser, "primary", ROOT.certificate.pem.encode() + key)
    assert "certificate.private_key" in page.text
    assert proofs(world) == {}
    secret = key.splitlines()[2]
    for file in world.app.config.data.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), file


async def test_no_file_a_broken_one_and_a_leaf_are_answered_on_the_page(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    leaf = certs.device(ROOT, "pump-01").certificate.pem.encode()
    wrong = ((b"", "form.file"), (b"nothing", "certificate."), (b"\xff" * 100, "certificate."), (leaf, "ca.not_a_ca"))
    for pem, reason in wrong:
        page = await add(browser, "primary", pem)
        assert (page.status_code, reason in page.text) == (400, True)
    assert proofs(world) == {}


async def test_what_another_one_changed_meanwhile_is_not_undone(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    page = await browser.open("/groups/MyX509Group")
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    await add(browser, "primary", ROOT.certificate.pem.encode(), vouched=True)
    stale = await browser.submit("/groups/MyX509Group", {"etag": etag})
    assert (stale.status_code, "etag.stale" in stale.text) == (400, True)
    group = enrollments(world).get_group(EnrollmentGroupId("MyX509Group"))
    assert (group.status, proofs(world)) == ("enabled", {"primary": "vouched"})


async def test_automatic_connection_is_switched_and_keeps_the_certificates(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    await add(browser, "primary", ROOT.certificate.pem.encode(), vouched=True)
    group = enrollments(world).get_group(EnrollmentGroupId("MyX509Group"))
    await browser.submit("/groups/MyX509Group", {"etag": group.etag})
    assert enrollments(world).get_group(group.group_id).status == "disabled"
    assert proofs(world) == {"primary": "vouched"}


async def test_a_name_that_is_taken_or_none_is_told_beside_what_was_typed(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    for name, reason in (
        ("MyX509Group", "enrollment.exists"),
        ("...", "id.enrollment_group"),
        ("x" * 149, "form.name"),
    ):
        page = await browser.submit("/groups", {**GROUP, "name": name, "type": "iotEdge"})
        assert (page.status_code, reason in page.text) == (400, True)
        assert f'value="{name}"' in page.text
        assert 'value="iotEdge" checked' in page.text


async def test_an_operator_sees_groups_and_neither_keys_nor_buttons(
    world: World, browser: Browser, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    await browser.submit("/groups", {**GROUP, "name": "sas", "attestation": "symmetricKey"})
    page = await browser.open("/groups/sas")
    assert "Primary key" in text_of(page)
    operator = await as_role("operator")
    page = await operator.open("/groups/sas")
    assert page.status_code == 200
    assert "Primary key" not in text_of(page)
    assert "Delete" not in text_of(page)
    assert (await operator.send("/groups/sas/delete")).status_code == 403


async def test_a_group_that_is_deleted_is_gone(world: World, browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    page = await browser.submit("/groups/MyX509Group/delete")
    assert page.url.path == "/groups"
    assert (await browser.get("/groups/MyX509Group")).status_code == 404


async def test_a_group_of_registered_cas_is_shown_with_them_and_loses_none(world: World, browser: Browser) -> None:
    await world.certificates.upload(
        DEFAULT_HUB, "dps", CAName("plant"), ROOT.certificate.pem, world.clock.now(), by="tests", vouched=True
    )
    draft = GroupDraft(
        group_id=EnrollmentGroupId("MyX509Group"), attestation=ByCAReferences(primary=CAName("plant"), secondary=None)
    )
    await enrollments(world).put_group(draft, if_match=None, by="tests")
    assert "CA plant" in text_of(await browser.open("/groups"))
    assert "CA plant" in text_of(await browser.open("/groups/MyX509Group"))
    assert "Add certificate" not in text_of(await browser.open("/groups/MyX509Group/primary"))
    page = await add(browser, "secondary", ROOT.certificate.pem.encode(), vouched=True)
    assert (page.status_code, "enrollment.ca_references" in page.text) == (400, True)
    group = enrollments(world).get_group(EnrollmentGroupId("MyX509Group"))
    assert group.attestation == ByCAReferences(primary=CAName("plant"), secondary=None)
    await browser.submit("/groups/MyX509Group", {"etag": group.etag})
    assert enrollments(world).get_group(group.group_id).attestation == group.attestation


async def test_a_ca_of_two_groups_is_marked_on_both_with_what_happens(world: World, browser: Browser) -> None:
    for name in ("First", "Second"):
        await browser.submit("/groups", {**GROUP, "name": name})
        group = enrollments(world).get_group(EnrollmentGroupId(name))
        file = {"certificate": ("c.pem", ROOT.certificate.pem.encode())}
        await browser.submit(f"/groups/{name}/primary/certificate", {"etag": group.etag, "verified": "on"}, files=file)
        world.clock.advance(60)
    for address in ("/groups/Second", "/groups/Second/primary"):
        words = text_of(await browser.open(address))
        assert "The primary certificate also stands in First (primary)." in words
        assert "which is First: devices below it come in through that one, and none through here." in words
    for address in ("/groups/First", "/groups/First/primary"):
        assert "which is this one: devices below it come in through here." in text_of(await browser.open(address))
    words = text_of(await browser.open("/groups"))
    assert "Also in another group" in words and "Another group decides" in words
    await browser.submit(
        "/groups/First/primary/remove", {"etag": enrollments(world).get_group(EnrollmentGroupId("First")).etag}
    )
    assert "also stands" not in text_of(await browser.open("/groups/Second"))


async def test_the_id_is_made_from_the_name_unless_somebody_gives_one(world: World, browser: Browser) -> None:
    page = await browser.submit("/groups", {**GROUP, "name": "Line 7, north"})
    assert page.url.path == "/groups/Line-7-north"
    assert "<h1>Line 7, north</h1>" in page.text and "Group ID" in text_of(page)
    page = await browser.submit("/groups", {**GROUP, "name": "Line 8", "id": "eight"})
    assert enrollments(world).get_group(EnrollmentGroupId("eight")).display_name == "Line 8"
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    await browser.submit("/groups/eight", {"etag": etag, "name": "Line eight", "enabled": "on"})
    assert enrollments(world).get_group(EnrollmentGroupId("eight")).display_name == "Line eight"
    assert "Line eight" in text_of(await browser.open("/groups"))


async def test_keys_are_pasted_or_generated(world: World, browser: Browser) -> None:
    key = "a2V5" * 11
    keyed = {**GROUP, "attestation": "symmetricKey"}
    await browser.submit("/groups", {**keyed, "name": "pasted", "primary": key, "secondary": key})
    page = await browser.submit("/groups", {**keyed, "name": "made"})
    assert "Show the keys" in text_of(page)
    pasted, made = (enrollments(world).get_group(EnrollmentGroupId(name)).attestation for name in ("pasted", "made"))
    assert isinstance(pasted, BySymmetricKey) and pasted.primary.reveal() == key
    assert isinstance(made, BySymmetricKey) and made.primary.reveal() != key
    wrong = await browser.submit("/groups", {**keyed, "name": "wrong", "primary": "no key"})
    assert (wrong.status_code, "key." in wrong.text) == (400, True)


async def test_a_group_of_edge_devices_says_what_stands_in_their_configuration(browser: Browser) -> None:
    page = await browser.submit("/groups", {**GROUP, "type": "iotEdge"})
    assert "IoT Edge devices" in text_of(page)
    assert "[provisioning.attestation]" in page.text and "iotedge config apply" in page.text


async def test_auto_approve_is_a_switch_of_the_page(world: World, browser: Browser) -> None:
    assert "comes in at once" in text_of(await browser.open("/groups"))
    page = await browser.submit("/groups/auto-approve")
    assert "waits until somebody approves it" in text_of(page)
    assert not world.app.application.fleet.auto_approve()
    await browser.submit("/groups/auto-approve", {"on": "on"})
    assert world.app.application.fleet.auto_approve()


async def test_a_stale_code_another_name_and_another_ca_are_told_apart(browser: Browser) -> None:
    await browser.submit("/groups", GROUP)
    await add(browser, "primary", ROOT.certificate.pem.encode())
    stale = await code_of(browser)
    code = await code_of(browser)
    told = [
        text_of(await prove(browser, verification(text, issuer)))
        for text, issuer in ((stale, ROOT), ("not-the-code", ROOT), (code, certs.root("another root")))
    ]
    for words, said in zip(
        told, ("code that is void", "not the current verification code", "issued by 'CN=another root'"), strict=True
    ):
        assert [said in each for each in told].count(True) == 1 and said in words
