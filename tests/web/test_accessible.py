"""What people with other eyes and hands need: contrast in both themes, names, headings in order, landmarks."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import quote

import pytest

from tests.servers.world import World
from tests.web.browser import Browser

STATIC = files("moorage.web") / "static"
THEMES = ("light", "dark")
# Text, and what it stands on in app.css (WCAG 2.2, 1.4.3: 4.5 to 1).
TEXT = [
    *[(text, ground) for text in ("ink", "quiet", "sea", "bad") for ground in ("paper", "sheet", "raised", "sea-wash")],
    *[(text, wash) for text in ("ink", "quiet") for wash in ("good-wash", "bad-wash", "warn-wash")],
    ("bad", "bad-wash"),
    ("warn", "warn-wash"),
    ("good", "sheet"),
    ("sea-ink", "sea"),
    ("deep-ink", "deep"),
    ("deep-quiet", "deep"),
]
# Borders of fields, lights, the ring of focus (1.4.11: 3 to 1).
SHAPES = [
    *[(shape, ground) for shape in ("sea", "good", "bad", "warn") for ground in ("paper", "sheet", "raised")],
    ("line-strong", "sheet"),
    ("line-strong", "paper"),
    ("deep-ink", "deep"),
]
VOID = {"input", "meta", "link", "br"}


def tokens() -> dict[str, tuple[str, str]]:
    """(by day, by night) of each colour in tokens.css."""
    text = (STATIC / "tokens.css").read_text()
    colour = r"#[0-9a-f]{6}"
    pairs = re.findall(rf"--([\w-]+): light-dark\(({colour}), ({colour})\);", text)
    single = re.findall(rf"--([\w-]+): ({colour});", text)
    return {name: (day, night) for name, day, night in pairs} | {name: (each, each) for name, each in single}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_shapes_stand_out_from_what_is_behind_them(theme: str) -> None:
    at, colours = THEMES.index(theme), tokens()
    for pairs, least in ((TEXT, 4.5), (SHAPES, 3.0)):
        found = {pair: contrast(colours[pair[0]][at], colours[pair[1]][at]) for pair in pairs}
        assert {pair: round(value, 2) for pair, value in found.items() if value < least} == {}


class Outline(HTMLParser):
    """What an assistive technology is told of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.landmarks: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.unnamed: list[str] = []
        self.buttons: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag not in VOID:
            self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("main", "nav", "header"):
            self.landmarks.append(tag)
        if "id" in named:
            self.ids.append(str(named["id"]))
        if tag == "label" and named.get("for"):
            self.labelled.add(str(named["for"]))
        if tag == "button":
            self.buttons.append("")
        is_field = tag in ("select", "textarea") or (tag == "input" and named.get("type") != "hidden")
        if is_field and "label" not in self._open and not named.get("aria-label"):
            self.unnamed.append(str(named.get("id", tag)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "button" in self._open:
            self.buttons[-1] += data.strip()


async def test_pages_are_found_through_without_eyes(world: World, browser: Browser) -> None:
    """Landmarks, headings that leave no level out, a name for each field and button, ids once, tags that close."""
    await world.create("pump-01")
    await browser.send("/groups", {"name": "line-1", "attestation": "x509", "type": "iot"})
    paths = ["/devices", "/devices/pump-01", "/devices/pump-01/data", "/devices/pump-01/properties", "/attempts"]
    paths += ["/users", "/groups", "/groups/new", "/groups/line-1", "/groups/line-1/primary", "/nowhere", "/sign-in"]
    template = "/device-templates/" + quote("dtmi:modelDefinition:com:example:Thermostat;1", safe="")
    await browser.send("/device-templates/from-folder", {"model_id": "dtmi:com:example:Thermostat;1"})
    capability = f"{template}/capability?interface=dtmi:com:example:Thermostat;1&name="
    paths[:0] = ["/device-templates", "/device-templates/new", "/devices/pump-01/auto-create", template]
    paths[:0] = [
        f"{template}/{page}" for page in ("publish", "model", "names", "views/overview", "views/new?kind=form")
    ]
    paths[:0] = [capability + name for name in ("temperature", "targetTemperature", "getMaxMinReport")]
    for path in paths:
        if path == "/sign-in":
            await browser.send("/sign-out")
        page = await browser.open(path)
        outline = Outline(page.text.partition("<html")[2].join(("<html", "")))
        content = outline.headings[outline.headings.index(1) :]
        assert content.count(1) == 1, path
        assert all(level <= before + 1 for before, level in zip(content, content[1:], strict=False)), (path, content)
        assert outline.landmarks.count("main") == 1, path
        assert len(outline.ids) == len(set(outline.ids)), (path, outline.ids)
        assert set(outline.unnamed) <= outline.labelled, (path, outline.unnamed)
        assert all(outline.buttons), (path, outline.buttons)
        assert outline.labelled <= set(outline.ids), path
        assert page.text.index('href="#main"') < page.text.index('id="main"'), path
        assert '<html lang="en"' in page.text and re.search(r"<title>[^<]+</title>", page.text), path
        assert not re.search(r'tabindex="[1-9]', page.text), path


def test_nothing_hides_the_focus_of_what_can_be_reached() -> None:
    style = (STATIC / "app.css").read_text()
    assert ":focus-visible { outline: 2px solid" in style
    hidden = re.findall(r"([^{}]+)\{[^{}]*outline: (?:none|0)[^{}]*\}", style)
    assert [each.strip() for each in hidden] == ["main:focus"]
