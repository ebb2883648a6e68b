"""What attackers send: heads, forms and names that are made to mislead the pages, or those who read them."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from moorage.accounts.model import OWNER
from moorage.protocols.mqtt.packets import PubAck
from moorage.web.device_data import MAX_SHOWN
from moorage.web.pages import MAX_FORM_BYTES, MAX_STRANGERS_FORM_BYTES, segment
from tests.servers.clients import tls_context
from tests.servers.world import World
from tests.web.browser import PASSWORD, Browser, text_of

OURS = {"sec-fetch-site": "same-origin"}
OVERRIDE = "\N{RIGHT-TO-LEFT OVERRIDE}"


async def raw(world: World, head: str, body: bytes = b"") -> str:
    """The head of the answer to bytes that no client's library would send."""
    info = world.app.info()
    context: ssl.SSLContext = tls_context(info.ca_bundle)
    reader, writer = await asyncio.open_connection(info.bind, info.web_port, ssl=context)
    try:
        writer.write(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        async with asyncio.timeout(30):
            return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    finally:
        writer.close()


async def test_the_host_that_is_asked_for_changes_no_answer(world: World, stranger: Browser) -> None:
    for host in ["[", "evil.example", "evil.example/devices?", "a@b", "::::", "x#y"]:
        head = await raw(world, f"GET /attempts?only=refused HTTP/1.1\nHost: {host}")
        assert head.startswith("HTTP/1.1 303 ")
        assert "location: /sign-in?next=%2Fattempts%3Fonly%3Drefused\r\n" in head.lower().replace("%2f", "%2F").replace(
            "%3f", "%3F"
        ).replace("%3d", "%3D")


async def test_a_link_leads_to_the_hub_whatever_host_the_request_named(world: World, browser: Browser) -> None:
    answer = await browser.send(
        "/users", {"login": "bob", "role": "operator"}, headers={**OURS, "host": "evil.example"}
    )
    assert answer.status_code == 200
    assert "evil.example" not in answer.text
    assert f"{world.app.info().web_url}sign-in/link/" in answer.text


async def test_a_way_on_that_cannot_be_read_leads_to_the_devices(world: World, browser: Browser) -> None:
    for there in [
        "//[",
        "/\t/evil.example",
        "/\n//evil.example",
        "/devices\r\nset-cookie: a=b",
        " //evil.example",
        "/\\[",
        "//℀",
    ]:
        answer = await browser.send("/theme", {"theme": "dark", "next": there})
        assert (answer.status_code, answer.headers["location"]) == (303, "/devices")


async def test_a_form_in_another_charset_is_refused(world: World, stranger: Browser) -> None:
    for charset in ["utf-7", "unicode_escape", "idna", "zlib", "utf-16"]:
        headers = {**OURS, "content-type": f"multipart/form-data; boundary=x; charset={charset}"}
        body = b'--x\r\ncontent-disposition: form-data; name="login"\r\n\r\n+2AA-\\ud800\r\n--x--\r\n'
        answer = await stranger.send("/sign-in", headers=headers, content=body)
        assert (answer.status_code, "form.malformed" in answer.text) == (400, True)


async def test_zeros_before_its_length_make_a_form_no_smaller(world: World) -> None:
    size = MAX_STRANGERS_FORM_BYTES + 1
    head = "POST /sign-in HTTP/1.1\nHost: x\nSec-Fetch-Site: same-origin\n"
    head += f"Content-Type: application/x-www-form-urlencoded\nContent-Length: {size:020}"
    assert (await raw(world, head, b"login=" + b"a" * (size - 6))).startswith("HTTP/1.1 413 ")


async def test_a_broken_form_is_refused_in_words(world: World, stranger: Browser) -> None:
    for body in [b"--x", b"--x\r\n\r\n\r\n--x--", b"", b"--x\r\ncontent-disposition: nonsense\r\n\r\n\r\n--x--\r\n"]:
        headers = {**OURS, "content-type": "multipart/form-data; boundary=x"}
        answer = await stranger.send("/sign-in", headers=headers, content=body)
        assert answer.status_code in (400, 401)
        assert "api.failed" not in answer.text


async def test_a_form_has_limits_and_strangers_have_smaller_ones(world: World, stranger: Browser) -> None:
    big = await stranger.send("/sign-in", {"login": "a" * MAX_STRANGERS_FORM_BYTES})
    assert (big.status_code, "form.size" in big.text) == (413, True)
    unsaid = await raw(
        world,
        "POST /sign-in HTTP/1.1\nHost: hub\nSec-Fetch-Site: same-origin\nTransfer-Encoding: chunked\n"
        "Content-Type: application/x-www-form-urlencoded",
        b"5\r\na=b&c\r\n0\r\n\r\n",
    )
    assert unsaid.startswith("HTTP/1.1 413 ")
    many = await stranger.send("/sign-in", {f"field-{number}": "" for number in range(500)})
    assert (many.status_code, "form.malformed" in many.text) == (400, True)


async def test_an_upload_has_a_limit(world: World, browser: Browser) -> None:
    answer = await browser.send(
        "/groups/line-1/primary/certificate", files={"certificate": b"a" * (MAX_FORM_BYTES + 1)}
    )
    assert (answer.status_code, "form.size" in answer.text) == (413, True)


async def test_a_method_that_a_page_has_not_is_answered_by_those_it_has(world: World) -> None:
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]:
        head = await raw(world, f"{method} /devices HTTP/1.1\nHost: hub\nContent-Length: 0")
        assert head.startswith("HTTP/1.1 405 ")
        assert "allow: GET, HEAD, POST\r\n" in head
        head = await raw(world, "GET /sign-out HTTP/1.1\nHost: hub")
        assert "allow: POST\r\n" in head


