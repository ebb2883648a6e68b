"""Data export in a browser: a destination, an export to it, a sample of its body (contract/central.md 16)."""

from __future__ import annotations

import re

from moorage.ids import DEFAULT_HUB
from tests.servers.world import World
from tests.web.browser import Browser, text_of

TOPIC = "devices/pump-01/messages/events/$.ct=application%2Fjson&$.ce=utf-8"
DESTINATION = {
    "id": "hook",
    "name": "The hook",
    "kind": "webhook",
    "address": "https://desk.example/in?code=1",
    "credential": "let me in",
    "option_header": "x-api-key",
}
EXPORT = {"id": "out", "name": "Out", "source": "telemetry", "use0": "hook", "act": "save"}


async def test_a_destination_and_an_export_are_made_shown_switched_and_deleted(world: World, browser: Browser) -> None:
    words = text_of(await browser.open("/exports"))
    assert "No exports yet" in words and "None yet" in words
    await browser.submit("/exports/destinations", DESTINATION)
    page = await browser.submit("/exports", {**EXPORT, "enabled": "on"})
    assert page.url.path == "/exports/out"
    words = text_of(await browser.open("/exports"))
    assert "The hook" in words and "Telemetry" in words
    assert "by an export" in words
    await browser.submit("/exports/out/switch", {})
    assert "Off" in text_of(await browser.open("/exports"))
    used = await browser.submit("/exports/destinations/hook/delete")
    assert (used.status_code, "export.destination_used" in used.text) == (400, True)
    await browser.submit("/exports/out/delete")
    await browser.submit("/exports/destinations/hook/delete")
    assert "No exports yet" in text_of(await browser.open("/exports"))


async def test_a_credential_is_never_shown_and_stays_when_nothing_is_typed(world: World, browser: Browser) -> None:
    await browser.submit("/exports/destinations", DESTINATION)
    page = await browser.open("/exports/destinations/hook")
    assert "let me in" not in page.text
    etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
    await browser.submit(
        "/exports/destinations/hook", {**DESTINATION, "name": "Renamed", "credential": "", "etag": etag}
    )
    (stored,) = world.app.store.read().exports.destinations(DEFAULT_HUB)
    assert (stored.display_name, stored.credential.reveal()) == ("Renamed", "let me in")


async def test_a_credential_that_is_kept_goes_to_no_other_server(world: World, browser: Browser) -> None:
    await browser.submit("/exports/destinations", DESTINATION)
    changed = {**DESTINATION, "name": "Kept name", "credential": ""}

    async def save(**fields: str) -> tuple[str, str]:
        page = await browser.open("/exports/destinations/hook")
        etag = re.findall(r'name="etag" value="([^"]+)"', page.text)[0]
        page = await browser.submit("/exports/destinations/hook", {**changed, "etag": etag, **fields})
        assert "export.credential" in page.text or page.url.path == "/exports", page.text
        if "export.credential" in page.text:
            assert page.status_code == 400
            assert f'value="{fields["address"]}"' in page.text and 'value="Kept name"' in page.text
            assert re.search(r'<input id="credential"[^>]*aria-invalid="true"', page.text)
        (stored,) = world.app.store.read().exports.destinations(DEFAULT_HUB)
        return stored.address.reveal(), stored.credential.reveal()

    for address in (
        "https://elsewhere.example/in",
        "https://desk.example:8443/in",
        "http://desk.example/in",
        "https://desk.example.org/in",
    ):
        assert await save(address=address) == (DESTINATION["address"], "let me in")
        assert await save(address=address, act="test") == (DESTINATION["address"], "let me in")
    # The same server, whatever is asked of it.
    assert await save(address="https://DESK.example:443/out") == ("https://DESK.example:443/out", "let me in")
    other = "https://elsewhere.example/in"
    assert await save(address=other, credential="and me") == (other, "and me")
    assert await save(address=changed["address"], no_credential="on") == (changed["address"], "")
    assert await save(address=other) == (other, "")


async def test_a_destination_that_cannot_be_is_answered_and_what_was_typed_stays(browser: Browser) -> None:
    wrong: list[tuple[str, dict[str, str]]] = [
        ("export.name", {"name": ""}),
        ("export.destination", {"address": "desk.example"}),
        ("export.destination", {"address": "ftp://desk.example"}),
        ("export.destination", {"option_header": "a b"}),
        ("export.destination", {"option_header": "Host"}),
        ("export.destination", {"credential": "ä"}),
        ("export.id", {"id": "a b"}),
        ("export.destination", {"kind": "file", "option_every": "soon"}),
        ("endpoint.broker", {"kind": "kafka", "address": "kafka://broker.example"}),
    ]
    for reason, fields in wrong:
        page = await browser.submit("/exports/destinations", {**DESTINATION, "name": "Kept name", **fields})
        assert (page.status_code, reason in page.text) == (400, True), fields
        assert "name" in fields or "Kept name" in page.text


async def test_an_export_that_cannot_be_is_answered_and_what_was_typed_stays(browser: Browser) -> None:
    await browser.submit("/exports/destinations", DESTINATION)
    wrong = {
        "export.name": {"name": ""},
        "export.destinations": {"use0": ""},
        "export.destination_unknown": {"use0": "nowhere"},
        "export.template": {"utemplate0": '{"a": '},
        "export.enrichment": {"ekey0": "a b", "evalue0": "x"},
        "export.filter": {"fname0": "temperature", "foperator0": "greater", "fvalue0": "hot"},
    }
    for reason, fields in wrong.items():
        page = await browser.submit("/exports", {**EXPORT, "ekey1": "kept", "evalue1": "1", **fields})
        assert (page.status_code, reason in page.text) == (400, True), reason
        assert 'value="kept"' in page.text


async def test_a_sample_shows_the_exact_body_before_it_is_saved(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    device = await world.connect()
    device.publish(TOPIC, b'{"temperature": 21.5}')
    await device.acks(1)
    await browser.submit("/exports/destinations", DESTINATION)
    page = await browser.submit("/exports", {**EXPORT, "ekey0": "plant", "evalue0": "North", "act": "sample"})
    assert page.status_code == 200
    words = text_of(page)
    assert '"temperature": 21.5' in words and '"plant": "North"' in words and '"messageSource": "telemetry"' in words
    assert "No exports yet" in text_of(await browser.open("/exports"))


async def test_the_same_forms_twice_make_one_of_each(world: World, browser: Browser) -> None:
    for _ in range(2):
        assert (await browser.submit("/exports/destinations", DESTINATION)).status_code == 200
        assert (await browser.submit("/exports", EXPORT)).url.path == "/exports/out"
    stale = await browser.submit("/exports/out", {**EXPORT, "name": "Else", "etag": "old"})
    assert (stale.status_code, "etag.stale" in stale.text, 'value="Else"' in stale.text) == (400, True, True)
    assert (await browser.get("/exports/out/health")).status_code == 200
