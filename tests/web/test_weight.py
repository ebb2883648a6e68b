"""What a page weighs and how it is titled: scripts, headings, the line in the browser's tab."""

from __future__ import annotations

import gzip
import re
from importlib.resources import files

from tests.servers.world import World
from tests.web.browser import Browser

WEB = files("moorage.web")
# Compressed, all scripts of a page together.
MOST_SCRIPT = 120_000
_SCRIPT = re.compile(r"static\('([\w/.-]+\.js)'\)")
_PARENT = re.compile(r'\{% extends "([\w/.-]+)" %\}')
_HERE = re.compile(r'<li><a href="(/[\w/-]*)"')


def scripts_of(template: str) -> set[str]:
    """What a page made from `template` loads, from the templates that it extends, too."""
    text = (WEB / "templates" / template).read_text()
    parent = _PARENT.search(text)
    return set(_SCRIPT.findall(text)) | (scripts_of(parent[1]) if parent else set())


def whole_pages() -> list[str]:
    folders, found = [""], []
    while folders:
        prefix = folders.pop()
        for entry in (WEB / "templates" / prefix).iterdir() if prefix else (WEB / "templates").iterdir():
            if entry.is_dir():
                folders.append(f"{prefix}{entry.name}/")
            elif _PARENT.search(entry.read_text()):
                found.append(prefix + entry.name)
    return found


def weight(script: str) -> int:
    return len(gzip.compress((WEB / "static" / script).read_bytes(), 6))


def test_no_page_loads_more_than_120_kb_of_script() -> None:
    loaded = {page: scripts_of(page) for page in whole_pages()}
    assert len(loaded) > 40
    # The check sees what it is about: charts are the heaviest part, and pages without one do without it.
    drawing = {page for page, scripts in loaded.items() if "vendor/uplot.min.js" in scripts}
    assert {"explorer/show.html", "dashboards/show.html"} <= drawing
    assert "devices/list.html" not in drawing and "vendor/htmx.min.js" in loaded["devices/list.html"]
    weights = {page: sum(weight(script) for script in scripts) for page, scripts in loaded.items()}
    assert {page: bytes_ for page, bytes_ in weights.items() if bytes_ > MOST_SCRIPT} == {}


async def test_every_page_of_the_pane_has_one_heading_of_its_own_and_a_title_that_says_it(
    world: World, browser: Browser
) -> None:
    await world.create("pump-01")
    home = await browser.open("/devices")
    paths = sorted(set(_HERE.findall(home.text.partition('id="pane"')[2].partition("</nav>")[0])))
    assert len(paths) > 15
    titles: dict[str, str] = {}
    for path in paths:
        page = await browser.open(path)
        assert page.status_code == 200, path
        assert len(re.findall(r"<h1[ >]", page.text)) == 1, path
        title = re.search(r"<title>([^<]+) · ", page.text)
        assert title is not None, path
        titles[path] = title[1]
    assert len(set(titles.values())) == len(titles), titles
