"""Settings and the top bar: names, colours and pictures that stay harmless; search by old names; help and profile."""

from __future__ import annotations

import re
import struct
import zlib

import pytest

from moorage.accounts.customization import parse_colour, parse_link, parse_png
from moorage.accounts.model import OWNER, OrganizationId
from moorage.errors import Refusal
from moorage.web.colours import MARKED, TEXT, accent_of, contrast, header_of, mixed
from tests.servers.world import World
from tests.web.browser import PASSWORD, Browser, text_of


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 4, height: int = 2, *, more: bytes = b"", image: bytes | None = None) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = image if image is not None else zlib.compress(b"\0" * (1 + 3 * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def test_a_picture_is_what_draws_it_and_nothing_else() -> None:
    carried = chunk(b"tEXt", b"Comment\0<script>alert(1)</script>") + chunk(b"eXIf", b"where it was taken")
    assert parse_png(png(more=carried) + b"<html>behind it") == png()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"GIF89a",
        png()[:-5],
        png().replace(b"IDAT", b"IDAX"),
        png(width=5000),
        png(width=0),
        png(image=b"no deflate"),
        png(image=zlib.compress(b"\0" * 50_000_000)),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"short") + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"x") * 5000,
        b"\x89PNG\r\n\x1a\n" + b"x" * 300_000,
    ],
    ids=lambda data: repr(data[:12] + data[-4:]) + str(len(data)),
)
def test_a_picture_that_is_none_or_a_bomb_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal, match=r"customization\.picture"):
        parse_png(data)


@pytest.mark.parametrize("chosen", ["#ffffff", "#000000", "#767676", "#ffff00", "#0b6a85", "#ff00ff", "#808000"])
def test_whatever_colour_is_chosen_text_can_be_read(chosen: str) -> None:
    accent, header = accent_of(chosen), header_of(chosen)
    for at, (grounds, quiet) in enumerate(((("#ffffff", "#f6f8f9"), "#526572"), (("#0d151b", "#1a2833"), "#9db0bc"))):
        for ground in (*grounds, accent.wash[at]):
            assert contrast(accent.colour[at], ground) >= TEXT
        assert contrast(accent.ink[at], accent.colour[at]) >= TEXT
        assert contrast(quiet, accent.wash[at]) >= TEXT
    for ground, ink, quiet in zip(*header, strict=True):
        assert contrast(ink, mixed(ground, ink, MARKED)) >= TEXT
        assert contrast(quiet, ground) >= TEXT
    assert contrast(header.ground[1], "#000000") < 3


def test_a_colour_that_can_be_read_is_left_as_it_is() -> None:
    assert accent_of("#0b6a85").colour[0] == "#0b6a85"


@pytest.mark.parametrize("text", ["red", "#fff", "#12345g", "#123456;}", "url(//x)", "var(--x)"])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"customization\.colour"):
        parse_colour(text)


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//evil.example", "/devices", "https://", "https://a b", "ftp://x"],
)
def test_what_is_no_web_address_is_no_help_link(url: str) -> None:
    with pytest.raises(Refusal, match=r"customization\.link"):
        parse_link("Help", url)


async def test_colours_and_links_come_as_a_style_sheet_of_this_host_and_go_again(
    world: World, browser: Browser
) -> None:
    fields = {
        "etag": "0",
        "own_header": "on",
        "header": "#FFCC00",
        "own_accent": "on",
        "accent": "#ff8800",
        "label0": "Plant handbook",
        "url0": "https://handbook.example/<pumps>",
    }
    refused = await browser.send("/settings/customization", fields)
    assert "customization.link" not in refused.text
    page = await browser.open("/devices")
    [style] = re.findall(r'href="(/appearance/[0-9a-f]+\.css)"', page.text)
    sheet = await browser.get(style)
    assert sheet.headers["content-type"].startswith("text/css")
    assert "--deep: light-dark(#ffcc00, " in sheet.text
    assert 'rel="noopener noreferrer"' in page.text
    assert "<pumps>" not in page.text
    assert "'unsafe" not in page.headers["content-security-policy"]
    assert (await browser.get("/appearance/0000000000000000.css")).status_code == 404

    stale = await browser.send("/settings/customization", {**fields, "label0": "Newer handbook"})
    assert (stale.status_code, "etag.stale" in stale.text) == (400, True)
    assert 'value="Newer handbook"' in stale.text
    bad = await browser.send("/settings/customization", {**fields, "etag": "1", "accent": "orange"})
    assert "customization.colour" in bad.text
    await browser.send("/settings/customization", {"etag": "1", "header": "#ffcc00"})
    assert "/appearance/" not in (await browser.open("/devices")).text


