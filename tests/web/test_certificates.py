"""Certificates that end, the supply chain, and rolls that are rehearsed (contract/central.md 25)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest

from moorage.accounts.model import Role
from moorage.attempts.model import Attempt
from moorage.identities.model import ByAuthority
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId
from moorage.pki.certificates import Certificate
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft, signing_certificates
from tests import certs
from tests.servers.clients import tls_context
from tests.servers.world import World
from tests.web.browser import Browser, text_of

COMPANY = certs.root("Company-X")
FACTORY = certs.intermediate(COMPANY, "Factory-Y")
OTHER = certs.root("Company-W")
GROUP = EnrollmentGroupId("line-7")
DAY = timedelta(days=1)


@pytest.fixture
async def fleet(world: World) -> World:
    """Three devices below a factory whose root a group trusts, and one below the root itself."""
    draft = GroupDraft(group_id=GROUP, attestation=CertificatesDraft(COMPANY.certificate))
    await world.app.enrollments.put_group(draft, if_match=None, by="tests", vouched=True)
    for name, issuer in (("p1", FACTORY), ("p2", FACTORY), ("p3", FACTORY), ("p4", COMPANY)):
        await world.create(name, ByAuthority(GROUP))
        show(world, name, certs.device(issuer, name))
    return world


def show(world: World, name: str, issued: certs.Issued) -> None:
    chain = issued.sends().certificates
    attempt = Attempt(world.clock.now(), DEFAULT_HUB, "hub.mqtt", "T", "127.0.0.1:1", name, chain, credential="x509")
    world.app.application.sightings.heard(attempt)


def held(world: World) -> list[str]:
    group = world.app.enrollments.get_group(GROUP)
    return [signer.certificate.subject for _, signer in signing_certificates(group.attestation)]


def registered(world: World) -> Certificate:
    return world.certificates.get(DEFAULT_HUB, "hub", CAName("plant")).certificate


async def rehearse(browser: Browser, pem: str = "", **fields: str) -> httpx.Response:
    fields = {"group": GROUP, "slot": "primary", "act": "replace", **fields}
    return await browser.submit("/certificates/rehearsal", fields, files={"certificate": ("ca.pem", pem.encode())})


async def test_the_forecast_says_what_ends_when(fleet: World, browser: Browser) -> None:
    page = await browser.open("/certificates")
    words = text_of(page)
    for said in (
        "Device certificates 4",
        "CN=Company-X",
        "line-7, primary",
        "Intermediate, seen in chains",
        "This hub",
    ):
        assert said in words, said
    assert '<path class="line" d="M' in page.text
    month = f"{certs.NOW + certs.LIFETIME:%Y-%m}"
    assert f"/certificates/ending?month={month}" in page.text
    rows = text_of(await browser.open("/certificates/ending", month=month))
    assert "p1" in rows and "CN=Factory-Y" in rows
    assert (await browser.open("/certificates/ending", month="2030-13")).status_code == 400
    assert "No certificate" in text_of(await browser.open("/certificates/ending", month="expired"))


async def test_before_any_device_came_the_page_says_so(world: World, browser: Browser) -> None:
    assert "No device has shown a certificate yet" in text_of(await browser.open("/certificates"))
    assert "Nothing to draw yet" in text_of(await browser.open("/certificates/chains"))


async def test_the_calendar_has_an_address_that_nobody_guesses_and_a_new_one_voids_it(
    fleet: World, browser: Browser, stranger: Browser
) -> None:
    page = await browser.submit("/certificates/calendar")
    path = re.findall(r"/calendar/[^<\"]+\.ics", page.text)[0]
    answer = await stranger.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    assert "CN=Company-X ends" in answer.text.replace("\r\n ", "")
    assert "4 device certificates end" in answer.text
    assert (await stranger.get(path[:-8] + "xxxx.ics")).status_code == 404
    await browser.submit("/certificates/calendar")
    assert (await stranger.get(path)).status_code == 404


async def test_metrics_tell_when_certificates_end(fleet: World) -> None:
    await fleet.app.application.sightings.flush()
    await fleet.app.application.forecast.refresh()
    info = fleet.app.info()
    async with httpx.AsyncClient(verify=tls_context(info.ca_bundle)) as client:
        text = (await client.get(f"https://{info.bind}:{info.https_port}/metrics")).text
    line = next(each for each in text.splitlines() if 'kind="group"' in each)
    assert float(line.rsplit(" ", 1)[1]) == COMPANY.certificate.not_after.timestamp()
    assert 'moorage_device_certificates_ending{within_days="90"} 4.0' in text
    assert 'moorage_device_certificates_ending{within_days="7"} 0.0' in text


async def test_the_supply_chain_is_drawn_and_a_certificate_is_judged_in_it(fleet: World, browser: Browser) -> None:
    page = await browser.open("/certificates/chains")
    words = text_of(page)
    assert "3 devices" in words and "1 device " in words and "Company-X" in words
    assert "CN=Factory-Y ends" in words

    async def judged(*certificates: object) -> str:
        pem = "".join(each.certificate.pem for each in certificates if isinstance(each, certs.Issued))
        return text_of(await browser.submit("/certificates/chains", files={"certificate": ("c.pem", pem.encode())}))

    let_in = await judged(certs.device(FACTORY, "p9"), FACTORY)
    assert "Let in By the group line-7, as p9" in let_in
    stranger = await judged(certs.device(OTHER, "p9"))
    assert "Refused" in stranger and "CN=Company-W" in stranger
    assert "A CA that can be registered" in await judged(FACTORY)
    wrong = await browser.submit("/certificates/chains", files={"certificate": ("c.pem", b"nothing")})
    assert (wrong.status_code, "certificate.malformed" in wrong.text) == (400, True)


async def test_a_roll_is_rehearsed_done_watched_and_undone(fleet: World, browser: Browser) -> None:
    page = await rehearse(browser, OTHER.certificate.pem)
    words = text_of(page)
    assert "0 fine" in words and "4 stranded" in words and "p4" in words
    assert held(fleet) == ["CN=Company-X"]
    form = dict(re.findall(r'name="(group|slot|etag)" value="([^"]+)"', page.text))
    roll = {**form, "certificate": OTHER.certificate.pem}
    page = await browser.submit("/certificates/rolls", roll)
    assert page.url.path == "/certificates/rolls/line-7" and held(fleet) == ["CN=Company-W"]
    assert "0 of 4 devices have changed over" in text_of(page)
    # Twice is no harm: the etag of the form is spent.
    again = await browser.submit("/certificates/rolls", roll)
    assert (again.status_code, "etag.stale" in again.text) == (400, True)

    show(fleet, "p1", certs.device(OTHER, "p1"))
    part = await browser.part("/certificates/rolls/line-7", "progress")
    assert part.text.lstrip().startswith('<section id="progress"')
    assert "1 of 4 devices have changed over" in text_of(part)

    page = await browser.submit("/certificates/rolls/line-7/undo")
    assert page.url.path == "/groups/line-7" and held(fleet) == ["CN=Company-X"]
    assert (await browser.open("/certificates/rolls/line-7")).status_code == 404


class Broken(Exception):
    """Of a disk, in the middle of a change."""


async def test_there_is_no_roll_without_what_undoes_it(fleet: World) -> None:
    def broken(tables: object) -> None:
        raise Broken

    draft = GroupDraft(group_id=GROUP, attestation=CertificatesDraft(OTHER.certificate))
    with pytest.raises(Broken):
        await fleet.app.enrollments.put_group(draft, if_match="*", by="tests", vouched=True, also=broken)
    assert held(fleet) == ["CN=Company-X"]
    await fleet.create_by_authority("by-hand", ca=COMPANY)
    change = fleet.certificates.replace(
        DEFAULT_HUB, "hub", CAName("plant"), OTHER.certificate.pem, certs.NOW, by="tests", if_match=None, also=broken
    )
    with pytest.raises(Broken):
        await change
    assert registered(fleet) == COMPANY.certificate


async def test_a_rehearsal_that_cannot_be_is_told_beside_the_form(fleet: World, browser: Browser) -> None:
    leaf = certs.device(COMPANY, "p1").certificate.pem
    for pem, fields, reason in (
        ("", {}, "form.file"),
        (leaf, {}, "ca.not_a_ca"),
        (OTHER.certificate.pem, {"group": "nobody"}, "enrollment.unknown"),
        (OTHER.certificate.pem, {"slot": "third"}, "form.slot"),
        (OTHER.certificate.pem, {"group": "SAS-IoT-Devices"}, "enrollment.ca_references"),
    ):
        page = await rehearse(browser, pem, **fields)
        assert (page.status_code, reason in page.text) == (400, True), reason
    page = await rehearse(browser, act="remove")
    assert "4 stranded" in text_of(page) and "Roll it now" not in text_of(page)


async def test_a_ca_that_is_registered_at_the_hub_is_rehearsed_rolled_watched_and_undone(
    fleet: World, browser: Browser
) -> None:
    await fleet.connect("by-hand", await fleet.create_by_authority("by-hand", ca=COMPANY))
    page = await rehearse(browser, OTHER.certificate.pem, group="ca: plant")
    words = text_of(page)
    assert "takes the place of the registered CA plant" in words and "1 stranded" in words
    assert "moorage ca delete plant" in words
    unknown = await rehearse(browser, OTHER.certificate.pem, group="ca: nobody")
    assert (unknown.status_code, "ca.unknown" in unknown.text) == (400, True)
    odd = await rehearse(browser, OTHER.certificate.pem, group="ca: no name")
    assert (odd.status_code, "id.ca" in odd.text) == (400, True)

    form = dict(re.findall(r'name="(group|slot|etag)" value="([^"]+)"', page.text))
    roll = {**form, "certificate": OTHER.certificate.pem}
    page = await browser.submit("/certificates/rolls", roll)
    assert page.url.path == "/certificates/ca-rolls/plant"
    assert "0 of 1 devices have changed over" in text_of(page)
    assert registered(fleet) == OTHER.certificate
    again = await browser.submit("/certificates/rolls", roll)
    assert (again.status_code, "etag.stale" in again.text) == (400, True)
    assert "/certificates/ca-rolls/plant" in (await browser.open("/certificates/rehearsal")).text
    waiting = await browser.get("/certificates/ca-rolls/plant/waiting.csv")
    assert [line.split(",")[0] for line in waiting.text.splitlines()] == ["device", "by-hand"]

    show(fleet, "by-hand", certs.device(OTHER, "by-hand"))
    part = await browser.part("/certificates/ca-rolls/plant", "progress")
    assert "1 of 1 devices have changed over" in text_of(part)
    page = await browser.submit("/certificates/ca-rolls/plant/undo")
    assert page.url.path == "/certificates/rehearsal" and registered(fleet) == COMPANY.certificate
    assert (await browser.open("/certificates/ca-rolls/plant")).status_code == 404


async def test_all_who_would_be_left_outside_are_listed_page_by_page_and_as_a_file(
    fleet: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.web.rehearsal._LISTED", 2)
    monkeypatch.setattr("moorage.web.sighting_csv._CHUNK", 3)
    seen: list[str] = []
    page = await rehearse(browser, OTHER.certificate.pem)
    for _ in range(5):
        seen += re.findall(r'<th scope="row"><a href="/devices/([^"]+)"', page.text)
        following = re.search(r'name="after" value="([^"]+)">Next page', page.text)
        if following is None:
            break
        fields = {"group": GROUP, "slot": "primary", "pem": OTHER.certificate.pem, "after": following.group(1)}
        page = await browser.submit("/certificates/rehearsal", fields)
        assert "First page" in text_of(page) and "4 stranded" in text_of(page)
    assert seen == ["p1", "p2", "p3", "p4"]

    fields = {"group": GROUP, "slot": "primary", "act": "remove"}
    answer = await browser.send("/certificates/rehearsal/stranded.csv", fields)
    assert answer.headers["content-disposition"] == 'attachment; filename="stranded-line-7.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["device"] for row in rows] == ["p1", "p2", "p3", "p4"]
    assert {row["issued by"] for row in rows} == {"CN=Factory-Y", "CN=Company-X"}
    assert all(row["reason"].startswith("chain.") and row["why"] for row in rows)
    assert (await browser.send("/certificates/rehearsal/stranded.csv", {"group": "nobody"})).status_code == 400
    group = fleet.app.enrollments.get_group(GROUP)
    roll = {"group": GROUP, "slot": "primary", "etag": group.etag, "certificate": OTHER.certificate.pem}
    page = await browser.submit("/certificates/rolls", roll)
    assert 'href="/certificates/rolls/line-7?after=p2" rel="next"' in page.text
    page = await browser.open("/certificates/rolls/line-7?after=p2")
    assert (
        'hx-get="/certificates/rolls/line-7?after=p2"' in page.text and ">p4<" in page.text and ">p2<" not in page.text
    )
    waiting = await browser.get("/certificates/rolls/line-7/waiting.csv")
    assert [line.split(",")[0] for line in waiting.text.splitlines()] == ["device", "p1", "p2", "p3", "p4"]


async def test_who_may_only_look_rehearses_and_does_not_roll(
    fleet: World, as_role: Callable[[Role], Awaitable[Browser]]
) -> None:
    browser = await as_role("operator")
    page = await rehearse(browser, OTHER.certificate.pem)
    assert "4 stranded" in text_of(page) and "Roll it now" not in text_of(page)
    assert (await browser.send("/certificates/rolls", {"group": GROUP})).status_code == 403


async def test_the_page_of_a_device_says_what_it_showed_and_what_lets_it_in(fleet: World, browser: Browser) -> None:
    page = await browser.open("/devices/p1/certificate")
    words = text_of(page)
    assert "CN=Factory-Y" in words and "CN=Company-X" in words
    assert "The certificates of the group line-7" in words
    show(fleet, "p1", certs.device(FACTORY, "p1", label="renewed"))
    assert "Before it" in text_of(await browser.open("/devices/p1/certificate"))
    await fleet.create("by-key")
    assert "It has not connected with a certificate yet" in text_of(await browser.open("/devices/by-key/certificate"))
    assert 'href="/devices/p1/connect' in page.text


async def test_a_refusal_draws_what_is_missing_and_tells_commands_from_sentences(
    fleet: World, browser: Browser
) -> None:
    leaf = certs.device(FACTORY, "p1")
    fix = (
        "configure the device with its p1_fullchain.pem, or register the intermediate: moorage ca add factoryY_cert.pem"
    )
    attempt = Attempt(
        fleet.clock.now(),
        DEFAULT_HUB,
        "dps.mqtt",
        "TRACKED",
        "127.0.0.1:1",
        "p1",
        leaf.sends(1).certificates,
        credential="x509",
        reason="chain.incomplete",
        message="nobody sent or registered the issuer",
        fix=fix,
    )
    fleet.app.attempts.record(attempt)
    page = await browser.open("/attempts/TRACKED")
    assert "CN=Factory-Y missing It signed the one above" in text_of(page)
    assert 'data-copy="moorage ca add factoryY_cert.pem"' in page.text
    assert "Next: configure the device with its p1_fullchain.pem, or register the intermediate:" in text_of(page)