async def test_the_head_of_a_stream_ends(world: World, browser: Browser) -> None:
    await world.create("pump-01")
    for _ in range(3):
        assert await browser.status("HEAD", "/devices/pump-01/data/live") == 200
    assert (await browser.get("/devices")).status_code == 200


async def test_paths_that_name_nothing_are_answered_in_words(world: World, browser: Browser) -> None:
    for path in ["/devices/a%2Fb", "/devices/%00", "/devices/%ff", "/devices/%F0%9F%98%80", "/%2e%2e/x"]:
        answer = await browser.get(path)
        assert answer.status_code in (400, 404)
        assert "Not this way" in answer.text


async def test_devices_with_odd_names_have_pages(world: World, browser: Browser) -> None:
    for name in [".", "..", "new", "a#b?c%2Fd", "%2e%2e", "$x'(y)", "a:b@c=d"]:
        await world.create(name)
        page = await browser.open(f"/devices/{segment(name)}")
        assert page.status_code == 200
        assert "Overview Commands Raw data" in text_of(page)
        assert f'href="/devices/{segment(name)}/data"' in page.text.replace("&#39;", "'")
        done = await browser.submit(f"/devices/{segment(name)}/block")
        assert "Status Blocked" in text_of(done)


async def test_what_turns_a_line_around_is_written_out(world: World, browser: Browser) -> None:
    page = await browser.open("/attempts", device=f"pump{OVERRIDE}10\x00\x1b[0m<b>")
    assert OVERRIDE not in page.text
    assert "\x1b" not in page.text
    assert "<b>" not in page.text
    assert 'value="pump\\u202e10\\u0000\\u001b[0m&lt;b&gt;"' in page.text


async def test_long_and_deep_messages_make_no_long_page(world: World, browser: Browser) -> None:
    device = await world.connect("pump-01", await world.create_pinned("pump-01"))
    topic = "devices/pump-01/messages/events/$.ct=application%2Fjson&$.ce=utf-8"
    bodies = [b"[" + b"1," * 60_000 + b"1]", b"[" * 60 + b"1," * 4_000 + b"1" + b"]" * 60, b"\x00" * 200_000]
    for body in bodies:
        device.publish(topic, body)
        await device.expect(PubAck)
    page = await browser.open("/devices/pump-01/data")
    assert f"{MAX_SHOWN} of 120003 bytes" in page.text
    assert len(page.content) < 400_000


async def test_a_password_chosen_by_one_link_voids_the_others(world: World, stranger: Browser) -> None:
    accounts = world.app.accounts
    _user, invitation = await accounts.invite(OWNER, "bob", "builder")
    newer = await accounts.make_link(OWNER, "bob")
    fields = {"password": PASSWORD, "again": PASSWORD}
    assert (await stranger.send(f"/sign-in/link/{newer.reveal()}", fields)).status_code == 303
    assert (await stranger.send(f"/sign-in/link/{invitation.reveal()}", fields)).status_code == 404


async def test_signing_in_again_ends_the_session_that_was_there(world: World, browser: Browser) -> None:
    before = browser.cookies["__Host-moorage"]
    await browser.send("/sign-in", {"login": "ada", "password": PASSWORD})
    after = browser.cookies["__Host-moorage"]
    assert before != after
    assert world.app.accounts.session(before) is None
    assert world.app.accounts.session(after) is not None


async def test_a_browser_cannot_bring_its_own_session(world: World, stranger: Browser) -> None:
    stranger.cookies.set("__Host-moorage", "chosen-by-somebody", domain=world.app.info().bind)
    token = await world.app.accounts.make_link(OWNER, None)
    answer = await stranger.send(
        f"/sign-in/link/{token.reveal()}", {"login": "ada", "password": PASSWORD, "again": PASSWORD}
    )
    assert answer.status_code == 303
    assert world.app.accounts.session("chosen-by-somebody") is None


async def test_what_was_typed_where_the_name_belongs_is_not_written_down(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "moorage.audit"):
        await browser.send("/sign-in", {"login": PASSWORD, "password": "ada"})
        await browser.send("/sign-in", {"login": "ada", "password": "wrong"})
    said = [record.getMessage() for record in caplog.records if "user.refused" in record.getMessage()]
    assert len(said) == 2
    assert PASSWORD not in said[0]
    assert "login=ada" in said[1]


async def test_a_command_to_copy_takes_a_name_as_one_word(world: World, browser: Browser, stranger: Browser) -> None:
    await stranger.come_in(world, "eve;id;$(id)", "operator")
    answer = await browser.send("/users", {"login": "eve;id;$(id)", "role": "operator"})
    assert "moorage user link 'eve;id;$(id)'" in text_of(answer)