async def test_a_logo_is_served_as_a_picture_and_the_name_stands_above_the_pages(
    world: World, browser: Browser, stranger: Browser
) -> None:
    assert (await browser.submit("/settings/application", {"name": " Plant  7 "})).url.path == "/settings/application"
    await browser.send("/settings/customization/logo", files={"picture": ("logo.png", png(), "image/png")})
    door = await stranger.open("/sign-in")
    assert "Plant 7" in text_of(door)
    [address] = re.findall(r'<img src="(/appearance/logo/[0-9a-f]+\.png)"', door.text)
    picture = await stranger.get(address)
    assert (picture.headers["content-type"], picture.content) == ("image/png", png())
    svg = await browser.send("/settings/customization/icon", files={"picture": ("i.svg", b"<svg/>", "image/svg+xml")})
    assert (svg.status_code, "customization.picture" in svg.text) == (400, True)
    assert "form.file" in (await browser.send("/settings/customization/icon", files={"x": ("", b"")})).text
    assert (await browser.send("/settings/customization/poster")).status_code in (400, 404)
    await browser.send("/settings/customization/logo/remove")
    assert (await stranger.get(address)).status_code == 404
    long = await browser.send("/settings/application", {"name": "x" * 61})
    assert "customization.name" in long.text

    page = text_of(await browser.open("/settings/application"))
    about = text_of(await browser.open("/help/about"))
    [application_id] = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", page)
    assert application_id in about
    assert world.app.info().id_scope in page
    log = text_of(await browser.open("/audit", kind="application"))
    assert "renamed" in log
    assert "logo put" in log


async def test_search_finds_devices_and_pages_also_by_their_older_names_and_nothing_one_may_not_see(
    world: World, browser: Browser, stranger: Browser
) -> None:
    await world.create("pump-01")
    await world.create("valve-7")
    found = text_of(await browser.open("/search", q="PUMP"))
    assert ("pump-01" in found, "valve-7" in found) == (True, False)
    for older, today in (
        ("Administration", "Device connection groups"),
        ("enrollment", "Device connection groups"),
        ("audit", "Audit logs"),
        ("access tok", "API tokens"),
    ):
        page = await browser.open("/search", q=older)
        assert f">{today}</a>" in page.text.split("<main")[1], older
    assert "Nothing" in text_of(await browser.open("/search", q="<b>x"))
    assert (await browser.open("/search")).status_code == 200

    await world.app.application.organizations.create(OWNER, OrganizationId("north"), "North", OrganizationId(""))
    _ned, link = await world.app.accounts.invite(OWNER, "ned", "org-viewer", OrganizationId("north"))
    await stranger.send(f"/sign-in/link/{link.reveal()}", {"password": PASSWORD, "again": PASSWORD})
    # PC-22: neither a device of the root, nor a page beyond the role.
    assert "Nothing" in text_of(await stranger.open("/search", q="pump"))
    assert "Nothing" in text_of(await stranger.open("/search", q="audit"))
    # Who may not add devices is not told how to.
    none = text_of(await stranger.open("/devices"))
    assert "None that you may see" in none and "moorage cert" not in none
    profile = text_of(await stranger.open("/profile"))
    assert "Org Viewer" in profile
    assert "North" in profile
    assert (await stranger.open("/help")).status_code == 200
